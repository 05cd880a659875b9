"""What is written is read again: frames, kinds, threads, weights. By hypothesis, for every format and compression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jvbtune.errors import FormatError, UsageError
from jvbtune.flame.formats import format_of_name, read, together, write
from jvbtune.flame.formats.table import Rows, StackTable
from jvbtune.flame.model import Meta, Profile
from jvbtune.flame.names import ALL_RULES, NameRules, split_suffix
from tests.flame.files import rows_of

FRAMES = (
    "java/lang/Thread.run_[j]",
    "java/lang/Thread.run_[0]",
    "org/A$$Lambda$12.0x00007f458054beb8.b_[i]",
    "org/A.b_[1]",
    "udp_sendmsg_[k]",
    "finish_task_switch.isra.0_[k]",
    "sendto",
    "Parker::park",
    "std::vector<int, std::allocator<int> >::push_back",
    "G1ParScanThreadState::trim_queue",
    "PhaseChaitin::Register_Allocate",
    "run (jvbtune/load/worker.py:12)",
    "[unknown]",
    "främe “with” <all> & 'sorts'",
    "12 x",
)
THREADS = ("main tid=1", "Global IO pool-12 tid=4242", "no id", "ü; tid=7".replace(";", ","))
FILES = ("p.collapsed", "p.collapsed.gz", "p.folded.zst", "p.speedscope.json", "p.json.gz", "p.pb.gz", "p.pprof")

rows = st.lists(
    st.tuples(
        st.lists(st.sampled_from(FRAMES), min_size=1, max_size=6),
        st.one_of(st.none(), st.sampled_from(THREADS)),
        st.integers(0, 2**48),
    ),
    min_size=1,
    max_size=25,
)


def profile_of(content: list[tuple[list[str], str | None, float]], meta: Meta) -> Profile:
    table = StackTable(NameRules.none())
    stacks = [table.stack(b"".join(table.frame(*split_suffix(name)) for name in stack)) for stack, _, _ in content]
    labels = sorted({thread for _, thread, _ in content if thread is not None})
    threads = [labels.index(thread) if thread is not None else -1 for _, thread, _ in content]
    return Rows(stacks, [weight for _, _, weight in content], threads, labels).profile(table.build(), meta)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=rows)
def test_round_trip(name: str, content: list[tuple[list[str], str | None, float]], tmp_path: Path) -> None:
    profile = profile_of(content, Meta(title="p", unit="ns"))
    write(profile, tmp_path / name)
    (again,) = read([tmp_path / name], NameRules.none())
    assert rows_of(again) == rows_of(profile)
    assert again.total == profile.total == sum(weight for _, _, weight in content)
    assert format_of_name(name) == "collapsed" or again.meta.unit == "ns"


@pytest.mark.parametrize("name", ["p.collapsed", "p.speedscope.json"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(weights=st.lists(st.floats(0, 1e9, allow_nan=False), min_size=1, max_size=20))
def test_fractional_weights_survive_exactly(name: str, weights: list[float], tmp_path: Path) -> None:
    profile = profile_of([(["a", f"f{i}"], None, weight) for i, weight in enumerate(weights)], Meta())
    write(profile, tmp_path / name)
    (again,) = read([tmp_path / name], NameRules.none())
    assert sorted(again.counts) == sorted(weights)


def test_pprof_refuses_fractions_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="whole numbers"):
        write(profile_of([(["a"], None, 0.5)], Meta()), tmp_path / "p.pb.gz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FILES)
def test_the_same_profile_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    profile = profile_of([(["a", "b"], "main tid=1", 3), (["a"], None, 4)], Meta(title="t"))
    write(profile, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    write(profile, tmp_path / name)
    assert (tmp_path / name).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["p.collapsed", "p.speedscope.json", "p.pb.gz"])
def test_names_that_the_format_itself_uses_do_no_harm(name: str, tmp_path: Path) -> None:
    table = StackTable(NameRules.none())
    frames = [table.frame("a;b\nc 3", split_suffix("x")[1]), table.frame("d", split_suffix("x")[1])]
    profile = Rows([table.stack(b"".join(frames))], [7]).profile(table.build(), Meta())
    write(profile, tmp_path / name)
    (again,) = read([tmp_path / name], NameRules.none())
    ((_, stack),) = rows_of(again)
    assert (len(stack), stack[1][0], again.total) == (2, "d", 7)


@given(content=rows)
@settings(max_examples=40, deadline=None)
def test_rules_keep_the_total_and_never_split_a_frame(content: list[tuple[list[str], str | None, float]]) -> None:
    table = StackTable(ALL_RULES)
    for stack, _, _ in content:
        table.stack(b"".join(table.frame(*split_suffix(name)) for name in stack))
    frames = table.build().frames
    assert len(frames) <= len({name for stack, _, _ in content for name in stack})
    assert len(set(zip(frames.names, frames.kinds, strict=True))) == len(frames)


def test_several_profiles_add_up(tmp_path: Path) -> None:
    write(profile_of([(["a"], "x tid=1", 1), (["b"], None, 2)], Meta()), tmp_path / "1.folded")
    write(profile_of([(["a"], "y tid=2", 4), (["b"], "x tid=1", 8)], Meta()), tmp_path / "2.folded")
    whole = together(read([tmp_path / "1.folded", tmp_path / "2.folded"]))
    assert {(t, s[0][0]): n for (t, s), n in rows_of(whole).items()} == {
        ("x tid=1", "a"): 1,
        (None, "b"): 2,
        ("y tid=2", "a"): 4,
        ("x tid=1", "b"): 8,
    }
    assert whole.total == 15
    assert whole.counts.dtype == np.float64


def test_unlike_units_do_not_add_up(tmp_path: Path) -> None:
    profile = profile_of([(["a"], None, 1)], Meta(unit="ns"))
    write(profile, tmp_path / "1.pb.gz")
    write(profile, tmp_path / "2.folded")
    with pytest.raises(UsageError, match="ns, samples"):
        together(read([tmp_path / "1.pb.gz", tmp_path / "2.folded"]))


def test_a_name_that_tells_no_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--to"):
        write(profile_of([(["a"], None, 1)], Meta()), tmp_path / "p.xyz")
