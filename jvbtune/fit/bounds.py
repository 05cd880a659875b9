"""Each limit as a bound on the packet rate: where the fitted curve of its quantity meets it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from jvbtune.fit.curve import GRID, TOP, Curve, Data, Floats, fit_curve, levels
from jvbtune.fit.forms import CPU_FORMS, DELAY_FORMS, Form, loss_form
from jvbtune.fit.intervals import least_error, next_restart_margin, pseudo_values, spread_of_mean
from jvbtune.fit.lateness import Lateness, LatenessCurve, fit_lateness
from jvbtune.fit.limits import LATE_SHARE, Limits
from jvbtune.fit.scaled import ScaledCurve, fit_crossing
from jvbtune.trials.frame import of_main_shape

#: A CPU this full no longer grows with load: such trials say that the host is saturated, not what a packet costs.
SATURATED_RATIO = 0.95
#: Saturated as well, from this CPU on: a packet rate a quarter higher that takes no more CPU than 2 % on top.
FLAT_FROM_RATIO = 0.7
FLAT_RATE_RATIO = 1.25
FLAT_GROWTH = 1.02
MIN_LEVELS = 3
#: How many times as much a packet may cost in one trial as in the average restart, or as little.
MOST_UNLIKE = 2.0
#: Late packets are fitted at equal CPU where their deviance is so much less by that.
CLEARLY_NEARER = 0.9
#: No figure beyond this multiple of the highest steady load: a curve says nothing of what was never run.
MAX_EXTRAPOLATION = 1.15


@dataclass(frozen=True)
class Bound:
    """The packet rate at which one limit is met."""

    name: str  #: cpu | rx_thread | gc | loss | delay
    limit: float
    unit: str
    estimate_pps: float  #: inf where the limit is not met up to ``MAX_EXTRAPOLATION`` × the highest tested rate
    low_pps: float
    high_pps: float
    restart_low_pps: float  #: what 19 of 20 restarts carry at least
    curve: Curve | ScaledCurve | LatenessCurve
    transform: str = (
        "none"  #: of the quantity to the curve's y: none | log_us (of microseconds) | log1p (of loss / floor)
    )
    floor: float = 0.0
    beyond_pps: float = np.inf  #: where it would be met, by a curve that is followed too far: for advice alone
    note: str = ""  #: what else has to be known of it
    column: str = ""  #: of the trials, that the curve is of

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "limit": self.limit,
            "unit": self.unit,
            "estimate_pps": _finite(self.estimate_pps),
            "interval_pps": [_finite(self.low_pps), _finite(self.high_pps)],
            "restart_low_pps": _finite(self.restart_low_pps),
            "model": self.curve.form.name,
            "formula": self.curve.form.formula,
        }

    def quantity(self, pps: Floats) -> tuple[Floats, Floats, Floats]:
        """(mean, low, high) of the quantity itself on a grid, 95 % band."""
        low, high = self.curve.band(pps)
        return self._back(self.curve.mean(pps)), self._back(low), self._back(high)

    def _back(self, values: Floats) -> Floats:
        """The quantity itself; an end of a band beyond what a float holds is infinite."""
        with np.errstate(over="ignore"):
            if self.transform == "log_us":
                return np.asarray(np.exp(values) / 1000)
            if self.transform == "log1p":
                return np.asarray(np.maximum(np.expm1(values) * self.floor, 0.0))
        return values


def _finite(value: float) -> float | None:
    return round(value, 1) if np.isfinite(value) else None


#: What was offered is told from what arrived and this loss at most.
MOST_LOST_RATIO = 0.99


def bounds(rows: pl.DataFrame, limits: Limits, scale: float, *, force: bool = False) -> list[Bound]:
    """One for every limit whose quantity was measured at 3 packet rates or more; ``Unplaced`` where CPU was, but too
    few of them lie below saturation. ``force``: also bounds that lie far beyond the highest packet rate tested.

    ``rows``: steady, valid, of one host and of settings that are alike; columns of ``prepare`` with ``restart`` and
    ``block`` indices, and ``equivalent_pps`` (packets of the mean mix that cost the same). ``scale``: the highest
    packet rate tested.
    """
    found: list[Bound] = []
    lost = pl.col("loss_ratio").fill_null(0.0).clip(0.0, MOST_LOST_RATIO)
    rows = rows.with_columns(offered_equivalent_pps=pl.col("equivalent_pps") / (1 - lost))
    cpu = _rows(rows, "equivalent_pps", "cpu_ratio")
    if cpu is not None:
        sent = _rows(rows, "offered_equivalent_pps", "cpu_ratio")
        below = _below(cpu, "cpu", limits.cpu_ratio, None if sent is None else sent.x)
        found.append(_rising("cpu", "of the bridge's cores", limits.cpu_ratio, below, scale))
        _refuse_to_reach_into_saturation(found[-1], cpu, below)
    rows = of_main_shape(rows)  # of other shapes CPU alone is made comparable
    rx = _rows(rows, "bridge_pps", "rx_thread_ratio")
    if rx is not None:
        below = _below(rx, "rx_thread", limits.rx_thread_ratio)
        found.append(_rising("rx_thread", "of one core", limits.rx_thread_ratio, below, scale))
    gc = _rows(rows, "bridge_pps", "gc_ratio", relative=False)
    if gc is not None and np.max(gc.y) > 0:
        # a share of time in lumps, as late packets are: a window without a collection belongs to the mean
        met = fit_lateness(gc, limits.gc_ratio, scale=scale)
        found.append(_shared("gc", limits.gc_ratio, "of the time", met))
    loss = _rows(rows, "offered_pps", "loss_ratio", relative=False)
    if loss is not None:
        floor = limits.loss_ratio / 10
        data = Data(loss.x, np.log1p(np.maximum(loss.y, 0) / floor), loss.restart, loss.block, relative=False)
        goal = float(np.log1p(limits.loss_ratio / floor))
        found.append(
            _crossing(
                "loss", "lost / offered", limits.loss_ratio, goal, data, (loss_form(floor),), scale, "log1p", floor
            )
        )
    late = _rows(rows, "offered_pps", "late_ratio", relative=False)
    delay = _rows(rows, "offered_pps", "delay_p99_ms", relative=False)
    if late is not None and (delay is None or late.x.size == delay.x.size):
        found.append(_late(late, rows, limits.delay_p99_ms, scale, found))
    elif delay is not None:
        # in microseconds, so that the logarithm is above 0 as the form needs it
        logs = np.log(np.maximum(delay.y, 1e-3) * 1000)
        data = Data(delay.x, logs, delay.restart, delay.block, relative=False)
        goal = float(np.log(limits.delay_p99_ms * 1000))
        found.append(
            _crossing("delay", "ms (99th percentile)", limits.delay_p99_ms, goal, data, DELAY_FORMS, scale, "log_us")
        )
    return found if force else [_within_reach(bound, scale) for bound in found]


def _at_equal_cpu(data: Data, rows: pl.DataFrame, cpu: Bound) -> Data | None:
    """The same trials, each at the packet rate at which the average restart takes as much CPU as this one took; None
    where one of them has no CPU. A packet waits for the compilers too: what they took more or less than on average
    counts as the bridge's own."""
    more = (pl.col("compiler_cores") / pl.col("cores")).fill_null(0.0)
    took = _rows(rows.with_columns(taken=pl.col("cpu_ratio") + more - more.mean()), "offered_pps", "taken")
    if took is None or not np.array_equal(took.x, data.x):
        return None
    rates = cpu.curve.scale * GRID
    at = np.interp(took.y, np.maximum.accumulate(cpu.curve.mean(rates)), rates)
    return replace(data, x=np.clip(at, data.x / MOST_UNLIKE, data.x * MOST_UNLIKE))


