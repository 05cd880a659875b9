"""Files of the agent: whose they are, who can read them, and what it takes from others' files."""

from __future__ import annotations

import mmap
import os
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvbtune.agent import bridge, hsperf, overlay
from jvbtune.agent.capture import service
from jvbtune.agent.errors import AgentFault

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def test_the_copy_of_the_configuration_is_private_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    real = os.fchown

    def looked(descriptor: int, uid: int, gid: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        real(descriptor, uid, gid)

    monkeypatch.setattr(os, "fchown", looked)
    before = os.umask(0)
    try:
        original = tmp_path / "jvb.conf"
        original.write_text("password = x")
        os.chown(original, 1234, 65534)
        original.chmod(0o640)
        overlay._write_private(str(tmp_path / "copy"), b"password = x\n", os.stat(original))
        with pytest.raises(FileExistsError):
            overlay._write_private(str(tmp_path / "copy"), b"", os.stat(original))
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match="exists"):
            overlay._write_private(str(tmp_path / "link"), b"", os.stat(original))
    finally:
        os.umask(before)
    found = os.stat(tmp_path / "copy")
    assert modes == [0o600]
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 65534, 0o640)
    assert not (tmp_path / "elsewhere").exists()


def test_the_agent_makes_private_files_and_its_commands_do_not(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom jvbtune.agent import main, bridge\n"
        "main.Agent.run = lambda self: (open('a', 'w').close(), bridge.run(['touch', 'b']), 0)[-1]\n"
        "os.umask(0o002)\nsys.argv = ['agent']\nmain.main()"
    )
    subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"] == [0o600, 0o644]
    assert bridge.run(["printf", "\\377"]) == "\ufffd"


# -- hsperfdata ----------------------------------------------------------------------------------------------------


def perf_data(*counters: tuple[str, int]) -> bytes:
    """A file as HotSpot lays it out: a prologue of 32 bytes, then entries of one 64-bit value."""
    entries = b""
    for name, value in counters:
        text = name.encode() + b"\0"
        value_at = (20 + len(text) + 7) // 8 * 8
        entry = struct.pack("<iiibbbbi", value_at + 8, 20, 0, ord("J"), 0, 0, 0, value_at) + text
        entries += entry.ljust(value_at, b"\0") + struct.pack("<q", value)
    return (
        struct.pack(">I", 0xCAFEC0C0)
        + bytes([1, 2, 0, 1])
        + bytes(16)
        + struct.pack("<ii", 32, len(counters))
        + entries
    )


COUNTERS = (("sun.os.hrt.frequency", 1000), ("sun.gc.collector.0.invocations", 7), ("sun.gc.collector.0.time", 500))
NOBODY = 65534


@pytest.fixture
def jvm() -> Iterator[tuple[int, Path]]:
    """A process of another user, and the place of its file."""
    argv = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "sleep", "60"]
    process = subprocess.Popen(argv)
    while os.stat(f"/proc/{process.pid}").st_uid != NOBODY:
        pass
    directory = Path(f"/tmp/hsperfdata_jvbtune-test-{process.pid}")
    directory.mkdir(mode=0o755)
    os.chown(directory, NOBODY, NOBODY)
    path = directory / str(process.pid)
    path.write_bytes(perf_data(*COUNTERS))
    os.chown(path, NOBODY, NOBODY)
    yield process.pid, path
    process.kill()
    process.wait()
    for name in directory.iterdir():
        name.unlink()
    directory.rmdir()


def test_counters_of_the_jvms_own_file(jvm: tuple[int, Path]) -> None:
    pid, path = jvm
    perf = hsperf.HsPerf(pid)
    assert perf.collections().young_count == 7
    assert perf.collections().young_seconds == 0.5
    path.write_bytes(perf_data(COUNTERS[0], ("sun.gc.collector.0.invocations", 9), COUNTERS[2]))
    assert perf.collections().young_count == 9
    perf.close()


def test_a_file_that_is_cut_while_it_is_read_is_no_end_of_the_agent(jvm: tuple[int, Path]) -> None:
    pid, path = jvm
    perf = hsperf.HsPerf(pid)
    for length in (100, 40, 0):
        os.truncate(path, length)
        assert perf.collections() is None, "not 0: that would be a figure"
        assert perf.compilation().compilations is None
    perf.close()


@pytest.mark.parametrize(
    "harm", ["other owner", "directory of another", "link", "directory is a link", "pipe", "writable"]
)
def test_a_file_of_somebody_else_is_not_read(jvm: tuple[int, Path], harm: str, tmp_path: Path) -> None:
    pid, path = jvm
    if harm == "other owner":
        os.chown(path, 1234, 1234)
    elif harm == "directory of another":
        os.chown(path.parent, 1234, 1234)
    elif harm == "link":
        path.rename(tmp_path / "x")
        path.symlink_to(tmp_path / "x")
    elif harm == "directory is a link":
        aside = path.parent.with_name(f"jvbtune-aside-{pid}")
        path.parent.rename(aside)
        path.parent.symlink_to(aside)
    elif harm == "pipe":
        path.unlink()
        os.mkfifo(path)
        os.chown(path, NOBODY, NOBODY)
    else:
        path.chmod(0o666)
    try:
        with pytest.raises(FileNotFoundError):
            hsperf.HsPerf(pid)
    finally:
        if harm == "directory is a link":
            path.parent.unlink()
            aside.rename(path.parent)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_content_of_such_a_file_harms(data: st.DataObject) -> None:
    content = bytearray(perf_data(*COUNTERS))
    for _ in range(data.draw(st.integers(0, 12))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        offsets, _ = hsperf._index(cut)
    except ValueError:
        return
    assert all(0 <= at <= len(cut) - 8 for at in offsets.values())


def test_nothing_is_mapped() -> None:
    assert not any(value is mmap for value in vars(hsperf).values())


# -- the lock of captures --------------------------------------------------------------------------------------------


def test_the_lock_of_captures_leaves_no_file_and_holds_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many that begin and end at once: never two of them together, also by a file that another one has removed."""
    path = tmp_path / "lock"
    monkeypatch.setattr(service, "LOCK", str(path))
    inside, most, held = 0, 0, 0
    count = threading.Lock()

    def capture() -> None:
        nonlocal inside, most, held
        for _ in range(300):
            try:
                with service._only_one():
                    with count:
                        inside, held = inside + 1, held + 1
                        most = max(most, inside)
                    time.sleep(0)
                    with count:
                        inside -= 1
            except AgentFault:
                continue

    threads = [threading.Thread(target=capture) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert held > 10
    assert not path.exists()


def test_a_lock_that_a_killed_capture_left_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    path.touch()
    monkeypatch.setattr(service, "LOCK", str(path))
    with service._only_one():
        assert path.exists()
    assert not path.exists()
