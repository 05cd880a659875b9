"""How a search leads a session, by a clock of its own: what its time is for, and what comes of restarts it ends in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from jvbtune.capacity import run
from jvbtune.capacity.goals import goals
from jvbtune.capacity.result import Search, brackets_from_json, conclude
from jvbtune.capacity.run import Wanted
from jvbtune.fit import Limits
from jvbtune.fit.simulator import Disturbance, SimulatedHost
from jvbtune.fit.simulator.measure import SimulatedBridge
from jvbtune.load.base import IntendedLoad
from jvbtune.sweep.experiment import LimitsSection, MixSection
from jvbtune.sweep.plan import Step, Trial
from jvbtune.sweep.session import Options, Session

WANTED = goals(Limits())


class Timed:
    """A session with a simulated bridge, of which only the clock is real."""

    def __init__(self, warm_up_seconds: float, overhead_seconds: float = 3.0) -> None:
        self.entry, self.generator = None, SimpleNamespace(stop=lambda: None)
        self.bridge = SimulatedBridge(SimulatedHost(), Disturbance(), 1, overhead_seconds=overhead_seconds)
        self.bridge.restart_seconds = warm_up_seconds
        self.events: list[tuple[str, dict[str, Any]]] = []

    def monotonic(self) -> float:
        return self.bridge.clock_seconds

    def warm_up(self, load: IntendedLoad) -> None:
        self.bridge.restart()  # it is as long as that of a restart

    def begin_step(self, step: Step) -> None:
        self.bridge.restart()

    def hold(self, step: Step, trial: Trial, order: int, expected: int | None) -> SimpleNamespace:
        row = self.bridge.hold(trial.load.packet_rate_pps, trial.duration_seconds)
        return SimpleNamespace(row=row | {"valid": True, "invalid_because": []})

    def record(self, event: str, **data: Any) -> None:
        self.events.append((event, data))

    def refuse_live_calls(self) -> None:
        pass

    def observe(self, event: str, data: Any) -> None:
        pass

    def finish(self, measured: Any) -> None:
        pass


def search(timed: Timed, monkeypatch: pytest.MonkeyPatch, **wanted: Any) -> Search:
    monkeypatch.setattr(run, "time", timed)
    monkeypatch.setattr(run, "reachable_pps", lambda entry, mix, most: most)
    leader = run._Leader(Wanted(LimitsSection(), MixSection(), **wanted))
    leader.lead(cast(Session, timed), cast(Options, None), 0)
    found = [
        brackets_from_json(data["brackets"], WANTED) for event, data in timed.events if event == "restart_searched"
    ]
    (ended,) = [data for event, data in timed.events if event == "search_ended"]
    return conclude(WANTED, found, minutes=ended["minutes"], width=0.03, given_up=ended["given_up"])


def test_by_default_every_restart_of_a_slow_host_is_searched_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    found = search(Timed(warm_up_seconds=45.0), monkeypatch)
    assert found.max_packet_rate is not None, found.reasons
    assert (found.max_packet_rate.state, found.restarts, found.unfinished) == ("found", 5, 0)
    assert found.minutes <= 17


def test_three_restarts_that_were_searched_to_the_end_are_a_figure_where_others_ran_out_of_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = search(Timed(warm_up_seconds=45.0), monkeypatch, minutes=10.0)
    assert found.max_packet_rate is not None, found.reasons
    assert (found.max_packet_rate.state, found.restarts) == ("found", 5)
    assert 0 < found.unfinished <= 2
    assert len(found.max_packet_rate.brackets_pps) == 5
