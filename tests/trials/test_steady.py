"""Warm-up, drift and jumps are found; steady noise is left alone."""

import numpy as np
import pytest

from jvbtune.trials.steady import assess, assess_series, change_points, drift_ratio, mser


def noisy(n: int, seed: int, sd: float = 0.05) -> np.ndarray:
    return 1 + sd * np.random.default_rng(seed).standard_normal(n)


def test_steady_noise_is_hardly_ever_called_unsteady() -> None:
    called = {n: sum(not assess_series(noisy(n, seed)).steady for seed in range(200)) for n in (8, 60, 180)}
    assert called[8] == 0
    assert max(called.values()) <= 0.04 * 200


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (lambda t, x: x + 0.8 * np.exp(-t / 20), "warm"),
        (lambda t, x: x * np.linspace(0.94, 1.06, t.size), "drifts"),
        (lambda t, x: np.where(t > 0.75 * t.size, x * 1.2, x), "jumps"),
    ],
    ids=["JIT transient", "drift", "late jump"],
)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_not_steady_is_named(what, says: str, seed: int) -> None:  # type: ignore[no-untyped-def]
    t = np.arange(120.0)
    found = assess_series(what(t, noisy(120, seed)))
    assert not found.steady
    assert found.extend
    assert any(says in reason for reason in found.reasons)


def test_a_short_window_says_what_it_cannot_see() -> None:
    found = assess_series(noisy(7, 0))
    assert found.steady
    assert "too short" in found.notes[0]


def test_mser_cuts_a_known_transient_and_nothing_of_a_constant() -> None:
    assert mser(np.concatenate([np.full(20, 5.0), noisy(100, 1)])) == 20
    assert mser(np.ones(60)) == 0


def test_drift_of_a_straight_line_is_its_rise() -> None:
    assert drift_ratio(np.linspace(0.9, 1.1, 100)) == pytest.approx(0.202, abs=0.001)


def test_change_points_are_where_the_mean_jumps() -> None:
    values = np.concatenate([noisy(40, 2), 1.5 * noisy(50, 3)])
    assert change_points(values) == [40]
    assert change_points(noisy(90, 4)) == []


def test_an_idle_receive_thread_is_not_judged_and_nan_is_left_out() -> None:
    rx = [0.01, 0.03] * 30
    cpu = [float("nan"), *noisy(60, 5).tolist()]
    assert assess({"cpu_cores": cpu, "rx_thread_ratio": rx}).steady
    assert assess({"cpu_cores": [], "rx_thread_ratio": []}).steady
