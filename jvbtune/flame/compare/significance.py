"""Whether a difference is more than noise: a moderated Welch test over slices, or sampling noise alone.

A row (a node of the tree, or a frame of the table) has a count in each slice. Relative to the slices' exposure
(packets, seconds or totals, as the normalisation says) the counts scatter; that scatter is the noise. Six slices a side
leave ten degrees of freedom: few for a threshold that hundreds of rows share; and a permutation test cannot fall below
2 / C(12, 6) = 0.0022 at all. So the rows lend each other what they have in common, as in limma (Smyth, Stat. Appl.
Genet. Mol. Biol. 3, 2004): their scatter against that of a Poisson count of the same size, as a trend over size, and
how alike they are in it. Three things keep the loan honest (benchmarks/bench_flame_significance.py simulates them): it
is never worth more than ``LARGEST_LOAN`` degrees of freedom; a row that scatters far more than the trend gets none; and
noise that all rows share (a neighbour on the core, another clock rate) is measured by the slices' totals, has a slice's
few degrees of freedom however many rows there are, and takes the loan from a row as it dominates there.

p-values are corrected for all tested rows by Benjamini and Hochberg (J. R. Stat. Soc. B 57, 1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from jvbtune.flame.model import Bool, Float64, Significance

#: Rows below this many samples on both sides together, or below this share of both sides, are not tested: they could
#: hardly be found, and would cost the others power. Both go by the sum of the sides, which tells no difference.
FEWEST_SAMPLES = 16
SMALLEST_SHARE = 0.001

#: Samples a slice that a row must have to tell of the noise of others, and how many such rows it takes.
PRIOR_SAMPLES = 5
PRIOR_ROWS = 10
LARGEST_LOAN = 20.0

#: A row whose scatter is beyond this quantile of what the trend lets expect stands alone.
OUTLIER = 0.9


@dataclass(frozen=True, eq=False)
class Sliced:
    """One side's counts in samples: ``counts`` (slices, rows), ``wholes`` each slice's total, ``exposure`` its share.

    ``factor`` turns a sample into the unit of the normalisation. ``of_share``: the counts are held against the slices'
    own totals.
    """

    counts: Float64
    wholes: Float64
    exposure: Float64
    factor: float
    of_share: bool = False

    @property
    def freedom(self) -> int:
        return len(self.counts) - 1


@dataclass(frozen=True)
class Loan:
    """What the rows of one side have in common. A count of λ scatters by ``excess`` λ + ``relative`` λ², which is worth
    ``freedom`` degrees of freedom; ``common`` is the squared relative scatter that all rows share, with a bound."""

    excess: float = 1.0
    relative: float = 0.0
    freedom: float = 0.0
    common: float = 0.0
    common_bound: float = 0.0


def squared_error(counts: Float64, exposure: Float64) -> Float64:
    """Squared standard error of the sum of slices, from their scatter about what their exposure lets expect."""
    off = counts - counts.sum(axis=0) * exposure[:, None]
    squared: Float64 = (off**2).sum(axis=0) / (1 - (exposure**2).sum())
    return squared


def loan(side: Sliced) -> Loan:
    """What the rows of one side have in common; each row must be another than the others."""
    whole = float(side.wholes.sum())
    d = side.freedom
    common = bound = 0.0
    if not side.of_share and whole > 0:
        square = float(squared_error(side.wholes[:, None], side.exposure)[0])
        common = max(0.0, square - whole) / whole**2
        bound = max(0.0, square * d / float(scipy.special.chdtri(d, 0.9)) - whole) / whole**2
    total = side.counts.sum(axis=0)
    use = (total >= PRIOR_SAMPLES * len(side.counts)) & (total < 0.5 * whole)
    if int(use.sum()) < PRIOR_ROWS or side.wholes.min() <= 0:
        return Loan(common=common, common_bound=bound)
    size = total[use] * (1 - total[use] / whole)
    ratio = squared_error(side.counts[:, use], side.wholes / whole) / size
    excess, relative = _trend(size, ratio)
    logs = np.log(np.maximum(ratio / (excess + relative * size), 1e-3))
    spread = float(logs.var(ddof=1)) - float(scipy.special.polygamma(1, d / 2))
    freedom = LARGEST_LOAN if spread <= 0 else min(LARGEST_LOAN, 2 * _inverse_trigamma(spread))
    return Loan(excess, relative, freedom, common, bound)


def _trend(size: Float64, ratio: Float64) -> tuple[float, float]:
    """Least squares of ``ratio`` = excess + relative · size, weighted as variances scatter; excess is at least 1."""
    excess, relative = 1.0, 0.0
    for _ in range(15):
        weight = (excess + relative * size) ** -2.0
        design = np.array([np.ones(len(size)), size])
        left = (weight * design) @ design.T
        right = (weight * design) @ ratio
        fitted = np.linalg.lstsq(left, right, rcond=None)[0]
        if fitted[1] < 0:
            fitted = np.array([right[0] / left[0, 0], 0.0])
        if fitted[0] < 1:
            fitted = np.array([1.0, max(0.0, float((weight * size) @ (ratio - 1)) / left[1, 1])])
        excess, relative = float(fitted[0]), float(fitted[1])
    return excess, relative


def _inverse_trigamma(value: float) -> float:
    """Newton's method of Smyth 2004, appendix."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(scipy.special.polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(scipy.special.polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x


