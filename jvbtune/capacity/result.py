"""What a capacity search found, over all of its restarts. Pure: brackets in, rates out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jvbtune.capacity.goals import Goal
from jvbtune.capacity.search import Bracket, State
from jvbtune.fit.intervals import next_restart_margin, spread_of_mean

#: So many restarts that were searched to the end are a figure by themselves, where the time of others ran out.
ENOUGH = 3


@dataclass(frozen=True)
class Rate:
    """The packet rate at which one goal is no longer met, over all restarts.

    ``pps``: geometric mean over restarts; for ``kept`` and ``generator`` the highest rate that kept it.
    ``interval_pps``: 95 % for the average restart; None with a single one.
    ``restart_low_pps``: what 95 % of restarts sustain. ``brackets_pps``: [kept, broken], one a restart; both None where
    a restart was not searched for the goal.
    """

    goal: str
    label: str
    limit: float
    binding: bool
    state: State
    pps: float | None = None
    interval_pps: tuple[float, float] | None = None
    restart_low_pps: float | None = None
    relative_width: float | None = None  #: the widest bracket of the restarts
    brackets_pps: tuple[tuple[float | None, float | None], ...] = ()


@dataclass(frozen=True)
class Search:
    """``max_packet_rate``: of the least of the goals that bind, restart by restart; None with ``reasons`` why.
    ``unfinished``: restarts whose time ran out, which it leaves out.
    """

    max_packet_rate: Rate | None
    rates: tuple[Rate, ...]
    restarts: int
    minutes: float
    reasons: tuple[str, ...] = ()
    unfinished: int = 0


def conclude(
    wanted: Sequence[Goal],
    restarts: Sequence[Sequence[Bracket]],
    *,
    minutes: float,
    width: float,
    given_up: str | None = None,
) -> Search:
    """Put the restarts together. ``width``: the relative width that was asked for."""
    rates = tuple(_rate(goal, [_of(goal, found) for found in restarts]) for goal in wanted)
    least = [_least(found) for found in restarts]
    used = _used(least)
    reasons = [given_up] if given_up else _reasons(restarts, used, width)
    best, unfinished = None, 0
    if not reasons:
        goal = Counter(bracket.goal for bracket in used).most_common(1)[0][0]
        best, unfinished = _rate(goal, least), len(restarts) - len(used)
    return Search(best, rates, len(restarts), round(minutes, 2), tuple(reasons), unfinished)


def _of(goal: Goal, found: Sequence[Bracket]) -> Bracket | None:
    return next((bracket for bracket in found if bracket.goal == goal), None)


def _least(found: Sequence[Bracket]) -> Bracket | None:
    """Of one restart, the limit that is met first; None where nothing was measured."""
    measured = [b for b in found if b.goal.binding and b.state != State.NOT_MEASURED]
    return min(measured, key=lambda b: b.estimate_pps or b.upper_pps or math.inf, default=None)


def _used(restarts: Sequence[Bracket | None]) -> list[Bracket]:
    """What a figure is of: each restart; or those that were searched to the end, if they are enough, and no other one
    broke the limit below what they say that 95 % of restarts sustain."""
    there = [bracket for bracket in restarts if bracket is not None]
    found = [bracket for bracket in there if bracket.state == State.FOUND]
    if len(found) < ENOUGH:
        return there
    logs = np.log([b.estimate_pps for b in found if b.estimate_pps is not None])
    low = float(np.exp(logs.mean() - next_restart_margin(logs.size, float(logs.std(ddof=1)))))
    others = [bracket for bracket in there if bracket.state != State.FOUND]
    cut = [b for b in others if b.state in (State.WIDE, State.NOT_MEASURED) and (b.upper_pps or math.inf) >= low]
    return found if len(cut) == len(others) else there


def _reasons(restarts: Sequence[Sequence[Bracket]], used: Sequence[Bracket], width: float) -> list[str]:
    """Why there is no max packet rate. ``used``: the limit that is met first, restart by restart."""
    every = [bracket for found in restarts for bracket in found if bracket.goal.binding]
    broken = sorted({bracket.goal.label for bracket in every if bracket.state == State.BROKEN})
    if broken:
        return [f"{label}: not met even at the lowest load" for label in broken]
    if not restarts:
        return ["no restart was finished"]
    if len(used) >= ENOUGH and all(bracket.state == State.FOUND for bracket in used):
        return []
    if sum(bracket.upper_pps is not None for bracket in used) < len(restarts):
        if any(bracket.state == State.GENERATOR for bracket in every):
            return ["the generator reached its own limit before the bridge did: give it more cores"]
        return ["no limit was reached: raise --max-pps, or allow more --minutes"]
    wide = [bracket for bracket in used if bracket.state == State.WIDE]
    if wide:
        widest = max(bracket.relative_width or 1.0 for bracket in wide)
        return [
            f"{wide[0].goal.label}: the time ran out at a relative width of {widest:.1%}, and {width:.1%} was asked "
            "for: allow more --minutes"
        ]
    return []


def _rate(goal: Goal, restarts: Sequence[Bracket | None]) -> Rate:
    brackets = _used(restarts)
    states = {bracket.state for bracket in brackets}
    widths = [b.relative_width for b in brackets if b.relative_width is not None]
    ends = tuple((None, None) if b is None else (_rounded(b.lower_pps), _rounded(b.upper_pps)) for b in restarts)
    facts: dict[str, Any] = {"relative_width": max(widths, default=None), "brackets_pps": ends}

    def rate(state: State, **more: Any) -> Rate:
        return Rate(goal.name, goal.label, goal.limit, goal.binding, state, **facts, **more)

    if not brackets or states == {State.NOT_MEASURED}:
        return rate(State.NOT_MEASURED)
    if State.BROKEN in states:
        return rate(State.BROKEN)
    known = np.array([b.estimate_pps for b in brackets if b.estimate_pps is not None])
    if known.size < len(brackets):  # some restart kept it at every load: the others alone would be biased
        lowest = min((b.lower_pps for b in brackets if b.lower_pps is not None), default=None)
        return rate(State.GENERATOR if State.GENERATOR in states else State.KEPT, pps=_rounded(lowest))
    logs = np.log(known)
    found: dict[str, Any] = {"pps": _rounded(float(np.exp(logs.mean())))}
    if logs.size > 1:
        sd, bracket = float(logs.std(ddof=1)), 0.5 * (facts["relative_width"] or 0.0)
        half = np.hypot(float(spread_of_mean(logs, np.arange(logs.size)).informed().half_width()), bracket)
        found["interval_pps"] = tuple(_rounded(float(np.exp(logs.mean() + sign * half))) for sign in (-1, 1))
        further = next_restart_margin(logs.size, sd)
        found["restart_low_pps"] = _rounded(float(np.exp(logs.mean() - np.hypot(further, bracket))))
    return rate(State.WIDE if State.WIDE in states else State.FOUND, **found)


def _rounded(pps: float | None) -> float | None:
    return None if pps is None else round(pps, 1)


def brackets_to_json(found: Sequence[Bracket]) -> list[dict[str, Any]]:
    """One restart's brackets, for the journal."""
    return [
        {
            "goal": b.goal.name,
            "state": b.state.value,
            "lower_pps": b.lower_pps,
            "upper_pps": b.upper_pps,
            "estimate_pps": b.estimate_pps,
        }
        for b in found
    ]


def brackets_from_json(rows: Sequence[Mapping[str, Any]], wanted: Sequence[Goal]) -> list[Bracket]:
    by_name = {goal.name: goal for goal in wanted}
    return [
        Bracket(by_name[row["goal"]], row["lower_pps"], row["upper_pps"], row["estimate_pps"], State(row["state"]))
        for row in rows
        if row["goal"] in by_name
    ]
