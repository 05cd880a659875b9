"""A comparison as a table of frames: JSON for scripts, Markdown for pull requests.

One row a frame, over all its places in the tree; a recursion counts once in a total. Values are in the unit of the
chosen normalisation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from jvbtune.flame.model import Kind, Significance, Tree

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Row:
    """One frame on both sides. ``low`` to ``high`` encloses the delta of the total; NaN: not tested."""

    frame: str
    kind: str
    self_a: float
    self_b: float
    total_a: float
    total_b: float
    p_value: float
    significant: bool
    low: float = math.nan
    high: float = math.nan

    @property
    def delta(self) -> float:
        """Of the total, B − A."""
        return self.total_b - self.total_a


def rows(tree: Tree) -> list[Row]:
    """The frames of a tree of two sides, the largest change of the total first."""
    a, b = tree.chosen.factors
    table = tree.table
    found = table.significance
    seen = np.flatnonzero(table.total.any(axis=0) | table.self_.any(axis=0))
    root = int(tree.frame[0])
    made = [
        Row(
            tree.frames.names[i],
            Kind(int(tree.frames.kinds[i])).label,
            float(table.self_[0, i] * a),
            float(table.self_[1, i] * b),
            float(table.total[0, i] * a),
            float(table.total[1, i] * b),
            *_outcome(found, i),
        )
        for i in seen.tolist()
        if i != root
    ]
    return sorted(made, key=lambda row: (-abs(row.delta), row.frame, row.kind))


def whole(tree: Tree) -> Row:
    """All that the two sides hold, as a row."""
    a, b = tree.chosen.factors
    return Row(
        tree.frames.names[int(tree.frame[0])],
        Kind.ROOT.label,
        float(tree.self_[0, 0] * a),
        float(tree.self_[1, 0] * b),
        float(tree.total[0, 0] * a),
        float(tree.total[1, 0] * b),
        *_outcome(tree.significance, 0),
    )


def _outcome(found: Significance | None, i: int) -> tuple[float, bool, float, float]:
    if found is None:
        return math.nan, False, math.nan, math.nan
    return float(found.p_value[i]), bool(found.significant[i]), float(found.low[i]), float(found.high[i])


def as_json(tree: Tree) -> dict[str, Any]:
    """The table for scripts; ``p_value`` is null where a frame was not tested."""
    every = whole(tree)
    return {
        "schema_version": SCHEMA_VERSION,
        "unit": tree.chosen.unit,
        "totals": {"a": every.total_a, "b": every.total_b},
        "rows": [
            {
                "frame": row.frame,
                "kind": row.kind,
                "self_a": row.self_a,
                "self_b": row.self_b,
                "total_a": row.total_a,
                "total_b": row.total_b,
                "p_value": None if math.isnan(row.p_value) else row.p_value,
                "significant": row.significant,
            }
            for row in rows(tree)
        ],
    }


def grown(tree: Tree, percent: float) -> list[Row]:
    """The whole and the frames whose totals grew, significantly, by more than ``percent`` of A's total."""
    limit = percent / 100 * whole(tree).total_a
    return [row for row in (whole(tree), *rows(tree)) if row.significant and row.delta > limit]


def as_markdown(tree: Tree, most: int = 30) -> str:
    """The table for people: what changed significantly first, then the largest of what may be noise."""
    every = whole(tree)
    all_rows = rows(tree)
    changed = [row for row in all_rows if row.significant]
    shown = (changed + [row for row in all_rows if not row.significant])[:most]
    a, b = (side.meta.title for side in tree.sides)
    lines = [
        f"**A** {_text(a)}: {every.total_a:.4g} {tree.chosen.unit}  ",
        f"**B** {_text(b)}: {every.total_b:.4g} {tree.chosen.unit}  ",
        f"**Δ** {_delta(every)}, {_verdict(every)}",
        "",
        f"| frame | kind | total A | total B | Δ, {tree.chosen.unit} | self A | self B | p | |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        *(
            f"| {_code(row.frame)} | {row.kind} | {row.total_a:.4g} | {row.total_b:.4g} | {_delta(row)} "
            f"| {row.self_a:.4g} | {row.self_b:.4g} | {_p(row.p_value)} | {_verdict(row)} |"
            for row in shown
        ),
        "",
    ]
    if len(all_rows) > len(shown):
        lines.append(f"{len(all_rows) - len(shown)} more frames are not shown.  ")
    if tree.test is not None:
        lines.append(
            f"{len(changed)} frames differ significantly at a false-discovery rate of {tree.test.level:g} "
            f"({tree.test.method}). {tree.test.note}"
        )
    lines += [f"\n{note}" for note in tree.notes]
    return "\n".join(lines) + "\n"


def _delta(row: Row) -> str:
    change = f", {row.delta / row.total_a:+.1%}" if row.total_a else ", new" if row.total_b else ""
    if row.total_a and not row.total_b:
        change = ", gone"
    interval = "" if math.isnan(row.low) else f" [{row.low:+.3g}, {row.high:+.3g}]"
    return f"{row.delta:+.4g}{change}{interval}"


def _verdict(row: Row) -> str:
    if math.isnan(row.p_value):
        return "not tested"
    return "**significant**" if row.significant else "not significant"


def _p(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2g}"


def _text(text: str) -> str:
    """A name in Markdown: it can be anything, and must stay one line and mean nothing."""
    plain = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>()#+!|~&" else sign for sign in plain)


def _code(frame: str) -> str:
    """A frame's name as code in a table's cell."""
    plain = " ".join(frame.split()).replace("|", "\\|")
    if "`" in plain:
        return _text(frame)
    return f"`{plain}`" if plain else "` `"
