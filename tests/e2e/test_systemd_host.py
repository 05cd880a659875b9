"""The main jobs on a Debian host with systemd and the package's layout, and what may happen in the middle of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jvbtune.errors import JvbtuneError
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.inventory import bridge_arguments
from jvbtune.lab import Lab
from jvbtune.lab.home import JAR, main_class
from jvbtune.lab.hosts import SystemdLab
from jvbtune.lab.package import JVB_CONF, PACKAGE
from jvbtune.protocol.agent import BRIDGE_FIND, BridgeQuery, Control, OfBridge
from jvbtune.settings.tuning import Tuning
from jvbtune.store import open_run
from tests.buffers import RMEM_MAX, STEPS, SWEPT
from tests.e2e.hosts import EXPERIMENT, NAME, disturbed, draining, jvbtune, left_behind, loaded, remains, ssh, value_of

#: The first use on a machine builds the host.
pytestmark = [pytest.mark.lab, pytest.mark.kernel, pytest.mark.timeout(900)]

LEASE_SECONDS = 20.0
SECOND_CONF = "/etc/second.conf"


def test_the_host_is_one_as_operators_have_it(systemd_lab: SystemdLab) -> None:
    assert ssh(systemd_lab, "cat /proc/1/comm") == "systemd"
    assert ssh(systemd_lab, "systemctl is-system-running --wait") == "running"
    assert ssh(systemd_lab, "ps -o user= -C java") == "jvb"
    assert ssh(systemd_lab, "id -un; sudo -n id -un", user="ops").split() == ["ops", "root"]
    assert ssh(systemd_lab, f"stat -c '%U:%G %a' {JVB_CONF}") == "jvb:jitsi 640"


@pytest.fixture(scope="module")
def run_directory(systemd_lab: SystemdLab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep as the user with sudo."""
    runs = tmp_path_factory.mktemp("runs")
    (runs / "short.toml").write_text(EXPERIMENT.format(name=RMEM_MAX, value=SWEPT))
    before = value_of("net.core.rmem_max"), ssh(systemd_lab, f"sha256sum {JVB_CONF}")
    done = jvbtune("sweep", "--host", f"{systemd_lab.name}-ops", str(runs / "short.toml"), "--runs-dir", str(runs))
    assert done.returncode in (0, 5), done.stderr
    assert (value_of("net.core.rmem_max"), ssh(systemd_lab, f"sha256sum {JVB_CONF}")) == before
    return runs


def test_a_sweep_by_a_user_with_sudo_leaves_the_host_as_it_was(systemd_lab: SystemdLab, run_directory: Path) -> None:
    assert left_behind(systemd_lab) == []
    assert not draining(systemd_lab)
    assert jvbtune("revert", "--host", systemd_lab.name, "--check").returncode == 0  # 3: something is pending


def test_each_step_of_it_had_its_buffer_and_the_bridge_forwarded(run_directory: Path) -> None:
    trials = open_run("latest", run_directory).trials()
    assert set(zip(trials["step"], trials["socket_rcvbuf_bytes"], strict=True)) == set(STEPS.items())
    assert trials["loss_ratio"].min() < 0.5


def test_its_export_is_one_or_a_refusal_with_reasons(run_directory: Path, tmp_path: Path) -> None:
    done = jvbtune("export", "latest", "--format", "sysctl", "--runs-dir", str(run_directory), "-o", str(tmp_path))
    assert done.returncode in (0, 5), done.stderr
    assert (done.returncode == 0) == (tmp_path / "60-jvbtune.conf").exists()


@pytest.mark.captures
def test_a_live_bridge_is_profiled_by_the_user_with_sudo(systemd_lab: SystemdLab, tmp_path: Path) -> None:
    arguments = ("--seconds", "4", "--slices", "2", "--no-open", "--captures-dir", str(tmp_path), "--json")
    with loaded(systemd_lab, 12):
        done = jvbtune("profile", "--host", f"{systemd_lab.name}-ops", *arguments)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.html"))
    assert left_behind(systemd_lab) == []


def test_agent_and_guard_killed_together_the_timer_comes_within_the_lease(systemd_lab: SystemdLab) -> None:
    with disturbed(systemd_lab, "ops", LEASE_SECONDS) as sweep:
        assert sweep.timer
        sweep.kill_on_host(sweep.agent, sweep.guard)
        sweep.process.kill()
        assert sweep.put_back_seconds(LEASE_SECONDS) < LEASE_SECONDS
        assert not draining(systemd_lab)
        deadline = time.monotonic() + 3
        while left_behind(systemd_lab) and time.monotonic() < deadline:
            time.sleep(0.2)  # the timer's own service ends after the journal has gone
        assert left_behind(systemd_lab) == []


def test_the_session_is_logged_out(systemd_lab: SystemdLab) -> None:
    """With KillUserProcesses=yes everything that the session started ends at once, by whoever it was ended."""
    with disturbed(systemd_lab, "ops", LEASE_SECONDS) as sweep:
        sessions = ssh(systemd_lab, "loginctl list-sessions --no-legend").splitlines()
        of_ops = [line.split()[0] for line in sessions if "ops" in line.split()]
        assert of_ops
        ssh(systemd_lab, f"loginctl terminate-session {' '.join(of_ops)}")
        sweep.put_back_seconds(10)
        assert not draining(systemd_lab)
    assert left_behind(systemd_lab) == []


