"""What a careful statistician looks at first: where a fitted curve and its assumptions do not hold.

Residuals are those of the rows with their restart's effect taken out: log ratios where noise multiplies.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from jvbtune.fit.bounds import Bound
from jvbtune.fit.lateness import LatenessCurve

Floats = npt.NDArray[np.float64]

#: Mean residual of one packet rate, in standard errors and in size: beyond both the curve misses it.
MISS_ERRORS = 3.0
MISS_SIZE = 0.03
OUTLIER_SD = 4.0
SIGNIFICANT = 0.01
MIN_ROWS = 8


def diagnose(bound: Bound) -> list[str]:
    """Sentences on one limit's curve; a single one that says so where nothing is amiss."""
    if isinstance(bound.curve, LatenessCurve):
        shares = bound.curve.data.y
        late = int(np.sum(shares > bound.limit))
        return [f"{bound.name}: above the limit in {late} of {shares.size} trials by themselves"]
    data, residual = bound.curve.data, bound.curve.residuals()
    if residual.size < MIN_ROWS:
        return [f"{bound.name}: {residual.size} trials are too few to look at residuals"]
    size = MISS_SIZE if data.relative else MISS_SIZE * 10  # those of loss and delay are logarithms of wide scatter
    found = [
        *_missed_levels(bound.name, data.x, residual, size),
        *_uneven_noise(bound.name, data.x, residual),
        *_outliers(bound.name, residual),
        *_odd_restarts(bound.name, np.asarray(bound.curve.restart_effect)),
    ]
    return found or [f"{bound.name}: nothing amiss in the residuals of {residual.size} trials"]


def by_level(x: Floats) -> list[npt.NDArray[np.bool_]]:
    """Masks of the packet rates that lie within 5 % of each other, ascending."""
    levels = []
    left = np.sort(np.unique(x))
    while left.size:
        mask = (x >= left[0]) & (x <= 1.05 * left[0])
        levels.append(mask)
        left = left[left > 1.05 * left[0]]
    return levels


def _missed_levels(name: str, x: Floats, residual: Floats, size: float) -> list[str]:
    missed = []
    for mask in by_level(x):
        if mask.sum() < 3:
            continue
        mean = float(np.median(residual[mask]))
        error = float(residual[mask].std(ddof=1)) / np.sqrt(mask.sum())
        if abs(mean) > max(MISS_ERRORS * error, size):
            missed.append(f"{name}: the curve misses {x[mask].mean():.0f} pps, trials lie {np.expm1(mean):+.1%} off it")
    return missed


def _uneven_noise(name: str, x: Floats, residual: Floats) -> list[str]:
    if np.ptp(x) == 0 or np.ptp(residual) == 0:
        return []
    correlation, p_value = scipy.stats.spearmanr(x, np.abs(residual))
    if p_value >= SIGNIFICANT or abs(correlation) < 0.4:
        return []
    way = "grows" if correlation > 0 else "shrinks"
    return [f"{name}: the scatter {way} with the packet rate (rank correlation {correlation:+.2f})"]


def _outliers(name: str, residual: Floats) -> list[str]:
    scale = 1.4826 * float(np.median(np.abs(residual - np.median(residual))))
    count = int(np.sum(np.abs(residual) > OUTLIER_SD * scale)) if scale > 0 else 0
    if not count:
        return []
    of = f"{count} of {residual.size} trials"
    return [f"{name}: {of} lie more than {OUTLIER_SD:g} standard deviations off (they count for less)"]


def _odd_restarts(name: str, effect: Floats) -> list[str]:
    """Grubbs' test of the restart farthest out (Technometrics 11, 1969)."""
    n = effect.size
    if n < 4 or effect.std(ddof=1) == 0:
        return []
    farthest = float(np.max(np.abs(effect - effect.mean()))) / float(effect.std(ddof=1))
    t = float(scipy.stats.t.ppf(1 - 0.05 / (2 * n), n - 2))
    critical = (n - 1) / np.sqrt(n) * np.sqrt(t**2 / (n - 2 + t**2))
    if farthest <= critical:
        return []
    size = f"{farthest:.1f} standard deviations"
    return [f"{name}: one restart is unlike the {n - 1} others ({size}): look at its trials"]
