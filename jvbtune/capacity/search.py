"""The controller of a capacity search: pure, it asks for trials and gets their outcomes.

It follows MLRsearch (draft-ietf-bmwg-mlrsearch) where that fits: all goals are searched at once, a load is a bound of a
goal by its trials' good and bad seconds, the smallest bad load is the upper bound whatever held above it, and a search
ends at a stated relative width. It differs where a bridge does: a trial says how far from its limit a quantity is, not
only whether it was kept, so most loads need one trial (a load near the limit is tried until its seconds suffice), and
the next load is interpolated; loads are whole conferences; and a bridge is another one after each restart (4 to 9 %),
so the search is repeated after restarts, each begun at what the last one found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from jvbtune.capacity.goals import Goal

#: A quantity this far from its limit (as a ratio) is on its side of it whatever the noise of one trial.
CLEAR_RATIO = 1.15
#: The same of a lumpy quantity, and how many times as many trials a load near the limit has of it.
CLEAR_LUMPY_RATIO, MORE_OF_LUMPY = 3.0, 2
#: Loads this near to the bounds lie on one line with them, on logarithms.
NEAR_FACTOR = 1.3
#: A load is raised at most by this at once, and at least by the lesser factor.
RAMP = (1.25, 2.0)
#: Trials that are not valid are repeated this often in a row, then the search gives up.
ATTEMPTS = 3
#: NDR and PDR are looked for up to this multiple of the load that breaks a limit; other goals not above it at all.
FOLLOW_RATIO = 1.6
#: A goal that is met above this multiple of the least one binds nothing: it is told to so many widths, without repeats.
NEAR_LEAST = 1.1
#: A smooth quantity that meets its limit above this multiple of the least one is none of what binds after another
#: restart either: it would show in the trials near the least one, all of which it is held against.
FAR_LEAST = 1.2
ASIDE_WIDTHS = 2.0
MAX_TRIALS = 60  #: of one restart
#: Below a load that the generator could not offer, this share of it is tried next.
CEILING_STEP = 0.9


@dataclass(frozen=True)
class Outcome:
    """A trial as the search sees it. ``ratios``: quantity over limit by goal's name; None: not measured."""

    units: int  #: of load: whole conferences
    rate_pps: float  #: offered
    seconds: float
    ratios: Mapping[str, float | None]
    valid: bool = True
    generator_limited: bool = False
    because: str = ""
    late_counted: bool = False  #: the ratio of delay is of a count of late packets, and not of a percentile


#: Holds ``units`` of load once, for the trial's duration.
Measure = Callable[[int], Outcome]


@dataclass(frozen=True)
class SearchPlan:
    """How a search goes. ``width``: (upper − lower) / upper at which a goal is found. ``most_is_generators``: more than
    ``max_units`` is more than the generator was measured to be able to make."""

    unit_pps: float
    start_units: int
    max_units: int
    width: float = 0.03
    confirm: int = 2  #: trials of a load near its limit; the more of good and bad ones decides
    most_is_generators: bool = False


class State(StrEnum):
    """What a search knows of a goal."""

    FOUND = "found"
    WIDE = "wide"  #: between two rates, but not as near to each other as was asked for
    KEPT = "kept"  #: at every load that was run
    BROKEN = "broken"  #: at the least load already
    GENERATOR = "generator"  #: kept at every load that the generator could offer
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True)
class Bracket:
    """Of one goal after one restart. None: no load was found to be that bound."""

    goal: Goal
    lower_pps: float | None
    upper_pps: float | None
    estimate_pps: float | None  #: interpolated between them
    state: State

    @property
    def relative_width(self) -> float | None:
        if self.lower_pps is None or self.upper_pps is None:
            return None
        return 1 - self.lower_pps / self.upper_pps


class GivenUp(Exception):
    """Trials do not come out valid; the message says why."""


def set_aside(found: Sequence[Bracket]) -> frozenset[str]:
    """Goals that after this restart lie so far above what binds that later ones run no load for their sake."""
    least = min((b.estimate_pps for b in found if b.goal.binding and b.estimate_pps is not None), default=None)
    if least is None:
        return frozenset()
    aside = set()
    for bracket in found:
        at = bracket.estimate_pps or bracket.lower_pps or 0.0  # of one that was kept: at least that
        if at > (FAR_LEAST if bracket.goal.smooth else NEAR_LEAST) * least:
            aside.add(bracket.goal.name)
    return frozenset(aside)


def prior_of(found: Sequence[Bracket], unit_pps: float) -> dict[str, float]:
    """What a search found, as the ``prior`` of the next one."""
    return {bracket.goal.name: bracket.estimate_pps / unit_pps for bracket in found if bracket.estimate_pps is not None}


