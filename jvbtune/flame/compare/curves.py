"""CPU against packet rate, for many rows at once: how fast each grows where the load is highest.

The logarithm of a row's CPU is a quadratic of the logarithm of the packet rate, fitted to the counts of samples as a
quasi-Poisson regression (McCullagh and Nelder, Generalized Linear Models, 1989, ch. 6 and 9). Its slope at the highest
rate is the elasticity. Of the forms tried this one is nearest to the truth for costs that are fixed and proportional,
amortised (a power below 1, a root) or convex, with as few as three loads; a polynomial of the rate itself is not.

What is said in cores and µs is the tangent at the highest rate: cost of a further packet, what is left at rate 0 (the
fixed cost, below 0 where the curve bends upward), and how the cost of a packet changes with the rate.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import scipy

from jvbtune.flame.compare.significance import benjamini_hochberg
from jvbtune.flame.model import Bool, Float64

#: What is assumed before any data: proportional to the rate (elasticity 1) without curvature, each ± its deviation. It
#: tells only where a row has next to no samples, or none at the lower rates.
PRIOR_MEAN = np.array([0.0, 1.0, 0.0])
PRIOR_DEVIATION = np.array([100.0, 3.0, 1.0])

#: Degrees of freedom that a row borrows from all others for its scatter between captures.
LOAN = 10.0
#: Relative scatter between captures that is taken for granted, whatever few captures say.
ASSUMED = 0.03
#: From this many captures on, one that lies far off the others' curve is weighted down (Huber).
ROBUST_FROM = 6
HUBER = 1.345


@dataclass(frozen=True, eq=False)
class Points:
    """What was seen: ``counts[k]`` samples of each row in capture ``k``, by ``seconds`` of it at ``rates_pps``;
    ``cores_per_rate[k]`` turns samples a second into cores. ``within``: scatter between the slices of one capture over
    that of Poisson counts, by row, and the degrees of freedom it has (0: no slices)."""

    counts: Float64  # (captures, rows)
    rates_pps: Float64
    seconds: Float64
    cores_per_rate: Float64
    within: Float64
    within_freedom: int


@dataclass(frozen=True, eq=False)
class Curves:
    """By row; NaN: not fitted. ``*_low`` to ``*_high`` encloses with confidence 1 − level."""

    cores: Float64  # at the highest rate, as fitted
    elasticity: Float64
    elasticity_low: Float64
    elasticity_high: Float64
    cost_us_per_packet: Float64
    cost_us_per_packet_low: Float64
    cost_us_per_packet_high: Float64
    fixed_cores: Float64
    fixed_cores_low: Float64
    fixed_cores_high: Float64
    curvature: Float64  # change of the cost of a packet, in ns, by a further 1000 packets/s
    curvature_low: Float64
    curvature_high: Float64
    p_value: Float64  # of elasticity 1
    q_value: Float64

    @property
    def bend_cores(self) -> Float64:
        """CPU beyond proportion at the highest rate: what a frame takes more than its share as the rate grows."""
        bend: Float64 = self.cores * (self.elasticity - 1)
        return bend

    def spread(self, rows: Bool) -> Curves:
        """The same curves among all rows, of which ``rows`` were fitted."""

        def wide(values: Float64) -> Float64:
            out = np.full(len(rows), np.nan)
            out[rows] = values
            return out

        return Curves(**{field.name: wide(getattr(self, field.name)) for field in fields(self)})


def fit(points: Points, level: float) -> Curves:
    """A curve for each row, at the highest rate. At least three different rates."""
    top = float(points.rates_pps.max())
    logs = np.log(points.rates_pps / top)
    design = np.stack([np.ones(len(logs)), logs, logs**2], axis=1)
    exposure = np.log(points.seconds / points.cores_per_rate)
    free = len(logs) - design.shape[1]
    coefficients, expected, _ = _solve(points.counts, design, exposure, np.ones(points.counts.shape[1]))
    excess, freedom = _excess(points, expected, free)
    coefficients, _, covariance = _solve(points.counts, design, exposure, excess)
    return _described(coefficients, covariance, freedom, top, level)


def _solve(counts: Float64, design: Float64, exposure: Float64, excess: Float64) -> tuple[Float64, Float64, Float64]:
    """(coefficients (rows, 3), expected counts (captures, rows), covariance) of all rows, by Newton's method."""
    rows = counts.shape[1]
    precision = np.diag(PRIOR_DEVIATION**-2)
    at_top = counts / np.exp(exposure)[:, None]
    start = np.log(np.maximum(at_top[np.argmax(design[:, 1])], 0.5 / np.exp(exposure).max()))
    coefficients = np.stack([start, np.full(rows, PRIOR_MEAN[1]), np.full(rows, PRIOR_MEAN[2])], axis=1)
    weight = np.ones_like(counts)
    for _ in range(30):
        expected = np.exp(np.clip(design @ coefficients.T + exposure[:, None], -30, 30))
        if len(counts) >= ROBUST_FROM:
            off = (counts - expected) / np.sqrt(expected * excess)
            scale = np.maximum(1.0, 1.4826 * np.median(np.abs(off), axis=0))
            weight = np.minimum(1.0, HUBER * scale / np.maximum(np.abs(off), 1e-9))
        gain = weight * expected / excess
        information = np.einsum("ki,kr,kj->rij", design, gain, design) + precision
        slope = ((counts - expected) * weight / excess).T @ design - (coefficients - PRIOR_MEAN) @ precision
        step = np.linalg.solve(information, slope[..., None])[..., 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        coefficients = coefficients + step * np.minimum(1.0, 2.0 / np.maximum(longest, 1e-12))
        if longest.max(initial=0.0) < 1e-8:
            break
    return coefficients, expected, np.linalg.inv(information)


def _excess(points: Points, expected: Float64, free: int) -> tuple[Float64, Float64]:
    """Scatter over Poisson's by row, and its degrees of freedom: that between slices, and on top that of whole captures
    about their curve, which is relative, so that it grows with a row's size. Captures have few degrees of freedom, so
    rows lend each other some, and where there are none ``ASSUMED`` stands for it."""
    slices = np.maximum(1.0, points.within if points.within_freedom else 1.0)
    size = expected.mean(axis=0)
    relative = ASSUMED**2
    between = np.zeros(len(size))
    if free > 0 and len(size):
        between = ((points.counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum(axis=0) / free
        large = size >= np.median(size)
        seen = np.median(np.maximum(0.0, between - slices)[large] / size[large])
        relative = max(relative, float(seen))
    lent = slices + relative * size
    excess = (LOAN * lent + free * between) / (LOAN + free)
    alone = float(points.within_freedom or 1000)
    return np.maximum(slices, excess), np.where(excess > 1.5 * slices, LOAN + free, alone)


def _described(coefficients: Float64, covariance: Float64, freedom: Float64, top_pps: float, level: float) -> Curves:
    """What the coefficients mean at the highest rate, with intervals by the delta method."""
    a, b, c = coefficients.T
    cores = np.exp(a)
    zero, one = np.zeros_like(a), np.ones_like(a)
    quantile = scipy.special.stdtrit(freedom, 1 - level / 2)

    def around(value: Float64, *gradient: Float64) -> tuple[Float64, Float64, Float64]:
        g = np.stack(gradient, axis=1)
        half = quantile * np.sqrt(np.einsum("ri,rij,rj->r", g, covariance, g))
        return value, value - half, value + half

    us, ns = 1e6 * cores / top_pps, 1e9 * 1e3 * cores / top_pps**2
    bend = b * b - b + 2 * c
    p_value = 2 * scipy.special.stdtr(freedom, -np.abs(b - 1) / np.sqrt(covariance[:, 1, 1]))
    return Curves(
        cores,
        *around(b, zero, one, zero),
        *around(us * b, us * b, us, zero),
        *around(cores * (1 - b), cores * (1 - b), -cores, zero),
        *around(ns * bend, ns * bend, ns * (2 * b - 1), 2 * ns),
        p_value,
        benjamini_hochberg(p_value),
    )
