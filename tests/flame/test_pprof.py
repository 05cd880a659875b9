"""pprof: held against Go's own reader and writer; damaged files are refused."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jvbtune.errors import FormatError
from jvbtune.flame.compare import merge
from jvbtune.flame.formats import protobuf, read, write
from jvbtune.flame.formats.protobuf import field, packed
from jvbtune.flame.model import Kind, Meta
from jvbtune.flame.names import NameRules
from tests.flame.files import names_of, rows_of
from tests.flame.files import write as save
from tests.flame.test_round_trip import profile_of

GO = Path(__file__).parent / "cases/go-pprof/input"


WAITING = """\
package main

import (
    "os"
    "runtime"
    "runtime/pprof"
    "sync"
    "time"
)

var lock sync.Mutex

func hold() { lock.Lock(); time.Sleep(20 * time.Millisecond); lock.Unlock() }

func main() {
    runtime.SetMutexProfileFraction(1)
    runtime.SetBlockProfileRate(1)
    cpu, _ := os.Create("cpu.pb.gz")
    pprof.StartCPUProfile(cpu)
    var all sync.WaitGroup
    for i := 0; i < 8; i++ {
        all.Add(1)
        go func() { hold(); all.Done() }()
    }
    all.Wait()
    for begin := time.Now(); time.Since(begin) < 300*time.Millisecond; {
    }
    pprof.StopCPUProfile()
    for _, name := range []string{"mutex", "block", "allocs"} {
        out, _ := os.Create(name + ".pb.gz")
        pprof.Lookup(name).WriteTo(out, 0)
        out.Close()
    }
}
"""


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Profiles of a program whose goroutines wait for each other: cpu, mutex, block, allocs."""
    directory = tmp_path_factory.mktemp("go")
    (directory / "waiting.go").write_text(WAITING)
    subprocess.run(["go", "run", "waiting.go"], cwd=directory, check=True, capture_output=True, timeout=200)
    return directory


needs_go = pytest.mark.skipif(not shutil.which("go"), reason="needs Go, whose pprof is the other reader")


@needs_go
@pytest.mark.parametrize("name", ["mutex", "block"])
def test_waiting_in_gos_profiles_is_no_cpu(waiting: Path, name: str) -> None:
    (profile,) = read([waiting / f"{name}.pb.gz"])
    assert (profile.meta.event, profile.meta.unit, profile.meta.interval_ns) == ("lock", "ns", None)
    assert profile.samples is None
    assert merge([[profile]], normalise="seconds").chosen.unit == "waiting seconds"
    # 7 goroutines wait for 20, 40, … 140 ms, together for 560 ms.
    held = sum(count for stack, count in names_of(profile).items() if "main.hold" in stack)
    assert 0.4e9 < held < 2e9
    (number,) = read([waiting / f"{name}.pb.gz"], event="contentions")
    assert (number.meta.event, number.meta.unit) == ("lock", "contentions")
    assert 7 <= number.total < 100


@needs_go
def test_gos_profiles_tell_their_events_and_lengths(waiting: Path) -> None:
    (cpu,), (samples,) = read([waiting / "cpu.pb.gz"]), read([waiting / "cpu.pb.gz"], event="samples")
    assert cpu.meta.seconds is not None
    assert 0.4 < cpu.meta.seconds < 20
    for one, unit in ((cpu, "ns"), (samples, "samples")):
        assert (one.meta.event, one.meta.unit, one.meta.interval_ns) == ("cpu", unit, 1e7)
        assert one.meta.seconds == cpu.meta.seconds
    (space,) = read([waiting / "allocs.pb.gz"], event="alloc_space")
    assert (space.meta.event, space.meta.unit, space.meta.interval_ns) == ("alloc", "bytes", None)
    (live,) = read([waiting / "allocs.pb.gz"], event="inuse_space")
    assert live.meta.event == "inuse_space"


