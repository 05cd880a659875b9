"""Intervals that mean what they say with few restarts.

Trials of one restart share its luck: the same packet rate costs 4–9 % more or less after a restart (real-bridge
ladders), far more than the noise within one. So the unit is the *plot*: all trials of one step in one block, which is
one restart. A percentile bootstrap over 3 or 4 plots is much too narrow; here the delete-one-plot jackknife gives each
plot a pseudo-value (Tukey 1958; Miller, Biometrika 61, 1974), and the interval is Student's t on them.

Plots of one block also share an hour of the host. Where the blocks differ more than the plots inside them do, the
block becomes the unit (Bancroft's preliminary test at 0.25; Bancroft & Han, Int. Stat. Review 45, 1977).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

PRELIMINARY_P = 0.25
#: Restarts of a bridge were never seen to differ by less than 1.9 % (real bridge and lab). Two or three that happen
#: to agree say little: their scatter is not taken for less than half of that.
LEAST_RESTART_SD = 0.01
FEW = 4


@dataclass(frozen=True)
class Spread:
    """The standard error of a mean over plots, and its degrees of freedom."""

    error: Floats  #: same shape as the estimate
    degrees: float
    unit: str  #: plot | block

    def half_width(self, confidence: float = 0.95) -> Floats:
        return self.error * float(stats.t.ppf(0.5 + confidence / 2, self.degrees))


def least_error(plots: int) -> float:
    """The least standard error of the mean logarithm of what ``plots`` restarts carry; 0 where they are enough to tell
    it themselves."""
    return LEAST_RESTART_SD / float(np.sqrt(plots)) if plots < FEW else 0.0


def spread_of_mean(values: Floats, blocks: npt.NDArray[np.int64], *, pool: bool | None = None) -> Spread:
    """``values`` (plots, ...) one each plot; ``blocks`` (plots,). At least 2 plots.

    ``pool``: True takes the plot as the unit, False the block, None decides by the preliminary test on the first
    element of each value.
    """
    plots = values.shape[0]
    if plots < 2:
        raise ValueError("one plot has no spread")
    names, index = np.unique(blocks, return_inverse=True)
    deviations = values - values.mean(axis=0)
    if pool is None:
        pool = names.size < 2 or names.size == plots or _blocks_alike(values.reshape(plots, -1)[:, 0], index)
    if pool or names.size == plots:
        variance = np.sum(deviations**2, axis=0) / (plots - 1) / plots
        return Spread(np.sqrt(variance), plots - 1, "plot")
    sums = np.stack([deviations[index == i].sum(axis=0) for i in range(names.size)])
    variance = np.sum(sums**2, axis=0) / plots**2 * names.size / (names.size - 1)
    return Spread(np.sqrt(variance), names.size - 1, "block")


def _blocks_alike(values: Floats, index: npt.NDArray[np.int64]) -> bool:
    """One-way analysis of variance: is there no sign that blocks differ?"""
    count = int(index.max()) + 1
    sizes = np.bincount(index)
    means = np.bincount(index, values) / sizes
    within_df = values.size - count
    if within_df < 1:
        return True
    between = float(np.sum(sizes * (means - values.mean()) ** 2)) / (count - 1)
    within = float(np.sum((values - means[index]) ** 2)) / within_df
    if within == 0:
        return between == 0
    return float(stats.f.sf(between / within, count - 1, within_df)) >= PRELIMINARY_P


def pseudo_values(full: Floats, without: Floats) -> Floats:
    """Jackknife: ``full`` (...), ``without`` (plots, ...) estimates without each plot -> (plots, ...)."""
    plots = without.shape[0]
    return np.asarray(plots * full - (plots - 1) * without)