def judge_slices(
    sides: Sequence[Sliced], loans: Sequence[Loan], level: float, allowed: Float64 | float = 0.0
) -> Significance:
    """Two sides with at least two slices each. ``allowed``: the relative difference by row that is none."""
    totals = [side.counts.sum(axis=0) for side in sides]
    delta = sides[1].factor * totals[1] - sides[0].factor * totals[0]
    # What a side would count if there were no difference: a frame of one side only has noise on the other too.
    alike = (totals[0] + totals[1]) / (1 / sides[0].factor + 1 / sides[1].factor)
    own, prior, weight = [], [], []
    for side, lent in zip(sides, loans, strict=True):
        count = alike / side.factor
        rest = np.maximum(0.0, 1 - count / max(1.0, float(side.wholes.sum()))) if side.of_share else 1.0
        alone = lent.excess * count * rest + lent.relative * (count * rest) ** 2
        bound = lent.common_bound * count**2
        own.append(side.factor**2 * squared_error(side.counts, side.exposure))
        prior.append(side.factor**2 * (alone + lent.common * count**2))
        weight.append(lent.freedom * (alone / np.maximum(alone + bound, 1e-300)) ** 2)
    tested = worth_testing(totals, [float(side.wholes.sum()) for side in sides]) & (prior[0] + prior[1] > 0)
    freedom = sum(side.freedom for side in sides)
    outlier = scipy.special.fdtri(freedom, max(1.0, min(lent.freedom for lent in loans)), OUTLIER)
    outlying = own[0] + own[1] > outlier * (prior[0] + prior[1])
    squares, freedoms = [], []
    for side, mine, lent_square, lent_weight in zip(sides, own, prior, weight, strict=True):
        w = np.where(outlying, 0.0, lent_weight)
        squares.append((w * lent_square + side.freedom * mine) / (w + side.freedom))
        freedoms.append(w + side.freedom)
    square = squares[0] + squares[1]
    tested &= square > 0
    square = np.where(tested, square, 1.0)
    welch = square**2 / np.maximum(squares[0] ** 2 / freedoms[0] + squares[1] ** 2 / freedoms[1], 1e-300)
    welch = np.where(tested, welch, 1.0)
    margin = allowed * np.minimum(sides[0].factor * totals[0], sides[1].factor * totals[1])
    beyond = np.maximum(0.0, np.abs(delta) - margin)
    p_value = np.where(tested, 2 * scipy.special.stdtr(welch, -beyond / np.sqrt(square)), np.nan)
    half = np.where(tested, scipy.special.stdtrit(welch, 1 - level / 2) * np.sqrt(square) + margin, np.nan)
    return _judged(p_value, delta, half, level)


def worth_testing(totals: Sequence[Float64], wholes: Sequence[float]) -> Bool:
    """Rows that have enough samples, by the samples of each side and each side's total."""
    both = sum(totals, np.zeros(len(totals[0])))
    tested: Bool = (both >= FEWEST_SAMPLES) & (both >= SMALLEST_SHARE * sum(wholes))
    return tested


def judge_poisson(
    counts: Sequence[Float64],
    wholes: Sequence[float],
    factors: Sequence[float],
    level: float,
    *,
    weight: Float64 | float = 1.0,
    allowed: Float64 | float = 0.0,
) -> Significance:
    """Two sums of samples, by sampling noise alone: given both sums, the second is binomial (Przyborowski and Wilenski,
    1940; exact, two-sided by doubling).

    ``counts`` are in samples of their side's usual weight. ``weight``: how much heavier those of a row are, so that it
    behaves like ``counts / weight`` samples (samples.py). ``allowed``: the relative difference by row that is none.
    """
    a, b = (side / weight for side in counts)
    more, fewer = factors[0] * (1 + allowed), factors[0] / (1 + allowed)
    upper = np.where(b > 0, scipy.special.betainc(np.maximum(b, 1e-9), a + 1, more / (more + factors[1])), 1.0)
    lower = np.where(a > 0, scipy.special.betainc(np.maximum(a, 1e-9), b + 1, factors[1] / (fewer + factors[1])), 1.0)
    tested = worth_testing(counts, wholes) & (a + b >= FEWEST_SAMPLES)
    p_value = np.where(tested, np.minimum(1.0, 2 * np.minimum(upper, lower)), np.nan)
    error = np.sqrt(weight * (factors[0] ** 2 * counts[0] + factors[1] ** 2 * counts[1]))
    margin = allowed * np.minimum(factors[0] * counts[0], factors[1] * counts[1])
    half = np.where(tested, float(scipy.special.ndtri(1 - level / 2)) * error + margin, np.nan)
    return _judged(p_value, factors[1] * counts[1] - factors[0] * counts[0], half, level)


def _judged(p_value: Float64, delta: Float64, half: Float64, level: float) -> Significance:
    q_value = benjamini_hochberg(p_value)
    with np.errstate(invalid="ignore"):
        return Significance(p_value, q_value, q_value <= level, delta - half, delta + half)


def benjamini_hochberg(p_value: Float64) -> Float64:
    """Adjusted p-values over all that are not NaN."""
    out = np.full(len(p_value), np.nan)
    tested = np.flatnonzero(~np.isnan(p_value))
    if len(tested):
        order = tested[np.argsort(p_value[tested])]
        scaled = p_value[order] * len(order) / np.arange(1, len(order) + 1)
        out[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return out
