"""JFR recordings of real JVMs, of both profilers, held against the JDK's own reader and jfr-converter."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import zipfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from jvbtune.errors import FormatError, UsageError
from jvbtune.flame.formats import jfr, read
from jvbtune.flame.model import Kind
from jvbtune.flame.names import NameRules
from jvbtune.packages import ASYNC_PROFILER, JFR_CONVERTER, LIBRARIES, fetch
from tests.flame.files import names_of, rows_of, write

JAVA = shutil.which("java")
JFR = shutil.which("jfr")
pytestmark = [
    pytest.mark.jvm,
    pytest.mark.skipif(JAVA is None or not JFR or not shutil.which("mvn"), reason="needs a JDK and Maven"),
]

BUSY = """\
import java.net.ServerSocket;
public class Busy {
    static volatile long sink;
    static final Object lock = new Object();
    static void spin() { for (int i = 0; i < 1000; i++) sink += Long.toString(i).hashCode(); }
    static void locked() { for (int i = 0; i < 100; i++) { synchronized (lock) { spin(); } } }
    static void daemon(String name, Runnable run) {
        var thread = new Thread(run, name);
        thread.setDaemon(true);
        thread.start();
    }
    public static void main(String[] args) throws Exception {
        var server = new ServerSocket(0);
        daemon("acceptor", () -> { try { server.accept(); } catch (Exception e) { } });
        daemon("locker", () -> { try { while (true) { locked(); Thread.sleep(2); } } catch (Exception e) { } });
        var threads = java.lang.management.ManagementFactory.getThreadMXBean();  // a busy machine gives less than asked
        while (threads.getCurrentThreadCpuTime() < 1_000_000_000L) { spin(); locked(); }
    }
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert JAVA is not None
    directory = tmp_path_factory.mktemp("jfr")
    (directory / "Busy.java").write_text(BUSY)
    # compiled before, so that the compiler is no part of the recording
    subprocess.run([Path(JAVA).with_name("javac"), "Busy.java"], cwd=directory, check=True, timeout=60)
    return directory


@pytest.fixture(scope="module")
def recording(program: Path) -> Path:
    path = program / "r.jfr"
    argv = [JAVA, f"-XX:StartFlightRecording=filename={path},settings=profile", "-cp", ".", "Busy"]
    subprocess.run(argv, cwd=program, capture_output=True, check=True, timeout=200)
    return path


@pytest.fixture(scope="module")
def profiled(program: Path) -> dict[str, Path]:
    """Recordings of async-profiler: by its timers (no rights are needed), of all threads, and of four events."""
    library = program / "libasyncProfiler.so"
    with zipfile.ZipFile(fetch(ASYNC_PROFILER)) as jar:
        library.write_bytes(jar.read(LIBRARIES["x86_64"]))
    options = {"cpu": "event=ctimer", "wall": "event=wall", "all": "event=ctimer,wall=20ms,alloc=64k,lock=10us"}
    paths = {name: program / f"{name}.jfr" for name in options}
    for name, option in options.items():
        agent = f"-agentpath:{library}=start,{option},interval=5ms,file={paths[name]},jfr"
        subprocess.run([JAVA, agent, "-cp", ".", "Busy"], cwd=program, capture_output=True, check=True, timeout=200)
    return paths


def counted_by_the_jdk(recording: Path) -> dict[str, int]:
    assert JFR is not None
    said = subprocess.run([JFR, "summary", recording], capture_output=True, text=True, check=True, timeout=60).stdout
    return {name: int(count) for name, count in re.findall(r"^ ([\w.]+) +(\d+) +\d+$", said, re.MULTILINE)}


def test_execution_samples_are_cpu_and_threads_in_native_methods_are_not(recording: Path, tmp_path: Path) -> None:
    expected = counted_by_the_jdk(recording)
    (profile,) = read([recording])
    assert profile.total == expected["jdk.ExecutionSample"] > 10
    assert not any("accept" in stack for stack in names_of(profile))
    assert any(label.startswith("main tid=") for label in profile.threads)
    spinning = {stack: n for stack, n in names_of(profile).items() if "Busy.spin" in stack}
    assert sum(spinning.values()) > profile.total / 2
    assert all(kind == Kind.JAVA for (_, stack) in rows_of(profile) for name, kind in stack if name == "Busy.spin")
    assert (profile.meta.engine, profile.meta.event, profile.meta.unit) == ("jfr", "cpu", "samples")
    (native,) = read([recording], event="native")
    assert native.total == expected["jdk.NativeMethodSample"] > 10
    assert any("sun/nio/ch/NioSocketImpl.accept" in stack for stack in names_of(native))
    (packed,) = read([write(tmp_path / "packed", gzip.compress(recording.read_bytes(), 1))])
    assert rows_of(packed) == rows_of(profile)


def test_weights_have_their_numbers_of_samples_and_samples_without_a_stack_count(recording: Path) -> None:
    expected = counted_by_the_jdk(recording)
    (profile,) = read([recording], event="alloc")
    assert profile.samples is not None
    assert profile.samples.sum() == expected["jdk.ObjectAllocationSample"]
    assert profile.meta.unit == "bytes"
    argv = [JFR, "print", "--events", "jdk.ObjectAllocationSample", recording]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    bare = sum("stackTrace = [" not in one for one in said.split("jdk.ObjectAllocationSample {")[1:])
    rows = zip(profile.stack, profile.samples, strict=True)
    assert sum(n for stack, n in rows if profile.stacks.names(stack)[0] == "[no stack]") == bare


TITLES = {"cpu": ["--cpu"], "wall": ["--wall"], "alloc": ["--alloc", "--total"], "lock": ["--lock", "--total"]}


def by_jfr_converter(recording: Path, event: str) -> dict[str, float]:
    """Stacks without their kinds: the converter gives all frames of one name the same."""
    out = recording.with_suffix(f".{event}")
    argv = [JAVA, "-jar", fetch(JFR_CONVERTER), "-o", "collapsed", *TITLES[event], recording, out]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    found: Counter[str] = Counter()
    for line in out.read_text().splitlines():
        stack, _, weight = line.rpartition(" ")
        found[re.sub(r"_\[.\](?=;|$)", "", stack)] += int(weight)
    return dict(found)


@pytest.mark.parametrize(("name", "events"), [("cpu", ["cpu"]), ("wall", ["wall"]), ("all", list(TITLES))])
def test_async_profilers_recordings_are_read_as_by_its_converter(
    profiled: dict[str, Path], name: str, events: list[str]
) -> None:
    for event in events:
        (profile,) = read([profiled[name]], NameRules.none(), event=event)
        found = {re.sub(r"_\[.\](?=;|$)", "", stack): n for stack, n in names_of(profile).items()}
        expected = by_jfr_converter(profiled[name], event)
        assert {stack: round(n) for stack, n in found.items()} == pytest.approx(expected, rel=1e-6, abs=1000)
        assert profile.samples is not None
        assert event not in ("cpu", "wall") or profile.samples.sum() == profile.total


def test_a_recording_in_wall_mode_is_wall(profiled: dict[str, Path]) -> None:
    (wall,) = read([profiled["wall"]])
    assert (wall.meta.engine, wall.meta.event, wall.meta.interval_ns) == ("async-profiler", "wall", 5e6)
    with pytest.raises(FormatError, match=r"no events of cpu are in this recording\nIt holds: wall \(\d+\)"):
        read([profiled["wall"]], event="cpu")
    (cpu,) = read([profiled["all"]])
    assert (cpu.meta.event, cpu.meta.interval_ns) == ("ctimer", 5e6)
    (both,) = read([profiled["all"]], event="wall")
    assert (both.meta.event, both.meta.interval_ns) == ("wall", 2e7)


def test_slices_of_a_recording_add_up(profiled: dict[str, Path]) -> None:
    recording = jfr.open_recording(profiled["cpu"])
    moments = sorted(sample.unix for sample in recording.samples("cpu"))
    middle = moments[len(moments) // 2]
    halves = [jfr.collapsed(recording, "ctimer", *w) for w in ((0, middle - 1e-6), (middle, moments[-1]))]
    counts = [sum(int(line.rpartition(b" ")[2]) for line in half.splitlines()) for half in halves]
    assert sum(counts) == len(moments)
    assert counts[0] == len(moments) // 2
    assert 0 < moments[-1] - moments[0] < 60


def test_an_event_that_is_not_there_or_does_not_exist(profiled: dict[str, Path]) -> None:
    with pytest.raises(FormatError, match=r"no events of lock .*\nIt holds: cpu \(\d+\)\. Choose one with --event"):
        read([profiled["cpu"]], event="lock")
    with pytest.raises(UsageError, match="cpu, cpu-time, wall, native"):
        read([profiled["cpu"]], event="coffee")


def test_a_damaged_recording_is_refused_whatever_the_damage(profiled: dict[str, Path], tmp_path: Path) -> None:
    content = profiled["cpu"].read_bytes()
    for length in (5, 60, 1000, len(content) // 3, len(content) - 1):
        with pytest.raises(FormatError, match=r"r2\.jfr.*damaged"):
            read([write(tmp_path / "r2.jfr", content[:length])])
    unfinished = content[:8] + bytes(8) + content[16:]
    with pytest.raises(FormatError, match="never finished"):
        read([write(tmp_path / "r3.jfr", unfinished)])
    for at in range(70, len(content), max(len(content) // 300, 1)):  # a byte that is wrong may go unnoticed, no more
        harmed = bytearray(content)
        harmed[at] ^= 0x5B
        with suppress(FormatError):
            read([write(tmp_path / "r4.jfr", bytes(harmed))])
