"""The packet rates of a sweep are found on hosts of any size, and not by measuring the compiler."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jvbtune.errors import LoadError
from jvbtune.fit.bounds import MAX_EXTRAPOLATION
from jvbtune.inventory import HostEntry
from jvbtune.load.base import IntendedLoad, Offered
from jvbtune.sweep.experiment import Experiment, LimitsSection, read_experiment
from jvbtune.sweep.plan import Step, Trial, make_plan
from jvbtune.sweep.probe import ATTEMPTS, MOST_ABOVE, _nearness, above, find_levels
from jvbtune.sweep.run import refuse_planned
from jvbtune.sweep.session import Session
from jvbtune.sweep.trial import Measured
from jvbtune.trials.judge import fields_of, judge


def experiment(start_pps: float = 8000, participants: int = 5, senders: int = 3) -> Experiment:
    return read_experiment(
        {
            "name": "x",
            "load": {
                "auto": {"start_pps": start_pps, "levels": 4, "lowest_ratio": 0.3},
                "mix": {"participants": participants, "senders": senders},
            },
        }
    )


@dataclass
class Host:
    """A session with a host whose bridge meets 80 % of its core at ``limit_pps``. A load that is higher than any before
    has code compiled: while it does, interpreted code makes a packet cost twice as much."""

    experiment: Experiment
    limit_pps: float
    compiles: bool = True
    never_compiled: bool = False
    warm_pps: float = 0.0
    late_from_pps: float = math.inf  #: where the generator is too slow
    late_once_pps: float = math.inf  #: where something on its machine disturbs it the first time
    power: float = 1.0  #: CPU grows with this power of the packet rate
    said: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    held: list[float] = field(default_factory=list)

    generator = SimpleNamespace(stop=lambda: None)
    entry = HostEntry("h", "h")

    def warm_up(self, load: IntendedLoad) -> None:
        self.held.append(load.packet_rate_pps)
        if not self.never_compiled:
            self.warm_pps = max(self.warm_pps, 1.3 * load.packet_rate_pps)

    def hold_once(self, step: Step, trial: Trial, *arguments: Any) -> Measured:
        pps = trial.load.packet_rate_pps
        cold = self.compiles and pps > self.warm_pps
        net = 0.8 * (pps / self.limit_pps) ** self.power * (2 if cold else 1)
        compiler = 0.3 if cold else 0.01
        row: dict[str, Any] = {
            "kind": "probe",
            "duration_s": 6.0,
            "cores": 1.0,
            "compiler_cores": compiler,
            "offered_pps": pps,
        }
        row |= {"cpu_cores": min(1.0, net + compiler), "busy_ratio": min(1.0, net + compiler), "loss_ratio": 0.0}
        late = pps >= self.late_from_pps or pps >= self.late_once_pps
        if pps >= self.late_once_pps:
            self.late_once_pps = math.inf
        row |= {"generator_limited": late, "generator_limited_because": ["it was 21.5 ms late (p99)"] if late else []}
        row |= fields_of(judge(row)) | {"trial": trial.id}
        return Measured(row, (), cast(Offered, None), ())

    def record(self, event: str, **data: Any) -> None:
        self.said.append(event)

    def finish(self, measured: Measured) -> None:
        self.rows.append(measured.row)
        assert len(self.rows) < 100, "the search does not end"


def levels(host: Host) -> tuple[float, ...]:
    return find_levels(cast(Session, host))


@pytest.mark.parametrize("limit_pps", [4_000, 7_000, 15_000, 40_000, 160_000])
@pytest.mark.parametrize("compiles", [False, True], ids=["compiled", "cold"])
def test_the_highest_level_lies_about_the_limit_whatever_the_host(limit_pps: float, compiles: bool) -> None:
    host = Host(experiment(), limit_pps, compiles)
    found = levels(host)
    assert 0.8 * limit_pps < found[-1] < 1.2 * limit_pps
    assert found[0] == pytest.approx(0.3 * found[-1])
    assert len(host.rows) < 16


@pytest.mark.parametrize(
    ("limit_pps", "power"), [(10_150, 1.1), (20_300, 1.1), (40_500, 1.1), (15_500, 0.6), (31_500, 0.6), (60_000, 0.6)]
)
def test_a_limit_that_is_met_just_after_a_doubling_lies_within_what_a_curve_is_followed_to(
    limit_pps: float, power: float
) -> None:
    """Seen on a real bridge: clean at 14.7 kpps, met at 29.4, so no load was above 22: no limit was found."""
    host = Host(experiment(5_000), limit_pps, power=power)
    found = levels(host)
    assert limit_pps / MAX_EXTRAPOLATION < found[-1] < MAX_EXTRAPOLATION * limit_pps
    assert len(host.rows) < 16


def test_no_rate_is_tried_above_what_the_generator_can_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jvbtune.sweep.probe.reachable_pps", lambda entry, mix, at_most_pps: min(21_000, at_most_pps))
    host = Host(experiment(), 40_000)
    found = levels(host)
    assert 20_000 < found[-1] <= 21_000
    assert max([*host.held, *(row["offered_pps"] for row in host.rows)]) <= 21_000


def test_a_generator_that_was_late_once_is_no_limit() -> None:
    """Seen on a virtual machine: one late probe at 15 kpps, and all loads lay below 7 kpps of the 33 that it held."""
    host = Host(experiment(), 40_000, late_once_pps=10_000)
    assert levels(host)[-1] > 32_000
    assert not host.said
    assert sum(row["generator_limited"] for row in host.rows) == 1


def test_a_generator_that_is_late_every_time_bounds_the_loads_and_it_is_said() -> None:
    host = Host(experiment(), 40_000, late_from_pps=20_000)
    assert 10_000 < levels(host)[-1] < 20_000
    assert host.said == ["generator_limited"]
    assert sum(row["generator_limited"] for row in host.rows) == ATTEMPTS
    with pytest.raises(LoadError, match="the generator is the limit"):
        levels(Host(experiment(), 40_000, late_from_pps=1_000))


def test_a_rate_whose_code_is_still_compiled_is_held_until_it_is_not() -> None:
    host = Host(experiment(), 40_000)
    levels(host)
    compiling = [row for row in host.rows if row["invalid_codes"] == ["compiling"]]
    assert compiling
    assert len(host.held) == 1 + len(compiling)


def test_a_bridge_that_never_stops_compiling_is_not_measured() -> None:
    host = Host(experiment(), 40_000, never_compiled=True)
    with pytest.raises(LoadError, match=r"none of 6 trials .* still compiling"):
        levels(host)
    assert len(host.rows) == 2 * ATTEMPTS


def test_a_host_that_cannot_hold_two_conferences_is_told_so() -> None:
    with pytest.raises(LoadError, match="2 conferences of 10") as fault:
        levels(Host(experiment(16_000, 10, 6), 4_000, compiles=False))
    assert "smaller conferences" in str(fault.value.hint)


@pytest.mark.parametrize("limit_pps", [17_000, 20_000, 40_000, 50_000, 100_000])
def test_the_search_ends_with_conferences_that_are_large_for_the_host(limit_pps: float) -> None:
    """One of these is 14 kpps: a quarter more than one or two of them is as many, in whole conferences."""
    host = Host(experiment(4_000, 28, 10), limit_pps, compiles=False)
    assert 0.7 * limit_pps < levels(host)[-1] < 1.3 * limit_pps


def test_packet_rates_that_are_too_few_loads_are_refused_before_any_block() -> None:
    small, large = experiment(4_000, 5, 3), experiment(4_000, 28, 10)
    rates = levels(Host(large, 40_000, compiles=False))
    with pytest.raises(LoadError, match=r"the 4 packet rates of .* are only 2 different loads: .* is 14000") as fault:
        refuse_planned(Host.entry, make_plan(large, rates, seed=1))
    assert "smaller conferences" in str(fault.value.hint)
    refuse_planned(Host.entry, make_plan(small, rates, seed=1))
    refuse_planned(Host.entry, make_plan(large, rates[:1], seed=1))  # as many loads as were asked for


def test_a_bridge_that_meets_its_cpu_quota_by_itself_has_met_a_limit() -> None:
    row = {"cores": 2.0, "cpu_cores": 1.9, "loss_ratio": 0.0, "delay_p95_ms": 2.0, "throttled_ratio": 0.2}
    row |= {"jvb_scope": "quota", "jvb_scope_cores": 2.0, "jvb_cpu_ratio": 0.96}
    assert judge(row) == []
    assert _nearness(row, LimitsSection(cpu_ratio=1.0)) == (0.95, True)
    assert _nearness(row | {"throttled_ratio": 0.02}, LimitsSection(cpu_ratio=1.0)) == (0.95, False)


@dataclass
class Restart:
    """A session in which a step's trials are held on a bridge that meets 80 % of its core at ``limit_pps``."""

    experiment: Experiment
    limit_pps: float
    events: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    entry = HostEntry("h", "h")

    @property
    def writer(self) -> Any:
        finished = [{"row": row} for row in self.rows]
        return SimpleNamespace(run=SimpleNamespace(finished_trials=lambda: finished, events=self._events))

    def _events(self, name: str) -> list[str]:
        return [event for event in self.events if event == name]

    def hold(self, trial: Trial, *, valid: bool = True) -> None:
        pps = trial.load.packet_rate_pps
        row = {"trial": trial.id, "valid": valid, "intended_pps": pps, "loss_ratio": 0.0, "cores": 1.0}
        self.rows.append(row | {"cpu_cores": min(1.0, 0.8 * pps / self.limit_pps)})

    def step(self, highest_pps: float) -> Step:
        plan = make_plan(self.experiment, [0.3 * highest_pps, 0.6 * highest_pps, highest_pps], seed=1)
        return plan.steps[0]

    def held_above(self, step: Step, *, valid: bool = True) -> list[float]:
        for trial in step.trials:
            self.hold(trial)
        found = []
        for trial in above(cast(Session, self), step):
            self.hold(trial, valid=valid)
            found.append(trial.load.packet_rate_pps)
        return found