def test_the_host_boots_in_the_middle_of_a_step(systemd_lab: SystemdLab) -> None:
    with disturbed(systemd_lab, "root", 60) as sweep:
        sweep.process.kill()
        systemd_lab.reboot()
        assert value_of(NAME) == sweep.baseline  # a boot does that
        ssh(systemd_lab, f"sysctl -q -w {NAME}=303")  # set since then, by somebody else
        try:
            done = jvbtune("revert", "--host", systemd_lab.name)
            assert done.returncode == 0, done.stderr
            assert value_of(NAME) == "303"
        finally:
            ssh(systemd_lab, f"sysctl -q -w {NAME}={sweep.baseline}")
        assert not systemd_lab.journal.exists()
        assert not draining(systemd_lab)
    assert left_behind(systemd_lab) == []


@pytest.fixture
def second_bridge(systemd_lab: SystemdLab) -> str:
    """The command of another bridge, in ``/root/second``; ``/root/third`` starts it below a shell, and so on."""
    ports = f"s/{systemd_lab.media_port}/12990/; s/{systemd_lab.http_port}/18990/"
    ssh(systemd_lab, f"sed '{ports}' {JVB_CONF} > {SECOND_CONF}")
    home = Path(systemd_lab.state["home"])
    java = f"java -Xmx128m -Dconfig.file={SECOND_CONF} -cp '{PACKAGE}/{JAR}:{PACKAGE}/lib/*' {main_class(home)}"
    ssh(systemd_lab, f'echo "exec {java}" > /root/second')
    ssh(systemd_lab, "echo 'bash /root/second; true' > /root/third; echo 'bash /root/third; true' > /root/fourth")
    return java


@pytest.mark.parametrize(
    ("script", "unit", "control"),
    [
        ("second", "main", {"systemd": "main"}),
        ("third", "parent", {"systemd": "parent"}),
        ("fourth", "k3s", None),
    ],
)
def test_two_bridges_are_told_apart_and_a_unit_is_a_bridges_if_it_runs_it_or_its_parent(
    systemd_lab: SystemdLab, second_bridge: str, script: str, unit: str, control: dict[str, str] | None
) -> None:
    ssh(systemd_lab, f"systemd-run --quiet --unit={unit} bash /root/{script}")
    try:
        deadline = time.monotonic() + 20
        while "2" not in ssh(systemd_lab, "pgrep -c java"):
            assert time.monotonic() < deadline
        with connect(systemd_lab.entry()) as host, AgentClient(host) as agent:
            with pytest.raises(JvbtuneError, match="2 bridges") as told:
                agent.call(BRIDGE_FIND, OfBridge(BridgeQuery()))
            for query in (BridgeQuery(config_file=SECOND_CONF), BridgeQuery(match=SECOND_CONF)):
                assert agent.call(BRIDGE_FIND, OfBridge(query)).control == (control and Control(**control))
            first = agent.call(BRIDGE_FIND, OfBridge(BridgeQuery(config_file=JVB_CONF)))
            assert first.control == Control(systemd="jitsi-videobridge2")
        for key in ("bridge.control", "bridge.config_file", "bridge.http_port", "bridge.media_port"):
            assert key in str(told.value.hint)
        assert JVB_CONF in told.value.message
        assert SECOND_CONF in told.value.message
    finally:
        ssh(systemd_lab, f"systemctl stop {unit}")


def test_a_control_that_is_not_the_bridges_is_refused_before_the_drain(systemd_lab: SystemdLab) -> None:
    query = replace(bridge_arguments(systemd_lab.entry()), control=Control(systemd="ssh"))
    with connect(systemd_lab.entry()) as host, AgentClient(host) as agent:
        pid = agent.call(BRIDGE_FIND, OfBridge(BridgeQuery())).pid
        pid_file = f"/run/{systemd_lab.name}.pid"
        ssh(systemd_lab, f"echo {pid} > {pid_file}")
        for bridge in (query, replace(query, pid_file=pid_file)):
            with pytest.raises(JvbtuneError, match="unit ssh"):
                Tuning(agent, owner="t", run_id="t", lease_seconds=9, bridge=bridge, settings=[NAME]).__enter__()
    assert not systemd_lab.journal.exists()
    assert not draining(systemd_lab)


def test_a_lab_whose_up_was_killed_is_taken_down(lab_root: Path) -> None:
    argv = [sys.executable, "-m", "jvbtune", "lab", "up", "half", "--kind", "systemd"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as up:
        deadline = time.monotonic() + 60
        while (lab := Lab.named("half")) is None or not isinstance(lab, SystemdLab) or not lab.machine.init_pid():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(up.pid, signal.SIGKILL)
    assert isinstance(lab, SystemdLab)
    processes = lab.machine.processes()
    lab.down()
    assert remains(lab) == []
    assert not [pid for pid in processes if Path(f"/proc/{pid}/root").exists()]
    assert not (lab_root / "half").exists()
