"""Values as the panels show them, in text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tools.monitoring.panels import Drawn

MOST_LINES = 3
_SUFFIXES = {"pps": " pps", "bps": " bit/s", "ms": " ms", "\u00b5s": " \u00b5s", "bytes": " B"}


def value(number: float, unit: str) -> str:
    """With the panel's unit, short."""
    if unit == "percentunit":
        return f"{_rounded(100 * number)} %"
    if unit in ("none", "short"):
        return _rounded(number)
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            divisor = 1e3 if prefix == "k" else size
            return f"{_rounded(number / divisor)}{_SUFFIXES[unit].replace(' ', ' ' + prefix, 1)}"
    return _rounded(number) + _SUFFIXES[unit]


def _rounded(number: float) -> str:
    """Three significant digits, but whole numbers whole."""
    if number == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(number))))
    text = f"{number:,.{digits}f}".replace(",", " ")
    return text.rstrip("0").rstrip(".") if "." in text else text


def last_values(drawn: Drawn) -> str:
    """Of each line its legend and last value; the first few of them."""
    unit = drawn.panel["fieldConfig"]["defaults"]["unit"]
    shown = [f"{line.legend} {value(line.last, unit)}" for line in drawn.lines]
    more = [f"and {len(shown) - MOST_LINES} more"] if len(shown) > MOST_LINES else []
    return ", ".join([*shown[:MOST_LINES], *more])


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest text."""
    widths = [max(len(row[index]) for row in (titles, *rows)) for index in range(len(titles))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in (titles, *rows)]
    return "\n".join(line.rstrip() for line in lines)
