"""An agent of an apply that is stopped, or hangs: its guard hears nothing of it, kills it, and does its work."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import jvbtune
from jvbtune.protocol import deploy as messages
from jvbtune.protocol import tuning
from jvbtune.protocol.agent import OfBridge
from jvbtune.protocol.messages import Nothing
from tests.agent.deploy_host import FOUND, JVB_CONF, WANTED_VALUE, AgentProcess, DeployHost

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: settings are changed by root only")

LEASE_SECONDS = 1.2
#: The agent's archive: agent and guard are the real ones, but for their places.
ARCHIVE = f"""
import sys
sys.path.insert(0, {str(Path(jvbtune.__file__).parents[1])!r})
from jvbtune.agent import deploy, deployguard, guarded, rundir
from jvbtune.agent.deployplan import Places
from jvbtune.agent.main import Agent
*places, directory = PLACES
for module in (deploy, guarded, rundir):
    module.DIRECTORY = directory
deployguard.Places = lambda: Places(*places)
if sys.argv[1:2] == ["deployguard"]:
    sys.exit(deployguard.main(sys.argv[2:]))
agent = Agent()
agent.state["deploy_places"] = Places(*places, lease_seconds={LEASE_SECONDS})
sys.exit(agent.run())
"""


class GuardedHost(DeployHost):
    def agent_argv(self, lease_seconds: float = LEASE_SECONDS) -> list[str]:
        (self.directory / "run").mkdir(exist_ok=True)
        places = [self.places.sysctl_root, self.places.drop_in, self.places.state, str(self.directory / "run")]
        archive = self.directory / "agent.py"
        archive.write_text(ARCHIVE.replace("PLACES", repr(places)))
        return [sys.executable, "-B", str(archive)]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GuardedHost]:
    host = GuardedHost(tmp_path)
    yield host
    host.bridge.close()


def _begin(host: GuardedHost, agent: AgentProcess) -> None:
    planned = agent.call(messages.PLAN, host.wanted)
    agent.call(messages.BEGIN, messages.Begin(host.wanted, "a test", planned.seen))
    assert host.bridge.drain


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("written", [False, True])
def test_an_agent_that_is_stopped_keeps_no_bridge_drained(host: GuardedHost, written: bool) -> None:
    before = host.files()
    with AgentProcess(host, LEASE_SECONDS) as agent:
        _begin(host, agent)
        if written:
            agent.call(messages.WRITE, Nothing())
            assert host.value() == WANTED_VALUE
        agent.process.send_signal(signal.SIGSTOP)
        _until(lambda: not host.bridge.drain)
        assert agent.process.wait(10) == -signal.SIGKILL, "it would go on behind the guard"
        _until(lambda: host.places.generations.latest() is None)
    assert (host.files(), host.value(), host.bridge.under) == (before, FOUND, (JVB_CONF, FOUND))


def test_an_agent_that_restarts_a_bridge_for_long_is_heard(host: GuardedHost) -> None:
    with AgentProcess(host, LEASE_SECONDS) as agent:
        _begin(host, agent)
        until = time.monotonic() + 3 * LEASE_SECONDS
        while time.monotonic() < until:
            agent.call(tuning.CALLS, OfBridge(host.query))
            time.sleep(LEASE_SECONDS / 4)
        host.bridge.health = 503

        def recover() -> None:
            host.bridge.health = 200

        later = threading.Timer(2.5 * LEASE_SECONDS, recover)
        later.start()
        agent.call(messages.WRITE, Nothing())
        agent.call(messages.RELEASE, Nothing())
        later.join()
        assert (host.value(), host.bridge.drain) == (WANTED_VALUE, False)
        time.sleep(2 * LEASE_SECONDS)
        assert agent.process.poll() is None
        agent.call(messages.CONFIRM, Nothing())
    latest = host.places.generations.latest()
    assert latest is not None
    assert latest["state"] == "applied"
