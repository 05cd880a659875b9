"""Plots of a quantity against packet rate: the trials, the fitted curve, the limit, the max packet rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jvbtune.report import words
from jvbtune.report.figure import Axis, Entry, Figure, draw_x_axis, draw_y_axis, figure
from jvbtune.report.points import Point, Use, points
from jvbtune.report.scales import Kind, Scale, counts, linear, logarithmic
from jvbtune.report.svg import CROSS, MARKERS, Canvas
from jvbtune.result.model import Curve, LimitFit, RunResult

#: More than these combinations of settings are not told apart by colour: nobody could.
MOST_SERIES = MARKERS
#: Loss below it is drawn close to zero: one packet in a million.
LOSS_FLOOR = 1e-5
#: The same of late packets, which are samples: one in a thousand.
LATE_FLOOR = 1e-3


@dataclass(frozen=True)
class _Kind:
    label: str
    title: str
    caption: str
    form: Callable[[float], str]
    floor: float | None = None  #: of shares that are mostly 0, drawn by the logarithm from here on
    axis: str = "packet rate of the bridge, in + out (pps)"


_OFFERED = "packet rate that was offered, in + out (pps)"

_KINDS = {
    "cpu": _Kind(
        "CPU of the bridge's cores",
        "CPU against packet rate",
        "Where the curve meets the limit, the bridge has reached its max packet rate. It excludes the CPU of the JVM's "
        "compilers.",
        words.percent,
    ),
    "delay": _Kind(
        "delay, 99th percentile (logarithmic)",
        "Delay against packet rate",
        "The time that 99 % of the packets need at most from the generator through the bridge and back.",
        words.milliseconds,
        axis=_OFFERED,
    ),
    "loss": _Kind(
        "packets lost, end to end (logarithmic above 0)",
        "Packet loss against packet rate",
        "Packets that did not arrive, as a share of the packets that were sent.",
        words.percent,
        LOSS_FLOOR,
        axis=_OFFERED,
    ),
    "rx_thread": _Kind(
        "CPU of the receive thread, of one core",
        "Receive thread against packet rate",
        "One thread of the bridge receives every packet, so more cores do not help it.",
        words.percent,
    ),
}


_LATE = _Kind(
    "packets later than the limit (logarithmic above 0)",
    "Late packets against packet rate",
    "Packets that took longer from the generator through the bridge and back than the delay limit, as a share of all. "
    "A trial of some seconds has a pause of the JVM or none; the curve is of all trials together.",
    words.percent,
    LATE_FLOOR,
    axis=_OFFERED,
)


def curve_figure(result: RunResult, name: str) -> Figure | None:
    """Of one limit; None if nobody measured its quantity."""
    found = points(result, name)
    if not found:
        return None
    fit = next((one for one in result.limit_fits if one.name == name), None)
    kind = _LATE if fit is not None and fit.column == words.LATE else _KINDS[name]
    limit = fit.limit if fit is not None else limit_of(result, name)
    series = _series(found)
    domain_x = max(p.x for p in found)
    curve = None if fit is None else _within(fit.curve, domain_x * 1.05)
    x_scale = linear([p.x for p in found], most=6)
    y_scale = _y_scale(kind, found, limit, curve)

    def draw(canvas: Canvas) -> None:
        _draw(canvas, result, kind, found, series, curve, limit, x_scale, y_scale)

    legend = _legend(found, series, fit, result)
    return figure(name, kind.title, kind.caption, draw, alt=_alt(kind, found, fit, limit), legend=legend)


def lossless(result: RunResult) -> bool:
    """Whether loss was measured, and there was none: nothing to draw."""
    found = points(result, "loss")
    return bool(found) and not any(p.y for p in found)


def limit_of(result: RunResult, name: str) -> float:
    limits = result.limits
    return {
        "cpu": limits.cpu_ratio,
        "loss": limits.loss_ratio,
        "delay": limits.delay_p99_ms,
        "rx_thread": limits.rx_thread_ratio,
    }[name]


def _series(found: Iterable[Point]) -> dict[str, int]:
    """A number for each combination of settings, the baseline first; the ones that are too many share the last."""
    there = dict.fromkeys(p.step for p in found if p.use is Use.USED)
    ordered = sorted(there, key=lambda step: (step != "baseline", step))
    return {step: min(place, MOST_SERIES - 1) for place, step in enumerate(ordered)}


def _within(curve: Curve, most: float) -> Curve:
    """The curve as far as there is anything to compare it with."""
    keep = [i for i, x in enumerate(curve.packet_rate_pps) if x <= most]

    def cut(values: Sequence[float | None] | None) -> tuple[float | None, ...] | None:
        return None if values is None else tuple(values[i] for i in keep)

    return Curve(
        tuple(curve.packet_rate_pps[i] for i in keep),
        cut(curve.mean) or (),
        cut(curve.low) or (),
        cut(curve.high) or (),
        cut(curve.trial_low),
        cut(curve.trial_high),
    )


def _y_scale(kind: _Kind, found: Sequence[Point], limit: float, curve: Curve | None) -> Scale:
    values = [p.y for p in found]
    drawn = [v for v in (() if curve is None else curve.mean) if v is not None]
    if kind is _KINDS["delay"]:
        most = 3 * max(*values, limit)
        return logarithmic([*values, limit, *(v for v in drawn if min(values) / 3 <= v <= most)])
    if kind.floor is not None:
        return counts([*values, limit], floor=kind.floor)
    return linear([*values, limit, *(v for v in drawn if v <= 1.3)], most=5)


def _draw(
    canvas: Canvas,
    result: RunResult,
    kind: _Kind,
    found: Sequence[Point],
    series: dict[str, int],
    curve: Curve | None,
    limit: float,
    x_scale: Scale,
    y_scale: Scale,
) -> None:
    left, top = 56.0, 52.0
    bottom = top + (230 if canvas.narrow else 300)
    canvas.height = bottom + 42
    x, y = Axis(x_scale, left, canvas.width - 8), Axis(y_scale, bottom, top)
    _mark_interval(canvas, result, x, top, bottom)
    draw_x_axis(canvas, x, top, bottom, kind.axis, words.count)
    draw_y_axis(canvas, y, left, x.last, kind.label, kind.form)
    if curve is not None:
        _band(canvas, x, y, curve, curve.trial_low, curve.trial_high, "band faint")
        _band(canvas, x, y, curve, curve.low, curve.high, "band")
        for piece in _pieces(y, curve.packet_rate_pps, curve.mean):
            canvas.path([(x.at(rate), y.at(value)) for rate, value in piece], "curve")
    at = y.at(limit)
    canvas.line(left, at, x.last, at, "limit", data_limit=repr(limit))
    canvas.text(left + 6, at - 6, f"limit {kind.form(limit)}", "halo limit-label")
    order = {Use.UNUSED: 0, Use.OTHER: 1, Use.USED: 2}
    for p in sorted(found, key=lambda p: order[p.use]):
        shape, css = _look(p, series)
        data = {"data_trial": p.trial, "data_use": p.use.value, "data_x": repr(p.x), "data_y": repr(p.y)}
        canvas.marker(shape, x.at(p.x), y.at(p.y), css, p.title, r=3.6 if canvas.narrow else 4.2, **data)
    _mark_rate(canvas, result, x, top, bottom)


def _look(point: Point, series: dict[str, int]) -> tuple[int, str]:
    if point.use is Use.UNUSED:
        return CROSS, "point unused"
    if point.use is Use.OTHER:
        return 0, "point other"
    place = series[point.step]
    return place, f"point s{place}"


def _pieces(y: Axis, rates: Sequence[float], values: Sequence[float | None]) -> Iterable[list[tuple[float, float]]]:
    """The runs of neighbouring values that lie on the axis."""
    piece: list[tuple[float, float]] = []
    for rate, value in zip(rates, values, strict=True):
        if value is not None and math.isfinite(value) and y.scale.holds(value):
            piece.append((rate, value))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _band(
    canvas: Canvas,
    x: Axis,
    y: Axis,
    curve: Curve,
    low: Sequence[float | None] | None,
    high: Sequence[float | None] | None,
    css: str,
) -> None:
    if low is None or high is None:
        return
    known = [
        (rate, a, b)
        for rate, a, b in zip(curve.packet_rate_pps, low, high, strict=True)
        if a is not None and b is not None and b >= y.scale.domain[0] and a <= y.scale.domain[1]
    ]
    there = [(x.at(rate), y.clamped(a)) for rate, a, _ in known]
    back = [(x.at(rate), y.clamped(b)) for rate, _, b in reversed(known)]
    canvas.path(there + back, css, closed=True)


def _mark_interval(canvas: Canvas, result: RunResult, x: Axis, top: float, bottom: float) -> None:
    found = result.recommendation
    if found is not None:
        low, high = found.interval_pps
        canvas.rect(x.clamped(low or 0.0), top, x.clamped(high if high is not None else 1e12), bottom, "interval")


def _mark_rate(canvas: Canvas, result: RunResult, x: Axis, top: float, bottom: float) -> None:
    found = result.recommendation
    if found is None or not x.scale.holds(found.max_packet_rate_pps):
        return
    at = x.at(found.max_packet_rate_pps)
    canvas.line(at, top - 8, at, bottom, "rate")
    anchor = "end" if at > canvas.width / 2 else "start"
    canvas.text(
        at + (6 if anchor == "end" else -6), top - 14, f"max {words.pps(found.max_packet_rate_pps)}", "strong", anchor
    )


def _legend(found: Sequence[Point], series: dict[str, int], fit: LimitFit | None, result: RunResult) -> list[Entry]:
    entries = []
    if len(series) <= MOST_SERIES:
        entries += [Entry(f"point s{place}", words.step(step), place) for step, place in series.items()]
    else:
        shown = list(series)[: MOST_SERIES - 1]
        entries += [Entry(f"point s{series[step]}", words.step(step), series[step]) for step in shown]
        entries.append(Entry(f"point s{MOST_SERIES - 1}", f"{len(series) - len(shown)} other values", MOST_SERIES - 1))
    if any(p.use is Use.OTHER for p in found):
        entries.append(Entry("point other", "other shapes of conference", 0))
    unused = sum(p.use is Use.UNUSED for p in found)
    if unused:
        entries.append(Entry("point unused", f"not used ({unused})", CROSS))
    if fit is not None:
        entries.append(Entry("curve", "fitted curve"))
        entries.append(Entry("band", "95 % of its mean", area=True))
        if fit.curve.trial_low is not None:
            entries.append(Entry("band faint", "95 % of another restart's trials", area=True))
    if result.recommendation is not None:
        entries.append(Entry("interval", "95 % interval of the max packet rate", area=True))
    return entries


def _alt(kind: _Kind, found: Sequence[Point], fit: LimitFit | None, limit: float) -> str:
    used = [p for p in found if p.use is Use.USED]
    text = f"{kind.title}: {len(used)} trials"
    if used:
        least, most = min(used, key=lambda p: p.x), max(used, key=lambda p: p.x)
        text += f", from {kind.form(least.y)} at {words.pps(least.x)} to {kind.form(most.y)} at {words.pps(most.x)}"
    text += f". The limit is {kind.form(limit)}"
    if fit is not None and fit.estimate_pps is not None:
        text += f"; the fitted curve meets it at {words.pps(fit.estimate_pps)}"
    elif fit is not None:
        text += "; the fitted curve does not meet it at any packet rate that was run"
    return text + "."


__all__ = ["Kind", "curve_figure", "limit_of"]
