"""Somebody's call is on the bridge, the bridge restarts, the drain is undone, the lease is lost: what happens then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import BridgeBusyError, BridgeError, JvbtuneError, TuningError
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.inventory import bridge_arguments
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, open_generator
from jvbtune.load.colibri import Conference
from jvbtune.protocol.tuning import RENEW
from jvbtune.settings.tuning import Tuning
from tests.e2e.hosts import somebody_joins

pytestmark = [pytest.mark.lab, pytest.mark.kernel]

NAME = "net.ipv4.udp_rmem_min"
JOURNAL = Path("/var/lib/jvbtune/journal.json")
LEASE_SECONDS = 4.0


@pytest.fixture
def agent(lab: Lab) -> Iterator[AgentClient]:
    with connect(lab.entry()) as host, AgentClient(host) as agent:
        yield agent


@pytest.fixture
def client(lab: Lab, agent: AgentClient) -> BridgeClient:
    # the first COLIBRI request of a cold JVM takes seconds
    return BridgeClient(agent.host, "127.0.0.1", lab.entry().bridge.http_port, timeout_seconds=60)


@pytest.fixture
def call(client: BridgeClient) -> Iterator[Callable[[], Conference]]:
    """Somebody else's conference with one participant, as Jicofo would make it."""
    made: list[Conference] = []

    def join() -> Conference:
        conference = Conference(client, "5e5b1f1d-6a1c-4d5b-9c1e-000000000001")
        made.append(conference)
        somebody_joins(conference)
        return conference

    yield join
    for conference in made:
        if conference.created:
            conference.expire()


def _tuning(agent: AgentClient, lab: Lab, lease_seconds: float = 30.0) -> Tuning:
    bridge = bridge_arguments(lab.entry())
    return Tuning(agent, owner="test", run_id="calls", lease_seconds=lease_seconds, bridge=bridge, settings=[NAME])


def _revert(lab: Lab) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "jvbtune", "revert", "--host", lab.name, "--inventory", str(lab.inventory)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def test_a_bridge_with_a_call_is_refused_before_anything_is_touched(
    lab: Lab, agent: AgentClient, client: BridgeClient, call: Callable[[], Conference]
) -> None:
    call()
    with pytest.raises(BridgeBusyError, match="1 participant is on the bridge"):
        _tuning(agent, lab).__enter__()
    assert not client.draining()
    assert not JOURNAL.exists()


def test_somebody_joins_between_steps_and_is_never_restarted_away(
    lab: Lab,
    agent: AgentClient,
    client: BridgeClient,
    call: Callable[[], Conference],
    sysctl: Callable[[str], str],
) -> None:
    baseline = sysctl(NAME)
    tuning = _tuning(agent, lab)
    tuning.__enter__()
    pid = tuning.apply({NAME: "8192"}, restart=True).pid
    conference = call()
    with pytest.raises(BridgeBusyError):
        tuning.apply({NAME: "16384"}, restart=True)
    with pytest.raises(TuningError, match="the bridge was not restarted: 1 participant is on the bridge"):
        tuning.__exit__(None, None, None)
    assert (lab.bridge_pid(), client.draining(), sysctl(NAME)) == (pid, True, baseline)
    assert JOURNAL.exists()
    done = _revert(lab)
    assert (done.returncode, lab.bridge_pid()) == (1, pid), done.stderr
    assert "1 participant is on the bridge" in done.stderr
    assert "Traceback" not in done.stderr
    conference.expire()
    done = _revert(lab)
    assert done.returncode == 0, done.stderr
    assert lab.bridge_pid() != pid
    assert not client.draining()
    assert not JOURNAL.exists()


def test_endpoints_of_the_generator_are_no_calls(lab: Lab, agent: AgentClient) -> None:
    with _tuning(agent, lab) as tuning, open_generator(lab.entry(), agent.host) as generator:
        generator.offer(IntendedLoad(1, Mix()), 0.5, settle_seconds=0.2)
        found = tuning.calls()
        assert (found.foreign, found.ours, found.by_name) == (0, 5, True)


def test_a_drain_that_is_undone_is_made_again_and_ends_the_sweep(
    lab: Lab, agent: AgentClient, client: BridgeClient
) -> None:
    lost: list[JvbtuneError] = []
    with _tuning(agent, lab) as tuning:
        tuning.watch(lambda seconds: None, lost.append)
        begun = time.monotonic()
        client.drain(False)
        while not (lost and client.draining()):
            assert time.monotonic() - begun < 4, "not seen within 2 s, and 2 s for a busy machine"
            time.sleep(0.05)
        assert "somebody undid the drain" in lost[0].message
        with pytest.raises(TuningError, match="somebody undid the drain"):
            tuning.apply({NAME: "8192"}, restart=False)
    assert not client.draining()


def test_a_bridge_that_restarts_by_itself_is_drained_again_and_ends_the_sweep(
    lab: Lab, agent: AgentClient, client: BridgeClient, sysctl: Callable[[str], str]
) -> None:
    baseline, lost = sysctl(NAME), []
    with _tuning(agent, lab) as tuning:
        tuning.watch(lambda seconds: None, lost.append)
        tuning.apply({NAME: "8192"}, restart=True)
        pid = lab.bridge_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        while not lost:
            assert time.monotonic() - begun < 4
            time.sleep(0.05)
        assert "the bridge's process ended during the sweep" in lost[0].message
        restart = lab.entry().bridge.control
        assert restart is not None
        subprocess.run(restart.to_json()["commands"]["restart"], check=True, timeout=60, capture_output=True)
        undrained_since = None
        while not (drained := _drain_mode(client)):
            if drained is False:
                undrained_since = undrained_since or time.monotonic()
                assert time.monotonic() - undrained_since < 4, "the new process takes conferences under swept values"
            time.sleep(0.05)
    assert (sysctl(NAME), client.draining()) == (baseline, False)


def test_a_lost_lease_stops_the_load_within_a_second(
    lab: Lab, agent: AgentClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heartbeats no longer arrive while a trial is held."""
    answered = agent.call

    def silent(operation: Any, arguments: Any, timeout_seconds: float = 30.0) -> Any:
        if operation is RENEW and cut.is_set():
            time.sleep(timeout_seconds)
            raise TuningError("no answer")
        return answered(operation, arguments, timeout_seconds)

    cut = threading.Event()
    monkeypatch.setattr(agent, "call", silent)
    tuning = _tuning(agent, lab, LEASE_SECONDS)
    with open_generator(lab.entry(), agent.host, leased=True) as generator, tuning:
        tuning.watch(generator.keep_alive, generator.abort)
        generator.offer(IntendedLoad(1, Mix()), 0.5, settle_seconds=0.2)
        worker = generator.worker_pid
        cut.set()
        begun = time.monotonic()
        with pytest.raises(TuningError, match="the sweep cannot go on"):
            generator.offer(IntendedLoad(1, Mix()), 30.0, settle_seconds=0.2)
        assert time.monotonic() - begun < LEASE_SECONDS + 2
        assert worker is not None
        deadline = time.monotonic() + 1
        while _runs(worker):
            assert time.monotonic() < deadline, "the worker still sends"
            time.sleep(0.02)


def _drain_mode(client: BridgeClient) -> bool | None:
    """None: it does not answer yet."""
    try:
        return client.draining()
    except BridgeError:
        return None


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] not in "ZX"
    except OSError:
        return False
