"""Whoever dies in the middle of a step, the host is put back within the lease. All of it is real: sshd, JVM, kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jvbtune.agent.procfs import start_ticks
from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import TuningError
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.hosts.local import LocalHost
from jvbtune.inventory import bridge_arguments
from jvbtune.lab import Lab
from jvbtune.lab.processes import children
from jvbtune.settings.tuning import Tuning
from jvbtune.store import open_run

pytestmark = [pytest.mark.lab, pytest.mark.kernel]

NAME = "net.ipv4.udp_rmem_min"
LEASE_SECONDS = 4.0
JOURNAL = Path("/var/lib/jvbtune/journal.json")

#: A controller of its own: begins, applies, says so, and waits to be killed.
CONTROLLER = f"""
import sys, time
from pathlib import Path
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.inventory import load_inventory
from jvbtune.settings.tuning import Tuning
from jvbtune.store import open_run
from jvbtune.inventory import bridge_arguments
entry = load_inventory(Path(sys.argv[1])).host(sys.argv[2])
with connect(entry) as host, AgentClient(host) as agent:
    with Tuning(agent, owner="test", run_id="kill", lease_seconds={LEASE_SECONDS}, bridge=bridge_arguments(entry),
                settings=["{NAME}", "net.core.netdev_budget"]) as tuning:
        tuning.apply({{"{NAME}": 8192, "net.core.netdev_budget": 301}}, restart=False)
        print(agent.capabilities.pid, tuning.begun.guard_pid, flush=True)
        time.sleep(60)
