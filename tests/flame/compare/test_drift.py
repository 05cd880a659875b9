"""Slices that drift are said to; those that only scatter are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jvbtune.capture.sources import Reader
from jvbtune.capture.stored import load_capture
from jvbtune.flame.compare import merge
from jvbtune.flame.compare.drift import chance, drifts
from jvbtune.flame.compare.simulator import PLANTED, Noise, capture, program
from jvbtune.flame.model import Profile

LEVEL = 0.02


def warned(sides: list[list[Profile]]) -> int:
    return sum("more alike than others" in note for note in merge(sides).notes)


def warming_up(rng: np.random.Generator, slices: int) -> list[Profile]:
    """A method that becomes cheaper from slice to slice."""
    same = program(cores=4)
    shrinking = [same.changed(PLANTED, 2 - k / slices) for k in range(slices)]
    return [capture(each, rng, slices=1, interval_ns=1e6)[0] for each in shrinking]


def test_a_steady_program_is_rarely_said_to_drift() -> None:
    rng, same = np.random.default_rng(1), program()
    noise = Noise(common=0.03, alone=0.05)
    said = sum(warned([capture(same, rng, noise=noise, interval_ns=1e6) for _ in "ab"]) for _ in range(60))
    assert said <= 7  # of 120 sides; 2.4 are expected


def test_a_program_that_warms_up_is_said_to_drift() -> None:
    rng = np.random.default_rng(2)
    said = sum(warned([warming_up(rng, 10), capture(program(cores=4), rng, interval_ns=1e6)]) for _ in range(20))
    assert said >= 18


def test_a_real_bridge_soon_after_its_start_drifts() -> None:
    """18 slices of 5 s from its 40th second on: the compilers are still at work."""
    profiles = Reader().capture(load_capture(Path(__file__).parent / "captures/steady"))
    assert warned([profiles, profiles[:6]]) == 1


def test_few_slices_or_samples_say_nothing() -> None:
    rising = np.outer(np.arange(1.0, 6.0), np.full(20, 100.0))
    assert not drifts(rising, np.full(5, 0.2))
    assert chance(np.outer(np.arange(1.0, 9.0), np.full(20, 0.1)), np.full(8, 1 / 8)) == 1.0


def test_the_chance_is_that_of_all_orders() -> None:
    rising = np.outer(np.arange(1.0, 7.0), np.full(20, 100.0))
    assert chance(rising, np.full(6, 1 / 6)) == 2 / 720  # only this order and its reverse are as smooth
