"""A controller that falls silent between the drain and the undrain: the agent ends as at the end of its input."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvbtune.protocol import deploy as messages
from jvbtune.protocol.messages import Nothing, Refused
from tests.agent.deploy_host import FOUND, JVB_CONF, AgentProcess, DeployHost

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: settings are changed by root only")

LEASE_SECONDS = 1.2
SAID = "no request came for 1.2 s, so what was begun is taken back\n"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[DeployHost]:
    host = DeployHost(tmp_path)
    yield host
    host.bridge.close()


@pytest.mark.parametrize("written", [False, True])
def test_silence_before_the_undrain_takes_everything_back(host: DeployHost, written: bool) -> None:
    before = host.files()
    with AgentProcess(host, LEASE_SECONDS) as agent:
        agent.begin()
        if written:
            agent.call(messages.WRITE, Nothing())
            assert host.files() != before
        assert agent.last_words() == SAID
    assert (host.files(), host.value(), host.bridge.drain) == (before, FOUND, False)
    assert host.bridge.under == (JVB_CONF, FOUND)
    assert host.places.generations.latest() is None


def test_silence_while_a_rollback_waits_for_calls_undoes_its_drain(host: DeployHost) -> None:
    host.apply()
    new = host.files()
    with AgentProcess(host, LEASE_SECONDS) as agent:
        agent.call(messages.PREPARE_ROLLBACK, messages.OfRollback(host.query, "a test"))
        assert host.bridge.drain
        assert agent.last_words() == SAID
    latest = host.places.generations.latest()
    assert latest is not None
    assert (host.files(), host.bridge.drain, latest["state"]) == (new, False, "applied")
    assert "rollback_drain_found" not in latest


def test_silence_after_a_rollback_that_failed_half_way_goes_on_with_it(host: DeployHost) -> None:
    """Also on a bridge that its operator had drained before, which stays drained."""
    before = host.files()
    host.apply()
    host.bridge.drain, host.bridge.restarts_work = True, False
    asked = messages.OfRollback(host.query, "a test")
    with AgentProcess(host, LEASE_SECONDS) as agent:
        agent.call(messages.PREPARE_ROLLBACK, asked)
        with pytest.raises(Refused):
            agent.call(messages.ROLLBACK, asked)
        latest = host.places.generations.latest()
        assert latest is not None
        assert latest["state"] == "restoring"
        host.bridge.restarts_work = True
        assert agent.last_words() == SAID
    assert (host.files(), host.bridge.drain, host.places.generations.latest()) == (before, True, None)
    assert host.bridge.under == (JVB_CONF, FOUND)


def test_a_controller_that_asks_who_is_on_the_bridge_is_heard(host: DeployHost) -> None:
    """And after the undrain nobody has to be: the new state stays, and nobody is kept out of the bridge."""
    with AgentProcess(host, LEASE_SECONDS) as agent:
        agent.begin()
        agent.is_asked_for(3 * LEASE_SECONDS, LEASE_SECONDS / 4)
        assert host.bridge.drain
        agent.call(messages.WRITE, Nothing())
        agent.call(messages.RELEASE, Nothing())
        time.sleep(2 * LEASE_SECONDS)
        assert agent.process.poll() is None
        agent.call(messages.CONFIRM, Nothing())
    assert not host.bridge.drain


def test_a_request_that_takes_longer_than_the_lease_is_no_silence(host: DeployHost) -> None:
    with AgentProcess(host, LEASE_SECONDS) as agent:
        agent.begin()
        begun = time.monotonic()
        agent.write_while_unhealthy(2.5 * LEASE_SECONDS)
        assert time.monotonic() - begun > 2 * LEASE_SECONDS
        agent.call(messages.RELEASE, Nothing())
    assert host.value() != FOUND
