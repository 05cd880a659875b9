"""The playbooks run by ansible-playbook against a host with systemd, each twice: the second changes nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jvbtune.export import export, write_files
from jvbtune.lab.hosts import SystemdLab
from jvbtune.lab.package import JVB_CONF
from tests.apply.results import buffer_of, simulated, with_result
from tests.e2e.hosts import draining, jvbtune_here, left_behind, ssh, value_of
from tests.e2e.test_apply import RMEM_MAX, STATE

pytestmark = [pytest.mark.lab, pytest.mark.kernel, pytest.mark.timeout(900)]

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
BUFFER_BYTES = 1 << 20
Play = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported role."""
    directory = tmp_path_factory.mktemp("exported")
    found = with_result(simulated(directory / "runs"), buffer_of(BUFFER_BYTES))
    write_files(export(found, "ansible"), directory / "out")
    return directory / "out"


@pytest.fixture(autouse=True)
def smaller(systemd_lab: SystemdLab) -> Iterator[None]:
    """A receive buffer that is smaller than the exported one: a larger one is kept."""
    value = value_of(RMEM_MAX)
    ssh(systemd_lab, f"sysctl -w {RMEM_MAX}={BUFFER_BYTES >> 1}")
    yield
    ssh(systemd_lab, f"sysctl -w {RMEM_MAX}={value}")


@pytest.fixture
def play(systemd_lab: SystemdLab, out: Path, tmp_path: Path) -> Play:
    """``ansible-playbook`` of one playbook against the lab, as the user with sudo."""
    (tmp_path / "hosts.ini").write_text(
        f"[bridges]\n{systemd_lab.name}-ops ansible_ssh_common_args='-F {systemd_lab.ssh_config}' "
        f"ansible_python_interpreter=/usr/bin/python3 jvbtune_http=http://127.0.0.1:{systemd_lab.http_port}\n"
    )

    def run(name: str, *more: str) -> subprocess.CompletedProcess[str]:
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        argv = [program, "-i", str(tmp_path / "hosts.ini"), str(PLAYBOOKS / name), "-e", f"jvbtune_export={out}"]
        environment = {
            **os.environ,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"),
            "ANSIBLE_PIPELINING": "1",
        }
        return subprocess.run([*argv, *more], capture_output=True, text=True, timeout=300, check=False, env=environment)

    return run


def _changed(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.findall(r"changed=(\d+)", done.stdout)[-1])


def test_applied_verified_and_rolled_back_and_nothing_changes_twice(systemd_lab: SystemdLab, play: Play) -> None:
    before, value = ssh(systemd_lab, STATE), value_of(RMEM_MAX)
    assert "load-threshold" in play("apply.yml", "--check", "--diff").stdout
    assert ssh(systemd_lab, STATE) == before

    assert _changed(play("apply.yml")) > 0
    assert value_of(RMEM_MAX) == str(BUFFER_BYTES)
    assert not draining(systemd_lab)
    pid = systemd_lab.bridge_pid()
    assert _changed(play("apply.yml")) == 0
    assert _changed(play("verify.yml")) == 0
    assert systemd_lab.bridge_pid() == pid

    assert _changed(play("rollback.yml")) > 0
    assert (ssh(systemd_lab, STATE), value_of(RMEM_MAX)) == (before, value)
    assert not draining(systemd_lab)
    assert _changed(play("rollback.yml")) == 0
    assert play("verify.yml").returncode != 0
    assert left_behind(systemd_lab) == []


@pytest.mark.slow
def test_what_is_not_in_force_after_the_restart_is_put_back_and_the_play_stops(
    systemd_lab: SystemdLab, play: Play
) -> None:
    """The bridge reports another stress than the variable says: its restart has not put the export into force."""
    before, value = ssh(systemd_lab, STATE), value_of(RMEM_MAX)
    done = play("apply.yml", "-e", "jvbtune_average_participant_stress=0.5")
    assert done.returncode != 0
    assert "The host is as it was before this apply" in done.stdout
    assert (ssh(systemd_lab, STATE), value_of(RMEM_MAX)) == (before, value)
    assert not draining(systemd_lab)
    assert ssh(systemd_lab, "ls -d /var/lib/jvbtune/ansible 2>/dev/null") == ""
    assert jvbtune_here("rollback", "--host", systemd_lab.name, "--check").returncode == 0
    assert ssh(systemd_lab, f"grep -c jvbtune {JVB_CONF}") == "0"
