"""Differences called significant are: between captures of one program at most at the stated rate, and a planted one is.

Simulated programs have a known truth (jvbtune/flame/compare/simulator.py); benchmarks/bench_flame_significance.py
prints the same for more kinds of noise.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jvbtune.errors import UsageError
from jvbtune.flame.compare import merge
from jvbtune.flame.compare.significance import Loan, Sliced, benjamini_hochberg, judge_poisson, judge_slices
from jvbtune.flame.compare.simulator import PLANTED, Noise, capture, program
from jvbtune.flame.model import Meta, Tree
from tests.flame.compare.build import profile

pytestmark = pytest.mark.slow

LEVEL = 0.05


def discoveries(tree: Tree) -> set[str]:
    found = tree.table.significance
    assert found is not None
    return {tree.frames.names[i] for i in np.flatnonzero(found.significant)}


@pytest.mark.parametrize(
    "noise",
    [Noise(), Noise(common=0.1), Noise(common=0.03, alone=0.1), Noise(bursts=0.2)],
    ids=["sampling", "common", "each", "bursts"],
)
@pytest.mark.parametrize("normalise", ["packets", "share"])
def test_captures_of_one_program_differ_at_most_at_the_stated_rate(noise: Noise, normalise: str) -> None:
    rng, same, repetitions = np.random.default_rng(11), program(), 200
    trees = [
        merge([capture(same, rng, noise=noise, interval_ns=2e6) for _ in "ab"], normalise=normalise, level=LEVEL)
        for _ in range(repetitions)
    ]
    any_frame = sum(bool(discoveries(tree)) for tree in trees)
    any_node = sum(bool(tree.significance is not None and tree.significance.significant.any()) for tree in trees)
    # With a true rate of 5 % more than this happens once in a hundred times.
    allowed = stats.binom.ppf(0.99, repetitions, LEVEL)
    assert any_frame <= allowed
    assert any_node <= allowed


def test_a_method_of_5_percent_that_became_10_percent_dearer_is_found() -> None:
    """6 slices of 10 s a side, 4 busy cores at 1 kHz: at least 9 times of 10, and little else with it."""
    rng, before = np.random.default_rng(12), program(cores=4)
    after = before.changed(PLANTED, 1.1)
    found = [discoveries(merge([capture(p, rng, interval_ns=1e6) for p in (before, after)])) for _ in range(50)]
    assert sum(PLANTED in names for names in found) >= 45
    # Its callers became dearer as well. Of what did not change at all:
    through = before.through(PLANTED)
    numbers = before.stacks
    callers = {name for i in np.flatnonzero(through) for name in numbers.names(int(i))}
    false = sum(len(names - callers) for names in found)
    assert false <= LEVEL * sum(map(len, found)) + 5


def test_intervals_hold_the_true_difference() -> None:
    rng, before = np.random.default_rng(13), program(cores=4)
    after = before.changed(PLANTED, 1.2)
    truth = [float(p.cores(p.reference_pps)[p.through(PLANTED)].sum()) / p.reference_pps * 1e6 for p in (before, after)]
    held = 0
    for _ in range(100):
        tree = merge([capture(p, rng, interval_ns=1e6, noise=Noise(common=0.02, alone=0.03)) for p in (before, after)])
        found = tree.table.significance
        assert found is not None
        i = tree.frames.names.index(PLANTED)
        held += found.low[i] <= truth[1] - truth[0] <= found.high[i]
    assert held >= 88  # 95 of 100 are expected


def test_slices_of_unequal_length_are_compared_by_their_packets() -> None:
    """A slice twice as long has twice the samples; that is no noise."""
    rng, same = np.random.default_rng(14), program()

    def uneven() -> list[object]:
        return [capture(same, rng, slices=1, seconds=s, interval_ns=1e6)[0] for s in (5, 10, 20, 5, 10, 20)]

    tree = merge([uneven(), uneven()])  # type: ignore[list-item]
    found = tree.significance
    assert found is not None
    width = (found.high[0] - found.low[0]) / (tree.total[0, 0] * tree.chosen.factors[0])
    assert width < 0.04
    assert not found.significant[0]


def test_a_single_capture_has_sampling_noise_only_and_says_that_it_is_a_lower_bound() -> None:
    tree = merge([[profile({("m", "a"): 100, ("m", "b"): 100})], [profile({("m", "a"): 100, ("m", "b"): 200})]])
    assert tree.test is not None
    assert tree.test.method == "poisson"
    assert "lower bound" in tree.test.note
    found = tree.table.significance
    assert found is not None
    i = tree.frames.names.index("b")
    assert found.p_value[i] == pytest.approx(stats.binomtest(200, 300, 0.5).pvalue, rel=1e-6)
    assert found.significant[i]
    assert not found.significant[tree.frames.names.index("a")]


def test_slices_say_what_they_cannot_see() -> None:
    rng = np.random.default_rng(15)
    tree = merge([capture(program(), rng) for _ in "ab"])
    assert tree.test is not None
    assert tree.test.method == "welch"
    assert "restarts" in tree.test.note


def test_without_anything_lent_it_is_the_test_of_welch() -> None:
    rng = np.random.default_rng(16)
    counts = [rng.poisson(200, (6, 40)).astype(float), rng.poisson(220, (5, 40)).astype(float)]
    sides = [Sliced(c, c.sum(axis=1), np.full(len(c), 1 / len(c)), 1 / len(c)) for c in counts]
    found = judge_slices(sides, [Loan(), Loan()], LEVEL)
    known = stats.ttest_ind(counts[1], counts[0], equal_var=False)
    assert found.p_value == pytest.approx(known.pvalue)
    interval = known.confidence_interval(0.95)
    assert found.low == pytest.approx(interval.low)
    assert found.high == pytest.approx(interval.high)


def test_poisson_counts_are_compared_exactly() -> None:
    a, b = np.array([3.0, 40, 0, 100]), np.array([20.0, 41, 30, 160])
    found = judge_poisson([a, b], [143.0, 251.0], [1.0, 0.5], LEVEL)
    known = [
        min(1.0, 2 * min(stats.binom.sf(y - 1, x + y, 1 / 1.5), stats.binom.cdf(y, x + y, 1 / 1.5)))
        for x, y in zip(a, b, strict=True)
    ]
    assert found.p_value == pytest.approx(known, rel=1e-9)


def test_adjusted_p_values_are_those_of_scipy() -> None:
    p = np.array([0.001, np.nan, 0.02, 0.03, 0.5, 0.04])
    known = stats.false_discovery_control(p[~np.isnan(p)])
    assert benjamini_hochberg(p)[~np.isnan(p)] == pytest.approx(known)
    assert np.isnan(benjamini_hochberg(p)[1])


def test_a_frame_with_few_samples_is_not_tested() -> None:
    tree = merge([[profile({("a",): 1000, ("b",): 3})], [profile({("a",): 1000, ("b",): 4})]])
    found = tree.table.significance
    assert found is not None
    assert np.isnan(found.p_value[tree.frames.names.index("b")])


def test_a_chain_of_callers_is_one_test() -> None:
    """Ten frames that the same samples go through are not ten chances of a discovery."""
    chain = tuple(f"c{i}" for i in range(10))
    counts = {(*chain, "x"): 100, ("y",): 100}
    tree = merge([[profile(counts)], [profile({**counts, ("y",): 150})]])
    found = tree.table.significance
    assert found is not None
    i = tree.frames.names.index("y")
    assert found.q_value[i] == pytest.approx(2 * found.p_value[i])


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, float("nan")])
def test_a_level_is_a_rate(level: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        merge([[profile({}, Meta())]], level=level)
