"""A journal and a report that are lost while a sweep is under way: the host is put back from the agent's memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvbtune.agent import guard as guards
from jvbtune.agent import tuning
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.procfs import boot_id, start_ticks
from jvbtune.protocol import tuning as messages
from jvbtune.protocol.agent import BridgeQuery, Commands, Control
from jvbtune.protocol.messages import Nothing
from tests.agent.simulated_host import BASELINE, SWEPT, Agent, SimulatedHost

NAME = "net.core.rmem_max"
BRIDGE = BridgeQuery(control=Control(commands=Commands(["true"])))


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
    tuning.begin(agent, messages.Begin("o", "r", 30.0, BRIDGE, list(SWEPT)))
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


def test_an_agent_that_lost_its_host_leaves_the_next_sweep_alone(host: SimulatedHost, agent: Agent) -> None:
    """Its link was cut without a word: it lives on for minutes after the guard has put the host back."""
    tuning.revert(Agent(), messages.Revert(force=True))
    second = Agent()
    tuning.begin(second, messages.Begin("o2", "r2", 30.0, BRIDGE, list(SWEPT)))
    tuning.apply(second, messages.Apply({NAME: SWEPT[NAME][0]}))
    with pytest.raises(AgentFault, match="put back already"):
        tuning.apply(agent, messages.Apply({NAME: SWEPT[NAME][1]}))
    report = tuning.end(agent, Nothing())
    assert report.complete
    assert host.values[NAME] == SWEPT[NAME][0], "of the second sweep"
    assert host.drain is True
    found = tuning.status(Agent(), Nothing())
    assert found.journal is not None
    assert (found.journal.run_id, found.journal.owner) == ("r2", "o2")
    tuning.apply(second, messages.Apply({NAME: SWEPT[NAME][1]}))
    assert tuning.end(second, Nothing()).restored == {NAME: BASELINE[NAME]}
    assert host.values == BASELINE
    assert host.wrong == []


def test_a_sweep_that_came_and_went_says_that_the_one_before_is_finished(host: SimulatedHost, agent: Agent) -> None:
    """Its report is overwritten by then: nothing is put back for it once more, and the bridge is not drained."""
    tuning.revert(Agent(), messages.Revert(force=True))
    second = Agent()
    tuning.begin(second, messages.Begin("o2", "r2", 30.0, BRIDGE, list(SWEPT)))
    tuning.end(second, Nothing())
    process = host.process
    report = tuning.end(agent, Nothing())
    assert report.complete
    assert not host.journal().exists()
    assert (host.drain, host.process) == (False, process)


def test_a_guard_leaves_the_journal_of_a_later_sweep_alone(host: SimulatedHost, agent: Agent) -> None:
    pid, started = os.getpid(), start_ticks(os.getpid()) or 0
    lease = guards.Lease(str(host.directory / "no-lease"), (pid, started))
    watched = guards.Watched(host.journal(), lease, pid, started, boot_id())
    assert watched.pending()
    strange = guards.Watched(host.journal(), lease, pid, started - 1, boot_id())
    assert not strange.pending(), "a guard of an agent that did not begin it"
    tuning.revert(Agent(), messages.Revert(force=True))
    second = Agent()
    tuning.begin(second, messages.Begin("o2", "r2", 30.0, BRIDGE, list(SWEPT)))
    tuning.apply(second, messages.Apply({NAME: SWEPT[NAME][0]}))
    assert not watched.pending()
    assert guards._watch(watched) is None
    assert guards._put_back(watched, "the guard: too late") == {}
    assert host.values[NAME] == SWEPT[NAME][0]
    guards._once(guards.Watched(host.journal(), lease, pid, started - 1, boot_id()))
    assert host.values[NAME] == SWEPT[NAME][0], "nor does a timer"
    tuning.end(second, Nothing())


def test_a_lease_is_its_owners(tmp_path: Path) -> None:
    path = str(tmp_path / "lease")
    mine, other, anybody = guards.Lease(path, (7, 70)), guards.Lease(path, (7, 71)), guards.Lease(path)
    assert mine.remaining() == anybody.remaining() == 0
    mine.end()
    mine.renew(30)
    assert mine.remaining() > 20
    assert anybody.remaining() > 20
    assert other.remaining() == 0
    other.end()
    assert mine.remaining() > 20, "another one's is not taken away"
    anybody.end()
    assert mine.remaining() == 0
