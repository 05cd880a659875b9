"""JFR recordings, made here by a real JVM."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from jvbtune.errors import FormatError, UsageError
from jvbtune.flame.formats import read
from jvbtune.flame.model import Kind
from tests.flame.files import names_of, rows_of, write

JAVA = shutil.which("java")
needs_java = pytest.mark.skipif(JAVA is None or not shutil.which("mvn"), reason="needs a JDK and Maven")

BUSY = """\
public class Busy {
    static volatile long sink;
    static void spin() { for (int i = 0; i < 1000; i++) sink += Long.toString(i).hashCode(); }
    public static void main(String[] args) {
        var threads = java.lang.management.ManagementFactory.getThreadMXBean();  // a busy machine gives less than asked
        while (threads.getCurrentThreadCpuTime() < 1_500_000_000L) spin();
    }
}
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert JAVA is not None
    directory = tmp_path_factory.mktemp("jfr")
    (directory / "Busy.java").write_text(BUSY)
    path = directory / "r.jfr"
    argv = [JAVA, f"-XX:StartFlightRecording=filename={path},settings=profile", "Busy.java"]
    subprocess.run(argv, cwd=directory, capture_output=True, check=True, timeout=60)
    return path


@needs_java
def test_a_recording_is_read_with_threads_and_kinds(recording: Path, tmp_path: Path) -> None:
    (profile,) = read([recording])
    assert profile.total > 10
    assert any(label.startswith("main tid=") for label in profile.threads)
    spinning = {stack: n for stack, n in names_of(profile).items() if "Busy.spin" in stack}
    assert sum(spinning.values()) > profile.total / 2
    assert all(kind == Kind.JAVA for (_, stack) in rows_of(profile) for name, kind in stack if name == "Busy.spin")
    (packed,) = read([write(tmp_path / "packed", gzip.compress(recording.read_bytes(), 1))])
    assert rows_of(packed) == rows_of(profile)


@needs_java
def test_an_event_that_is_not_there_or_does_not_exist(recording: Path) -> None:
    with pytest.raises(FormatError, match="no events of lock"):
        read([recording], event="lock")
    with pytest.raises(UsageError, match="cpu, cpu-time, wall"):
        read([recording], event="coffee")


@needs_java
def test_a_damaged_recording_is_refused(recording: Path, tmp_path: Path) -> None:
    content = recording.read_bytes()
    with pytest.raises(FormatError, match=r"r2\.jfr"):
        read([write(tmp_path / "r2.jfr", content[: len(content) // 3])])


def test_without_java_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FormatError, match="there is no java here") as error:
        read([write(tmp_path / "r.jfr", b"FLR\0 whatever")])
    assert "apt-get" in str(error.value)