def test_a_restart_that_stays_below_its_limit_is_loaded_higher_until_it_meets_it() -> None:
    """Seen in the lab: the levels were found with a dear restart, and the others were at 69 % of a core at the highest
    one. The interval had no upper end then."""
    host = Restart(experiment(), 60_000)
    (once,) = host.held_above(host.step(50_000))
    assert 60_000 <= once <= 1.1 * 60_000
    fast = Restart(experiment(), 75_000)
    found = fast.held_above(fast.step(50_000))
    assert found[-1] > 75_000
    assert len(found) == 2


def test_a_restart_that_met_its_limit_is_not_loaded_higher() -> None:
    host = Restart(experiment(), 49_000)
    assert host.held_above(host.step(50_000)) == []


def test_a_bridge_without_a_limit_is_not_loaded_for_ever() -> None:
    host = Restart(experiment(), 1e6)
    assert len(host.held_above(host.step(50_000))) == MOST_ABOVE
    disturbed = Restart(experiment(), 60_000)
    assert len(disturbed.held_above(disturbed.step(50_000), valid=False)) == MOST_ABOVE


def test_nothing_is_loaded_above_what_the_generator_makes_or_the_experiment_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = Restart(experiment(), 60_000, events=["generator_limited"])
    assert host.held_above(host.step(50_000)) == []
    monkeypatch.setattr("jvbtune.sweep.probe.reachable_pps", lambda entry, mix, at_most_pps: 52_000)
    assert Restart(experiment(), 60_000).held_above(host.step(52_000)) == []
    assert max(Restart(experiment(), 70_000).held_above(host.step(50_000))) <= 52_000
    stated = read_experiment({"name": "x", "load": {"packet_rates_pps": [10_000, 20_000, 30_000]}})
    assert Restart(stated, 60_000).held_above(host.step(30_000)) == []
