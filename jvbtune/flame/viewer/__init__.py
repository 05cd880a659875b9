"""The viewer: one HTML file that holds a merged call tree and everything to look at it, offline.

    Tree ─▶ prune (only where it is huge) ─▶ encode (sections of varints, deflated) ─▶ one HTML file

The page is drawn by the scripts of ``js/``, which ``bundle`` joins; its Content-Security-Policy permits those alone,
by their hash, and no network at all.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import jvbtune
from jvbtune.flame.compare.explain import explained
from jvbtune.flame.compare.facts import described, facts_of, sentence
from jvbtune.flame.model import Float64, Kind, Side, Significance, Tree
from jvbtune.flame.viewer.bundle import page
from jvbtune.flame.viewer.encode import Encoder
from jvbtune.flame.viewer.prune import LARGEST_PICTURE, Pruned, exact_table, prune

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Column:
    """How a further column of values is shown: ``Tree.columns[id]`` by node, ``frame_values`` by frame (or None).

    The colour scale is neutral at ``middle`` and full at ``middle`` ± ``span``. ``interval`` names the columns of the
    lower and the upper end: where it encloses ``middle``, the colour is the grey of what is not significant.
    """

    id: str
    label: str
    title: str
    middle: float = 0.0
    span: float = 1.0
    low_text: str = "less"
    middle_text: str = ""
    high_text: str = "more"
    colour: bool = True
    interval: tuple[str, str] | None = None
    frame_values: Float64 | None = None


def elasticity_columns(frame_values: Mapping[str, Float64] | None = None) -> tuple[Column, ...]:
    """The columns of ``jvbtune flame scaling``, for those of its values that a tree carries.

    ``frame_values``: the same names, one value for each frame, for the table.
    """
    by_frame = frame_values or {}
    return (
        Column(
            "elasticity",
            "Elasticity",
            "Relative growth of the frame's CPU for a relative growth of the packet rate: 1 is proportional",
            middle=1.0,
            span=0.5,
            low_text="≤ 0.5: amortised",
            middle_text="1: grows with the packet rate",
            high_text="≥ 1.5: bends the curve",
            interval=("elasticity_low", "elasticity_high"),
            frame_values=by_frame.get("elasticity"),
        ),
        *(
            Column(name, label, title, colour=False, frame_values=by_frame.get(name))
            for name, label, title in (
                (
                    "bend_cores",
                    "Beyond proportion",
                    "CPU beyond proportion at the highest rate, cores × (elasticity − 1)",
                ),
                ("elasticity_low", "Elasticity from", "Lower end of the elasticity's interval"),
                ("elasticity_high", "Elasticity to", "Upper end of the elasticity's interval"),
                ("cost_us_per_packet", "µs/packet", "Cost of a further packet"),
                ("fixed_cores", "Fixed cores", "CPU that does not depend on the packet rate, in cores"),
                ("curvature", "Curvature", "Change of the cost of a packet with the packet rate"),
            )
        ),
    )


def render_html(
    tree: Tree,
    *,
    title: str,
    columns: tuple[Column, ...] | None = None,
    colour: str | None = None,
    largest_picture: int = LARGEST_PICTURE,
) -> str:
    """The tree as one self-contained HTML page.

    ``columns`` says how ``tree.columns`` are shown (those of ``elasticity_columns()`` are known; others get a plain
    scale). ``colour`` is what the picture is coloured by at first: ``delta``, ``kind``, ``package`` or a column. A
    tree of more nodes than ``largest_picture`` is pruned for the picture; its table stays exact.
    """
    shown = _described(tree, columns)
    pruned = prune(tree, largest_picture)
    encoder = Encoder()
    encoder.add_tree(pruned.tree)
    frames = _frame_places(tree)
    if pruned.left_out:
        encoder.add_exact_table(exact_table(tree), frames)
    node_columns = dict(pruned.tree.columns)
    frame_columns = {c.id: c.frame_values for c in shown if c.frame_values is not None}
    if pruned.tree.significance is not None:
        found = pruned.tree.significance
        node_columns |= _tested(found)
    if tree.table.significance is not None:
        frame_columns |= _tested(tree.table.significance)
    if len(tree.sides) == 2 and tree.test is not None:
        frame_columns["explains"] = explained(tree)
    if node_columns:
        encoder.add_node_columns(node_columns, pruned.tree.parent)
    for name, values in frame_columns.items():
        encoder.add_floats(f"frame_{name}", values[frames])
    header = {
        **_header(tree, pruned, shown, colour),
        "node_columns": list(node_columns),
        "frame_columns": list(frame_columns),
        "sections": encoder.sections,
    }
    return page(
        title=html.escape(title),
        version=html.escape(jvbtune.__version__),
        meta=_json_in_html(header),
        data=base64.b64encode(encoder.deflated()).decode("ascii"),
    )


def _described(tree: Tree, columns: tuple[Column, ...] | None) -> tuple[Column, ...]:
    known = columns if columns is not None else tuple(c for c in elasticity_columns() if c.id in tree.columns)
    named = {column.id for column in known}
    return (*known, *(Column(name, name.replace("_", " "), name) for name in tree.columns if name not in named))


def _tested(found: Significance) -> dict[str, Float64]:
    return {"p_value": found.p_value, "q_value": found.q_value, "low": found.low, "high": found.high}


def _frame_places(tree: Tree) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """All frames but the root's: the page numbers the root last."""
    return np.delete(np.arange(len(tree.frames)), int(tree.frame[0]))


