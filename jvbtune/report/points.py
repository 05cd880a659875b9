"""The trials of a result as points of its plots. Pure: every value is the result's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from jvbtune.fit.bounds import MOST_LOST_RATIO
from jvbtune.report import words
from jvbtune.result.model import RunResult
from jvbtune.trials.frame import cpu_ratio_of

COLUMNS = {
    "cpu": "cpu_ratio",
    "loss": "loss_ratio",
    "delay": "delay_p99_ms",
    "rx_thread": "rx_thread_ratio",
}

#: Limits whose curves are fitted against what was sent, which grows on where a saturated bridge's own rate does not.
OFFERED = ("loss", "delay")


class Use(StrEnum):
    """What a trial was good for."""

    USED = "used"  #: valid, steady, of the shape of conference that the figures are for
    OTHER = "other"  #: valid, of another shape of conference
    UNUSED = "unused"  #: invalid, or a probe of before the first block


@dataclass(frozen=True)
class Point:
    trial: str
    step: str
    use: Use
    x: float
    y: float
    title: str


def rate(row: Mapping[str, Any]) -> float | None:
    """Packet rate of the bridge; of rows without it (a CSV) from in, out and relay, as the fit takes it."""
    if row.get("bridge_pps") is not None:
        return float(row["bridge_pps"])
    if row.get("in_pps") is None or row.get("out_pps") is None:
        return None
    return float(row["in_pps"]) + float(row["out_pps"]) + float(row.get("relay_pps") or 0.0)


def offered(row: Mapping[str, Any]) -> float | None:
    """Packet rate that was sent; of rows without it (a CSV) from the bridge's and the loss, as the fit takes it."""
    if row.get("offered_pps") is not None:
        return float(row["offered_pps"])
    counted = rate(row)
    lost = float(row.get("loss_ratio") or 0.0)
    return None if counted is None else counted / (1 - min(max(lost, 0.0), MOST_LOST_RATIO))


def column_of(result: RunResult, name: str) -> str:
    """Of the trials, what the limit of this name is held against."""
    fitted = next((fit.column for fit in result.limit_fits if fit.name == name), "")
    return fitted or COLUMNS[name]


def quantity(row: Mapping[str, Any], column: str) -> float | None:
    """As the fit takes it."""
    if column == COLUMNS["cpu"]:
        return cpu_ratio_of(row)
    value = row.get(column)
    return None if value is None else float(value)


def main_shape(trials: Iterable[Mapping[str, Any]]) -> str:
    """The shape of conference of most trials."""
    shapes = Counter(str(row.get("mix") or "") for row in trials if row.get("kind") in ("steady", None))
    return min(shapes, key=lambda shape: (-shapes[shape], shape)) if shapes else ""


def use_of(row: Mapping[str, Any], shape: str) -> Use:
    if not row.get("valid", True) or row.get("kind") == "probe":
        return Use.UNUSED
    return Use.USED if row.get("mix") in (None, "", shape) else Use.OTHER


def points(result: RunResult, name: str) -> list[Point]:
    """Of the limit's quantity against packet rate, in order of execution; trials that lack one of them are left out."""
    shape = result.traffic.shape if result.traffic is not None and result.traffic.shape else main_shape(result.trials)
    found, column = [], column_of(result, name)
    for row in result.trials:
        if row.get("kind") not in ("steady", "probe", None):
            continue
        x, y = offered(row) if name in OFFERED else rate(row), quantity(row, column)
        if x is None or y is None:
            continue
        use = use_of(row, shape)
        found.append(Point(str(row["trial"]), str(row["step"]), use, x, y, title(row, name, column, x, y)))
    return found


def title(row: Mapping[str, Any], name: str, column: str, pps: float, value: float) -> str:
    """What a pointer that rests on a point is shown."""
    shown = words.milliseconds(value) if column == COLUMNS["delay"] else words.percent(value)
    what = "Late packets" if column == words.LATE else words.limit(name)
    sent = " offered" if name in OFFERED else ""
    text = f"{row['trial']}: {words.pps(pps)}{sent}, {what} {shown}"
    because = "; ".join(str(reason) for reason in row.get("invalid_because") or ())
    if because:
        return f"{text}. Not used: {because}"
    return f"{text}. Not used: a probe before the first block" if row.get("kind") == "probe" else text
