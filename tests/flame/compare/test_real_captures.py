"""Slices of one real capture do not differ from each other: the captures of a real bridge that are committed.

``captures/steady`` is one of 18 slices of 5 s at 3 kpps, a sample each 2 ms, of a bridge 40 s after its start, on a
machine that did other work meanwhile.

Each capture is split into halves, in many ways. Its load is steady, so what is called significant between the halves is
false; interleaved halves share what drifts, so that this is about the noise between slices alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from jvbtune.capture.sources import Reader
from jvbtune.capture.stored import Capture, list_captures, load_capture
from jvbtune.flame.compare import merge
from jvbtune.flame.model import Profile

pytestmark = pytest.mark.slow

LEVEL = 0.05
SPLITS = 20
FEWEST_SLICES = 6


def steady(directory: Path) -> list[Capture]:
    """Captures of enough slices whose packets, and the time of a sample, are known."""
    captures = list_captures([directory])
    return [c for c in captures if len(c.slices) >= FEWEST_SLICES and c.packet_rate_pps and c.interval_ns]


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
    here = Path(__file__)
    captures = steady(here.parents[3] / "flamegraphs") + steady(here.parent / "captures")
    assert len(captures) >= 3
    outcomes = [wrong_splits(capture, SPLITS, normalise) for capture in captures]
    assert all(tested > 20 for _, tested in outcomes)
    # Splits of one capture resemble each other, so captures count: one whose splits are mostly wrong
    # is one false discovery.
    bad = sum(wrong > SPLITS / 2 for wrong, _ in outcomes)
    assert bad <= stats.binom.ppf(0.99, len(captures), LEVEL)
    assert np.mean([wrong / SPLITS for wrong, _ in outcomes]) <= LEVEL + 2.6 * (LEVEL / len(captures)) ** 0.5


@pytest.mark.parametrize("normalise", ["packets", "share"])
def test_six_slices_against_six_of_a_steady_bridge(normalise: str) -> None:
    profiles = Reader().capture(load_capture(Path(__file__).parent / "captures/steady"))
    rng = np.random.default_rng(2)
    wrong = []
    for _ in range(40):
        order = rng.permutation(len(profiles))
        tree = merge([[profiles[i] for i in side] for side in (order[:6], order[6:12])], normalise=normalise)
        found = tree.table.significance
        assert found is not None
        wrong.append(bool(found.significant.any()))
    assert sum(wrong) <= stats.binom.ppf(0.99, len(wrong), LEVEL)


def test_a_planted_change_of_a_real_capture_is_found() -> None:
    """Each sample below the bridge's sending is counted again with a probability of 60 %."""
    profiles = Reader().capture(load_capture(Path(__file__).parent / "captures/steady"))
    rng = np.random.default_rng(3)
    frames = profiles[0].stacks.frames.names
    sending = frames.index("org/jitsi/videobridge/transport/ice/IceTransport.send")
    found_in = 0
    for _ in range(20):
        order = rng.permutation(len(profiles))
        after = []
        for i in order[9:]:
            one = profiles[i]
            below = np.array([sending in stack_of(one, s) for s in one.stack])
            after.append(
                replace(one, counts=one.counts + np.where(below, rng.binomial(one.counts.astype(int), 0.6), 0))
            )
        tree = merge([[profiles[i] for i in order[:9]], after], normalise="packets")
        found = tree.table.significance
        assert found is not None
        found_in += bool(found.significant[tree.frames.names.index(frames[sending])])
    assert found_in >= 16


def stack_of(profile: Profile, stack: int) -> set[int]:
    offsets = profile.stacks.offsets
    return set(profile.stacks.flat[offsets[stack] : offsets[stack + 1]].tolist())
