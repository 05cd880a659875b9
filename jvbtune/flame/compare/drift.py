"""Whether slices that follow one another are more alike than others: then something drifts, and they show too little
noise.

The sum of squared distances between neighbours (von Neumann's ratio, over many frames at once) is held against the same
sum with the slices in any other order; an exact permutation test where they are few.
"""

from __future__ import annotations

import itertools

import numpy as np

from jvbtune.flame.model import Float64

#: With fewer slices there are too few orders to fall below the level.
FEWEST_SLICES = 6
FEWEST_ROWS = 5
LEVEL = 0.02
ORDERS = 5000

#: Samples a slice that a row must have.
SAMPLES = 5


def drifts(counts: Float64, exposure: Float64) -> bool:
    """Whether ``counts`` (slices in order, rows that share no sample) drift: relative to the slices' exposure, or as
    shares."""
    if len(counts) < FEWEST_SLICES:
        return False
    wholes = counts.sum(axis=1)
    chances = [chance(counts, exposure)]
    if wholes.min() > 0:
        chances.append(chance(counts, wholes / wholes.sum()))
    return min(chances) * len(chances) <= LEVEL


def chance(counts: Float64, exposure: Float64) -> float:
    """The share of orders in which neighbours are as much alike; 1 where there is too little to tell."""
    total = counts.sum(axis=0)
    use = total >= SAMPLES * len(counts)
    if int(use.sum()) < FEWEST_ROWS or exposure.min() <= 0:
        return 1.0
    expected = total[use] * exposure[:, None]
    off = (counts[:, use] - expected) / np.sqrt(expected)
    distance = ((off[:, None, :] - off[None, :, :]) ** 2).sum(axis=2)
    slices = len(counts)
    if slices <= 7:
        orders = np.array(list(itertools.permutations(range(slices))))
    else:
        rng = np.random.default_rng(0)
        orders = np.stack([np.arange(slices), *(rng.permutation(slices) for _ in range(ORDERS))])
    sums = distance[orders[:, :-1], orders[:, 1:]].sum(axis=1)
    seen = distance[np.arange(slices - 1), np.arange(1, slices)].sum()
    return float((sums <= seen * (1 + 1e-9)).mean())
