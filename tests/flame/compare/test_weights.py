"""Weights are not counts: captures of one program, given as an event's weights, differ at most at the stated rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jvbtune.flame.compare import merge
from jvbtune.flame.compare.simulator import capture, program, weighted
from jvbtune.flame.model import Meta, Profile

REPETITIONS = 40
PROGRAM = program()


def pair(rng: np.random.Generator, deviation: float) -> list[Profile]:
    made = [capture(PROGRAM, rng, slices=1, seconds=20, interval_ns=1e6)[0] for _ in range(2)]
    return [weighted(one, rng, mean=1e6, deviation=deviation) for one in made]


@pytest.mark.parametrize("deviation", [0.0, 1.0, 2.0])
def test_weights_of_any_spread_keep_the_false_discovery_rate(deviation: float) -> None:
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(REPETITIONS):
        found = merge([[one] for one in pair(rng, deviation)], normalise="share").table.significance
        assert found is not None
        assert (~np.isnan(found.p_value)).sum() > 50
        wrong += bool(found.significant.any())
    assert wrong <= 6  # 99.9 % of 40 draws at 5 %


def test_taken_as_counts_they_would_not() -> None:
    """The fault itself: weights that claim to be counts make nearly everything significant."""
    sides = [[replace(one, samples=None, meta=Meta(engine="x"))] for one in pair(np.random.default_rng(4), 1.0)]
    found = merge(sides, normalise="share").table.significance
    assert found is not None
    assert found.significant.sum() > 50
