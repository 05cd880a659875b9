"""Slices of one real capture do not differ from each other: the captures of a real bridge that are committed.

Each capture is split into halves, in many ways. Its load is steady, so what is called significant between the halves is
false; interleaved halves share what drifts, so that this is about the noise between slices alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from jvbtune.flame.captures import Capture, list_captures
from jvbtune.flame.compare import merge
from jvbtune.flame.sources import Reader

LEVEL = 0.05
SPLITS = 20
FEWEST_SLICES = 6


def steady(directory: Path) -> list[Capture]:
    """Captures of enough slices whose packets are known."""
    captures = list_captures([directory])
    return [c for c in captures if len(c.slices) >= FEWEST_SLICES and c.packet_rate_pps and c.event == "cpu"]


def wrong_splits(capture: Capture, splits: int, normalise: str) -> tuple[int, int]:
    """(splits with any significant frame, frames tested in the last)."""
    profiles = Reader().capture(capture)
    rng = np.random.default_rng(1)
    wrong = tested = 0
    for _ in range(splits):
        # One of each two neighbours goes to either side.
        first = [2 * pair + int(rng.integers(2)) for pair in range(len(profiles) // 2)]
        second = [place ^ 1 for place in first]
        tree = merge([[profiles[i] for i in side] for side in (first, second)], normalise=normalise, level=LEVEL)
        found = tree.table.significance
        assert found is not None
        tested = int((~np.isnan(found.p_value)).sum())
        wrong += bool(found.significant.any())
    return wrong, tested


@pytest.mark.parametrize("normalise", ["packets", "share"])
def test_halves_of_a_real_capture_differ_at_most_at_the_stated_rate(normalise: str) -> None:
    captures = steady(Path(__file__).parents[2] / "flamegraphs")
    if not captures:
        pytest.skip("no capture with six slices or more is committed under flamegraphs/")
    outcomes = [wrong_splits(capture, SPLITS, normalise) for capture in captures]
    assert all(tested > 20 for _, tested in outcomes)
    # Splits of one capture resemble each other, so captures count: one whose splits are mostly wrong
    # is one false discovery.
    bad = sum(wrong > SPLITS / 2 for wrong, _ in outcomes)
    assert bad <= stats.binom.ppf(0.99, len(captures), LEVEL)
    assert np.mean([wrong / SPLITS for wrong, _ in outcomes]) <= LEVEL + 2.6 * (LEVEL / len(captures)) ** 0.5
