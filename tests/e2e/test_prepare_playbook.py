"""``playbooks/prepare.yml`` by ansible-playbook against a Debian host with systemd: one right, and nothing twice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvbtune.hosts.agent_client import ROOT_DIRECTORIES, agent_argv
from jvbtune.hosts.archive import agent_archive
from jvbtune.hosts.prepare import sudoers
from jvbtune.lab.hosts import SystemdLab
from tests.e2e.hosts import ssh

ROOT = Path(__file__).parents[2]
ANSIBLE = Path(sys.executable).with_name("ansible-playbook")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.kernel,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not ANSIBLE.exists() and shutil.which("ansible-playbook") is None, reason="needs ansible-core"),
]
USER = "tuner"


@pytest.fixture
def login(systemd_lab: SystemdLab) -> Iterator[SystemdLab]:
    """A host with a login that has no rights yet."""
    ssh(systemd_lab, f"useradd --create-home {USER}")
    yield systemd_lab
    ssh(systemd_lab, f"userdel --remove {USER}; rm -rf /etc/sudoers.d/jvbtune /var/cache/jvbtune")


def _play(lab: SystemdLab, directory: Path, *more: str) -> dict[str, int]:
    """The figures of its recap."""
    argv = [str(ANSIBLE), "-i", f"{lab.name},", str(ROOT / "playbooks/prepare.yml"), "-e", f"jvbtune_user={USER}"]
    environment = {
        **os.environ,
        "ANSIBLE_SSH_ARGS": f"-F {lab.ssh_config}",
        "ANSIBLE_HOME": str(directory),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
        "LC_ALL": "C.UTF-8",
    }
    argv += ["-e", f"jvbtune_python={sys.executable}", *more]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False, env=environment, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    recap = done.stdout.rpartition("PLAY RECAP")[2]
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", recap)}


def _as_user(lab: SystemdLab, command: str) -> str:
    """The status of a command of the login's."""
    return ssh(lab, f"su - {USER} -c '{command} </dev/null >/dev/null 2>&1'; echo $?").splitlines()[-1]


def test_it_gives_one_right_and_changes_nothing_the_second_time(login: SystemdLab, tmp_path: Path) -> None:
    archive = f"{ROOT_DIRECTORIES[0]}/{agent_archive().name}"
    assert _as_user(login, f"sudo -n {' '.join(agent_argv(archive))}") != "0"
    first = _play(login, tmp_path)
    assert first["changed"] > 0
    assert (first["failed"], first["unreachable"]) == (0, 0)
    assert ssh(login, "visudo -c >/dev/null 2>&1; echo $?") == "0"
    assert ssh(login, "cat /etc/sudoers.d/jvbtune") == sudoers(USER).strip()
    assert ssh(login, "stat -c '%U:%G %a' /etc/sudoers.d/jvbtune /var/cache/jvbtune " + archive).splitlines() == [
        "root:root 440",
        "root:root 755",
        "root:root 644",
    ]
    assert _as_user(login, f"sudo -n {' '.join(agent_argv(archive))}") == "0"
    for refused in ("id", "sh -c true", f"python3 -B {archive}", f"{' '.join(agent_argv(archive))} guard"):
        assert _as_user(login, f"sudo -n {refused}") != "0", refused
    assert _play(login, tmp_path)["changed"] == 0
