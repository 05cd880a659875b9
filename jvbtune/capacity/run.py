"""A capacity search on a real host: the sweep's own guard, drain, restarts and trials, led by the search."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from jvbtune.capacity.goals import goals
from jvbtune.capacity.result import brackets_to_json
from jvbtune.capacity.search import GivenUp, Outcome, Searcher, SearchPlan, prior_of, set_aside
from jvbtune.capacity.stored import NAME
from jvbtune.errors import LoadError
from jvbtune.inventory import HostEntry
from jvbtune.load.base import IntendedLoad, Mix
from jvbtune.load.calibration import reachable_pps
from jvbtune.load.mixfile import MixSection
from jvbtune.store import Run
from jvbtune.sweep.experiment import BASELINE, Durations, Experiment, LimitsSection, LoadSection
from jvbtune.sweep.plan import Step, Trial
from jvbtune.sweep.run import sweep
from jvbtune.sweep.session import Observer, Options, Session


@dataclass(frozen=True)
class Wanted:
    """What is asked for. ``minutes`` is the budget of all restarts together, the ramp before them not counted; a trial
    under way is finished."""

    limits: LimitsSection
    mix: MixSection
    start_pps: float = 6000.0
    max_pps: float = 200_000.0
    width: float = 0.03
    restarts: int = 5
    minutes: float = 15.0
    trial_seconds: float = 10.0
    settle_seconds: float = 2.0
    warm_up_seconds: float = 6.0
    max_warm_up_seconds: float = 90.0

    def experiment(self) -> Experiment:
        """The same in the words of an experiment file: it stands in the run's manifest, and limits the load."""
        return Experiment(
            name=NAME,
            description="Loads are chosen by jvbtune capacity, not by a plan.",
            blocks=self.restarts,
            load=LoadSection(packet_rates_pps=(self.start_pps,), max_packet_rate_pps=self.max_pps, mix=self.mix),
            durations=Durations(
                warm_up_seconds=self.warm_up_seconds,
                max_warm_up_seconds=self.max_warm_up_seconds,
                settle_seconds=self.settle_seconds,
                trial_seconds=self.trial_seconds,
                extend_seconds=0,
            ),
            limits=self.limits,
        )


def find_capacity(entry: HostEntry, wanted: Wanted, options: Options, observe: Observer) -> Run:
    """Search a host's capacity, and leave the host as it was found. Raises JvbtuneError as ``sweep`` does.

    What was found is in the run's journal: ``capacity.stored``.
    """
    return sweep(entry, wanted.experiment(), options, observe, lead=_Leader(wanted).lead)


def _after(deadline: float) -> Callable[[], bool]:
    return lambda: time.monotonic() > deadline


class _Leader:
    """Leads an open sweep through restart after restart."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._goals = goals(wanted.limits.limits())
        self._mix: Mix = wanted.mix.mix()
        self._given_up: str | None = None
        self._order = 0

    def lead(self, opened: Session, options: Options, seed: int) -> None:
        del options, seed  # nothing is drawn: the loads follow from the outcomes
        wanted, unit = self._wanted, self._mix.packet_rate_pps()
        most_allowed = reachable_pps(opened.entry, self._mix, wanted.max_pps)
        most = int(most_allowed / unit)
        if most < 1:
            raise LoadError(f"one conference is {unit:.0f} pps, more than the {most_allowed:.0f} that are allowed")
        plan = SearchPlan(
            unit,
            max(1, min(most, round(wanted.start_pps / unit))),
            most,
            wanted.width,
            most_is_generators=most_allowed < wanted.max_pps,
        )
        begun = since = time.monotonic()
        share = wanted.minutes * 60 / wanted.restarts
        opened.record("search_begun", width=wanted.width, minutes=wanted.minutes)
        prior: dict[str, float] = {}
        aside: frozenset[str] = frozenset()
        for block in range(wanted.restarts):
            try:
                prior = prior or self._ramp(opened, plan, _after(since + (block + 1) * share))
            except GivenUp as why:
                self._give_up(opened, block, why)
                break
            since = since if block else time.monotonic()  # the first ramp is in no restart's share
            out_of_time = _after(since + (block + 1) * share)
            warm_up = IntendedLoad(max(1, round(0.7 * min(prior.values(), default=plan.start_units / 0.7))), self._mix)
            step = Step(
                block,
                BASELINE,
                {},
                True,
                (Trial(f"b{block}-warm-up", "steady", warm_up, wanted.trial_seconds, 0),),
            )
            expected = opened.begin_step(step)
            searcher = Searcher(self._goals, plan, prior, aside)
            try:
                found = searcher.run(self._measure(opened, step, expected), out_of_time)
            except GivenUp as why:
                self._give_up(opened, block, why)
                break
            prior = prior_of(found, unit) or prior
            aside = aside if block else set_aside(found)
            opened.record("restart_searched", block=block, brackets=brackets_to_json(found))
        opened.record("search_ended", minutes=(time.monotonic() - begun) / 60, given_up=self._given_up)

    def _ramp(self, opened: Session, plan: SearchPlan, out_of_time: Callable[[], bool]) -> dict[str, float]:
        """Where the limits may lie, on the bridge as found: so that all restarts, the first one too, are warmed up at
        a load near to their limit and searched from there. A colder one was seen to carry 8 % less."""
        opened.generator.stop()
        opened.warm_up(IntendedLoad(plan.start_units, self._mix))
        searcher = Searcher(self._goals, plan)
        measure = self._measure(opened, Step(-1, BASELINE, {}, False, ()), None, kind="probe")
        return prior_of(searcher.run(measure, lambda: searcher.any_broken() or out_of_time()), plan.unit_pps)

    def _give_up(self, opened: Session, block: int, why: GivenUp) -> None:
        self._given_up = str(why)
        opened.record("search_given_up", block=block, because=self._given_up)

    def _measure(
        self, opened: Session, step: Step, expected: int | None, kind: str = "steady"
    ) -> Callable[[int], Outcome]:
        wanted = self._wanted
        seconds = max(2.0, wanted.trial_seconds / 2) if kind == "probe" else wanted.trial_seconds

        def measure(units: int) -> Outcome:
            trial = Trial(
                f"probe-{self._order:02d}" if kind == "probe" else f"b{step.block}-{self._order:02d}",
                kind,
                IntendedLoad(units, self._mix),
                seconds,
                0,
            )
            opened.refuse_live_calls()
            opened.observe("trial_started", {"trial": trial.id, "intended_pps": trial.load.packet_rate_pps})
            measured = opened.hold(step, trial, self._order, expected)
            opened.finish(measured)
            self._order += 1
            row = measured.row
            return Outcome(
                units,
                float(row["offered_pps"]),
                float(row["duration_s"]),
                {goal.name: goal.ratio(row) for goal in self._goals},
                valid=bool(row["valid"]),
                generator_limited=bool(row["generator_limited"]),
                because="; ".join(row["invalid_because"]),
                late_counted=bool(row.get("delay_counts")),
            )

        return measure
