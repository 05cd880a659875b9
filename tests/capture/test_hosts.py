"""Where real bridges run: other users, containers, read-only roots, other people's profilers, full disks."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from jvbtune.agent.capture.service import LOCK
from jvbtune.errors import CaptureError
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.hosts.base import Stream
from jvbtune.hosts.local import LocalHost
from jvbtune.packages import profiler_library
from jvbtune.protocol.agent import OfBridge
from jvbtune.protocol.capture import PROBE
from tests.capture.conftest import NOBODY, Jvm, StartJvm, Take, take_with

pytestmark = pytest.mark.jvm

#: docker-jitsi-meet: a read-only root, a small /tmp that is noexec, a /run that is not.
CONTAINER = (
    "mount -t tmpfs -o noexec,size=16m,mode=1777 tmpfs /tmp",
    "mount -t tmpfs -o exec,size=32m,mode=755 tmpfs /run",
    "mount -t tmpfs -o ro tmpfs /dev/shm",
    "mount -o remount,bind,ro /",
)


def _read_only(*writable: str) -> tuple[str, ...]:
    """A root where only the given mounts can be written to."""
    return (
        *writable,
        "mount -t tmpfs -o ro tmpfs /run",
        "mount -t tmpfs -o ro tmpfs /dev/shm",
        "mount -o remount,bind,ro /",
    )


def test_a_jvm_of_another_user_shows_kernel_frames_without_any_right_of_its_own(
    start_jvm: StartJvm, take: Take, agent: AgentClient
) -> None:
    jvm = start_jvm(uid=NOBODY)
    if int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) > 1:
        assert not agent.call(PROBE, OfBridge(jvm.bridge)).jvm_may_perf
    (document,) = take(jvm)
    assert document["target"]["uid"] == NOBODY
    assert "udp_sendmsg_[k]" in document["stacks"]
    assert jvm.leftovers() == []


@pytest.mark.parametrize("engine", ["async-profiler", pytest.param("perf", marks=pytest.mark.perf), "jfr"])
def test_a_container_with_a_read_only_root_and_a_noexec_tmp(engine: str, start_jvm: StartJvm, take: Take) -> None:
    jvm = start_jvm(uid=NOBODY, mounts=CONTAINER)
    (document,) = take(jvm, engine=engine, slices=1)
    assert "Spin.main" in document["stacks"]
    assert ("_[k]" in document["stacks"]) == (engine != "jfr")
    assert jvm.leftovers() == []


@pytest.mark.parametrize("engine", ["async-profiler", pytest.param("perf", marks=pytest.mark.perf), "jfr"])
def test_a_rootless_container_whose_users_are_none_of_the_hosts(engine: str, start_jvm: StartJvm, take: Take) -> None:
    jvm = start_jvm(rootless=True)
    (document,) = take(jvm, engine=engine, slices=1)
    assert document["target"]["uid"] == 100000
    assert "Spin.main" in document["stacks"]
    assert ("_[k]" in document["stacks"]) == (engine != "jfr")
    assert jvm.leftovers() == []


def test_the_place_of_the_library_is_one_that_it_can_be_mapped_from(start_jvm: StartJvm, agent: AgentClient) -> None:
    probe = agent.call(PROBE, OfBridge(start_jvm(uid=NOBODY, mounts=CONTAINER).bridge))
    assert probe.place == "/run"
    assert "noexec" in probe.refused_places["/tmp"]
    assert probe.own_pid != probe.pid


@pytest.mark.perf
def test_a_host_where_no_library_can_be_mapped_is_told_why_and_perf_is_taken(start_jvm: StartJvm, take: Take) -> None:
    jvm = start_jvm(mounts=_read_only("mount -t tmpfs -o noexec,mode=1777 tmpfs /tmp"))
    with pytest.raises(CaptureError, match=r"/tmp is mounted noexec.*/run is read-only"):
        take(jvm, engine="async-profiler")
    (document,) = take(jvm, slices=1)
    assert document["engine"] == "perf"
    assert "noexec" in document["because"]


class WithoutJcmd(LocalHost):
    """This machine, for the agent without a jcmd (and so with a mount namespace of its own)."""

    def stream(self, argv: Sequence[str], *, sudo: bool = False) -> Stream:
        jcmd = os.path.realpath("/usr/bin/jcmd")
        script = 'mount --bind /dev/null "$0"; exec "$@"'
        return super().stream(["unshare", "--mount", "sh", "-c", script, jcmd, *argv], sudo=sudo)


@pytest.mark.perf
def test_no_jcmd_is_needed_on_the_host(jvm: Jvm, tmp_path: Path) -> None:
    with WithoutJcmd() as host, AgentClient(host) as agent:
        for engine in ("async-profiler", "perf"):
            (document,) = take_with(agent, jvm, tmp_path, engine=engine, slices=1)
            assert "Spin.main" in document["stacks"]


def _foreign(jvm: Jvm, options: str, library: Path) -> None:
    command = f'"{options}"'
    subprocess.run(
        ["jcmd", str(jvm.pid), "JVMTI.agent_load", str(library), command], check=True, timeout=30, capture_output=True
    )


def test_somebody_elses_session_is_told_and_never_stopped(start_jvm: StartJvm, take: Take, tmp_path: Path) -> None:
    jvm = start_jvm()
    library = tmp_path / "theirs" / "libasyncProfiler.so"
    library.parent.mkdir()
    library.write_bytes(profiler_library(os.uname().machine)[0])
    _foreign(jvm, "start,event=ctimer", library)
    with pytest.raises(CaptureError, match="somebody else profiles"):
        take(jvm)
    status = tmp_path / "status"
    _foreign(jvm, f"status,file={status}", library)
    assert "running" in status.read_text()
    assert jvm.leftovers() == []
    _foreign(jvm, "stop", library)
    (document,) = take(jvm, slices=1)
    assert "Spin.main" in document["stacks"]
    _foreign(jvm, "start,event=cpu", library)  # perf descriptors, as another tool's would be
    with pytest.raises(CaptureError, match="somebody else profiles"):
        take(jvm)


def test_too_little_space_for_the_results_is_told_before_anything_is_done(start_jvm: StartJvm, take: Take) -> None:
    jvm = start_jvm(mounts=_read_only("mount -t tmpfs -o size=6m,mode=1777 tmpfs /tmp"))
    with pytest.raises(CaptureError, match=r"/tmp has \d\.\d MiB free, and 7\.0 MiB are needed"):
        take(jvm, engine="async-profiler")
    assert jvm.leftovers() == []


def test_a_disk_that_fills_up_meanwhile_is_told_and_nothing_is_half_kept(
    start_jvm: StartJvm, take: Take, tmp_path: Path
) -> None:
    jvm = start_jvm(mounts=_read_only("mount -t tmpfs -o size=9m,mode=1777 tmpfs /tmp"))
    # The file is written once the profiler has its place there, and takes all that is left.
    fill = f"until ls -d /proc/{jvm.pid}/root/tmp/.jvbtune-*/out/log 2>/dev/null; do sleep 0.05; done; "
    fill += f"sleep 0.3; dd if=/dev/zero of=/proc/{jvm.pid}/root/tmp/full bs=4k 2>/dev/null"
    filler = subprocess.Popen(["sh", "-c", fill], stdout=subprocess.DEVNULL)
    try:
        with pytest.raises(CaptureError, match="the target's disk is full"):
            take(jvm, slices=1, slice_seconds=2.0)
    finally:
        filler.kill()
        filler.wait()
    assert jvm.leftovers() == []
    assert jvm.perf_descriptors() == 0
    assert not list((tmp_path / "captures").glob("*"))


@pytest.mark.parametrize("options", [("-XX:+DisableAttachMechanism",), ("-Xrs",)])
def test_a_jvm_that_cannot_be_attached_to_is_refused_without_harm(
    options: tuple[str, ...], start_jvm: StartJvm, take: Take
) -> None:
    jvm = start_jvm(*options)
    with pytest.raises(CaptureError, match=r"DisableAttachMechanism|-Xrs"):
        take(jvm)
    assert jvm.alive()
    assert "Full thread dump" not in jvm.output.read_text()


def test_a_socket_that_an_earlier_jvm_of_this_pid_left_is_no_obstacle(start_jvm: StartJvm, take: Take) -> None:
    jvm = start_jvm()
    stale = Path(f"/tmp/.java_pid{jvm.pid}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(stale))
    before = stale.stat().st_ino
    (document,) = take(jvm, slices=1)
    assert "Spin.main" in document["stacks"]
    assert stale.stat().st_ino != before  # the JVM put its own there


@pytest.mark.perf
def test_a_stale_perf_map_names_nothing(jvm: Jvm, take: Take) -> None:
    stale = Path(f"/tmp/perf-{jvm.pid}.map")
    stale.write_text("1000 ffffffffffff wrong.Name.of_all()\n")
    (document,) = take(jvm, engine="perf", slices=1)
    assert "wrong" not in document["stacks"]
    assert "Spin.main_[j]" in document["stacks"]
    assert "stale" in document["log"]
    assert not stale.exists()


def test_two_captures_at_once_are_refused(jvm: Jvm, take: Take) -> None:
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CaptureError, match="another capture is under way"):
            take(jvm)