@dataclass
class Searcher:
    """One restart's search. ``prior``: what earlier restarts found, in units, by goal's name. ``aside``: names of goals
    for which no load is run, unless the trials that are run for others show that they bind."""

    goals: Sequence[Goal]
    plan: SearchPlan
    prior: Mapping[str, float] = field(default_factory=dict)
    aside: frozenset[str] = frozenset()
    outcomes: list[Outcome] = field(default_factory=list)
    ceiling: int = 0  #: no load above it can be offered
    generator_bound: bool = False

    def __post_init__(self) -> None:
        self.ceiling = self.ceiling or self.plan.max_units

    def run(self, measure: Measure, out_of_time: Callable[[], bool] = lambda: False) -> list[Bracket]:
        """Trials until every goal is found, or time is out. Raises GivenUp."""
        failed = 0
        while len(self.outcomes) < MAX_TRIALS and not out_of_time():
            units = self.next_units()
            if units is None:
                break
            outcome = measure(units)
            if outcome.generator_limited and failed + 1 >= ATTEMPTS:  # it may have been disturbed once or twice
                self.ceiling, self.generator_bound, failed = min(self.ceiling, int(CEILING_STEP * units)), True, 0
                if self.ceiling < 1 or not self.outcomes:
                    raise GivenUp(f"no trial is valid at {outcome.rate_pps:.0f} pps already: {outcome.because}")
            elif outcome.valid:
                self.outcomes.append(outcome)
                failed = 0
            else:
                failed += 1
                if failed >= ATTEMPTS:
                    raise GivenUp(f"{failed} trials in a row are not valid: {outcome.because}")
        brackets = [self.bracket(goal) for goal in self.goals]
        return [one for one in brackets if one.goal.name not in self.aside or self._binds(one.goal)]

    def any_broken(self) -> bool:
        """Whether a goal that binds is broken by a load that was run."""
        return any(goal.binding and self.bounds(goal)[1] is not None for goal in self.goals)

    # -- what is known ------------------------------------------------------------------------------------------

    def _ratios(self, goal: Goal) -> dict[int, list[float]]:
        found: dict[int, list[float]] = {}
        for outcome in self.outcomes:
            ratio = outcome.ratios.get(goal.name)
            if ratio is not None:
                found.setdefault(outcome.units, []).append(ratio)
        return dict(sorted(found.items()))

    def bounds(self, goal: Goal) -> tuple[int | None, int | None]:
        """(highest kept load below, lowest broken load), in units."""
        lower = upper = None
        for units, ratios in self._ratios(goal).items():
            if _broken(ratios, lumpy=self._lumpy(goal)):
                upper = units
                break
            lower = units
        return lower, upper

    def bracket(self, goal: Goal) -> Bracket:
        """What the trials so far say of a goal."""
        lower, upper = self.bounds(goal)
        if lower is None and upper is None:
            return Bracket(goal, None, None, None, State.NOT_MEASURED)
        low, high = self._rate(lower), self._rate(upper)
        if upper is None:
            at_most = self.plan.most_is_generators and (lower or 0) >= self.plan.max_units
            return Bracket(goal, low, None, None, State.GENERATOR if self.generator_bound or at_most else State.KEPT)
        if lower is None:
            state = State.BROKEN if upper == 1 else State.WIDE
            return Bracket(goal, None, high, None, state)
        estimate = self._crossing(goal, lower, upper) / upper * float(high or 0)
        return Bracket(goal, low, high, estimate, State.FOUND if self._narrow(goal, lower, upper) else State.WIDE)

    def _rate(self, units: int | None) -> float | None:
        if units is None:
            return None
        return float(np.mean([outcome.rate_pps for outcome in self.outcomes if outcome.units == units]))

    def _narrow(self, goal: Goal, lower: int, upper: int) -> bool:
        return upper - lower <= 1 or 1 - lower / upper <= self._width(goal)

    def _crossing(self, goal: Goal, lower: int, upper: int) -> float:
        """Where the goal's ratio is 1 between two bounds, in units: their middle, or of a smooth quantity where the
        line through the logarithms of all trials nearby meets it."""
        middle = math.sqrt(lower * upper)
        if not self._interpolated(goal):
            return middle
        near = [
            (np.log(units / middle), np.log(ratio))
            for units, ratios in self._ratios(goal).items()
            for ratio in ratios
            if ratio > 0 and lower / NEAR_FACTOR <= units <= upper * NEAR_FACTOR
        ]
        x, y = np.array(near).T
        spread = float(np.sum((x - x.mean()) ** 2))
        slope = float(np.sum((x - x.mean()) * (y - y.mean()))) / spread if spread > 0 else 0.0
        if slope <= 0:
            return middle
        return float(np.clip(middle * np.exp(x.mean() - y.mean() / slope), lower, upper))

    # -- what to try next ---------------------------------------------------------------------------------------

    def next_units(self) -> int | None:
        """The load of the next trial; None where every goal is found, or cannot be."""
        if not self.outcomes:
            first = min((self.prior[goal.name] for goal in self.goals if goal.name in self.prior), default=None)
            return self._clip(self.plan.start_units if first is None else first * (1 - self.plan.width / 2))
        for goal in sorted(self.goals, key=self._urgency):
            units = next(self._wanted(goal), None)
            if units is not None:
                return units
        return None

    def _urgency(self, goal: Goal) -> tuple[bool, float]:
        """Goals that bind come first, and of these the one that is met at the least load."""
        upper = self.bounds(goal)[1]
        return not goal.binding, self.prior.get(goal.name, float("inf")) if upper is None else upper

    def _binds(self, goal: Goal) -> bool:
        """Is it, or may it be, the least of them? Others are told as well, less finely."""
        uppers = [upper for other in self.goals if other.binding and (upper := self.bounds(other)[1]) is not None]
        lower, upper = self.bounds(goal)
        if not goal.binding or upper is None:
            return False
        if upper <= NEAR_LEAST * min(uppers):
            return True
        return goal.name not in self.aside and (lower or 0) < min(uppers)

    def _width(self, goal: Goal) -> float:
        return self.plan.width if self._binds(goal) else ASIDE_WIDTHS * self.plan.width

    def _wanted(self, goal: Goal) -> Iterator[int]:
        ratios = self._ratios(goal)
        if not ratios:
            return  # nobody measures it
        if goal.name in self.aside and not self._binds(goal):
            return
        lower, upper = self.bounds(goal)
        if upper is None:
            assert lower is not None
            if lower < self.ceiling and self._worth_raising(goal):
                yield self._raise(goal, lower)
            elif lower < self.ceiling:
                return
        elif lower is None:
            if upper > 1:
                yield self._clip(min(upper - 1, self._lowered(goal, upper)))
        elif not self._narrow(goal, lower, upper):
            yield self._between(goal, lower, upper)
        for bound in (lower, upper):
            if bound is not None and self._binds(goal) and self._unsure(goal, ratios[bound]):
                yield bound

    def _lumpy(self, goal: Goal) -> bool:
        return goal.lumpy and all(outcome.late_counted for outcome in self.outcomes)

    def _interpolated(self, goal: Goal) -> bool:
        """Whether its trials lie on a line: lumps do not."""
        return goal.smooth and not self._lumpy(goal)

    def _unsure(self, goal: Goal, ratios: Sequence[float]) -> bool:
        if self._lumpy(goal):
            near = 1 / CLEAR_LUMPY_RATIO < float(np.mean(ratios)) < CLEAR_LUMPY_RATIO
            return len(ratios) < (MORE_OF_LUMPY if near else 1) * self.plan.confirm
        return len(ratios) < self.plan.confirm and all(1 / CLEAR_RATIO < ratio < CLEAR_RATIO for ratio in ratios)

    def _worth_raising(self, goal: Goal) -> bool:
        """Loads far above another binding limit are not run for the sake of this one, unless it is NDR or PDR."""
        others = [upper for other in self.goals if other.binding and (upper := self.bounds(other)[1]) is not None]
        return not others or (goal.name in ("ndr", "loss") and max(self._ratios(goal)) < FOLLOW_RATIO * min(others))

    def _raise(self, goal: Goal, lower: int) -> int:
        """One step up: to what an earlier restart found, else as far as the busiest quantity allows."""
        if goal.name in self.prior:
            expected = self.prior[goal.name] * (1 + self.plan.width / 2)
            aim = 0.97 / max(self._ratios(goal)[lower][-1], 1e-3) if goal.smooth else 1.0
            least = 1.0 if lower < expected else 1 + 2 * self.plan.width
            nearer = lower * float(np.clip(aim, least, RAMP[0]))
            return self._clip(max(lower + 1, nearer, expected if lower < expected else 0))
        smooth = [ratio for other in self.goals if other.smooth for ratio in self._ratios(other).get(lower, [])[-1:]]
        factor = float(np.clip(0.95 / max([*smooth, 1e-3]), *RAMP))
        return self._clip(max(lower + 1, lower * factor))

    def _lowered(self, goal: Goal, upper: int) -> float:
        if goal.name in self.prior:
            tried = sum(1 for units in self._ratios(goal) if units >= upper)
            return upper * (1 - self.plan.width * 2.0 ** (tried - 1))
        return upper / RAMP[1]

    def _between(self, goal: Goal, lower: int, upper: int) -> int:
        """Just below the crossing, then just above it, so that two right guesses end the search."""
        middle = self._crossing(goal, lower, upper)
        width = self._width(goal)
        low, high = middle * (1 - 0.45 * width), middle * (1 + 0.45 * width)
        if not self._interpolated(goal):
            low = high = middle
        aim = low if low > lower * (1 + 0.1 * width) else high
        if aim >= upper:
            aim = math.sqrt(lower * upper)
        return int(np.clip(round(aim), lower + 1, upper - 1))

    def _clip(self, units: float) -> int:
        return int(np.clip(round(units), 1, self.ceiling))


def _broken(ratios: Sequence[float], *, lumpy: bool) -> bool:
    """More bad trials than good ones; where they are as many, or of what comes in lumps, their mean decides."""
    if lumpy:
        return float(np.mean(ratios)) > 1
    bad = sum(ratio > 1 for ratio in ratios)
    if 2 * bad == len(ratios):
        return float(np.mean(ratios)) > 1
    return 2 * bad > len(ratios)
