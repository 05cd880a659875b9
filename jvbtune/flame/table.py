"""A comparison as a table of frames: a typed document for scripts, Markdown for people and pull requests.

Tree ─▶ rows, counts, facts ─▶ Document ─▶ JSON or Markdown

One row a frame, over all its places in the tree; a recursion counts once in a total. Values are in the unit of the
chosen normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, cast

import numpy as np

from jvbtune.flame.compare.explain import explained
from jvbtune.flame.compare.facts import described, differences, facts_of, sentence
from jvbtune.flame.document import SCHEMA_VERSION, Counts, Document, Method, Row, Sides, Test, Totals
from jvbtune.flame.model import Float64, Kind, Significance, Tree

Rank = Literal["explains", "total", "self"]
RANKS: dict[Rank, Callable[[Row], float]] = {
    "explains": lambda row: row.explains,
    "total": lambda row: row.delta,
    "self": lambda row: row.self_b - row.self_a,
}


def _rows(tree: Tree, part: Float64, rank: Rank) -> list[Row]:
    """The frames of a tree of two sides, the largest change by ``rank`` first. Ranked by totals or selves, what differs
    significantly comes before the rest."""
    a, b = tree.chosen.factors
    table = tree.table
    found = table.significance
    seen = np.flatnonzero(table.total.any(axis=0) | table.self_.any(axis=0))
    root = int(tree.frame[0])
    made = [
        _row(
            tree.frames.names[i],
            Kind(int(tree.frames.kinds[i])),
            (float(table.self_[0, i] * a), float(table.self_[1, i] * b)),
            (float(table.total[0, i] * a), float(table.total[1, i] * b)),
            found,
            i,
            float(part[i]),
        )
        for i in seen.tolist()
        if i != root
    ]
    value = RANKS[rank]
    first: Callable[[Row], bool] = (
        (lambda row: not row.explains) if rank == "explains" else (lambda row: not row.significant)
    )
    return sorted(made, key=lambda r: (first(r), -abs(value(r)), not r.significant, -abs(r.delta), r.frame, r.kind))


def _whole(tree: Tree, part: Float64) -> Row:
    """All that the two sides hold, as a row; it explains what no frame does."""
    a, b = tree.chosen.factors
    return _row(
        tree.frames.names[int(tree.frame[0])],
        Kind.ROOT,
        (float(tree.self_[0, 0] * a), float(tree.self_[1, 0] * b)),
        (float(tree.total[0, 0] * a), float(tree.total[1, 0] * b)),
        tree.significance,
        0,
        float(part[int(tree.frame[0])]),
    )


def _row(
    name: str,
    kind: Kind,
    own: tuple[float, float],
    total: tuple[float, float],
    found: Significance | None,
    i: int,
    explains: float,
) -> Row:
    def value(of: str) -> float | None:
        number = math.nan if found is None else float(getattr(found, of)[i])
        return None if math.isnan(number) else number

    return Row(
        name,
        kind.label,
        *own,
        *total,
        total[1] - total[0],
        value("low"),
        value("high"),
        value("p_value"),
        value("q_value"),
        found is not None and bool(found.significant[i]),
        explains,
    )


def document(tree: Tree, rank: Rank = "explains") -> Document:
    """The whole comparison of a tree of two sides."""
    part = explained(tree)
    every, frames = _whole(tree, part), _rows(tree, part, rank)
    a, b = (facts_of(side) for side in tree.sides)
    test = tree.test
    assert test is not None, "a tree of two sides"
    return Document(
        schema_version=SCHEMA_VERSION,
        sides=Sides(a, b),
        differs=differences(a, b),
        normalisation=tree.chosen.name,
        unit=tree.chosen.unit,
        totals=Totals(every.total_a, every.total_b),
        whole=every,
        test=Test(cast("Method", test.method), test.level, test.allowed_whole, test.allowed_frame, test.note),
        counts=counts(frames, tested=test.method != "none"),
        rows=tuple(frames),
        notes=tuple(tree.notes),
    )


def counts(frames: Sequence[Row], *, tested: bool) -> Counts:
    """How many frames are what; without a test every frame that differs counts."""
    changed = [row for row in frames if row.significant or (not tested and row.delta)]
    return Counts(
        frames=len(frames),
        tested=sum(row.p_value is not None for row in frames),
        grown=sum(row.delta > 0 for row in changed),
        shrunk=sum(row.delta < 0 for row in changed),
        new=sum(row.total_a == 0 for row in changed),
        removed=sum(row.total_b == 0 for row in changed),
    )


def grown(found: Document, percent: float) -> list[Row]:
    """The whole and the frames whose totals grew, significantly, by more than ``percent`` of A's total."""
    limit = percent / 100 * found.whole.total_a
    return [row for row in (found.whole, *found.rows) if row.significant and row.delta > limit]


def summary(found: Document) -> list[str]:
    """The answer, and what it rests on, as lines of plain text."""
    sides = zip("AB", (found.sides.a, found.sides.b), strict=True)
    return [
        _answer(found),
        *(f"{name}: {side.title}: {described(side)}" for name, side in sides),
        sentence(found.sides.a, found.sides.b),
        *found.notes,
        *([found.test.note] if found.test.method == "none" else []),
    ]


def as_markdown(found: Document, most: int = 30) -> str:
    """The table for people: the answer, how the sides were taken, then the frames that explain the difference."""
    every, shown = found.whole, found.rows[:most]
    a, b = found.sides.a, found.sides.b
    lines = [
        f"**{_text(_answer(found))}**",
        "",
        f"- **A** {_text(a.title)}: {every.total_a:.4g} {found.unit}; {_text(described(a))}",
        f"- **B** {_text(b.title)}: {every.total_b:.4g} {found.unit}; {_text(described(b))}",
        f"- {_text(sentence(a, b))}",
        *(f"- {_text(note)}" for note in found.notes),
        f"- {_text(found.test.note)}",
        "",
        f"| frame | kind | explains, {found.unit} | total A | total B | Δ | self A | self B | p | |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        *(
            f"| {_code(row.frame)} | {row.kind} | {row.explains:+.4g} | {row.total_a:.4g} | {row.total_b:.4g} "
            f"| {_delta(row)} | {row.self_a:.4g} | {row.self_b:.4g} | {_p(row.p_value)} | {_verdict(row)} |"
            for row in shown
        ),
    ]
    if len(found.rows) > len(shown):
        lines.append(f"\n{len(found.rows) - len(shown)} more frames are not shown.")
    return "\n".join(lines) + "\n"


def _answer(found: Document) -> str:
    """The first line: whether the whole differs, and how many frames do."""
    every, number = found.whole, found.counts
    change = f"{_delta(every)} {found.unit}"
    if found.test.method == "none":
        return f"B against A: {change}. Nothing was tested for significance."
    return (
        f"B against A: {change}, {_verdict(every).strip('*')}. {number.grown} frames cost significantly more "
        f"({number.new} new), {number.shrunk} significantly less ({number.removed} removed); {number.tested} of "
        f"{number.frames} frames have enough samples for a test."
    )


def _delta(row: Row) -> str:
    change = f", {row.delta / row.total_a:+.1%}" if row.total_a else ", new" if row.total_b else ""
    if row.total_a and not row.total_b:
        change = ", removed"
    interval = "" if row.delta_low is None else f" [{row.delta_low:+.3g}, {row.delta_high:+.3g}]"
    return f"{row.delta:+.4g}{change}{interval}"


def _verdict(row: Row) -> str:
    if row.p_value is None:
        return "not tested"
    return "**significant**" if row.significant else "not significant"


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


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