def _header(tree: Tree, pruned: Pruned, columns: tuple[Column, ...], colour: str | None) -> dict[str, object]:
    differential = len(tree.sides) > 1
    coloured = [column.id for column in columns if column.colour and column.id in tree.columns]
    return {
        "schema_version": SCHEMA_VERSION,
        "nodes": len(pruned.tree),
        "root_name": tree.frames.names[int(tree.frame[0])],
        "unit": tree.sides[0].meta.unit,
        "kinds": [kind.label for kind in Kind],
        "sides": [_side(side, index) for index, side in enumerate(tree.sides)],
        "normalisations": {_key(n.name): {"unit": n.unit, "factors": n.factors} for n in tree.normalisations},
        "normalisation": _key(tree.chosen.name),
        "test": None
        if tree.test is None
        else {
            "method": tree.test.method,
            "level": tree.test.level,
            "normalisation": _key(tree.test.normalisation),
            "note": tree.test.note,
            "allowed_whole": tree.test.allowed_whole,
            "allowed_frame": tree.test.allowed_frame,
        },
        "colour": colour or (coloured[0] if coloured else "delta" if differential else "kind"),
        "sort": coloured[0] if coloured and not differential else _sort(tree),
        "columns": [
            {key: value for key, value in vars(column).items() if key != "frame_values"}
            for column in columns
            if column.id in tree.columns or column.frame_values is not None
        ],
        "besides": sentence(*(facts_of(side) for side in tree.sides)) if len(tree.sides) == 2 else "",
        "rules": list(tree.rules),
        "notes": list(tree.notes),
        "pruned": _pruned_text(tree, pruned) if pruned.left_out else None,
    }


def _key(normalisation: str) -> str:
    """``2:1`` keeps its name: the page shows it beside the user's own factor."""
    return {"samples": "samples", "seconds": "seconds", "share": "share", "packets": "packets"}.get(
        normalisation, normalisation
    )


def _side(side: Side, index: int) -> dict[str, object]:
    meta = side.meta
    return {
        "title": meta.title or f"side {'AB'[index]}",
        "detail": described(facts_of(side)),
        "units_per_sample": side.per_sample or meta.units_per_sample,
        "packets": meta.packets,
        "seconds": meta.seconds,
        "captures": side.captures,
        "slices": [
            {"total": total, "packets": part.packets, "seconds": part.seconds}
            for part, total in zip(side.slices, side.slice_totals, strict=True)
        ]
        if len(side.slices) > 1
        else [],
    }


def _sort(tree: Tree) -> str:
    """The column that the table is sorted by at first."""
    if len(tree.sides) < 2:
        return "total_a"
    return "delta_total" if tree.test is None else "explains"


def _pruned_text(tree: Tree, pruned: Pruned) -> dict[str, object]:
    return {
        "nodes": len(tree),
        "left_out": pruned.left_out,
        "text": f"The picture leaves out {pruned.left_out:,} of {len(tree):,} nodes, each below "
        f"{100 * pruned.share:.2g} % of its side's total; their time is kept in frames named (small frames). "
        "The table is exact.",
    }


def _json_in_html(value: object) -> str:
    """JSON that cannot end the script element it stands in. Numbers that JSON lacks are refused, not written."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
