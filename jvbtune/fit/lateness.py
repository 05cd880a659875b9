"""Late packets over packet rate: where more than a stated share of all of them is late.

A 99th percentile within a limit is: at most 1 % of the packets are later than it. That share is a mean, over all
windows at a load, however short; it needs no window of its own in which the percentile is known. Of a window of 3 s the
percentile is not: on a real bridge it was 16 or 90 ms at one load, by whether a pause of the JVM fell into it.

Late are packets of pauses, which come with the garbage that packets make, and of queues, which grow steeply with the
load. So the odds of being late are fitted as goal·(w·x/c + (1 − w)·(x/c)^b), x the packet rate, 0 ≤ w ≤ 1, by
quasi-likelihood with variance φ·μ·(1 − μ) (McCullagh & Nelder, "Generalized Linear Models", 1989, sections 4.5 and
9.2): late packets come in lumps, so φ is far above that of counts, and is estimated. c is the packet rate that is
looked for. Its interval is that of the profile: all c whose deviance, w and b fitted, exceeds the least by no more than
φ·t². φ is that of trials, or of whole restarts where these differ by more than their trials explain (the preliminary
test of ``fit.intervals``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import scipy

from jvbtune.fit.curve import TOP, Data
from jvbtune.fit.intervals import PRELIMINARY_P

Floats = npt.NDArray[np.float64]

#: (w, b): of pauses alone, of queues alone, of which b = 60 is a wall of a few percent, and of both.
POWERS = np.geomspace(1.5, 60, 15)
SHAPES = np.array([(1.0, 1.0)] + [(w, b) for w in (0.0, 0.25, 0.5, 0.75, 0.9) for b in POWERS])
PLACES = 241
#: The least packet rate that is looked at, as a share of the least that was run.
LOWEST = 0.3
#: A fitted share is within this much of 0 and 1, where the deviance ends.
END = 1e-9
#: What the scatter is measured by, at least.
LEAST_EXPECTED = 5e-4
#: Of a single pause a few milliseconds longer than the limit, in a window of some seconds.
LEAST_DISPERSION = 1e-3


@dataclass(frozen=True)
class Shape:
    """What is fitted, in words."""

    name: str
    formula: str


@dataclass(frozen=True)
class LatenessCurve:
    """``data.y``: shares, which near 0 have no residuals of their own. The curve is the mean over restarts, and its
    band is that of ``c``."""

    data: Data
    scale: float
    goal: float
    place: float  #: log of packets per second
    shape: tuple[float, float]  #: w and b
    low: float  #: ends of the 95 % interval of ``place``
    high: float
    noise_sd: float  #: of a trial's share, in multiples of the goal
    scores: dict[str, float] = field(default_factory=dict)  #: there is one form
    restart_sd: float = 0.0  #: a bad restart is not told from a pause in it

    @property
    def form(self) -> Shape:
        return Shape(
            "pauses + queues", f"share / (1 − share) = {self.goal:g} / {1 - self.goal:g}·(w·x/c + (1 − w)·(x/c)^b)"
        )

    def mean(self, pps: Floats) -> Floats:
        return self._at(pps, self.place)

    def band(self, pps: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
        del confidence
        return self._at(pps, self.high), self._at(pps, self.low)

    def _at(self, pps: Floats, place: float) -> Floats:
        return _shares(np.log(np.maximum(pps, 1e-6)) - place, *self.shape, self.goal)


@dataclass(frozen=True)
class Lateness:
    """Where the goal is met, log packets per second; -inf: below all that was looked at."""

    curve: LatenessCurve
    estimate: float  #: inf: not met
    low: float
    high: float
    broken: tuple[int, int]  #: trials with more than the goal, of how many
    deviance: float = 0.0  #: of the fit: the less, the nearer it is to the shares


def fit_lateness(data: Data, goal: float, *, scale: float) -> Lateness:
    """``data``: of each trial the share of late packets, at 3 packet rates or more; ``scale``: the highest rate."""
    broken = data.y > goal
    said = (int(broken.sum()), data.y.size)
    logs = np.log(data.x)
    bottom, top = float(logs.min()) + np.log(LOWEST), float(np.log(TOP * scale))
    places = np.linspace(bottom, top, PLACES)
    if not np.any(data.y > 0):
        kept = float(logs.max())
        curve = LatenessCurve(data, scale, goal, top, (0.0, float(POWERS[-1])), kept, np.inf, 0.0)
        return Lateness(curve, np.inf, kept, np.inf, said)
    weights, powers = SHAPES.T[:, :, None]
    expected = _shares(logs - places[:, None, None], weights, powers, goal)  # (places, shapes, trials)
    deviance = _deviance(data.y, expected)
    profile, shapes = deviance.min(axis=1), deviance.argmin(axis=1)
    best = int(profile.argmin())
    place, of_best = float(places[best]), expected[best, shapes[best]]
    weight, power = SHAPES[shapes[best]]
    room = _room(data, of_best)
    inside = np.flatnonzero(profile <= profile[best] + room)
    low = float(places[inside[0] - 1]) if inside[0] > 0 else -np.inf
    high = float(places[inside[-1] + 1]) if inside[-1] + 1 < PLACES else np.inf
    noise = float(np.std(data.y - of_best)) / goal
    curve = LatenessCurve(data, scale, goal, place, (float(weight), float(power)), low, high, noise)
    met = best < PLACES - 1
    return Lateness(curve, place if met else np.inf, low, high, said, float(profile[best]))


def _room(data: Data, expected: Floats) -> float:
    """What the deviance may exceed its least by."""
    free, restarts = max(data.y.size - 2, 1), data.restarts
    # a packet that is late far below the limit is no sign of lumps as large as its tiny expectation would make them
    known = np.maximum(expected, LEAST_EXPECTED)
    off, variance = data.y - expected, known * (1 - known)
    dispersion = max(float(np.sum(off**2 / variance)) / free, LEAST_DISPERSION)
    if restarts > 1:
        sums = np.bincount(data.restart, off, restarts), np.bincount(data.restart, variance, restarts)
        of_restarts = float(np.sum(sums[0] ** 2 / sums[1])) / (restarts - 1)
        if scipy.stats.f.sf(of_restarts / dispersion, restarts - 1, free) < PRELIMINARY_P:
            dispersion, free = of_restarts, restarts - 1
    return dispersion * float(scipy.stats.t.ppf(0.975, free)) ** 2


def _shares(distance: Floats, weight: Floats | float, power: Floats | float, goal: float) -> Floats:
    """``distance``: log(x / c)."""
    odds = weight * np.exp(np.minimum(distance, 50.0))
    odds = odds + (1 - np.asarray(weight)) * np.exp(np.minimum(power * distance, 50.0))
    odds = odds * (goal / (1 - goal))
    return np.asarray(np.clip(odds / (1 + odds), END, 1 - END))


def _deviance(shares: Floats, expected: Floats) -> Floats:
    """Of binomial shares, each with the weight 1; ``expected`` (…, trials) -> (…)."""
    y = shares
    own = scipy.special.xlogy(y, y) + scipy.special.xlogy(1 - y, 1 - y)
    return np.asarray(2 * np.sum(own - y * np.log(expected) - (1 - y) * np.log1p(-expected), axis=-1))
