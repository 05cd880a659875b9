"""Reading collapsed stacks: whole or not at all."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jvbtune.errors import FormatError
from jvbtune.flame.formats import read, streams
from jvbtune.flame.model import Kind, Meta
from jvbtune.flame.names import NameRules
from tests.flame.files import names_of, rows_of, write

pytestmark = pytest.mark.usefixtures("either_way")

ANNOTATED = """\
[Global IO pool-1 tid=101];java/lang/Thread.run_[j];org/A.b_[i];sendto;udp_sendmsg_[k] 3
[Global IO pool-2 tid=102];java/lang/Thread.run_[0];org/A.b_[j];sendto;udp_sendmsg_[k] 4
[GC Thread#0 tid=7];start_thread;G1CollectedHeap::do_collection 2
java/lang/Thread.run_[1];org/A.b_[1] 1
"""


def test_frames_threads_kinds_and_counts(tmp_path: Path) -> None:
    (profile,) = read([write(tmp_path / "a.collapsed", ANNOTATED)], NameRules.none())
    udp = (("sendto", Kind.NATIVE), ("udp_sendmsg", Kind.KERNEL))
    assert rows_of(profile) == {
        ("Global IO pool-1 tid=101", (("java/lang/Thread.run", Kind.JAVA), ("org/A.b", Kind.INLINED), *udp)): 3,
        ("Global IO pool-2 tid=102", (("java/lang/Thread.run", Kind.INTERPRETED), ("org/A.b", Kind.JAVA), *udp)): 4,
        ("GC Thread#0 tid=7", (("start_thread", Kind.NATIVE), ("G1CollectedHeap::do_collection", Kind.GC))): 2,
        (None, (("java/lang/Thread.run", Kind.C1), ("org/A.b", Kind.C1))): 1,
    }
    assert profile.total == 10
    assert profile.meta == Meta(title="a")


def test_perfs_collapsed_stacks_of_a_jvm_begin_with_threads_and_their_kernel_is_known_by_its_entry(
    tmp_path: Path,
) -> None:
    content = "java;Interpreter;sendto;entry_SYSCALL_64_after_hwframe;udp_sendmsg 3\nC2_CompilerThre;schedule 1\n"
    (profile,) = read([write(tmp_path / "a", content)])
    entry, udp = ("entry_SYSCALL_64_after_hwframe", Kind.KERNEL), ("udp_sendmsg", Kind.KERNEL)
    assert rows_of(profile) == {
        ("java", (("Interpreter", Kind.NATIVE), ("sendto", Kind.NATIVE), entry, udp)): 3,
        ("C2_CompilerThre", (("schedule", Kind.NATIVE),)): 1,
    }
    (other,) = read([write(tmp_path / "b", "main;work 3\nmain;entry_SYSCALL_64 1\n")])
    assert not other.threads, "no thread of a JVM is among these"


def test_what_the_jit_did_does_not_split_a_frame(tmp_path: Path) -> None:
    (profile,) = read([write(tmp_path / "a.collapsed", ANNOTATED)])
    assert names_of(profile)["java/lang/Thread.run;org/A.b;sendto;udp_sendmsg"] == 7
    assert len(profile.stacks.frames.names) == len(set(profile.stacks.frames.names))
    assert profile.stacks.frames.kinds[profile.stacks.frames.names.index("org/A.b")] == Kind.JAVA


def test_files_share_one_table_and_each_keeps_its_total(tmp_path: Path) -> None:
    one = write(tmp_path / "1", "a;b 1\na;c 2\n")
    other = write(tmp_path / "2", "a;c 3\na;d 4\n")
    first, second = read([one, other])
    assert first.stacks is second.stacks
    assert names_of(first) == {"a;b": 1, "a;c": 2}
    assert names_of(second) == {"a;c": 3, "a;d": 4}
    assert len(first.stacks) == 3


def test_what_is_known_of_a_file_is_kept(tmp_path: Path) -> None:
    meta = Meta(title="before", engine="perf", unit="ns")
    assert read([write(tmp_path / "1", "a 1\n")], metas=[meta])[0].meta is meta


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a;b 1\r\na;c 2\r\n", {"a;b": 1, "a;c": 2}),
        ("a;b 1\n\na;c 2\n   \n", {"a;b": 1, "a;c": 2}),
        ("a;b 1\na;c 2", {"a;b": 1, "a;c": 2}),
        ("a;b 0.25\na;b 1e3\n", {"a;b": 1000.25}),
        ("a b (c.py:3);d e 7\n", {"a b (c.py:3);d e": 7}),
        ("fr\xe4nk;\xff 7\n".encode("latin-1"), {"fr\\xe4nk;\\xff": 7}),
        ("[pool-1 tid=3] 5\n", {"": 5}),
        ("[unknown];a 5\n", {"[unknown];a": 5}),
        ("foo bar 3\nx 1 2\n", {"foo bar": 3, "x 1": 2}),
    ],
)
def test_readable(content: str | bytes, expected: dict[str, float], tmp_path: Path) -> None:
    (profile,) = read([write(tmp_path / "f", content)], NameRules.none())
    assert names_of(profile) == expected


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("a;b 1\na;c\n", 2, "'a;c'"),
        ("a;b 1\na;c -2\n", 2, "'a;c -2'"),
        ("a;b 1\na;c nan\n", 2, "'a;c nan'"),
        ("a;b 1\na;c inf\n", 2, "'a;c inf'"),
        ("a;b 1\na;c 1e999\n", 2, "'a;c 1e999'"),
        ("a;b 1\na;c 1_0\n", 2, "'a;c 1_0'"),
        ("a;b 1\n\na;c x\n", 3, "'a;c x'"),
        ("a;;b 1\n", 1, "a frame without a name"),
        ("a;b; 1\n", 1, "a frame without a name"),
        (" 1\n", 1, "a frame without a name"),
        ("a;b 1 2\na;c 3 4\n", 1, "a difference already"),
        ("x 1\n" * 100_000 + "a;b\n" + "x 1\n", 100_001, "'a;b'"),
        ("", None, "empty"),
    ],
)
def test_a_malformed_line_is_named(content: str, line: int | None, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "f.collapsed", content)
    with pytest.raises(FormatError) as error:
        read([path])
    assert (error.value.file, error.value.line) == (path, line)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"nothing\.collapsed: cannot be read: No such file"):
        read([tmp_path / "nothing.collapsed"])


Pack = Callable[[bytes], bytes]
CONTENT = "".join(f"main;f{i};g{i * i} {i}\n" for i in range(1, 20_000)).encode()


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
@pytest.mark.parametrize("times", [1, 2])
def test_compressed_files_of_one_member_or_several(pack: Pack, times: int, tmp_path: Path) -> None:
    (plain,) = read([write(tmp_path / "plain", CONTENT * times)])
    (packed,) = read([write(tmp_path / "no-suffix-needed", pack(CONTENT) * times)])
    assert names_of(packed) == names_of(plain)
    assert packed.total == plain.total == times * sum(range(1, 20_000))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.999, -1, -4])
def test_a_compressed_file_that_was_cut_is_refused(pack: Pack, keep: float, tmp_path: Path) -> None:
    packed = pack(CONTENT)
    cut = packed[: int(keep) if keep < 0 else int(len(packed) * keep)]
    with pytest.raises(FormatError, match="was cut"):
        read([write(tmp_path / "cut", cut)])


@pytest.mark.parametrize(
    "pack", [gzip.compress, lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data)]
)
def test_a_damaged_compressed_file_is_refused(pack: Pack, tmp_path: Path) -> None:
    packed = bytearray(pack(CONTENT))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(FormatError, match="damaged"):
        read([write(tmp_path / "damaged", bytes(packed))])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.tuples(
            st.lists(
                st.sampled_from(["a", "b/C.d_[j]", "e::f", "ü (x.py:3)", "[unknown]", "k_[k]"]), min_size=1, max_size=5
            ),
            st.one_of(st.integers(0, 2**40), st.floats(0, 1e6, allow_nan=False).map(lambda x: round(x, 3))),
        ),
        min_size=1,
        max_size=30,
    ),
    chunk=st.integers(1, 64),
)
def test_whatever_the_size_of_a_read_the_sums_are_the_files(
    lines: list[tuple[list[str], float]], chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "READ_BYTES", chunk)
    monkeypatch.setattr(streams, "HEAD_BYTES", 1)
    path = write(tmp_path / "f", "".join(f"{';'.join(stack)} {weight!r}\n" for stack, weight in lines))
    (profile,) = read([path], NameRules.none())
    expected: dict[str, float] = {}
    for stack, weight in lines:
        key = ";".join(name[:-4] if name.endswith(("_[j]", "_[k]")) else name for name in stack)
        expected[key] = expected.get(key, 0) + weight
    assert names_of(profile) == pytest.approx(expected)
    assert profile.total == pytest.approx(sum(weight for _, weight in lines))


def test_memory_is_bounded_by_what_differs_not_by_what_repeats(tmp_path: Path) -> None:
    path = write(tmp_path / "f", "".join(f"main;work;f{i % 50} 1\n" for i in range(100_000)))
    tracemalloc.start()
    (profile,) = read([path])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert profile.total == 100_000
    assert peak < 40 << 20