def pprof(types: list[tuple[str, str]], values: list[int], mapping: str = "", **more: int) -> bytes:
    """One sample of ``f`` called by ``[kernel]``'s ``g``, in one mapping, by hand. ``more``: period and duration."""
    strings = ["", mapping, "f", "g", "cpu", "nanoseconds", *(word for pair in types for word in pair)]
    parts = [field(1, field(1, 6 + 2 * i) + field(2, 7 + 2 * i)) for i in range(len(types))]
    parts.append(field(2, packed(1, [1, 2, 3]) + packed(2, values)))
    parts.append(field(3, field(1, 1) + field(5, 1)))
    for number in (1, 2):
        parts.append(field(4, field(1, number) + field(2, 1) + field(4, field(1, number))))
        parts.append(field(5, field(1, number) + field(2, 1 + number)))
    parts.append(field(4, field(1, 3) + field(2, 1) + field(3, 0xFFF0)))  # no symbol
    parts += [field(6, text.encode()) for text in strings]
    if "period" in more:
        parts += [field(11, field(1, 4) + field(2, 5)), field(12, more["period"])]
    return b"".join([*parts, field(10, more.get("duration", 0))])


@pytest.mark.parametrize(
    ("mapping", "kind"),
    [
        ("[kernel.kallsyms]", Kind.KERNEL),
        ("[kernel.kallsyms]_stext", Kind.KERNEL),
        ("/lib/modules/6.1/kernel/net/netfilter/nf_conntrack.ko.xz", Kind.KERNEL),
        ("[nf_conntrack]", Kind.KERNEL),
        ("/usr/lib/debug/boot/vmlinux-6.1.0", Kind.KERNEL),
        ("[vdso]", Kind.NATIVE),
        ("[heap]", Kind.NATIVE),
        ("[anon:libc_malloc]", Kind.NATIVE),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", Kind.NATIVE),
        ("", Kind.NATIVE),
    ],
)
def test_frames_of_the_kernels_mappings_are_the_kernels(mapping: str, kind: Kind, tmp_path: Path) -> None:
    (profile,) = read([save(tmp_path / "p", pprof([("samples", "count")], [3], mapping))])
    ((_, stack),) = rows_of(profile)
    assert [one for _, one in stack[1:]] == [kind, kind]
    assert stack[0][1] == (kind if mapping else Kind.OTHER)
    write(profile, tmp_path / "again.pb.gz")
    assert rows_of(read([tmp_path / "again.pb.gz"])[0]) == rows_of(profile)


@pytest.mark.parametrize(
    ("types", "event", "expected"),
    [
        ([("samples", "count"), ("cpu", "nanoseconds")], None, ("cpu", "ns", 1e7, 30)),
        ([("samples", "count"), ("cpu", "nanoseconds")], "samples", ("cpu", "samples", 1e7, 20)),
        ([("samples", "count"), ("time", "nanoseconds")], None, ("wall", "ns", None, 30)),  # fgprof
        ([("sample", "count"), ("wall", "microseconds")], None, ("wall", "us", None, 30)),  # Node
        ([("cpu-time", "nanoseconds"), ("delay", "nanoseconds")], "cpu-time", ("cpu", "ns", 1e7, 20)),
        ([("cpu-time", "nanoseconds"), ("delay", "nanoseconds")], None, ("lock", "ns", None, 30)),
        ([("x", "count"), ("", "nanoseconds")], None, (None, "ns", None, 30)),
    ],
)
def test_the_period_is_of_the_event_that_it_names(
    types: list[tuple[str, str]], event: str | None, expected: tuple[object, ...], tmp_path: Path
) -> None:
    path = save(tmp_path / "p", pprof(types, [20, 30], period=10_000_000, duration=2_500_000_000))
    (profile,) = read([path], event=event)
    meta = profile.meta
    assert (meta.event, meta.unit, meta.interval_ns, profile.total) == expected
    assert meta.seconds == 2.5


@pytest.mark.parametrize("duration", [0, 2**64 - 5])
def test_a_length_that_is_none_is_not_known(duration: int, tmp_path: Path) -> None:
    (profile,) = read([save(tmp_path / "p", pprof([("cpu", "nanoseconds")], [1], duration=duration))])
    assert profile.meta.seconds is None


