"""A lab is a real host, and nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jvbtune.errors import JvbtuneError, UsageError
from jvbtune.lab import Lab, running_labs
from jvbtune.lab.processes import alive, start_ticks

pytestmark = pytest.mark.lab


def _traces() -> tuple[set[str], set[str], bool]:
    links = {path.name for path in Path("/sys/class/net").iterdir()}
    spaces = Path("/run/netns")
    return links, {path.name for path in spaces.iterdir()} if spaces.exists() else set(), Path("/run/sshd").exists()


def test_up_and_down_leave_nothing(lab_root: Path) -> None:
    before = _traces()
    lab = Lab.up("gone")
    pid, sshd = lab.bridge_pid(), lab.state["sshd"][0]
    assert pid is not None
    assert running_labs()["gone"] == lab.inventory
    lab.down()
    assert _traces() == before
    assert start_ticks(pid) is None  # gone, or a zombie that the machine's init has not collected yet
    assert not alive(*sshd)
    assert not lab.directory.exists()
    lab.down()  # a second time is no error


def test_down_after_everything_was_killed(lab_root: Path) -> None:
    before = _traces()
    lab = Lab.up("killed")
    pid = lab.bridge_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.kill(lab.state["sshd"][0][0], signal.SIGKILL)
    found = Lab.named("killed")
    assert found is not None
    found.down()
    assert _traces() == before


def test_the_lab_is_reached_by_openssh_itself(lab: Lab) -> None:
    done = subprocess.run(
        ["ssh", "-F", str(lab.ssh_config), lab.name, "id", "-u"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(os.getuid()))


def test_two_labs_at_once_are_apart(lab: Lab) -> None:
    with Lab.up("other", own_namespace=True) as other:
        assert other.network != lab.network
        assert other.status()["bridge_healthy"]
        assert lab.status()["bridge_healthy"]
        assert os.readlink(f"/proc/{other.bridge_pid()}/ns/net") != os.readlink("/proc/self/ns/net")
    assert lab.status()["running"]


def test_a_lab_that_is_up_is_not_started_again(lab: Lab) -> None:
    with pytest.raises(JvbtuneError, match="is up already"):
        Lab.up(lab.name)


def test_the_bridge_and_its_generator_have_cores_of_their_own(lab: Lab) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core: nothing to pin apart")
    pid = lab.bridge_pid()
    assert pid is not None
    assert os.sched_getaffinity(pid) == {cores[-1]}
    assert cores[-1] not in (lab.entry().generator.cpus or ())


def test_a_home_that_is_none_is_refused_before_anything_is_made(lab_root: Path, tmp_path: Path) -> None:
    before = _traces()
    with pytest.raises(UsageError, match=r"jitsi-videobridge\.jar"):
        Lab.up("homeless", bridge_home=tmp_path)
    assert _traces() == before


def test_a_bridge_that_does_not_start_is_told_with_its_log(lab_root: Path, tmp_path: Path) -> None:
    before = _traces()
    (tmp_path / "lib").mkdir()
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-c", str(tmp_path / "jitsi-videobridge.jar"), __file__], check=True
    )
    with pytest.raises(JvbtuneError, match="bridge") as caught:
        Lab.up("broken", bridge_home=tmp_path)
    assert "MainKt" in str(caught.value)
    assert _traces() == before


def test_status_as_json(lab: Lab) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jvbtune", "lab", "status", "--json"], capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    assert answer["schema_version"] == 1
    assert [entry["running"] for entry in answer["labs"] if entry["name"] == lab.name] == [True]