"""


class Controller:
    """The controller in the middle of a step."""

    def __init__(self, lab: Lab) -> None:
        argv = [sys.executable, "-c", CONTROLLER, str(lab.inventory), lab.name]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout is not None
        said = self.process.stdout.readline().split()
        if len(said) != 2:
            _, error = self.process.communicate(timeout=20)
            raise AssertionError(error.decode())
        self.agent, self.guard = int(said[0]), int(said[1])

    def end(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=20)


@pytest.fixture
def controller(lab: Lab, sysctl: Callable[[str], str]) -> Iterator[Controller]:
    running = Controller(lab)
    assert sysctl(NAME) == "8192"
    assert JOURNAL.exists()
    yield running
    running.end()


def _wait_until_put_back(sysctl: Callable[[str], str], baseline: str, seconds: float) -> float:
    begun = time.monotonic()
    while JOURNAL.exists() or sysctl(NAME) != baseline:
        assert time.monotonic() - begun < seconds, f"{NAME} is {sysctl(NAME)}; journal: {JOURNAL.exists()}"
        time.sleep(0.05)
    return time.monotonic() - begun


def _draining(lab: Lab) -> bool:
    entry = lab.entry()
    with connect(entry) as host:
        return BridgeClient(host, "127.0.0.1", entry.bridge.http_port).draining()


BASELINE = Path("/proc/sys/net/ipv4/udp_rmem_min").read_text().strip()


def test_the_controller_is_killed(controller: Controller, lab: Lab, sysctl: Callable[[str], str]) -> None:
    assert _draining(lab)
    controller.process.kill()
    _wait_until_put_back(sysctl, BASELINE, LEASE_SECONDS + 2)
    assert not _draining(lab)


def test_the_agent_is_killed(controller: Controller, lab: Lab, sysctl: Callable[[str], str]) -> None:
    os.kill(controller.agent, signal.SIGKILL)
    _wait_until_put_back(sysctl, BASELINE, LEASE_SECONDS + 2)
    assert not _draining(lab)


def test_the_agent_is_stopped(controller: Controller, lab: Lab, sysctl: Callable[[str], str]) -> None:
    os.kill(controller.agent, signal.SIGSTOP)
    try:
        _wait_until_put_back(sysctl, BASELINE, LEASE_SECONDS + 6)
        assert not _draining(lab)
    finally:
        if start_ticks(controller.agent) is not None:
            os.kill(controller.agent, signal.SIGCONT)


def test_an_agent_that_comes_to_again_leaves_the_next_sweep_alone(
    controller: Controller, lab: Lab, sysctl: Callable[[str], str]
) -> None:
    """As behind a link that was cut without a word: its guard has put the host back, and somebody else has begun."""
    os.kill(controller.agent, signal.SIGSTOP)
    _wait_until_put_back(sysctl, BASELINE, LEASE_SECONDS + 6)
    second = Controller(lab)
    try:
        os.kill(controller.agent, signal.SIGCONT)
        time.sleep(2)  # its watches look several times a second
        controller.end()  # the end of its input
        deadline = time.monotonic() + 20
        while start_ticks(controller.agent) is not None:
            assert time.monotonic() < deadline, "the first agent does not end"
            time.sleep(0.05)
        time.sleep(1)
        assert sysctl(NAME) == "8192", "of the second sweep"
        assert json.loads(JOURNAL.read_text())["agent"]["pid"] == second.agent
        assert _draining(lab)
        assert _is_guard(second.guard)
    finally:
        if start_ticks(controller.agent) is not None:
            os.kill(controller.agent, signal.SIGCONT)
        second.end()
    _wait_until_put_back(sysctl, BASELINE, LEASE_SECONDS + 2)
    assert not _draining(lab)


def test_a_controller_does_not_wait_for_an_agent_that_is_silent(lab: Lab, sysctl: Callable[[str], str]) -> None:
    """For minutes, while the host was put back long ago: it says so, and how to look."""
    stopped: list[int] = []

    def lose() -> None:
        with connect(lab.entry()) as host, AgentClient(host) as agent, _tuning(agent, lab) as tuning:
            tuning.apply({NAME: 8192}, restart=False)
            stopped.append(agent.capabilities.pid)
            os.kill(stopped[0], signal.SIGSTOP)
            while tuning.lost is None:
                time.sleep(0.05)

    begun = time.monotonic()
    try:
        with pytest.raises(TuningError, match="was not answered within") as raised:
            lose()
        assert "The guard on the host puts it back by itself" in (raised.value.hint or "")
        assert time.monotonic() - begun < 90
        _wait_until_put_back(sysctl, BASELINE, LEASE_SECONDS + 6)
    finally:
        if start_ticks(stopped[0]) is not None:
            os.kill(stopped[0], signal.SIGKILL)
    assert not _draining(lab)


def test_the_guard_is_killed_and_replaced(controller: Controller, sysctl: Callable[[str], str]) -> None:
    os.kill(controller.guard, signal.SIGKILL)
    deadline = time.monotonic() + 5
    successor = None
    while successor is None:
        assert time.monotonic() < deadline, "no new guard was started"
        guards = [pid for pid in children(controller.agent) if pid != controller.guard and _is_guard(pid)]
        successor = guards[0] if guards else None
        time.sleep(0.05)
    assert sysctl(NAME) == "8192"  # the sweep goes on
    os.kill(controller.agent, signal.SIGKILL)
    _wait_until_put_back(sysctl, BASELINE, LEASE_SECONDS + 2)


def _is_guard(pid: int) -> bool:
    try:
        return b"guard" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def test_the_ssh_server_is_killed(lab_root: Path, sysctl: Callable[[str], str]) -> None:
    with Lab.up("sshd-killed") as own:
        controller = Controller(own)
        try:
            listener = own.state["sshd"][0][0]
            for pid in [*_below(listener), listener]:
                name = Path(f"/proc/{pid}/comm")
                if name.exists() and name.read_text().startswith("sshd"):
                    os.kill(pid, signal.SIGKILL)
            _wait_until_put_back(sysctl, BASELINE, LEASE_SECONDS + 2)
        finally:
            controller.end()


def test_a_host_that_somebody_works_on_is_taken_and_nothing_is_left_over(controller: Controller, lab: Lab) -> None:
    """Of the lock that a sweep, a search and a ``load`` hold while they live."""
    load = ("load", "--packet-rate", "200", "--duration", "2")
    for arguments in (load, ("revert",), ("sweep", "--dry-run")):
        argv = [sys.executable, "-m", "jvbtune", *arguments, "--host", lab.name, "--inventory", str(lab.inventory)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 1, said
        assert "is taken by test (run kill" in said
        assert "not put back" not in said
        assert "--force" not in said
    assert start_ticks(controller.agent)


def _below(pid: int) -> list[int]:
    return [found for child in children(pid) for found in (child, *_below(child))]


def test_agent_and_guard_killed_at_once_leave_a_journal_that_revert_follows(
    controller: Controller, lab: Lab, sysctl: Callable[[str], str]
) -> None:
    os.kill(controller.agent, signal.SIGSTOP)  # so that it cannot start another guard in between
    os.kill(controller.guard, signal.SIGKILL)
    os.kill(controller.agent, signal.SIGKILL)
    controller.end()
    time.sleep(LEASE_SECONDS + 0.5)
    assert sysctl(NAME) == "8192"
    with connect(lab.entry()) as host, AgentClient(host) as agent:
        assert agent.capabilities.leftover_journal is not None
        assert agent.capabilities.leftover_journal.owner == "test"
        tuning = _tuning(agent, lab)
        with pytest.raises(TuningError, match="not put back: test"):
            tuning.__enter__()
    check = _revert(lab, "--check", "--json")
    assert check.returncode == 3
    assert json.loads(check.stdout)["written"][NAME] == ["8192"]
    done = _revert(lab)
    assert done.returncode == 0, done.stderr
    assert sysctl(NAME) == BASELINE
    assert not JOURNAL.exists()
    assert not _draining(lab)
    assert _revert(lab, "--check").returncode == 0


def _revert(lab: Lab, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "jvbtune", "revert", "--host", lab.name, "--inventory", str(lab.inventory), *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def _tuning(agent: AgentClient, lab: Lab, settings: tuple[str, ...] = (NAME,)) -> Tuning:
    return Tuning(
        agent,
        owner="somebody",
        run_id="second",
        lease_seconds=LEASE_SECONDS,
        bridge=bridge_arguments(lab.entry()),
        settings=list(settings),
    )


def test_what_somebody_else_changed_is_reported_and_left(lab: Lab, sysctl: Callable[[str], str]) -> None:
    path = Path("/proc/sys/net/ipv4/udp_rmem_min")
    with connect(lab.entry()) as host, AgentClient(host) as agent:
        tuning = _tuning(agent, lab)
        with tuning:
            tuning.apply({NAME: 8192}, restart=False)
            path.write_text("16384\n")
        report = tuning.report
    assert sysctl(NAME) == "16384"
    path.write_text(BASELINE + "\n")
    assert report.foreign[NAME].found == "16384"
    assert NAME not in report.restored
    assert report.complete


def test_the_receive_buffer_is_an_overlay_and_the_file_is_never_touched(lab: Lab, sysctl: Callable[[str], str]) -> None:
    config = lab.directory / "jvb.conf"
    before = (config.read_bytes(), config.stat().st_ino, config.stat().st_mtime_ns)
    with connect(lab.entry()) as host, AgentClient(host) as agent:
        key = "ice4j.harvest.udp.receive-buffer-size"
        tuning = _tuning(agent, lab, (key,))
        with tuning:
            applied = tuning.apply({key: 1048576}, restart=True)
            assert applied.values[key] == "1048576"
            assert {socket.rcvbuf_bytes for socket in applied.sockets} == {2097152}
            assert config.read_bytes() != before[0]
            assert _draining(lab)  # again after the restart
    assert (config.read_bytes(), config.stat().st_ino, config.stat().st_mtime_ns) == before
    assert tuning.report.restarted
    assert not _draining(lab)


def test_a_value_that_the_kernel_refuses_ends_the_sweep_and_is_put_back(lab: Lab, sysctl: Callable[[str], str]) -> None:
    with connect(lab.entry()) as host, AgentClient(host) as agent:
        tuning = _tuning(agent, lab, ("net.core.rmem_max", NAME))
        with tuning, pytest.raises(TuningError, match=r"net\.core\.rmem_max"):
            tuning.apply({NAME: 8192, "net.core.rmem_max": 1}, restart=False)
    assert sysctl(NAME) == BASELINE


def test_a_host_in_a_namespace_of_its_own_says_what_it_cannot_set(lab_root: Path, sysctl: Callable[[str], str]) -> None:
    with Lab.up("second", own_namespace=True) as own, connect(own.entry()) as host, AgentClient(host) as agent:
        with pytest.raises(TuningError, match="initial network namespace"):
            _tuning(agent, own, ("net.core.rmem_max",)).__enter__()
        assert not JOURNAL.exists()
        tuning = _tuning(agent, own)
        with tuning:
            tuning.apply({NAME: 8192}, restart=False)
            assert sysctl(NAME) == BASELINE  # that of the initial namespace is another one
        assert tuning.report.restored == {NAME: BASELINE}


def test_a_setting_of_another_namespace_than_the_bridges_is_refused(
    lab_root: Path, sysctl: Callable[[str], str]
) -> None:
    """As of a container: jvbtune's agent is on the host, the bridge in a network namespace of its own."""
    refused = pytest.raises(TuningError, match=f"{NAME} belongs to a network namespace")
    with Lab.up("contained", own_namespace=True) as own, LocalHost() as here, AgentClient(here) as agent, refused:
        _tuning(agent, own).__enter__()
    assert not JOURNAL.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_sweep_that_is_interrupted_puts_the_host_back(
    lab: Lab, sysctl: Callable[[str], str], tmp_path: Path, number: int
) -> None:
    experiment = tmp_path / "interrupted.toml"
    experiment.write_text(
        'name = "interrupted"\nblocks = 1\n[load]\npacket_rates_pps = [3000]\n'
        "[durations]\nwarm_up_seconds = 0\nsettle_seconds = 0\ntrial_seconds = 8\nextend_seconds = 0\n"
        f'[[settings]]\nname = "{NAME}"\nvalues = [8192, 12288]\n'
    )
    argv = [sys.executable, "-m", "jvbtune", "sweep", "--host", lab.name, str(experiment), "--runs-dir", str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 120
        while sysctl(NAME) == BASELINE:
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.send_signal(number)
        _, error = running.communicate(timeout=60)
    assert running.returncode == 130
    assert f"{lab.name} was put back" in error, error
    _wait_until_put_back(sysctl, BASELINE, 20)
    assert not _draining(lab)
    assert open_run("latest", tmp_path).status() == "interrupted"


def test_a_lab_that_is_taken_down_in_the_middle_of_a_step_takes_no_setting_with_it(
    lab_root: Path, sysctl: Callable[[str], str]
) -> None:
    before = sysctl(NAME)
    with Lab.up("gone") as lab:
        running = Controller(lab)
        assert sysctl(NAME) == "8192"
    try:
        assert sysctl(NAME) == before
        assert not JOURNAL.exists()
        assert json.loads(JOURNAL.with_name("last-revert.json").read_text())["failed"] == []
    finally:
        running.end()
