"""JFR recordings of profilers that are not at hand: old async-profilers, events of the CPU's counters, JDK 25."""

from __future__ import annotations

from pathlib import Path

import pytest

from jvbtune.errors import FormatError
from jvbtune.flame.compare import merge
from jvbtune.flame.formats import read
from jvbtune.flame.formats import write as write_profile
from tests.flame.files import names_of, write
from tests.flame.jfr_files import STATES, Chunk

RUNNABLE, SLEEPING = STATES
ON_CPU = "STATE_DEFAULT"
SINCE_2_10 = (ON_CPU, *STATES)


def recording(path: Path, *chunks: Chunk) -> Path:
    return write(path / "r.jfr", b"".join(chunk.bytes() for chunk in chunks))


@pytest.mark.parametrize("event", ["cpu", "itimer"])
@pytest.mark.parametrize("without", [(), ("profiler.Log",)], ids=["2.9", "2.0"])
def test_execution_samples_of_async_profiler_2_are_cpu(event: str, without: tuple[str, ...], tmp_path: Path) -> None:
    settings = {"event": event, "interval": "5000000"}
    path = recording(tmp_path, Chunk([(RUNNABLE, 1)] * 3, settings, without=without))
    (cpu,) = read([path])
    assert names_of(cpu) == {"a/B.main;a/B.work": 3}
    assert cpu.meta.engine == "async-profiler"
    assert (cpu.meta.event, cpu.meta.interval_ns, cpu.meta.seconds) == ("cpu", 5e6, 10)
    with pytest.raises(FormatError, match="no events of wall"):
        read([path], event="wall")


def test_wall_clock_of_async_profiler_2_is_wall_in_every_chunk(tmp_path: Path) -> None:
    """The settings are in the first chunk only."""
    first = Chunk([(RUNNABLE, 1), (SLEEPING, 1)], {"event": "wall", "interval": "50000000"})
    path = recording(tmp_path, first, Chunk([(RUNNABLE, 1), (SLEEPING, 1)], start_ns=first.start_ns + 10**10))
    (wall,) = read([path])
    assert (wall.meta.event, wall.meta.interval_ns, wall.total) == ("wall", 5e7, 4)
    with pytest.raises(FormatError, match="no events of cpu"):
        read([path], event="cpu")


def test_states_tell_cpu_from_wall_since_2_10(tmp_path: Path) -> None:
    samples = [(ON_CPU, 1)] * 3 + [(RUNNABLE, 1), (SLEEPING, 1)]
    settings = {"event": "ctimer", "engine": "ctimer", "interval": "1000000", "wall": "20000000"}
    path = recording(tmp_path, Chunk(samples, settings, SINCE_2_10))
    (cpu,), (wall,) = read([path]), read([path], event="wall")
    assert (cpu.total, cpu.meta.event, cpu.meta.interval_ns) == (3, "ctimer", 1e6)
    assert (wall.total, wall.meta.event, wall.meta.interval_ns) == (2, "wall", 2e7)


@pytest.mark.parametrize("event", ["cache-misses", "cycles", "java.lang.Thread.sleep"])
def test_counts_of_other_events_are_no_time(event: str, tmp_path: Path) -> None:
    """The interval is of cache misses, not of nanoseconds."""
    samples = [(ON_CPU, 1)] * 3 + [(SLEEPING, 1)]
    settings = {"event": event, "engine": "perf", "interval": "1000", "wall": "20000000"}
    path = recording(tmp_path, Chunk(samples, settings, SINCE_2_10))
    (counted,), (wall,) = read([path]), read([path], event="wall")
    assert (counted.meta.event, counted.meta.unit, counted.meta.interval_ns) == (event, "samples", None)
    assert (wall.meta.event, wall.meta.interval_ns) == ("wall", 2e7)
    assert [one.name for one in merge([[counted]]).normalisations] == ["samples", "share"]


@pytest.mark.parametrize("event", ["cpu", "cpu-clock", "task-clock", "itimer", "ctimer"])
def test_counts_of_clocks_are_time(event: str, tmp_path: Path) -> None:
    (cpu,) = read([recording(tmp_path, Chunk([(ON_CPU, 1)], {"event": event, "interval": "1000"}, SINCE_2_10))])
    assert (cpu.meta.event, cpu.meta.interval_ns) == ("cpu", 1000)


@pytest.mark.parametrize(("ticks_per_second", "ticks"), [(10**9, 10**7), (2_500_000_000, 25 * 10**6)])
def test_the_period_of_cpu_time_samples_is_in_ticks(ticks_per_second: int, ticks: int, tmp_path: Path) -> None:
    chunk = Chunk(periods=[ticks] * 4, recording="1", without=("profiler.Log",), ticks_per_second=ticks_per_second)
    (profile,) = read([recording(tmp_path, chunk)])
    assert (profile.meta.engine, profile.meta.event, profile.meta.interval_ns) == ("jfr", "cpu-time", 1e7)
    assert (profile.total, profile.meta.seconds) == (4, 10)


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [
        ([(0, 10)], 10),
        ([(0, 10), (10, 4)], 14),
        ([(0, 10), (1, 8)], 10),  # jfrsync: the JVM's chunk and async-profiler's are of one time
        ([(5, 10), (0, 10)], 15),
        ([(0, 10), (60, 5)], 15),
        ([(0, 10), (10, 0)], None),  # a length that nobody wrote
    ],
)
def test_the_length_is_that_of_the_chunks(spans: list[tuple[int, int]], seconds: float | None, tmp_path: Path) -> None:
    start = 1_700_000_000 * 10**9
    chunks = [
        Chunk([(RUNNABLE, 1)], {"event": "cpu"}, start_ns=start + begin * 10**9, length_ns=length * 10**9)
        for begin, length in spans
    ]
    (profile,) = read([recording(tmp_path, *chunks)])
    assert profile.meta.seconds == seconds
    write_profile(profile, tmp_path / "p.pb.gz")
    (again,) = read([tmp_path / "p.pb.gz"])
    assert (again.meta.seconds, again.meta.event) == (seconds, "cpu")


def test_threads_without_a_name(tmp_path: Path) -> None:
    names = {1: "main", 2: "[tid=102]", 3: "", 4: "[tid=x]"}
    path = recording(tmp_path, Chunk([(RUNNABLE, number) for number in names], {"event": "cpu"}, threads=names))
    (profile,) = read([path])
    assert profile.threads == ("main tid=101", "thread tid=102", "thread tid=103", "[tid=x] tid=104")
