"""What a session keeps from one trial to the next: the host's clock is matched again, and clocks compared by load."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jvbtune.hosts.agent_client import AgentClient
from jvbtune.load.base import IntendedLoad, Mix, Offered
from jvbtune.protocol import agent as protocol
from jvbtune.protocol.codec import build
from jvbtune.protocol.messages import Operation
from jvbtune.protocol.samples import Sample
from jvbtune.sweep.experiment import BASELINE
from jvbtune.sweep.plan import Step, Trial
from jvbtune.sweep.session import Samples, Session
from jvbtune.sweep.trial import Measured
from jvbtune.trials.judge import Why
from tests.load.offers import went_well

SECONDS = 10
LOW, HIGH = IntendedLoad(2, Mix()), IntendedLoad(8, Mix())
VALUES = SimpleNamespace(values={})


@dataclass
class Host:
    """An agent, and a generator whose window is over at once: its samples are there, of the host's clock."""

    ahead_seconds: float = 0.0  #: of the controller's clock
    steps_seconds: float = 0.0  #: in the middle of the next window
    cpu_mhz: float = 2800.0
    events: queue.Queue[Any] = field(default_factory=queue.Queue)
    second: int = 0

    clock_offset_seconds = 0.0
    clock_uncertainty_seconds = float("inf")
    capabilities = SimpleNamespace(boot_id="another machine's")
    measure_clock = AgentClient.measure_clock

    def call(self, operation: Operation[Any, Any], arguments: Any, timeout_seconds: float = 30.0) -> Any:
        assert operation is protocol.CLOCK
        return protocol.Clock(time.time() + self.ahead_seconds, 0.0)

    def offer(self, load: IntendedLoad, seconds: float, **how: Any) -> Offered:
        started = time.time()
        for at in range(-2, SECONDS + 2):
            if at == SECONDS // 2:
                self.ahead_seconds, self.steps_seconds = self.ahead_seconds + self.steps_seconds, 0.0
            self.events.put(self._sample(started + self.ahead_seconds + at + 0.5))
        return went_well(load, seconds, started_unix=started)

    def _sample(self, unix: float) -> Sample:
        self.second += 1
        of_bridge = {"pid": 7, "start_ticks": 9, "cpu_user_s": 0.5 * self.second, "cpu_sys_s": 0.0, "cpus": [0]}
        bridge = {**of_bridge, "cpu_mhz": self.cpu_mhz}
        cores = [{"cpu": 0, "user_s": 0.5 * self.second, "idle_s": 0.5 * self.second}]
        return build(Sample, {"t_unix": unix, "t_mono": float(self.second), "bridge": bridge, "cores": cores})


def opened(host: Host) -> Session:
    poller = SimpleNamespace(queues_now=None, between=lambda begun, ended: [], forget_before=lambda begun: None)
    return Session(
        entry=cast(Any, SimpleNamespace(name="h")),
        experiment=cast(Any, SimpleNamespace(touched_settings=dict)),
        agent=cast(Any, host),
        bridge=cast(Any, None),
        generator=cast(Any, host),
        tuning=cast(Any, SimpleNamespace(verify=lambda: VALUES, baseline={})),
        poller=cast(Any, poller),
        samples=Samples(host.events),
        writer=cast(Any, SimpleNamespace(run=SimpleNamespace(id="r"))),
        observe=lambda event, data: None,
        cores=1.0,
    )


def measured(session: Session, load: IntendedLoad) -> Measured:
    trial = Trial("t", "steady", load, float(SECONDS), 0)
    return session._measure(Step(0, BASELINE, {}, True, (trial,)), trial, 0, None, 0.0, float(SECONDS))


@pytest.mark.parametrize("by_seconds", [2.0, 30.0, -30.0, -5.0])
def test_a_clock_that_is_stepped_between_two_trials_moves_no_window(by_seconds: float) -> None:
    host = Host(ahead_seconds=100.0)
    session = opened(host)
    measured(session, LOW)
    host.ahead_seconds += by_seconds
    second = measured(session, LOW)
    assert second.row["clock_offset_seconds"] == pytest.approx(100.0 + by_seconds, abs=0.1)
    assert second.row["sampled_seconds"] == SECONDS - 1  # its own samples, all of them, and none of the first trial
    assert second.row["cpu_cores"] == pytest.approx(0.5)
    assert not second.because_of(Why.CLOCK)


@pytest.mark.parametrize("by_seconds", [2.0, -2.0])
def test_a_trial_in_which_the_clock_is_stepped_is_not_used(by_seconds: float) -> None:
    host = Host(steps_seconds=by_seconds)
    session = opened(host)
    assert measured(session, LOW).because_of(Why.CLOCK)
    assert not measured(session, LOW).because_of(Why.CLOCK)


def test_a_clock_that_follows_the_load_is_compared_at_equal_load() -> None:
    host = Host()
    session = opened(host)
    for _ in range(4):
        for load, mhz in ((LOW, 1200.0), (HIGH, 2800.0)):
            host.cpu_mhz = mhz
            assert not measured(session, load).because_of(Why.FREQUENCY), (load, mhz)
    host.cpu_mhz = 2200.0
    assert measured(session, HIGH).because_of(Why.FREQUENCY)
