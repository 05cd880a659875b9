"""Applying a result to hosts as operators have them: in force, idempotent, rolled back by hand and by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.export.jvb_conf import thresholds
from jvbtune.hosts import connect
from jvbtune.lab.hosts import SystemdLab
from jvbtune.lab.package import CONTAINER_CONFIG, JVB_CONF
from jvbtune.load.colibri import Conference
from jvbtune.result import RunResult
from tests.apply.results import buffer_of, found_better, simulated, with_result
from tests.e2e.hosts import draining, jvbtune_here, left_behind, somebody_joins, ssh, value_of

pytestmark = [pytest.mark.lab, pytest.mark.kernel, pytest.mark.timeout(900)]

RMEM_MAX = "net.core.rmem_max"
BUFFER_BYTES = 8 << 20  #: more than a machine has by default, which would be kept
STATE = (
    "find /etc/jitsi /etc/sysctl.d /root/.jitsi-meet-cfg -type f -exec sha256sum {} + -exec stat -c '%n %U %a' {} + "
    "2>/dev/null | sort"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def result(runs: Path) -> RunResult:
    return with_result(simulated(runs), buffer_of(BUFFER_BYTES))


def _apply(lab: SystemdLab, runs: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return jvbtune_here(
        "apply", "--host", f"{lab.name}-ops", "latest", "--runs-dir", str(runs), "--yes", "--watch", "4", *more
    )


def _rollback(lab: SystemdLab) -> subprocess.CompletedProcess[str]:
    return jvbtune_here("rollback", "--host", f"{lab.name}-ops", "--yes", "--json")


@pytest.fixture(autouse=True)
def taken_back(request: pytest.FixtureRequest) -> Iterator[None]:
    """An apply that a failed test left in force would make every later test of the host fail."""
    yield
    for lab in (request.getfixturevalue(name) for name in request.fixturenames if name.endswith("_lab")):
        if jvbtune_here("rollback", "--host", lab.name, "--check").returncode == 3:
            assert jvbtune_here("rollback", "--host", lab.name, "--yes").returncode == 0


def _reported_stress(lab: SystemdLab) -> float:
    with connect(lab.entry()) as host:
        stats = BridgeClient(host, "127.0.0.1", lab.http_port).request("GET", "/colibri/stats")
    return float(stats["average_participant_stress"])


def _media_buffers(lab: SystemdLab) -> set[int]:
    text = ssh(lab, f"ss -uamn sport = :{lab.media_port}")
    return {int(part.removeprefix("rb")) for word in text.split() for part in word.split(",") if part.startswith("rb")}


@pytest.mark.parametrize("kind", ["systemd", "container"])
def test_an_apply_is_in_force_and_idempotent_and_its_rollback_restores_every_byte(
    kind: str, request: pytest.FixtureRequest, runs: Path, result: RunResult
) -> None:
    lab: SystemdLab = request.getfixturevalue(f"{kind}_lab")
    before, value = ssh(lab, STATE), value_of(RMEM_MAX)
    assert _apply(lab, runs, "--check").returncode == 3
    assert ssh(lab, STATE) == before

    done = _apply(lab, runs)
    assert done.returncode == 0, done.stderr
    pid = lab.bridge_pid()
    assert value_of(RMEM_MAX) == str(BUFFER_BYTES)
    assert max(_media_buffers(lab)) == 2 * BUFFER_BYTES
    assert _reported_stress(lab) == pytest.approx(round(thresholds(result).average_participant_stress or 0, 5))
    assert f"load-threshold = {thresholds(result).load_threshold_pps:.0f}" in ssh(lab, _cat_settings(kind))
    assert not draining(lab)

    again = _apply(lab, runs)
    assert (again.returncode, lab.bridge_pid()) == (0, pid), again.stderr
    assert "Nothing is to be changed" in again.stdout
    assert _apply(lab, runs, "--check").returncode == 0

    back = _rollback(lab)
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout)["restored"]["restarted"]
    assert (ssh(lab, STATE), value_of(RMEM_MAX)) == (before, value)
    assert max(_media_buffers(lab)) == 2 * min(int(value), 10485760)
    assert not draining(lab)
    assert left_behind(lab) == []


def _cat_settings(kind: str) -> str:
    return (
        f"cat {CONTAINER_CONFIG}/custom-jvb.conf"
        if kind == "container"
        else f"cat {Path(JVB_CONF).parent}/jvbtune.conf"
    )


def _flood(lab: SystemdLab) -> None:
    """A second of bursts at the media socket, from where load comes from."""
    entry = lab.entry()
    where = (entry.bridge.media_address, lab.media_port)
    script = "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor _ in range(20):\n"
    script += f"    for _ in range(50): s.sendto(bytes(1000), {where!r})\n    time.sleep(0.05)\n"
    argv = [sys.executable, "-c", script]
    if entry.generator.netns is not None:
        argv = ["nsenter", f"--net=/run/netns/{entry.generator.netns}", *argv]
    subprocess.run(argv, check=False, timeout=30, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_setting_that_makes_the_bridge_drop_packets_is_rolled_back_by_itself(
    systemd_lab: SystemdLab, tmp_path: Path
) -> None:
    with_result(simulated(tmp_path), found_better(RMEM_MAX, 2304))
    before, value = ssh(systemd_lab, STATE), value_of(RMEM_MAX)
    argv = [sys.executable, "-m", "jvbtune", "apply", "--host", systemd_lab.name, "--runs-dir", str(tmp_path)]
    with subprocess.Popen(
        [*argv, "--yes", "--watch", "45"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as applying:
        assert applying.stderr is not None
        told = next((line for line in applying.stderr if "watches it" in line), None)
        assert told is not None, applying.communicate()
        assert value_of(RMEM_MAX) == "2304"
        while applying.poll() is None:  # media would not come up through such a buffer
            _flood(systemd_lab)
        output, errors = applying.communicate(timeout=10)
    assert applying.returncode == 1, errors
    assert "rolled back, because its sockets dropped" in output
    assert (ssh(systemd_lab, STATE), value_of(RMEM_MAX)) == (before, value)
    assert not draining(systemd_lab)


@pytest.fixture
def call(systemd_lab: SystemdLab) -> Iterator[None]:
    """Somebody else's conference with one participant."""
    with connect(systemd_lab.entry()) as host:
        client = BridgeClient(host, "127.0.0.1", systemd_lab.http_port, timeout_seconds=60)
        conference = Conference(client, "5e5b1f1d-6a1c-4d5b-9c1e-000000000014")
        somebody_joins(conference)
        yield
        conference.expire()


