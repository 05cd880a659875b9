"""Each limit as a bound on the packet rate: where the fitted curve of its quantity meets it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from jvbtune.fit.curve import TOP, Curve, Data, Floats, fit_curve, levels
from jvbtune.fit.forms import CPU_FORMS, DELAY_FORMS, Form, loss_form
from jvbtune.fit.intervals import pseudo_values, spread_of_mean
from jvbtune.fit.limits import Limits
from jvbtune.fit.scaled import ScaledCurve, fit_crossing

#: A CPU this full no longer grows with load: such trials say that the host is saturated, not what a packet costs.
SATURATED_RATIO = 0.95
MIN_LEVELS = 3
ONE_IN_20 = 1.645


@dataclass(frozen=True)
class Bound:
    """The packet rate at which one limit is met."""

    name: str  #: cpu | rx_thread | gc | loss | delay
    limit: float
    unit: str
    estimate_pps: float  #: inf where the limit is not met within 3 × the highest tested rate
    low_pps: float
    high_pps: float
    restart_low_pps: float  #: what 19 of 20 restarts carry at least
    curve: Curve | ScaledCurve
    transform: str = (
        "none"  #: of the quantity to the curve's y: none | log_us (of microseconds) | log1p (of loss / floor)
    )
    floor: float = 0.0

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
        if self.transform == "log_us":
            return np.asarray(np.exp(values) / 1000)
        if self.transform == "log1p":
            return np.asarray(np.maximum(np.expm1(values) * self.floor, 0.0))
        return values


def _finite(value: float) -> float | None:
    return round(value, 1) if np.isfinite(value) else None


def bounds(rows: pl.DataFrame, limits: Limits, scale: float) -> list[Bound]:
    """One for every limit whose quantity was measured at 3 packet rates or more.

    ``rows``: steady, valid, of one host and of settings that are alike; columns of ``prepare`` with ``plot`` and
    ``block`` indices, and ``equivalent_pps`` (packets of the mean mix that cost the same). ``scale``: the highest
    packet rate tested.
    """
    found: list[Bound] = []
    cpu = _rows(rows, "equivalent_pps", "cpu_ratio")
    if cpu is not None:
        found.append(_rising("cpu", "of the bridge's cores", limits.cpu_ratio, unsaturated(cpu), scale))
    rx = _rows(rows, "bridge_pps", "rx_thread_ratio")
    if rx is not None:
        found.append(_rising("rx_thread", "of one core", limits.rx_thread_ratio, unsaturated(rx), scale))
    gc = _rows(rows, "bridge_pps", "gc_ratio")
    if gc is not None and np.max(gc.y) > 0:
        found.append(_rising("gc", "of the time", limits.gc_ratio, gc, scale))
    loss = _rows(rows, "offered_pps", "loss_ratio", relative=False)
    if loss is not None:
        floor = limits.loss_ratio / 10
        data = Data(loss.x, np.log1p(np.maximum(loss.y, 0) / floor), loss.plot, loss.block, relative=False)
        goal = float(np.log1p(limits.loss_ratio / floor))
        found.append(
            _crossing(
                "loss", "lost / offered", limits.loss_ratio, goal, data, (loss_form(floor),), scale, "log1p", floor
            )
        )
    delay = _rows(rows, "offered_pps", "delay_p99_ms", relative=False)
    if delay is not None:
        # in microseconds, so that the logarithm is above 0 as the form needs it
        logs = np.log(np.maximum(delay.y, 1e-3) * 1000)
        data = Data(delay.x, logs, delay.plot, delay.block, relative=False)
        goal = float(np.log(limits.delay_p99_ms * 1000))
        found.append(
            _crossing("delay", "ms (99th percentile)", limits.delay_p99_ms, goal, data, DELAY_FORMS, scale, "log_us")
        )
    return found


def unsaturated(data: Data) -> Data:
    """Without the loads at which CPU is full: from the least packet rate at which the running median is saturated."""
    order = np.argsort(data.x, kind="stable")
    y = data.y[order]
    width = max(3, y.size // 12) | 1
    if y.size <= width:
        return data
    padded = np.pad(y, width // 2, mode="edge")
    running = np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)
    full = np.flatnonzero(running >= SATURATED_RATIO)
    if full.size == 0:
        return data
    keep = data.x < data.x[order][full[0]]
    return _subset(data, keep) if levels(data.x[keep]) >= MIN_LEVELS else data


def _subset(data: Data, keep: npt.NDArray[np.bool_]) -> Data:
    plot = np.unique(data.plot[keep], return_inverse=True)[1]
    return Data(data.x[keep], data.y[keep], plot, data.block[keep], data.relative)


def _rows(rows: pl.DataFrame, x_name: str, y_name: str, *, relative: bool = True) -> Data | None:
    x, y = rows[x_name].to_numpy(), rows[y_name].to_numpy()
    keep = np.isfinite(x) & np.isfinite(y) & (x > 0) & ((y > 0) if relative else (y >= 0))
    if levels(x[keep]) < MIN_LEVELS:
        return None
    data = Data(x, y, rows["plot"].to_numpy(), rows["block_index"].to_numpy(), relative)
    return _subset(data, keep)


def _rising(name: str, unit: str, limit: float, data: Data, scale: float) -> Bound:
    curve = fit_curve(data, CPU_FORMS, scale=scale)
    rates = curve.inverse_sets(limit)
    top = TOP * scale
    logs = np.log(np.clip(rates, 1e-6 * scale, top))
    low, high, restart = 0.0, np.inf, 0.0
    if data.plots >= 2:
        pseudo = pseudo_values(logs[0], logs[1:])
        half = float(spread_of_mean(pseudo, data.block_of_plot()).half_width())
        half = float(np.hypot(half, 1.96 * curve.form_sd(limit)))
        low, high = float(np.exp(logs[0] - half)), float(np.exp(logs[0] + half))
        restart = _restart_low(curve, limit, float(logs[0]), half)
        if high >= top:
            high = np.inf
    return Bound(name, limit, unit, float(rates[0]), low, high, restart, curve)


def _restart_low(curve: Curve, limit: float, log_estimate: float, half: float) -> float:
    """The packet rate that the one restart in 20 with the highest cost still carries within the limit."""
    worse = limit * np.exp(-ONE_IN_20 * curve.restart_sd)
    rate = float(np.clip(curve.inverse_sets(worse)[0], 1e-6, TOP * curve.scale))
    distance = max(0.0, log_estimate - np.log(rate))
    return float(np.exp(log_estimate - np.hypot(distance, half)))


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
    if not np.isfinite(found.estimate):
        kept = found.lowest_seen
        return Bound(name, limit, unit, np.inf, kept, np.inf, kept, found.curve, transform, floor)
    restart = np.exp(found.estimate - np.hypot(ONE_IN_20 * found.curve.restart_sd, found.curve.half_width))
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
    )
