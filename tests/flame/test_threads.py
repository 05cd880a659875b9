"""Threads as first frames: split, merged by pool, dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from jvbtune.flame.formats import read
from jvbtune.flame.model import Kind, Profile
from jvbtune.flame.names import NameRules
from jvbtune.flame.threads import Threads, arrange_threads
from tests.flame.files import names_of, write

ONE = "[IO pool-1 tid=1];a;b 1\n[IO pool-2 tid=2];a;b 2\n[IO pool-2 tid=2];a 4\n[main tid=3] 8\nnobody;b 16\n"
OTHER = "[IO pool-7 tid=9];a;b 32\n[main tid=4];c 64\n"


@pytest.fixture
def profiles(tmp_path: Path) -> list[Profile]:
    return read([write(tmp_path / "1", ONE), write(tmp_path / "2", OTHER)])


@pytest.mark.parametrize(
    ("threads", "first", "second"),
    [
        (
            "split",
            {"IO pool-1;a;b": 1, "IO pool-2;a;b": 2, "IO pool-2;a": 4, "main": 8, "nobody;b": 16},
            {"IO pool-7;a;b": 32, "main;c": 64},
        ),
        (
            "pool",
            {"IO pool-*;a;b": 3, "IO pool-*;a": 4, "main": 8, "nobody;b": 16},
            {"IO pool-*;a;b": 32, "main;c": 64},
        ),
        ("drop", {"a;b": 3, "a": 4, "": 8, "nobody;b": 16}, {"a;b": 32, "c": 64}),
    ],
)
def test_threads(threads: Threads, first: dict[str, float], second: dict[str, float], profiles: list[Profile]) -> None:
    one, other = arrange_threads(profiles, threads)
    assert names_of(one) == first
    assert names_of(other) == second
    assert one.stacks is other.stacks
    assert (one.total, other.total) == (31, 96)
    for profile in (one, other):
        assert not profile.threads
        assert set(profile.thread) <= {-1}
        frames = profile.stacks.frames
        pairs = list(zip(frames.names, frames.kinds, strict=True))
        assert len(set(pairs)) == len(pairs)


def test_a_threads_frame_is_of_its_own_kind_and_the_root(profiles: list[Profile]) -> None:
    one, _ = arrange_threads(profiles, "pool")
    kinds = one.stacks.frames.kinds[one.stacks.flat] == Kind.THREAD
    assert set(kinds.nonzero()[0]) <= set(one.stacks.offsets[:-1])
    assert {one.stacks.frames.names[i] for i in one.stacks.flat[kinds]} == {"IO pool-*", "main"}


def test_split_keeps_ids_where_the_rule_is_off(profiles: list[Profile]) -> None:
    one, _ = arrange_threads(profiles, "split", NameRules.without(["thread-ids"]))
    assert "IO pool-1 tid=1;a;b" in names_of(one)


def test_profiles_without_threads_stay_what_they_are(tmp_path: Path) -> None:
    (profile,) = read([write(tmp_path / "f", "a;b 1\n")])
    assert names_of(arrange_threads([profile], "pool")[0]) == {"a;b": 1}
