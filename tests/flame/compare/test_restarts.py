"""Of several captures a side, each counts once: their slices show nothing of what differs between restarts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jvbtune.flame.compare import merge
from jvbtune.flame.compare.facts import described, facts_of
from jvbtune.flame.compare.judge import NOTE_CAPTURES, NOTE_ONE_CAPTURE, NOTE_SLICES
from jvbtune.flame.compare.restarts import observations, several
from jvbtune.flame.compare.simulator import Noise, Program, capture, program
from jvbtune.flame.model import Meta, Profile, Tree
from jvbtune.flame.viewer.prune import prune
from tests.flame.compare.build import profile

RESTARTS = 0.08


def captures(of: Program, rng: np.random.Generator, letters: str, *, slices: int = 6) -> list[Profile]:
    """One capture a letter, each after a restart that makes all of the program cheaper or dearer."""
    side: list[Profile] = []
    for letter in letters:
        restarted = replace(of, us_per_packet=of.us_per_packet * float(np.exp(RESTARTS * rng.normal())))
        noise = Noise(common=0.01, alone=0.03)
        for number, one in enumerate(capture(restarted, rng, slices=slices, interval_ns=2e6, noise=noise)):
            known = {"id": letter, "host": "jvb", "in_packets": 100.0 + number, "out_packets": 400.0, "slice": number}
            side.append(replace(one, meta=replace(one.meta, extra=known)))
    return side


def whole_is_significant(tree: Tree) -> bool:
    assert tree.significance is not None
    return bool(tree.significance.significant[0])


@pytest.mark.slow
def test_what_differs_between_restarts_is_no_difference() -> None:
    """Two sides of 3 captures of 6 slices, 8 % between restarts: of 60 pairs, at most 6 are called different."""
    rng, same = np.random.default_rng(21), program()
    trees = [merge([captures(same, rng, "abc"), captures(same, rng, "def")]) for _ in range(60)]
    assert sum(map(whole_is_significant, trees)) <= 6
    any_frame = sum(bool(tree.table.significance.significant.any()) for tree in trees if tree.table.significance)
    assert any_frame <= 6


@pytest.mark.slow
def test_a_difference_beyond_that_of_restarts_is_found() -> None:
    rng, before = np.random.default_rng(22), program()
    dearer = replace(before, us_per_packet=before.us_per_packet * 1.6)
    found = [merge([captures(before, rng, "abc"), captures(dearer, rng, "def")]) for _ in range(20)]
    assert sum(map(whole_is_significant, found)) >= 18


def test_each_capture_is_one_slice_and_nothing_is_lost() -> None:
    rng, same = np.random.default_rng(23), program(stacks=60, methods=40)
    given = [captures(same, rng, "abc", slices=2), captures(same, rng, "de", slices=3)]
    tree = merge(given)
    for s, (side, slices) in enumerate(zip(tree.sides, given, strict=True)):
        apart = [[one for one in slices if one.meta.extra["id"] == letter] for letter in "abcde"]
        apart = [one for one in apart if one]
        assert len(side.slices) == len(side.slice_totals) == len(tree.slice_self[s]) == side.captures == len(apart)
        assert side.slice_totals == tuple(sum(one.total for one in of) for of in apart)
        assert tree.slice_self[s].sum(axis=1) == pytest.approx(side.slice_totals)
        assert tree.slice_self[s].sum(axis=0) == pytest.approx(tree.self_[s, tree.self_nodes])
        for meta, of in zip(side.slices, apart, strict=True):
            for name in ("seconds", "packets", "cpu_seconds"):
                assert getattr(meta, name) == pytest.approx(sum(getattr(one.meta, name) for one in of))
            assert meta.extra["in_packets"] == sum(float(str(one.meta.extra["in_packets"])) for one in of)
            assert meta.extra["id"] == of[0].meta.extra["id"]
        facts, received = facts_of(side), [float(str(one.meta.extra["in_packets"])) for one in slices]
        assert (facts.captures, facts.slices) == (len(apart), len(slices))
        assert f"{len(apart)} captures with 6 slices" in described(facts)
        assert facts.out_in_ratio == pytest.approx(2400 / sum(received))
    small = prune(tree, 20).tree
    assert [len(rows) for rows in small.slice_self] == [3, 2]


@pytest.mark.parametrize(
    ("a", "b", "note"),
    [("a", "b", NOTE_SLICES), ("abc", "def", NOTE_CAPTURES), ("abc", "d", NOTE_ONE_CAPTURE), ("aa", "bb", NOTE_SLICES)],
)
def test_the_note_says_whose_scatter_the_noise_is(a: str, b: str, note: str) -> None:
    rng, same = np.random.default_rng(24), program(stacks=60, methods=40)
    tree = merge([captures(same, rng, a, slices=2), captures(same, rng, b, slices=2)])
    assert tree.test is not None
    assert (tree.test.method, tree.test.note) == ("welch", note)


def test_captures_that_are_given_in_any_order_do_not_drift() -> None:
    rows = [{("m", f"f{i}"): 1000.0 * (1 + 0.1 * k * (i % 2)) for i in range(10)} for k in range(8)]

    def side(ids: str) -> list[Profile]:
        metas = [Meta(title="t", seconds=10, interval_ns=1e6, extra={"id": letter}) for letter in ids]
        return [profile(row, meta) for row, meta in zip(rows, metas, strict=True)]

    one, several_ = (merge([side(ids)] * 2) for ids in ("aaaaaaaa", "abcdefgh"))
    assert [any("drifts" in note for note in tree.notes) for tree in (one, several_)] == [True, False]


def metas(*ids: str | None) -> list[Meta]:
    return [Meta(extra={"id": one, "host": "h"} if one else {}) for one in ids]


@pytest.mark.parametrize(
    ("ids", "groups"),
    [
        (("a", "a", "a"), [[0], [1], [2]]),
        ((None, None), [[0], [1]]),
        (("a", "b", "a"), [[0, 2], [1]]),
        (("a", "a", None, None), [[0, 1], [2], [3]]),
        ((None, "b", "a", "a"), [[0], [1], [2, 3]]),
    ],
)
def test_slices_are_grouped_by_captures_where_there_are_several(
    ids: tuple[str | None, ...], groups: list[list[int]]
) -> None:
    assert observations(metas(*ids)) == groups
    assert several(metas(*ids)) == any(len(group) > 1 for group in groups)


def test_captures_of_one_id_on_two_hosts_are_two() -> None:
    assert observations([Meta(extra={"id": "a", "host": host}) for host in "xyx"]) == [[0, 2], [1]]
