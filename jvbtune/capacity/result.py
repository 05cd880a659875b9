"""What a capacity search found over its restarts, and whether the fitted curves agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from jvbtune.capacity.goals import Goal, limits_of
from jvbtune.capacity.search import Bracket
from jvbtune.fit import Limits, recommend
from jvbtune.fit.bounds import Bound

#: Names of the fit's bounds by goal.
BOUND_OF = {"pdr": "loss", "cpu": "cpu", "rx_thread": "rx_thread", "delay": "delay"}


@dataclass(frozen=True)
class Rate:
    """Of one goal over all restarts. ``interval_pps``: 95 % for the average restart; None with a single one."""

    goal: Goal
    state: str  #: found | wide | at least | broken | generator | not measured
    pps: float | None
    interval_pps: tuple[float, float] | None
    relative_width: float | None  #: the widest bracket of the restarts
    brackets: tuple[Bracket, ...]
    fitted_pps: float | None = None
    fitted_interval_pps: tuple[float | None, float | None] | None = None

    @property
    def agrees(self) -> bool | None:
        """Does the fitted curve's interval overlap what the search found? None where there is no fitted figure."""
        if self.pps is None or self.fitted_interval_pps is None:
            return None
        low, high = self.fitted_interval_pps
        mine = self.interval_pps or (self.pps, self.pps)
        return not ((low is not None and low > mine[1]) or (high is not None and high < mine[0]))

    def to_json(self) -> dict[str, Any]:
        """Brackets are [kept, broken] packet rates, one a restart."""
        return {
            "goal": self.goal.name,
            "label": self.goal.label,
            "limit": self.goal.limit,
            "binds": self.goal.binding,
            "state": self.state,
            "pps": _rounded(self.pps),
            "interval_pps": None if self.interval_pps is None else [_rounded(end) for end in self.interval_pps],
            "relative_width": None if self.relative_width is None else round(self.relative_width, 4),
            "brackets_pps": [[_rounded(b.lower_pps), _rounded(b.upper_pps)] for b in self.brackets],
            "fitted_pps": _rounded(self.fitted_pps),
            "fitted_interval_pps": self.fitted_interval_pps and [_rounded(end) for end in self.fitted_interval_pps],
            "fit_agrees": self.agrees,
        }


def _rounded(pps: float | None) -> float | None:
    return None if pps is None else round(pps, 1)


@dataclass(frozen=True)
class Capacity:
    """``max_packet_rate``: of the least of the goals that bind, restart by restart; None where it cannot be said."""

    max_packet_rate: Rate | None
    rates: tuple[Rate, ...]
    restarts: int
    trials: int
    minutes: float
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        best = self.max_packet_rate
        told = None if best is None else best.to_json()
        return {
            "max_packet_rate_pps": told and told["pps"],
            "interval_pps": told and told["interval_pps"],
            "relative_width": told and told["relative_width"],
            "binding_limit": told and told["goal"],
            "goals": [rate.to_json() for rate in self.rates],
            "restarts": self.restarts,
            "trials": self.trials,
            "minutes": round(self.minutes, 2),
            "reasons": list(self.reasons),
        }


def conclude(
    wanted: Sequence[Goal],
    restarts: Sequence[Sequence[Bracket]],
    trials: pl.DataFrame,
    *,
    minutes: float,
    width: float,
    given_up: str | None = None,
) -> Capacity:
    """Put the restarts together, and hold the fitted curves against them. ``trials``: all rows, invalid ones too."""
    fitted = _fitted(wanted, trials)
    rates = tuple(
        _rate(goal, [bracket for found in restarts for bracket in found if bracket.goal == goal], fitted.get(goal.name))
        for goal in wanted
    )
    reasons = [given_up] if given_up else []
    least = []
    for found in restarts:
        placed = [b for b in found if b.goal.binding and b.estimate_pps is not None]
        if placed:
            least.append(min(placed, key=lambda b: b.estimate_pps or 0.0))
    if not reasons:
        reasons = _reasons(restarts, least, width)
    best = None
    if not reasons:
        goal = Counter(bracket.goal for bracket in least).most_common(1)[0][0]
        best = _rate(goal, least, fitted.get(goal.name))
    return Capacity(best, rates, len(restarts), trials.height, minutes, tuple(reasons))


def _reasons(restarts: Sequence[Sequence[Bracket]], least: Sequence[Bracket], width: float) -> list[str]:
    """Why there is no max packet rate."""
    every = [bracket for found in restarts for bracket in found if bracket.goal.binding]
    broken = sorted({bracket.goal.label for bracket in every if bracket.state == "broken"})
    if broken:
        return [f"{label}: broken at the least load already" for label in broken]
    if not restarts:
        return ["no restart was finished"]
    if len(least) < len(restarts):
        if any(bracket.state == "generator" for bracket in every):
            return ["the generator was the limit before the bridge was: give it more cores"]
        return ["no limit was met: raise --max-pps, or give it more --minutes"]
    wide = [bracket for bracket in least if bracket.state == "wide"]
    if wide:
        widest = max(bracket.relative_width or 1.0 for bracket in wide)
        return [
            f"{wide[0].goal.label}: the time was out at a relative width of {widest:.1%}, not {width:.1%}: "
            "give it more --minutes"
        ]
    return []


def _rate(goal: Goal, brackets: Sequence[Bracket], bound: Bound | None) -> Rate:
    fit: dict[str, Any] = {}
    if bound is not None and np.isfinite(bound.estimate_pps):
        ends = tuple(float(end) if np.isfinite(end) else None for end in (bound.low_pps, bound.high_pps))
        fit = {"fitted_pps": bound.estimate_pps, "fitted_interval_pps": ends}
    known = np.array([b.estimate_pps for b in brackets if b.estimate_pps is not None])
    states = {bracket.state for bracket in brackets}
    widths = [b.relative_width for b in brackets if b.relative_width is not None]
    width = max(widths, default=None)
    for state in ("not measured", "broken"):
        if states == {state} or (state == "broken" and state in states):
            return Rate(goal, state, None, None, None, tuple(brackets), **fit)
    if known.size < len(brackets):  # some restart kept it at every load: the others alone would be biased
        lowest = min((b.lower_pps for b in brackets if b.lower_pps is not None), default=None)
        state = "generator" if "generator" in states else "wide" if "wide" in states else "at least"
        return Rate(goal, state if state != "wide" else "at least", lowest, None, width, tuple(brackets), **fit)
    if known.size == 0:
        return Rate(goal, "not measured", None, None, None, (), **fit)
    logs = np.log(known)
    interval = None
    if logs.size > 1:
        half = float(stats.t.ppf(0.975, logs.size - 1)) * float(logs.std(ddof=1)) / np.sqrt(logs.size)
        half = float(np.hypot(half, 0.5 * (width or 0.0)))
        interval = (float(np.exp(logs.mean() - half)), float(np.exp(logs.mean() + half)))
    state = "wide" if "wide" in states else "found"
    return Rate(goal, state, float(np.exp(logs.mean())), interval, width, tuple(brackets), **fit)


def _fitted(wanted: Sequence[Goal], trials: pl.DataFrame) -> dict[str, Bound]:
    if trials.height == 0:
        return {}
    (found,) = recommend(trials, Limits(**limits_of(wanted)), force=True)
    named = {name: found.bound(bound) for name, bound in BOUND_OF.items()}
    told = {goal.name for goal in wanted if goal.name != "delay" or goal.column == "delay_p99_ms"}
    return {name: bound for name, bound in named.items() if bound is not None and name in told}
