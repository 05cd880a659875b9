"""However a capture ends, nothing stays at work in the JVM, and no file stays on its host."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jvbtune.capture import Request, capture
from jvbtune.errors import CaptureError, JvbtuneError
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.hosts.base import Host
from jvbtune.hosts.local import LocalHost
from jvbtune.hosts.ssh import SshHost
from jvbtune.protocol.agent import BridgeQuery, OfBridge
from jvbtune.protocol.capture import PROBE
from tests.capture.conftest import NOBODY, Jvm, StartJvm, Take, take_with, until
from tests.sshd import run_sshd

pytestmark = pytest.mark.jvm


class Running:
    """A capture under way in a thread, past its start."""

    def __init__(self, jvm: Jvm, directory: Path, host: Host | None = None, **options: object) -> None:
        self.host = host or LocalHost()
        self.agent = AgentClient(self.host)
        self.agent_pid = self.agent.capabilities.pid
        self.outcome: queue.Queue[BaseException | None] = queue.Queue()
        self._jvm, self._directory, self._options = jvm, directory, options
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        try:
            take_with(self.agent, self._jvm, self._directory, **{"slice_seconds": 60.0, "slices": 1, **self._options})
        except BaseException as error:
            self.outcome.put(error)
        else:
            self.outcome.put(None)

    def helpers(self) -> list[int]:
        found = []
        for path in Path(f"/proc/{self.agent_pid}/task").glob("*/children"):
            found += [int(pid) for pid in path.read_text().split()]
        return found

    def close(self) -> None:
        self.agent.close()
        self._thread.join(10)


@pytest.fixture
def running(start_jvm: StartJvm, tmp_path: Path) -> Iterator[Callable[..., tuple[Jvm, Running]]]:
    opened: list[Running] = []

    def start(uid: int = NOBODY, **options: object) -> tuple[Jvm, Running]:
        jvm = start_jvm(uid=uid)
        opened.append(Running(jvm, tmp_path / "captures", **options))
        _begun(jvm, opened[-1])
        return jvm, opened[-1]

    yield start
    for one in opened:
        one.close()


def _begun(jvm: Jvm, capture_: Running) -> None:
    """Until the profiler is at work."""
    deadline = time.monotonic() + 30
    while jvm.perf_descriptors() == 0:
        assert capture_.outcome.empty(), capture_.outcome.get()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_cut_link_ends_it(running: Callable[..., tuple[Jvm, Running]]) -> None:
    jvm, capture_ = running()
    capture_.agent._stream.close()
    until(jvm.untouched, 15)
    assert isinstance(capture_.outcome.get(timeout=10), JvbtuneError)
    assert jvm.alive()


def test_an_ssh_session_that_breaks_off_ends_it(start_jvm: StartJvm, tmp_path: Path) -> None:
    jvm = start_jvm(uid=NOBODY)
    with run_sshd(tmp_path / "sshd") as server:
        host = SshHost.connect("target", "target", config=server.client_config)
        capture_ = Running(jvm, tmp_path / "captures", host=host)
        _begun(jvm, capture_)
        for pid in server.sessions():
            os.kill(pid, signal.SIGKILL)
        until(jvm.untouched, 15)
        assert isinstance(capture_.outcome.get(timeout=15), JvbtuneError)
        capture_.close()
        host.close()
    assert jvm.alive()


def test_a_killed_agent_ends_it(running: Callable[..., tuple[Jvm, Running]]) -> None:
    jvm, capture_ = running()
    os.kill(capture_.agent_pid, signal.SIGKILL)
    until(jvm.untouched, 15)
    assert isinstance(capture_.outcome.get(timeout=10), JvbtuneError)
    assert jvm.alive()


def test_agent_and_helper_killed_at_once_it_ends_by_its_own_time_out_and_the_next_one_tidies_up(
    running: Callable[..., tuple[Jvm, Running]], tmp_path: Path
) -> None:
    jvm, capture_ = running(slice_seconds=2.0)
    for pid in [*capture_.helpers(), capture_.agent_pid]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: jvm.perf_descriptors() == 0, 12)
    assert jvm.leftovers() != []
    with LocalHost() as host, AgentClient(host) as agent:
        agent.call(PROBE, OfBridge(jvm.bridge))
        assert jvm.leftovers() == []
        (document,) = take_with(agent, jvm, tmp_path, slices=1)
    assert "Spin.main" in document["stacks"]


@pytest.mark.perf
def test_perf_is_not_left_running_by_a_killed_agent(start_jvm: StartJvm, tmp_path: Path) -> None:
    jvm = start_jvm()
    capture_ = Running(jvm, tmp_path, engine="perf")
    perf: list[int] = []

    def started() -> bool:
        perf[:] = [pid for pid in capture_.helpers() if Path(f"/proc/{pid}/comm").read_text().strip() == "perf"]
        return bool(perf)

    until(started, 10)
    os.kill(capture_.agent_pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{perf[0]}").exists(), 8)
    capture_.close()
    until(jvm.untouched, 10)


def test_a_jvm_that_dies_meanwhile_is_told(running: Callable[..., tuple[Jvm, Running]], tmp_path: Path) -> None:
    jvm, capture_ = running()
    os.kill(jvm.pid, signal.SIGKILL)
    outcome = capture_.outcome.get(timeout=15)
    assert isinstance(outcome, CaptureError)
    assert "ended during the capture" in outcome.message
    assert {str(path) for path in Path("/tmp").glob(".jvbtune-*")} <= {f"/{name}" for name in jvm.found}
    assert not list((tmp_path / "captures").glob("*"))
    assert capture_.agent.alive


def test_a_jvm_that_is_not_there_is_told(take: Take, tmp_path: Path, agent: AgentClient) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text("999999")
    with pytest.raises(JvbtuneError, match="999999, which is not running"):
        capture(agent, Request(), tmp_path, host="x", bridge=BridgeQuery(pid_file=str(pid_file)))
