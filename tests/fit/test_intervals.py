"""Intervals of few restarts hold, and still say something."""

from __future__ import annotations

import numpy as np
import pytest

from jvbtune.fit.intervals import next_restart_margin, spread_of_mean

HOSTS = 2000


def coverage(restarts_sd: float, blocks_sd: float, each: int, *, informed: bool = True) -> tuple[float, float]:
    """Of two blocks with ``each`` restarts: how often the interval has the truth; its half width in 9 of 10 cases."""
    random = np.random.default_rng(7)
    values = random.normal(0, blocks_sd, (HOSTS, 2, 1)) + random.normal(0, restarts_sd, (HOSTS, 2, each))
    block = np.repeat([0, 1], each)
    means = values.mean(axis=(1, 2))
    spreads = [spread_of_mean(one.ravel(), block) for one in values]
    halves = np.array([float((one.informed() if informed else one).half_width()) for one in spreads])
    return float(np.mean(np.abs(means) < halves)), float(np.quantile(halves, 0.9))


@pytest.mark.parametrize("sd", [0.02, 0.05, 0.1])
def test_two_restarts_tell_a_packet_rate_to_a_quarter_and_not_to_a_tenth_of_its_size(sd: float) -> None:
    held, half = coverage(sd, 0.0, 1)
    assert held >= 0.95
    assert half < 0.26, "by Student's t it is 1.5 where restarts differ by 10 %"


@pytest.mark.parametrize(("restarts_sd", "blocks_sd"), [(0.02, 0.0), (0.05, 0.03), (0.05, 0.05), (0.1, 0.0)])
def test_two_blocks_that_differ_hold_as_with_students_t(restarts_sd: float, blocks_sd: float) -> None:
    held, half = coverage(restarts_sd, blocks_sd, 2)
    by_t, half_by_t = coverage(restarts_sd, blocks_sd, 2, informed=False)
    assert held >= by_t - 0.015, "what is below 95 % is the preliminary test's"
    assert half < min(0.25, 0.75 * half_by_t)


def test_more_than_two_units_tell_their_scatter_themselves() -> None:
    spread = spread_of_mean(np.array([10.0, 10.1, 10.2]), np.arange(3))
    assert spread.informed() == spread


def test_the_next_restart_is_expected_no_farther_away_than_others_are() -> None:
    assert 0.15 < next_restart_margin(2, 0.0) < 0.25
    assert next_restart_margin(2, 0.1) < 0.3, "by Student's t it is 0.77"
    assert next_restart_margin(3, 0.1) == pytest.approx(2.92 * np.sqrt(4 / 3) * 0.1, rel=1e-3)