def _late(data: Data, rows: pl.DataFrame, limit_ms: float, scale: float, others: Sequence[Bound]) -> Bound:
    """The delay limit, by the share of late packets.

    Where packets are late because the bridge is busy, restarts that differ in what a packet costs meet the limit at
    packet rates that differ as much. By the packet rate itself one restart had 19 % of its packets late at 61 kpps and
    another none at 79 kpps, at 100 and 89 % of the core, and no rate could be told. Pauses of the JVM come with packets
    and not with CPU. So both are fitted, and what is nearer to the trials counts.
    """
    met = fit_lateness(data, LATE_SHARE, scale=scale)
    cpu = next((bound for bound in others if bound.name == "cpu" and np.isfinite(bound.estimate_pps)), None)
    alike = _at_equal_cpu(data, rows, cpu) if cpu is not None else None
    busy = fit_lateness(alike, LATE_SHARE, scale=scale) if alike is not None else met
    at_equal_cpu = busy.deviance < CLEARLY_NEARER * met.deviance
    met = busy if at_equal_cpu else met
    found = _shared("delay", LATE_SHARE, f"of packets later than {limit_ms:g} ms", met, column="late_ratio")
    estimate, low, high = found.estimate_pps, found.low_pps, found.high_pps
    if not np.isfinite(estimate):
        some, trials = met.broken
        if not some:
            return found
        first = data.x[data.y > LATE_SHARE].min()
        note = (
            f"delay: more than {LATE_SHARE:.0%} of packets later than {limit_ms:g} ms in {some} of {trials} "
            f"trials, from {first:.0f} pps on, but no packet rate follows from that; run more blocks"
        )
        return replace(found, note=note)
    if estimate == 0:
        return found
    restart = low
    if cpu is not None and isinstance(cpu.curve, Curve):  # how far restarts are from the average one, where it is met
        there = _met("cpu", cpu.unit, float(cpu.curve.mean(np.array([estimate]))[0]), cpu.curve, scale)
        further = there.restart_low_pps / there.estimate_pps
        restart = min(low, estimate * further)
        if at_equal_cpu:  # then their differences are not in the scatter of the late packets
            restart = _with_further(estimate, low, further)
            low = _with_further(estimate, low, there.low_pps / there.estimate_pps)
            high = _with_further(estimate, high, there.high_pps / there.estimate_pps)
    return replace(found, low_pps=low, high_pps=high if high < TOP * scale else np.inf, restart_low_pps=restart)


