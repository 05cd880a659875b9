"""A journal and a report that are lost while a sweep is under way: the host is put back from the agent's memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from jvbtune.agent import guard as guards
from jvbtune.agent import tuning
from jvbtune.agent.procfs import boot_id, start_ticks
from jvbtune.protocol import tuning as messages
from jvbtune.protocol.agent import BridgeQuery, Commands, Control
from jvbtune.protocol.messages import Nothing
from tests.agent.simulated_host import BASELINE, SWEPT, Agent, SimulatedHost

NAME = "net.core.rmem_max"


@pytest.fixture
def host() -> Iterator[SimulatedHost]:
    host = SimulatedHost(False)
    with host.in_place():
        yield host
    shutil.rmtree(host.directory)


@pytest.fixture
def agent(host: SimulatedHost) -> Agent:
    """In the middle of a sweep."""
    agent = Agent()
    bridge = BridgeQuery(control=Control(commands=Commands(["true"])))
    tuning.begin(agent, messages.Begin("o", "r", 30.0, bridge, list(SWEPT)))
    tuning.apply(agent, messages.Apply({NAME: SWEPT[NAME][0]}))
    assert host.values[NAME] == SWEPT[NAME][0]
    return agent


def _lose(host: SimulatedHost) -> None:
    for path in host.directory.rglob("*.json"):
        path.unlink()


@pytest.mark.parametrize("full", [False, True])
def test_both_are_lost(full: bool, host: SimulatedHost, agent: Agent) -> None:
    _lose(host)
    host.full = full
    report = tuning.end(agent, Nothing())
    assert host.values == BASELINE
    assert report.restored == {NAME: BASELINE[NAME]}
    assert host.drain is False


def test_what_was_not_put_back_is_not_said_to_be(host: SimulatedHost, agent: Agent) -> None:
    _lose(host)
    host.full = host.read_only = True
    report = tuning.end(agent, Nothing())
    assert not report.complete
    assert report.failed


def test_somebody_else_was_first_and_its_report_is_lost(host: SimulatedHost, agent: Agent) -> None:
    host.full = True  # the report cannot be written; the copy says that it is finished
    tuning.revert(Agent(), messages.Revert(force=True))
    host.full = False
    report = tuning.end(agent, Nothing())
    assert report.complete
    assert report.by is not None
    assert host.values == BASELINE


def test_a_guard_says_why_it_puts_back(host: SimulatedHost, agent: Agent) -> None:
    pid, lease = os.getpid(), guards.Lease(str(host.directory / "no-lease"))

    def guard() -> str | None:
        return guards._watch(guards.Watched(host.journal(), lease, pid, start_ticks(pid) or 0, boot_id()))

    assert guard() == "the guard: the lease ended"
    host.read_only = True
    assert not tuning.end(agent, Nothing()).complete
    assert guard() == "the guard: the agent had left something"
    host.read_only = False
    tuning.revert(Agent(), messages.Revert(force=True))
    assert guard() is None
