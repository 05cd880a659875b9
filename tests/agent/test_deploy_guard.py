"""An agent of an apply that is stopped, or hangs: its guard hears nothing of it, kills it, and does its work."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import jvbtune
from jvbtune.protocol import deploy as messages
from jvbtune.protocol.messages import Nothing
from tests.agent.deploy_host import FOUND, JVB_CONF, WANTED_VALUE, AgentProcess, DeployHost, until

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


@pytest.mark.parametrize("written", [False, True])
def test_an_agent_that_is_stopped_keeps_no_bridge_drained(host: GuardedHost, written: bool) -> None:
    before = host.files()
    with AgentProcess(host, LEASE_SECONDS) as agent:
        agent.begin()
        if written:
            agent.call(messages.WRITE, Nothing())
            assert host.value() == WANTED_VALUE
        agent.process.send_signal(signal.SIGSTOP)
        until(lambda: not host.bridge.drain)
        assert agent.process.wait(10) == -signal.SIGKILL, "it would go on behind the guard"
        until(lambda: host.places.generations.latest() is None)
    assert (host.files(), host.value(), host.bridge.under) == (before, FOUND, (JVB_CONF, FOUND))


def test_an_agent_that_restarts_a_bridge_for_long_is_heard(host: GuardedHost) -> None:
    with AgentProcess(host, LEASE_SECONDS) as agent:
        agent.begin()
        agent.is_asked_for(3 * LEASE_SECONDS, LEASE_SECONDS / 4)
        agent.write_while_unhealthy(2.5 * LEASE_SECONDS)
        agent.call(messages.RELEASE, Nothing())
        assert (host.value(), host.bridge.drain) == (WANTED_VALUE, False)
        time.sleep(2 * LEASE_SECONDS)
        assert agent.process.poll() is None
        agent.call(messages.CONFIRM, Nothing())
    latest = host.places.generations.latest()
    assert latest is not None
    assert latest["state"] == "applied"
