"""Plots with one row for each thing and one axis for all of them: estimates with intervals, effects, counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jvbtune.report.figure import Axis, draw_x_axis
from jvbtune.report.scales import Scale
from jvbtune.report.svg import Canvas, room
from jvbtune.report.words import clipped

#: Room left of the plot for the rows' names, and right of it for their values, on a wide page.
NAMES, VALUES = 300.0, 210.0


@dataclass(frozen=True)
class Mark:
    """``value`` with its ``low`` and ``high``, or a span without value; an end that is None is open (an arrow).

    ``dots``: single values instead, each with its title. ``lift``: below the middle of the row, in pixels.
    """

    css: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    span: bool = False
    dots: tuple[tuple[float, str], ...] = ()
    shape: int = 0
    lift: float = 0.0
    title: str = ""


@dataclass(frozen=True)
class Row:
    """``shown``: the exact figure as text. ``tall``: room for marks above each other, in pixels."""

    key: str
    name: str
    shown: str
    marks: tuple[Mark, ...]
    tall: float = 0.0
    strong: bool = False


def draw_rows(
    canvas: Canvas,
    rows: Sequence[Row],
    scale: Scale,
    label: str,
    words: Callable[[float], str],
    *,
    reference: float | None = None,
    zone: tuple[float, float] | None = None,
) -> None:
    """``reference``: a line through all rows, such as no change. ``zone``: an area, such as changes too small to
    matter."""
    narrow = canvas.narrow
    left, right = (10.0, canvas.width - 10) if narrow else (NAMES, canvas.width - VALUES)
    top, height = 8.0, 58.0 if narrow else 32.0
    bottom = top + sum(height + row.tall for row in rows)
    canvas.height = bottom + 44
    axis = Axis(scale, left, right)
    if zone is not None:
        canvas.rect(axis.clamped(zone[0]), top, axis.clamped(zone[1]), bottom, "zone")
    draw_x_axis(canvas, axis, top, bottom, label, words)
    if reference is not None:
        canvas.line(axis.at(reference), top, axis.at(reference), bottom, "reference")
    y = top
    for row in rows:
        _row(canvas, axis, row, y, height + row.tall)
        y += height + row.tall


def _row(canvas: Canvas, axis: Axis, row: Row, y: float, height: float) -> None:
    css = "halo strong" if row.strong else "halo"
    if canvas.narrow:
        canvas.text(0, y + 15, clipped(row.name, int(canvas.width / 6.9)), css)
        canvas.text(0, y + 31, clipped(row.shown, int(canvas.width / 6.9)), "halo value")
        middle = y + 45 + row.tall / 2
    else:
        middle = y + height / 2
        canvas.text(0, middle + 4, clipped(row.name, int((NAMES - 12) / 6.9)), css)
        canvas.text(axis.last + 14, middle + 4, clipped(row.shown, int((VALUES - 14) / 6.2)), "value")
    for mark in row.marks:
        _mark(canvas, axis, row.key, mark, middle + mark.lift)


def _mark(canvas: Canvas, axis: Axis, key: str, mark: Mark, y: float) -> None:
    if mark.dots:
        for place, (value, title) in enumerate(mark.dots):
            lift = (place % 3 - 1) * 5.0  # equal counts side by side, not on top of each other
            data = {"data_row": key, "data_x": repr(value)}
            canvas.marker(mark.shape, axis.clamped(value), y + lift, mark.css, title, r=4.0, **data)
        return
    low, high = axis.scale.domain
    open_low, open_high = mark.low is None or mark.low < low, mark.high is None or mark.high > high
    a = axis.first if mark.low is None else axis.clamped(mark.low)
    b = axis.last if mark.high is None else axis.clamped(mark.high)
    data = {"data_row": key, "data_low": repr(mark.low), "data_high": repr(mark.high)}
    if mark.span:
        canvas.rect(a, y - 2.5, b, y + 2.5, mark.css, title=mark.title, **data)
    else:
        canvas.line(a, y, b, y, f"whisker {mark.css}", **data)
    for is_open, x, way in ((open_low, a, -1), (open_high, b, 1)):
        if is_open:
            canvas.path([(x - 6 * way, y - 5), (x, y), (x - 6 * way, y + 5)], f"arrow {mark.css}")
        elif not mark.span:
            canvas.line(x, y - 4, x, y + 4, f"whisker {mark.css}")
    if mark.value is not None and axis.scale.holds(mark.value):
        data = {"data_row": key, "data_x": repr(mark.value)}
        canvas.marker(mark.shape, axis.at(mark.value), y, f"point {mark.css}", r=5.0, **data)


__all__ = ["Mark", "Row", "draw_rows", "room"]