def _shared(name: str, limit: float, unit: str, met: Lateness, *, column: str = "") -> Bound:
    """The limit of a share of packets or time, as it was fitted."""
    estimate, low, high = (float(np.exp(value)) for value in (met.estimate, met.low, met.high))
    least, scale = float(met.curve.data.x.min()), met.curve.scale
    if estimate < least / MAX_EXTRAPOLATION:  # as far below what was run as beyond it a curve says nothing
        return Bound(name, limit, unit, 0.0, 0.0, max(least, min(high, scale)), 0.0, met.curve, column=column)
    if not np.isfinite(estimate) or high >= TOP * scale:
        high = np.inf
    return Bound(name, limit, unit, estimate, low, high, low, met.curve, column=column)


def _with_further(estimate: float, end: float, ratio: float) -> float:
    """An end of an interval, wider by an independent one of something that the estimate is proportional to."""
    if not (0 < end < np.inf and 0 < ratio < np.inf):
        return 0.0 if end < estimate or ratio < 1 else np.inf
    half = math.hypot(math.log(end / estimate), math.log(ratio))
    return estimate * math.exp(-half if end < estimate else half)


class Unplaced(Exception):
    """A quantity was measured, but its curve cannot be drawn where its limit lies."""


def _below(data: Data, name: str, limit: float, offered: Floats | None = None) -> Data:
    """The unsaturated part; raises Unplaced where it is less than two packet rates, or two that do not bracket it."""
    part = unsaturated(data, offered)
    count = levels(part.x)
    if count >= MIN_LEVELS:
        return part
    rates, medians = _medians(data)
    if count == 2 and medians[0] < limit <= medians[1]:
        return part
    raise Unplaced(
        f"{name}: saturated from {rates[count]:.0f} pps on, and {count} of {rates.size} packet rates lie below it: "
        f"the rate at which it is {limit:g} is unknown; run at least 3 packet rates below {rates[count]:.0f} pps"
    )


def _refuse_to_reach_into_saturation(bound: Bound, data: Data, below: Data) -> None:
    """The loads that were left out cap the estimate where they lie above the limit, and else carry nothing."""
    highest, estimate = float(below.x.max()), bound.estimate_pps
    left_out = data.x > highest
    if estimate <= MAX_EXTRAPOLATION * highest or not left_out.any():
        return
    first = float(data.x[left_out].min())
    near = data.x[left_out] <= 1.05 * first
    if estimate <= first and float(np.median(data.y[left_out][near])) >= bound.limit:
        return
    raise Unplaced(
        f"{bound.name}: saturated from {first:.0f} pps on, and the highest rate below that is {highest:.0f} pps, too "
        f"far from the rate at which it would be {bound.limit:g}; run packet rates between them"
    )


def _within_reach(bound: Bound, scale: float) -> Bound:
    if bound.estimate_pps <= MAX_EXTRAPOLATION * scale:
        return bound
    kept = min(scale, bound.low_pps)
    restart = min(kept, bound.restart_low_pps)
    return replace(
        bound,
        estimate_pps=np.inf,
        low_pps=kept,
        high_pps=np.inf,
        restart_low_pps=restart,
        beyond_pps=bound.estimate_pps,
    )


def unsaturated(data: Data, offered: Floats | None = None) -> Data:
    """Without the loads at which CPU no longer grows with load: the host is saturated from there on.

    Saturated is the least packet rate whose median CPU is full. Where other work shares the cores the bridge never
    reaches all of them: then it is the least one from which on a rate a quarter higher takes no more. Nobody can tell
    whether the first of such a plateau was still on the slope, so it is left out too. May leave nothing.

    ``offered``: (rows,) what was sent; a saturated bridge carries less, and its packet rate stops growing as well.
    """
    load = data if offered is None else replace(data, x=np.maximum(data.x, offered))
    return _subset(data, load.x < saturated_from(load) * 0.975)


