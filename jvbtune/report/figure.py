"""A figure of the report: one drawing for a wide page, one for a phone, with its title, legend and text alternative."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from jvbtune.report.scales import Scale
from jvbtune.report.svg import NARROW, WIDE, Canvas


@dataclass(frozen=True)
class Entry:
    """One line of a legend: a marker (``svg.marker``'s shape), a line or an area, and what it means."""

    css: str
    words: str
    shape: int | None = None
    area: bool = False

    def sample(self) -> Markup:
        canvas = Canvas(18, 12)
        if self.shape is not None:
            canvas.marker(self.shape, 9, 6, self.css, r=4)
        elif self.area:
            canvas.rect(1, 1, 17, 11, self.css)
        else:
            canvas.line(1, 6, 17, 6, self.css)
        return Markup(str(canvas.svg("")).replace('role="img" aria-label=""', 'aria-hidden="true"'))


@dataclass(frozen=True)
class Figure:
    """``caption``: how to read it, a sentence or two. ``drawings``: wide, narrow."""

    key: str
    title: str
    caption: str
    drawings: tuple[Markup, Markup]
    legend: tuple[Entry, ...] = ()


def figure(
    key: str,
    title: str,
    caption: str,
    draw: Callable[[Canvas], None],
    *,
    alt: str,
    legend: Sequence[Entry] = (),
    widths: tuple[float, float] = (WIDE, NARROW),
) -> Figure:
    """Draw it twice. ``draw`` sets the canvas' height."""
    wide, narrow = Canvas(widths[0]), Canvas(widths[1])
    draw(wide)
    draw(narrow)
    return Figure(key, title, caption, (wide.svg(alt, "wide"), narrow.svg(alt, "narrow")), tuple(legend))


@dataclass(frozen=True)
class Axis:
    """A scale laid on pixels: ``first`` is where its low end is drawn, ``last`` where its high end is."""

    scale: Scale
    first: float
    last: float

    def at(self, value: float) -> float:
        return self.first + (self.last - self.first) * self.scale.share(value)

    def clamped(self, value: float) -> float:
        low, high = self.scale.domain
        return self.at(min(max(value, low), high))


def draw_x_axis(
    canvas: Canvas, axis: Axis, top: float, bottom: float, label: str, words: Callable[[float], str]
) -> None:
    """Grid lines from ``top`` to ``bottom``, numbers below that do not touch each other, and a label below these."""
    end = -1e9
    for tick in axis.scale.ticks:
        x = axis.at(tick)
        shown = words(tick)
        half = 3.9 * len(shown)
        canvas.line(x, top, x, bottom, "grid")
        anchor = "end" if x + half > canvas.width else "start" if x < half else "middle"
        begin = {"end": x - 2 * half, "start": x, "middle": x - half}[anchor]
        if begin < end + 6:
            continue
        _tick(canvas, "x", tick, shown, x, bottom + 17, anchor, x)
        end = begin + 2 * half
    canvas.line(axis.first, bottom, axis.last, bottom, "axis")
    canvas.text(axis.last, bottom + 35, label, "axis-label", "end")


def draw_y_axis(
    canvas: Canvas, axis: Axis, left: float, right: float, label: str, words: Callable[[float], str]
) -> None:
    """Grid lines, numbers left of them, and the label above, where it can be read without turning one's head."""
    for tick in axis.scale.ticks:
        y = axis.at(tick)
        canvas.line(left, y, right, y, "grid")
        _tick(canvas, "y", tick, words(tick), left - 7, y + 4, "end", y)
    canvas.text(0, axis.last - 38, label, "axis-label")


def _tick(canvas: Canvas, axis: str, tick: float, shown: str, x: float, y: float, anchor: str, at: float) -> None:
    """``data-…``: which value is where, so that a test can measure a drawing by its own axis."""
    data = {"data_axis": axis, "data_tick": repr(tick), "data_at": f"{at:.3f}"}
    canvas.add("text", "tick", inner=shown, x=x, y=y, text_anchor=anchor, **data)
