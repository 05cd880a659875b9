"""SVG as text: elements with escaped attributes, text as text, colours by class so that the page's scheme decides.

Each figure is drawn twice, for a wide page and for a phone's; the style sheet shows one of them. So letters have the
same size on both, and nothing is scaled until it cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup, escape

WIDE, NARROW = 880, 344  #: in CSS pixels
LETTER = 6.9  #: generous width of a letter at 12 px, for room that has to be left


@dataclass
class Canvas:
    """Elements, collected. Places are in CSS pixels from the top left."""

    width: float
    height: float = 0.0
    parts: list[Markup] = field(default_factory=list)

    @property
    def narrow(self) -> bool:
        return self.width < 600

    def add(self, tag: str, css: str = "", title: str = "", inner: str = "", **attributes: Any) -> None:
        self.parts.append(element(tag, css, inner, title=title, **attributes))

    def text(self, x: float, y: float, words: str, css: str = "", anchor: str = "start") -> None:
        self.parts.append(element("text", css, words, x=x, y=y, text_anchor=anchor))

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str, **more: Any) -> None:
        self.add("line", css, x1=x1, y1=y1, x2=x2, y2=y2, **more)

    def rect(self, x1: float, y1: float, x2: float, y2: float, css: str, **more: Any) -> None:
        left, top = min(x1, x2), min(y1, y2)
        self.add("rect", css, x=left, y=top, width=abs(x2 - x1), height=abs(y2 - y1), **more)

    def path(self, points: list[tuple[float, float]], css: str, *, closed: bool = False, **more: Any) -> None:
        if len(points) > 1:
            d = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points) + ("Z" if closed else "")
            self.add("path", css, d=d, **more)

    def marker(self, shape: int, x: float, y: float, css: str, title: str = "", r: float = 4.0, **data: Any) -> None:
        """Circle, square, triangle, diamond, lower triangle, cross (``CROSS``): told apart without colour."""
        data = {"data_cx": _number(x), "data_cy": _number(y)} | data
        if shape == 0:
            self.add("circle", css, title, cx=x, cy=y, r=r, **data)
            return
        self.add("path", css, title, d=_SHAPES[shape](x, y, r), **data)

    def svg(self, alt: str, css: str = "") -> Markup:
        box = f"0 0 {_number(self.width)} {_number(self.height)}"
        inner = Markup("").join(self.parts)
        return element("svg", css, inner, viewBox=box, width=self.width, height=self.height, role="img", aria_label=alt)


CROSS = 5
MARKERS = 5  #: shapes for series, before they begin again


def _polygon(*corners: tuple[float, float]) -> Callable[[float, float, float], str]:
    def at(x: float, y: float, r: float) -> str:
        return "M" + "L".join(f"{_number(x + r * dx)} {_number(y + r * dy)}" for dx, dy in corners) + "Z"

    return at


def _cross(x: float, y: float, r: float) -> str:
    a, b, c, d = (_number(value) for value in (x - r, y - r, x + r, y + r))
    return f"M{a} {b}L{c} {d}M{a} {d}L{c} {b}"


_SHAPES: dict[int, Callable[[float, float, float], str]] = {
    1: _polygon((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    2: _polygon((0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
    3: _polygon((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    4: _polygon((0, 1.15), (1.1, -0.85), (-1.1, -0.85)),
    CROSS: _cross,
}


def element(tag: str, css: str = "", inner: str | Markup = "", *, title: str = "", **attributes: Any) -> Markup:
    """One element. Attributes that are None are left out; ``_`` in their names becomes ``-``; all is escaped."""
    pairs = {"class": css or None, **{name.replace("_", "-"): value for name, value in attributes.items()}}
    written = "".join(f' {name}="{escape(_value(value))}"' for name, value in pairs.items() if value is not None)
    head = f"<title>{escape(title)}</title>" if title else ""
    return Markup(f"<{tag}{written}>{head}{escape(inner)}</{tag}>")


def _value(value: Any) -> str:
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    text = f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def room(words: str) -> float:
    """Width that a line of text needs at most, in CSS pixels at 12 px."""
    return LETTER * len(words)