def saturated_from(data: Data) -> float:
    """The least saturated packet rate; inf where there is none."""
    rates, medians = _medians(data)
    for index, (rate, level) in enumerate(zip(rates, medians, strict=True)):
        below = medians[:index][rates[:index] <= rate / FLAT_RATE_RATIO]
        if below.size and below.max() >= FLAT_FROM_RATIO and medians[index:].max() <= below.max() * FLAT_GROWTH:
            return float(rates[int(np.argmax(medians[:index] >= level / FLAT_GROWTH))])
        if level >= SATURATED_RATIO:
            return float(rate)
    return float("inf")


def _medians(data: Data) -> tuple[Floats, Floats]:
    """Packet rates (means of what lies within 5 %), ascending, and the median quantity at each."""
    order = np.argsort(data.x, kind="stable")
    x, y = data.x[order], data.y[order]
    starts, last = [0], x[0] if x.size else 0.0
    for index, value in enumerate(x):
        if value > last * 1.05:
            starts.append(index)
            last = value
    parts = [slice(a, b) for a, b in zip(starts, [*starts[1:], x.size], strict=True)]
    return np.array([x[part].mean() for part in parts]), np.array([np.median(y[part]) for part in parts])


def _subset(data: Data, keep: npt.NDArray[np.bool_]) -> Data:
    restart = np.unique(data.restart[keep], return_inverse=True)[1]
    return Data(data.x[keep], data.y[keep], restart, data.block[keep], data.relative)


def _rows(rows: pl.DataFrame, x_name: str, y_name: str, *, relative: bool = True) -> Data | None:
    x, y = rows[x_name].to_numpy(), rows[y_name].to_numpy()
    keep = np.isfinite(x) & np.isfinite(y) & (x > 0) & ((y > 0) if relative else (y >= 0))
    if levels(x[keep]) < MIN_LEVELS:
        return None
    data = Data(x, y, rows["restart"].to_numpy(), rows["block_index"].to_numpy(), relative)
    return _subset(data, keep)


def _rising(name: str, unit: str, limit: float, data: Data, scale: float) -> Bound:
    return _met(name, unit, limit, fit_curve(data, CPU_FORMS, scale=scale), scale)


def _met(name: str, unit: str, limit: float, curve: Curve, scale: float) -> Bound:
    """Where a rising curve meets the limit."""
    data, rates = curve.data, curve.inverse_sets(limit)
    top = TOP * scale
    logs = np.log(np.clip(rates, 1e-6 * scale, top))
    low, high, restart = 0.0, np.inf, 0.0
    if data.restarts >= 2:
        pseudo = pseudo_values(logs[0], logs[1:])
        spread = spread_of_mean(pseudo, data.block_of_plot()).informed()
        spread = replace(spread, error=np.maximum(spread.error, least_error(data.restarts)))
        half = float(spread.with_known(curve.missed_sd(float(rates[0])) ** 2).half_width())
        low, high = float(np.exp(logs[0] - half)), float(np.exp(logs[0] + half))
        restart = min(low, _restart_low(curve, limit, float(logs[0])))
        if high >= top:
            high = np.inf
    return Bound(name, limit, unit, float(rates[0]), low, high, restart, curve)


def _restart_low(curve: Curve, limit: float, log_estimate: float) -> float:
    """The packet rate that 19 of 20 further restarts carry within the limit."""
    worse = limit * np.exp(-next_restart_margin(curve.data.restarts, curve.restart_sd))
    rate = float(np.clip(curve.inverse_sets(worse)[0], 1e-6, TOP * curve.scale))
    distance = max(0.0, log_estimate - np.log(rate))
    return float(np.exp(log_estimate - np.hypot(distance, 1.96 * curve.missed_sd(float(np.exp(log_estimate))))))


def _crossing(
    name: str,
    unit: str,
    limit: float,
    goal: float,
    data: Data,
    forms: Sequence[Form],
    scale: float,
    transform: str,
    floor: float = 0.0,
) -> Bound:
    found = fit_crossing(data, forms, goal, scale=scale)
    some, restarts = found.broken
    note = ""
    if some:
        note = (
            f"{name}: above its limit of {limit:g} {unit} in some trials, of {some} of {restarts} restarts and from "
            f"{found.broken_from:.0f} pps on, but no packet rate follows from that; run more blocks"
        )
    if not np.isfinite(found.estimate):
        kept = found.lowest_seen
        return Bound(name, limit, unit, np.inf, kept, np.inf, kept, found.curve, transform, floor, note=note)
    restarts = max(2, found.broken[1])
    restart = np.exp(min(found.low, found.estimate - next_restart_margin(restarts, found.curve.restart_sd)))
    high = float(np.exp(min(found.high, 700)))
    return Bound(
        name,
        limit,
        unit,
        float(np.exp(found.estimate)),
        float(np.exp(found.low)),
        high if high < TOP * scale else np.inf,
        float(restart),
        found.curve,
        transform,
        floor,
        note=note if found.estimate > math.log(MAX_EXTRAPOLATION * scale) else "",
    )
