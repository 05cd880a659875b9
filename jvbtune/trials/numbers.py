"""Numbers as spreadsheets and dashboards write them: decimal commas, thousands separators, percent, k and M.

``1,994`` is two numbers. Which one it is follows from the rest of the file, or the file is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from enum import Enum

#: Values that stand for "not measured".
EMPTY = frozenset({"", "-", "--", "na", "n/a", "nan", "null", "none", "undefined", "no data"})
_BLANKS = "[ \u00a0\u2009\u202f'\u2019]"
_GROUPED_BY_BLANKS = re.compile(rf"([+-]?\d{{1,3}}(?:{_BLANKS}\d{{3}})+)([.,]\d+)?")
_COMMA_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
_POINT_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+")
_UNIT = re.compile(r"(.*?[\d.])\s*([kKM]?)\s*(?:pps|p/s|packets/s|/s)?", re.DOTALL)
_FACTORS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6}


class Decimals(Enum):
    """What stands between a file's whole numbers and its fractions."""

    POINT = "."
    COMMA = ","
    UNKNOWN = "?"  #: nothing in the file tells: ``1,994`` may be either
    UNKNOWN_BOTH = "??"  #: and neither in a file whose columns are separated by ``;``: ``1.994`` may be either as well


def decimals_of(cell: str) -> Decimals:
    """What one cell tells by itself."""
    text = cell.strip()
    grouped = _GROUPED_BY_BLANKS.fullmatch(text)
    if grouped:
        return Decimals(grouped[2][0]) if grouped[2] else Decimals.UNKNOWN
    commas, points = text.count(","), text.count(".")
    if commas and points:
        return Decimals.POINT if text.rindex(".") > text.rindex(",") else Decimals.COMMA
    if commas > 1:
        return Decimals.POINT
    if points > 1:
        return Decimals.COMMA
    if commas:
        return Decimals.UNKNOWN if _COMMA_GROUPS.fullmatch(text) else Decimals.COMMA
    if points:
        return Decimals.UNKNOWN if _POINT_GROUPS.fullmatch(text) else Decimals.POINT
    return Decimals.UNKNOWN


def decimals_in(cells: Iterable[str]) -> Decimals:
    """What a file's numbers tell together; a cell that contradicts is refused when it is read."""
    counts = dict.fromkeys(Decimals, 0)
    for cell in cells:
        if "," in cell or "." in cell:
            counts[decimals_of(cell)] += 1
    if counts[Decimals.POINT] or counts[Decimals.COMMA]:
        return Decimals.POINT if counts[Decimals.POINT] >= counts[Decimals.COMMA] else Decimals.COMMA
    return Decimals.UNKNOWN


def read_number(cell: str, decimals: Decimals, *, rate: bool = False, ratio: bool = False) -> float | None:
    """A cell's number, None where nothing was measured. Raises ValueError with what is wrong and what would be right.

    ``rate``: k and M and pps may follow. ``ratio``: 0 to 1, or with a percent sign.
    """
    text = cell.strip()
    if text.lower() in EMPTY:
        return None
    factor = 1.0
    if text.endswith("%"):
        if not ratio:
            raise ValueError(f"{text!r} is a percentage, and no ratio is expected here: write it in the column's unit")
        text, factor = text[:-1].strip(), 0.01
    elif rate and (match := _UNIT.fullmatch(text)):
        text, factor = match[1], _FACTORS[match[2]]
    value = _plain(text, decimals)
    if value is None:
        raise ValueError(f"{cell.strip()!r} is not a number{_advice(text)}")
    value *= factor
    if math.isnan(value):
        return None
    if math.isinf(value) or value < 0:
        raise ValueError(f"{cell.strip()} is not a number that can be measured: it must be 0 or more")
    if ratio and value > 1:
        percent = f"; if it is {value:g} %, write {value / 100:g} or {value:g}%" if value <= 100 else " (1 % is 0.01)"
        raise ValueError(f"{cell.strip()} is not a ratio: it must be 0 to 1{percent}")
    return value


def _plain(text: str, decimals: Decimals) -> float | None:
    """Raises ValueError for a number that can be read in two ways."""
    grouped = _GROUPED_BY_BLANKS.fullmatch(text)
    if grouped:
        return float(re.sub(_BLANKS, "", grouped[1]) + (grouped[2] or "").replace(",", "."))
    own = decimals_of(text)
    unknown = decimals in (Decimals.UNKNOWN, Decimals.UNKNOWN_BOTH)
    if own is not Decimals.UNKNOWN and not unknown and own is not decimals:
        words = {Decimals.POINT: "a decimal point", Decimals.COMMA: "a decimal comma"}
        raise ValueError(
            f"{text!r} has {words[own]}, and most of the file's numbers have {words[decimals]}: "
            "write all of them with a decimal point"
        )
    style = own if unknown else decimals
    if style is Decimals.UNKNOWN:
        groups = (_COMMA_GROUPS, _POINT_GROUPS) if decimals is Decimals.UNKNOWN_BOTH else (_COMMA_GROUPS,)
        if any(each.fullmatch(text) for each in groups):
            whole = re.sub("[,.]", "", text)
            raise ValueError(
                f"{text!r} can be {whole} or {text.replace(',', '.')}: write it without a thousands separator, with a "
                "decimal point"
            )
    separator = "." if style is Decimals.COMMA else ","
    thousands = _POINT_GROUPS if separator == "." else _COMMA_GROUPS
    point = "," if separator == "." else "."
    whole, mark, fraction = text.partition(point)
    if separator in whole:
        if not thousands.fullmatch(whole):
            return None
        whole = whole.replace(separator, "")
    try:
        return float(whole + ("." + fraction if mark else ""))
    except ValueError:
        return None


def _advice(text: str) -> str:
    if re.match(r"[+-]?[\d.,]+\s*[a-zA-Zµ]", text):
        return ": write it without its unit, in that of the column"
    return ""
