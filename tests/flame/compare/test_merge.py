"""The merged tree holds what its inputs hold, whatever their shape, and is in preorder."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvbtune.errors import UsageError
from jvbtune.flame.compare import merge
from jvbtune.flame.model import Kind, Meta, Profile, Tree
from tests.flame.compare.build import Counts, profile

NAMES = ("a", "a$b", "ab", "b", "b;", "é", "a/B.c")
stacks = st.lists(st.sampled_from(NAMES), max_size=7).map(tuple)
slices = st.dictionaries(stacks, st.integers(1, 50), max_size=12)
sides = st.lists(st.lists(slices, min_size=1, max_size=3), min_size=1, max_size=3)


def paths(tree: Tree) -> list[tuple[str, ...]]:
    """Each node's stack, by its parents."""
    out: list[tuple[str, ...]] = []
    for node, parent in enumerate(tree.parent.tolist()):
        out.append((*out[parent], tree.frames.names[tree.frame[node]]) if parent >= 0 else ())
    return out


def expected(side: list[Counts]) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], float]]:
    self_: dict[tuple[str, ...], float] = defaultdict(float)
    total: dict[tuple[str, ...], float] = defaultdict(float)
    for part in side:
        for stack, count in part.items():
            self_[stack] += count
            for depth in range(len(stack) + 1):
                total[stack[:depth]] += count
    return self_, total


@settings(max_examples=150, deadline=None)
@given(sides)
def test_every_stack_of_every_side_is_in_the_tree_with_its_values(given_sides: list[list[Counts]]) -> None:
    tree = merge([[profile(part) for part in side] for side in given_sides])
    places = paths(tree)
    assert len(set(places)) == len(places)
    for s, side in enumerate(given_sides):
        self_, total = expected(side)
        assert {p: v for p, v in zip(places, tree.self_[s].tolist(), strict=True) if v} == self_
        assert {p: v for p, v in zip(places, tree.total[s].tolist(), strict=True) if v} == total
        assert tree.total[s, 0] == sum(sum(part.values()) for part in side)
        assert tree.slice_self[s].sum(axis=0).tolist() == tree.self_[s, tree.self_nodes].tolist()
        for k, part in enumerate(side):
            by_stack = dict(zip([places[i] for i in tree.self_nodes], tree.slice_self[s][k].tolist(), strict=True))
            assert {stack: v for stack, v in by_stack.items() if v} == part


@settings(max_examples=100, deadline=None)
@given(sides)
def test_nodes_are_in_preorder_and_callees_by_name(given_sides: list[list[Counts]]) -> None:
    tree = merge([[profile(part) for part in side] for side in given_sides])
    places = paths(tree)
    assert places == sorted(places)
    assert tree.depth.tolist() == [len(place) for place in places]
    for node, place in enumerate(places):
        below = [other for other in places if other[: len(place)] == place]
        assert tree.subtree[node] == len(below)
        assert places[node : node + len(below)] == below


@settings(max_examples=100, deadline=None)
@given(sides)
def test_the_table_counts_a_recursion_once(given_sides: list[list[Counts]]) -> None:
    tree = merge([[profile(part) for part in side] for side in given_sides])
    for s, side in enumerate(given_sides):
        for f, name in enumerate(tree.frames.names[1:], 1):
            self_ = sum(n for part in side for stack, n in part.items() if stack and stack[-1] == name)
            total = sum(n for part in side for stack, n in part.items() if name in stack)
            assert (tree.table.self_[s, f], tree.table.total[s, f]) == (self_, total)


def test_a_frame_is_its_name_and_its_kind() -> None:
    same = profile({("a", "b"): 1})
    other = profile({("a", "b"): 2})
    other.stacks.frames.kinds[:] = 5
    tree = merge([[same], [other]])
    assert tree.frames.names == ("all", "a", "a", "b", "b")
    assert tree.table.total.tolist() == [[1, 1, 0, 1, 0], [2, 0, 2, 0, 2]]


def test_a_few_very_deep_stacks_and_very_many_frames() -> None:
    deep = tuple(f"m{i % 7}" for i in range(3000))
    many = {(f"f{i}", "x"): 1.0 for i in range(70_000)}
    tree = merge([[profile({deep: 3.0, deep[:2999]: 1.0, **many})]])
    assert int(tree.depth.max()) == 3000
    assert tree.total[0, 0] == 70_004
    assert len(tree) == 1 + 3000 + 2 * 70_000
    assert int((tree.total[0] == 3).sum()) == 1


def test_weights_that_are_no_whole_numbers_add_up() -> None:
    rng = np.random.default_rng(1)
    counts = {(f"f{i % 5}", f"g{i}"): float(x) for i, x in enumerate(rng.random(1000) * 1e-3)}
    given_profile = profile(counts)
    tree = merge([[given_profile]])
    assert tree.total[0, 0] == given_profile.total
    top = tree.depth == 1
    assert tree.total[0, top].sum() == pytest.approx(given_profile.total, rel=1e-12)


def test_an_empty_profile_is_a_tree_of_its_root() -> None:
    tree = merge([[profile({})], [profile({("a",): 2})]])
    assert tree.total.tolist() == [[0, 0], [2, 2]]
    assert len(merge([[profile({})]])) == 1


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (Meta(unit="ns"), Meta(unit="samples"), "unlike units"),
        (Meta(interval_ns=1e6), Meta(interval_ns=1e7), "unlike sampling intervals"),
    ],
)
def test_files_of_one_side_must_add_up(one: Meta, other: Meta, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        merge([[profile({("a",): 1}, one), profile({("a",): 1}, other)]])


def test_counts_below_zero_are_refused() -> None:
    with pytest.raises(UsageError, match="below 0"):
        merge([[profile({("a",): -1})]])


@pytest.mark.parametrize(("compiled", "said"), [(20, True), (6, False)])
def test_unequally_warm_jvms_are_told(compiled: int, said: bool) -> None:
    def of(count: int) -> Profile:
        made = profile({("run", "Compile::Compile", "Parse::Parse"): count, ("run", "work"): 100 - count})
        kinds = [Kind.JIT if "::" in name else Kind.JAVA for name in made.stacks.frames.names]
        made.stacks.frames.kinds[:] = kinds
        return made

    tree = merge([[of(4)], [of(compiled)]])
    assert any("not equally warm" in note for note in tree.notes) == said
    if said:
        assert any("4% of one side and 20% of another" in note for note in tree.notes)