@pytest.mark.parametrize(
    "meta",
    [
        Meta(event="cpu", unit="samples", interval_ns=1e7, seconds=60),
        Meta(event="ctimer", unit="ns", interval_ns=1e6, seconds=12.5),
        Meta(event="wall", unit="us", interval_ns=2e7),
        Meta(event="lock", unit="ns", seconds=3),
        Meta(event="lock", unit="contentions"),
        Meta(event="alloc", unit="bytes", seconds=10),
        Meta(event="cache-misses", unit="samples", seconds=10),
        Meta(event="cycles", unit="cycles"),
        Meta(unit="samples", seconds=10),
        Meta(unit="bytes"),
    ],
)
def test_what_is_known_of_a_profile_is_read_again(meta: Meta, tmp_path: Path) -> None:
    write(profile_of([(["a", "b"], None, 5), (["a"], None, 7)], meta), tmp_path / "p.pb.gz")
    (again,) = read([tmp_path / "p.pb.gz"])
    assert again.total == 12
    for name in ("event", "unit", "interval_ns", "seconds"):
        assert getattr(again.meta, name) == getattr(meta, name), name


@needs_go
def test_gos_pprof_reads_what_is_known_of_a_profile(tmp_path: Path) -> None:
    meta = Meta(unit="ns", event="wall", interval_ns=10, seconds=2.5)
    write(profile_of([(["a"], None, 70)], meta), tmp_path / "p.pb.gz")
    argv = ["go", "tool", "pprof", "-raw", "-unit=nanoseconds", str(tmp_path / "p.pb.gz")]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout
    assert re.search(r"^PeriodType: wall nanoseconds\nPeriod: 10\n(?:Time: .*\n)?Duration: 2\.5", said), said


@needs_go
def test_gos_pprof_reads_what_is_written(tmp_path: Path) -> None:
    rows = [(["a/B.c_[j]", "sendto", "udp_sendmsg_[k]"], "main tid=1", 70), (["a/B.c_[j]"], None, 30)]
    write(profile_of(rows, Meta(unit="ns", event="cpu", interval_ns=10)), tmp_path / "p.pb.gz")
    argv = ["go", "tool", "pprof", "-raw", "-unit=nanoseconds", str(tmp_path / "p.pb.gz")]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "cpu/nanoseconds" in said
    assert re.search(r"^ +70: 3 2 1 *\n +thread:\[main tid=1\]", said, re.MULTILINE), said
    assert re.search(r"^ +30: 1 *$", said, re.MULTILINE), said
    assert "udp_sendmsg_[k]" in said


def test_of_several_values_the_last_is_read_or_the_one_asked_for() -> None:
    (cpu,) = read([GO])
    (samples,) = read([GO], event="samples")
    assert (cpu.meta.unit, cpu.meta.interval_ns) == ("ns", 1e7)
    assert samples.meta.unit == "samples"
    assert cpu.total == samples.total * 1e7
    assert set(names_of(cpu)) == set(names_of(samples))
    with pytest.raises(FormatError, match="no values of wall; there are: samples, cpu"):
        read([GO], event="wall")


def test_a_file_that_was_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = gzip.decompress(GO.read_bytes())
    (expected,) = read([GO], NameRules.none())
    for length in range(16, len(whole), 7):
        path = save(tmp_path / "cut", gzip.compress(whole[:length], 1))
        with pytest.raises(FormatError, match="pprof"):
            read([path])
    (again,) = read([save(tmp_path / "whole", whole)], NameRules.none())
    assert names_of(again) == names_of(expected)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(min_size=1, max_size=200))
def test_noise_is_an_error_and_never_a_traceback(noise: bytes, tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        read([save(tmp_path / "noise", b"\x0a\x04\x08\x01\x10\x02" + noise)])


@given(value=st.integers(0, 2**64 - 1))
def test_varints(value: int) -> None:
    data = protobuf.encoded(value)
    assert protobuf.varint(data, 0) == (value, len(data))
