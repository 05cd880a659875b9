"""How many samples stand behind a weight: what a test of noise needs, and what a weight by itself does not say.

A profile of samples counts them. Any other profile holds weights: each of the n samples of a row adds w (nanoseconds,
bytes, cycles), and the row holds their sum W. Samples arrive like Poisson counts, so W scatters by its second moment,
Var(W) = Σ w² (a compound Poisson sum; Campbell's theorem). W behaves like W² / Σ w² samples of equal weight, the
*effective* number (Kish, Survey Sampling, 1965). With one period for all samples that is n; with variable periods, as
perf's ``-F`` makes them, it is less.

    Profile ─▶ second_moments (Σ w² by row; None: not known, and then nothing is tested without slices)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jvbtune.flame.model import Float64, Profile

#: A profiler at 1 kHz on 64 cores takes this many in four hours: a larger sum is cycles, bytes or nanoseconds.
MOST_SAMPLES = 1e9

#: Sampling hits some stacks rarely. A file of this many stacks without small counts holds weights.
ENOUGH_ROWS = 8
SMALLEST_WEIGHT = 100
LOWER_QUARTER = 1000
#: Of fewer stacks, down to two, nothing below this is a count.
SURE_WEIGHT = 10_000


def samples(profile: Profile) -> Float64 | None:
    """Samples by row; None if the profile does not say how many there were."""
    if profile.samples is not None:
        return profile.samples
    meta = profile.meta
    if meta.unit == "samples":
        return profile.counts if _weights_instead(profile) is None else None
    if meta.interval_ns and meta.seconds_per_unit:
        return profile.counts / meta.units_per_sample
    return None


def why_unknown(profile: Profile) -> str:
    """Why ``samples`` is None, as the second half of a sentence."""
    meta = profile.meta
    if meta.unit != "samples":
        return f"holds weights in {meta.unit} and no numbers of samples"
    return f"seems to hold weights (cycles, bytes, ns), not numbers of samples: {_weights_instead(profile)}"


def _weights_instead(profile: Profile) -> str | None:
    """What shows that counts of unit "samples" are none; None if nothing does.

    The numbers of a bare file of collapsed stacks can be anything; a capture says what it counts.
    """
    counts = profile.counts[profile.counts > 0]
    if not len(counts) or profile.meta.engine is not None:
        return None
    if not np.array_equal(counts, np.floor(counts)):
        return "not all are whole numbers"
    if counts.sum() > MOST_SAMPLES:
        return f"their sum is {counts.sum():.3g}"
    smallest = float(counts.min())
    if (len(counts) >= ENOUGH_ROWS and smallest >= SMALLEST_WEIGHT) or (len(counts) >= 2 and smallest >= SURE_WEIGHT):
        return f"the smallest is {smallest:,.0f}"
    if len(counts) >= ENOUGH_ROWS and float(np.quantile(counts, 0.25)) >= LOWER_QUARTER:
        return f"three quarters of them are above {float(np.quantile(counts, 0.25)):,.0f}"
    return None


def second_moments(profile: Profile) -> Float64 | None:
    """Σ w² by row, in the profile's unit squared; None if the samples are not known.

    A row that sums up several samples of unlike weights holds less than its Σ w² shows: how unlike weights are is taken
    from the rows' mean weights, whose scatter shrinks as samples are summed up.
    """
    number = samples(profile)
    if number is None:
        return None
    weight = profile.counts
    number = np.where((number <= 0) & (weight > 0), 1.0, number)  # a weight without a sample: at least one
    used = number > 0
    mean = np.divide(weight, number, out=np.zeros(len(weight)), where=used)
    rows = int(used.sum())
    whole = float(number.sum())
    if rows < 2 or whole <= 0:
        return weight * mean
    middle = float(weight.sum()) / whole
    if middle <= 0:
        return weight * mean
    spread = float((number * (mean - middle) ** 2).sum()) / (rows - 1) / middle**2
    if spread < 1e-12:  # one weight for all
        return weight * mean
    return weight * mean * (1 + spread * np.divide(number - 1, number, out=np.zeros(len(weight)), where=used).clip(0))


def per_sample(weights: float, moments: float) -> float:
    """The weight of one effective sample; 1 for nothing at all."""
    return moments / weights if weights > 0 and moments > 0 else 1.0


def per_sample_of_scatter(slices: Sequence[Float64], exposure: Float64) -> float | None:
    """The weight of one effective sample, from the scatter of rows between slices; None if nothing scatters.

    For weights of an unknown number of samples. Noise beyond that of sampling makes it larger, which is the safe side.
    """
    counts = np.stack(slices)
    total = counts.sum(axis=0)
    use = total > 0
    if len(counts) < 2 or not use.any():
        return None
    off = counts[:, use] - total[use] * exposure[:, None]
    ratio = (off**2).sum(axis=0) / (1 - (exposure**2).sum()) / total[use]
    unit = float(np.average(ratio, weights=np.sqrt(total[use])))
    return unit if unit > 0 else None
