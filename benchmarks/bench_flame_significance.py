"""Is a difference that is called significant one? False discoveries between captures of one program, and the power to
find a method that became 10 % dearer.

    python benchmarks/bench_flame_significance.py            about 2 minutes
    python benchmarks/bench_flame_significance.py --full     2,000 repetitions of the first table

Each repetition takes two captures of a simulated program (jvbtune/flame/compare/simulator.py), 6 slices of 10 s a side
(and of a minute, for the power).
Fails (1) where captures of one program differ more often than the stated false-discovery rate, by more than
2.6 standard errors of the simulation itself. Noise that lasts from slice to slice is shown and not judged: no test of
the slices of one capture can see it.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from jvbtune.flame.compare import merge
from jvbtune.flame.compare.simulator import PLANTED, Noise, Program, capture, program

LEVEL = 0.05
NOISES: tuple[tuple[str, Noise], ...] = (
    ("sampling alone", Noise()),
    ("3 % on all alike", Noise(common=0.03)),
    ("3 % on all, 10 % on each method", Noise(common=0.03, alone=0.10)),
    ("10 % on each, 40 % on a tenth", Noise(alone=0.10, bursts=0.40)),
)
LASTING = ("3 % on all, lasting (0.5)", Noise(common=0.03, lasting=0.5))
SAMPLES_PER_SECOND = (100, 1000, 4000)
#: Cores that the program keeps busy, samples a second of each, seconds a slice.
POWER = (
    *((1, 100, 10), (4, 100, 10), (1, 1000, 10), (2, 1000, 10), (4, 1000, 10), (16, 1000, 10)),
    *((1, 100, 60), (2, 100, 60), (4, 100, 60), (1, 1000, 60)),
)


def found(
    before: Program,
    after: Program,
    noise: Noise,
    rng: np.random.Generator,
    how: str,
    hz: float,
    seconds: float = 10.0,
) -> set[str]:
    """The frames whose difference is significant."""
    sides = [capture(each, rng, noise=noise, seconds=seconds, interval_ns=1e9 / hz) for each in (before, after)]
    tree = merge(sides, normalise=how, level=LEVEL)
    assert tree.table.significance is not None
    return {tree.frames.names[i] for i in np.flatnonzero(tree.table.significance.significant)}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--repetitions", type=int, default=None)
    arguments = parser.parse_args()
    repetitions = arguments.repetitions or (2000 if arguments.full else 200)
    failed = False
    same = program()
    allowed = LEVEL + 2.6 * (LEVEL * (1 - LEVEL) / repetitions) ** 0.5
    print(f"A/A: any frame significant, of {repetitions} (allowed {allowed:.3f} for a stated {LEVEL})")
    print(f"{'noise between slices':34} samples/s  per packet   share")
    for name, noise in (*NOISES, LASTING):
        for hz in SAMPLES_PER_SECOND:
            rates = []
            for how in ("packets", "share"):
                rng = np.random.default_rng(7)
                rates.append(np.mean([bool(found(same, same, noise, rng, how, hz)) for _ in range(repetitions)]))
            wrong = max(rates) > allowed and name != LASTING[0]
            failed |= wrong
            print(f"{name:34} {hz:9}  {rates[0]:10.3f} {rates[1]:7.3f}{'   FAILED' if wrong else ''}", flush=True)
    repetitions = max(100, repetitions // 4)
    print(f"\nPower: a method of 5 % that became 10 % dearer, of {repetitions}")
    print(f"{'noise between slices':34} cores   Hz  slices   per packet  share")
    for name, noise in NOISES[:3]:
        for cores, hz, seconds in POWER:
            before = program(cores=cores)
            after = before.changed(PLANTED, 1.1)
            hits = []
            for how in ("packets", "share"):
                rng = np.random.default_rng(8)
                seen = [PLANTED in found(before, after, noise, rng, how, hz, seconds) for _ in range(repetitions)]
                hits.append(np.mean(seen))
            print(f"{name:34} {cores:5} {hz:4}  {seconds:4} s   {hits[0]:10.2f} {hits[1]:6.2f}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