def test_a_call_is_waited_for_and_never_cut(systemd_lab: SystemdLab, runs: Path, result: RunResult, call: None) -> None:
    before, pid = ssh(systemd_lab, STATE), systemd_lab.bridge_pid()
    done = _apply(systemd_lab, runs, "--drain-timeout", "3")
    assert done.returncode == 1
    assert "1 participant is on the bridge after 3 s: jvbtune never cuts calls" in done.stderr
    assert (ssh(systemd_lab, STATE), systemd_lab.bridge_pid(), draining(systemd_lab)) == (before, pid, False)
    assert jvbtune_here("rollback", "--host", systemd_lab.name, "--check").returncode == 0


def test_a_controller_that_is_killed_while_it_waits_leaves_the_host_as_it_was(
    systemd_lab: SystemdLab, runs: Path, result: RunResult, call: None
) -> None:
    before = ssh(systemd_lab, STATE)
    argv = [sys.executable, "-m", "jvbtune", "apply", "--host", systemd_lab.name, "--runs-dir", str(runs), "--yes"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as waits:
        assert waits.stderr is not None
        assert any("1 participant is on the bridge" in line for line in waits.stderr)
        assert draining(systemd_lab)
        waits.kill()
    deadline = time.monotonic() + 15
    while draining(systemd_lab):
        assert time.monotonic() < deadline, "the bridge stays drained"
        time.sleep(0.2)
    assert ssh(systemd_lab, STATE) == before
    assert jvbtune_here("rollback", "--host", systemd_lab.name, "--check").returncode == 0


@pytest.mark.parametrize("when", ["it writes", "it waits"])
def test_an_agent_that_is_killed_is_followed_by_its_guard(
    when: str, systemd_lab: SystemdLab, runs: Path, result: RunResult, request: pytest.FixtureRequest
) -> None:
    """No bridge stays drained, and no half of an apply stays, without anybody's command."""
    before, value = ssh(systemd_lab, STATE), value_of(RMEM_MAX)
    if when == "it waits":
        request.getfixturevalue("call")
    argv = [sys.executable, "-m", "jvbtune", "apply", "--host", systemd_lab.name, "--runs-dir", str(runs), "--yes"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as applying:
        assert applying.stderr is not None
        if when == "it waits":
            assert any("1 participant is on the bridge" in line for line in applying.stderr)
        else:
            ssh(systemd_lab, f"until [ -e {Path(JVB_CONF).parent}/jvbtune.conf ]; do sleep 0.05; done")
        assert when == "it writes" or draining(systemd_lab)  # where it writes, the bridge may be restarting
        ssh(systemd_lab, "pkill -KILL -f '/agent-[0-9a-f]*[.]pyz$'")
        told = applying.stderr.read()
        assert applying.wait(60) == 1
    assert "taken back on the host now" in told
    deadline = time.monotonic() + 60
    while jvbtune_here("rollback", "--host", systemd_lab.name, "--check").returncode != 0:
        assert time.monotonic() < deadline, "the guard did not take it back"
    assert (ssh(systemd_lab, STATE), value_of(RMEM_MAX), draining(systemd_lab)) == (before, value, False)
    while left_behind(systemd_lab):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_nobody_is_asked_without_a_terminal(systemd_lab: SystemdLab, runs: Path, result: RunResult) -> None:
    done = jvbtune_here("apply", "--host", systemd_lab.name, "latest", "--runs-dir", str(runs))
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert not draining(systemd_lab)
