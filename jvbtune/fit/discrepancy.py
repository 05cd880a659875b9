"""What a fitted form misses: the smooth rest of a curve, and how far it may still be off.

No form is the truth. With 3 blocks that hardly matters, with 10 the interval of the sampling alone is narrower than
what the form misses. So the logarithm of the quantity is modelled as form + g + restart + noise, with g a Gaussian
process over the packet rate (Kennedy & O'Hagan, J. R. Stat. Soc. B 63, 2001). All blocks run the same packet rates,
which tells noise from g. The prediction is universal kriging with the form's own terms as the drift (Cressie,
"Statistics for Spatial Data", 1993, section 3.4): g takes only what the form cannot. How large g is, is not estimated
but averaged over, weighted by the likelihood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: Standard deviations of g that are averaged over, all alike before the data: up to 8 % of the quantity. On simulated
#: hosts neither another weighting nor other lengths (0.2 to 0.5) changed coverage by more than 1 %.
SIZES = np.array([0.0, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08])
LENGTH = 0.3  #: over which g changes, as a share of the highest packet rate
#: Of the form's coefficients, relative: they are all but free.
DRIFT_SD = 1.0
LEAST_NOISE = 0.001
#: Of degrees of freedom, to tell the noise by repeated trials alone.
MIN_FREEDOM = 3
#: Packet rates this close are one.
SAME_RATE = 1.05
ROUNDS = 20


@dataclass(frozen=True)
class Discrepancy:
    """g, given the mean residuals of the packet rates that were run; packet rates are scaled to the highest one."""

    x: Floats  #: (rates,)
    residual: Floats  #: (sets, rates) mean log residual from the form, of all data and without each restart
    variance: Floats  #: (rates,) of each mean, by the noise of its trials
    drift: Callable[[Floats], Floats]  #: x (n,) -> (n, terms): the form's terms over the form
    chance: Floats  #: (SIZES,) of each size, given the residuals of all data

    def at(self, x: Floats) -> tuple[Floats, Floats]:
        """What is to be added to the logarithm of the form (sets, n), and its variance by what g may be (n,)."""
        covariance, cross = _kernel(self.x, self.x), _kernel(self.x, x)
        drift, drift_at = self.drift(self.x), self.drift(x)
        matrices = _matrices(covariance, self.variance, drift)
        sides = SIZES[:, None, None] ** 2 * cross + DRIFT_SD**2 * drift @ drift_at.T
        weights = np.tensordot(self.chance, np.linalg.solve(matrices, sides), 1)
        size = float(self.chance @ SIZES**2)
        off = 1 - 2 * np.sum(weights * cross, axis=0) + np.sum(weights * (covariance @ weights), axis=0)
        return self.residual @ weights, size * np.maximum(off, 0.0)


def discrepancy(
    x: Floats, residual: Floats, weights: Floats, restart: Integers, noise_sd: float, drift: Callable[[Floats], Floats]
) -> Discrepancy:
    """``x`` (rows,), ``residual`` and ``weights`` (sets, rows), ``restart`` (rows,): the restart of each. ``noise_sd``:
    of a trial, where too few were repeated to tell it."""
    rate = same_rates(x)
    total = _sums(weights, rate)
    means = _sums(weights * residual, rate) / np.maximum(total, 1e-9)
    noise = _repeated_noise(residual[0], weights[0], rate, restart)
    variance = max(noise_sd if noise is None else noise, LEAST_NOISE) ** 2 / np.maximum(total[0], 1e-9)
    places = np.bincount(rate, x) / np.bincount(rate)
    matrices = _matrices(_kernel(places, places), variance, drift(places))
    misfit = np.linalg.solve(matrices, np.broadcast_to(means[0][:, None], (SIZES.size, places.size, 1)))[..., 0]
    likelihood = -0.5 * (np.linalg.slogdet(matrices)[1] + misfit @ means[0])
    chance = np.exp(likelihood - likelihood.max())
    return Discrepancy(places, means, variance, drift, chance / chance.sum())


def same_rates(x: Floats) -> Integers:
    """(rows,) the index of each row's packet rate, ascending."""
    index = np.zeros(x.size, dtype=np.int64)
    order = np.argsort(x, kind="stable")
    first, count = x[order[0]], 0
    for row in order:
        if x[row] > first * SAME_RATE:
            first, count = x[row], count + 1
        index[row] = count
    return index


def _sums(values: Floats, group: Integers) -> Floats:
    """(sets, rows) -> (sets, groups)."""
    return np.stack([np.bincount(group, row, minlength=int(group.max()) + 1) for row in values])


def _kernel(a: Floats, b: Floats) -> Floats:
    """Matérn's of smoothness 3/2: g has a slope everywhere, and may bend sharply."""
    distance = np.sqrt(3) * np.abs(a[:, None] - b) / LENGTH
    return np.asarray((1 + distance) * np.exp(-distance))


def _matrices(covariance: Floats, variance: Floats, drift: Floats) -> Floats:
    """(SIZES, rates, rates): the covariance of the residuals by each size of g."""
    return np.asarray(SIZES[:, None, None] ** 2 * covariance + np.diag(variance) + DRIFT_SD**2 * drift @ drift.T)


def _repeated_noise(residual: Floats, weights: Floats, rate: Integers, restart: Integers) -> float | None:
    """Standard deviation of a trial about its restart and packet rate, whatever the curve; None: too few to tell."""
    freedom = residual.size - (int(rate.max()) + 1) - (int(restart.max()) + 1) + 1
    if freedom < MIN_FREEDOM:
        return None
    left = residual
    for _ in range(ROUNDS):
        for group in (rate, restart):
            left = left - (np.bincount(group, left) / np.bincount(group))[group]
    return float(np.sqrt(np.sum(weights * left**2) / freedom))
