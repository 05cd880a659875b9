"""Loss and delay over packet rate: one shape for all restarts, a capacity for each.

Both are flat until the bridge saturates and then rise by orders of magnitude, so a dearer restart does not lift the
curve, it moves it to the left: quantity = D(packet rate × e^u) with one shape D, and a shift u for each restart. Shape
and shifts are fitted in turn. What a restart says of the limit is then the packet rate at which its own curve meets it;
the estimate is the mean of their logarithms, its interval Student's t. A restart that never came near the limit says
only "more than its highest load": a censored value (EM for a normal sample, Wolynetz, Appl. Stat. 28, 1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy

from jvbtune.fit.curve import HUBER, TOP, Data
from jvbtune.fit.forms import Form, FormFit, fit_form
from jvbtune.fit.intervals import Spread, least_error

Floats = npt.NDArray[np.float64]

SHIFTS = np.linspace(-0.6, 0.6, 121)
#: Shifts are drawn to 0 as by a prior this wide: restarts differ by 4–9 %, hardly ever by 60.
PRIOR_SD = 0.2
GRID = np.concatenate([[1e-6], np.geomspace(0.01, TOP, 500)])
ROUNDS = 4
#: And then so many on finer grids, each about the shape that the last one chose.
FINE_ROUNDS = 2
#: On the log scales of loss and delay. Where most rows lost nothing their scatter is 0, and tells no noise.
NOISE_FLOOR = 0.1
#: A shift known no better than this says nothing of the capacity.
UNKNOWN_SD = 0.1


@dataclass(frozen=True)
class ScaledCurve:
    """``data.y`` is on the (log) scale on which noise adds."""

    data: Data
    scale: float
    fitted: FormFit
    table: Floats  #: D on GRID
    shift: Floats  #: (restarts,) u of each, raw
    shift_sd: Floats  #: (restarts,) how well each is known
    centre: float  #: log capacity of the average restart against D
    half_width: float  #: of the 95 % interval of ``centre``; inf with fewer than 2 telling restarts
    restart_sd: float
    noise_sd: float
    scores: dict[str, float]

    @property
    def form(self) -> Form:
        return self.fitted.form

    def _at(self, pps: Floats, moved: float) -> Floats:
        return np.asarray(np.interp(np.asarray(pps) / self.scale * np.exp(-moved), GRID, self.table))

    def mean(self, pps: Floats) -> Floats:
        return self._at(pps, self.centre)

    def band(self, pps: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
        del confidence
        if not np.isfinite(self.half_width):
            return np.full(np.shape(pps), np.nan), np.full(np.shape(pps), np.nan)
        return self._at(pps, self.centre + self.half_width), self._at(pps, self.centre - self.half_width)

    def residuals(self) -> Floats:
        x = self.data.x / self.scale * np.exp(self.shift[self.data.restart])
        return self.data.y - np.interp(x, GRID, self.table)

    @property
    def weights(self) -> Floats:
        return np.ones_like(self.data.y)

    @property
    def restart_effect(self) -> Floats:
        return self.shift


@dataclass(frozen=True)
class Crossing:
    """Where the limit is met: log packets per second."""

    curve: ScaledCurve
    estimate: float  #: inf: not met
    low: float
    high: float
    lowest_seen: float  #: packets per second that kept it: the highest, or where some restarts broke it, all others
    broken: tuple[int, int] = (0, 0)  #: restarts that met it at some load, of how many
    broken_from: float = np.inf  #: the least packet rate at which one did


def fit_crossing(data: Data, forms: Sequence[Form], goal: float, *, scale: float) -> Crossing:
    """Fit, choose among forms by how well they predict restarts left out, and find where ``goal`` is met."""
    x = data.x / scale
    fits = [_fit(data, x, form) for form in forms]
    best = min(fits, key=lambda fit: fit.score)
    scores = {fit.fitted.form.name: fit.score for fit in fits}
    place = _inverse(best.table, goal)
    top = np.full(data.restarts, 0.0)
    np.maximum.at(top, data.restart, x)
    reached = np.zeros(data.restarts, dtype=bool)
    np.logical_or.at(reached, data.restart, data.y >= goal)
    known = reached | (best.shift_sd < UNKNOWN_SD) & (np.log(place) - best.shift < np.log(top) + np.log(1.15))
    values = np.where(known, np.log(np.clip(place, 1e-6, TOP)) - best.shift, np.log(top))
    enough = known.sum() >= max(2, data.restarts / 3) and reached.any() if data.restarts > 1 else bool(reached.any())
    kept = float(np.max(top) if not reached.any() else np.min(top[~reached], initial=np.inf)) * scale
    kept = kept if np.isfinite(kept) else 0.0
    broken = (int(reached.sum()), data.restarts)
    broken_from = float(data.x[data.y >= goal].min()) if reached.any() else np.inf
    if not enough:
        curve = _curve(data, scale, best, 0.0, np.inf, 0.0, scores)
        return Crossing(curve, np.inf, float(np.log(max(kept, 1e-6))), np.inf, kept, broken, broken_from)
    mean, sd, error, degrees = censored_mean(values, known)
    # The shifts are drawn towards each other, the more the less a restart's own trials tell: what they scatter by lacks
    # both the error of each (s²) and what the drawing took away (v, of the law of total variance).
    own = np.minimum(best.shift_sd[known], UNKNOWN_SD) ** 2
    drawn = own * PRIOR_SD**2 / (own + PRIOR_SD**2)
    error = float(np.hypot(error, np.sqrt(np.mean(own + drawn) / known.sum()))) if known.any() else error
    error = max(error, least_error(int(known.sum())))
    spread = Spread(np.asarray(error), degrees, "restart").informed()
    half = float(spread.half_width()) if data.restarts > 1 else np.inf
    others = [_inverse(fit.table, goal) for fit in fits if fit.score < 1.1 * best.score]
    if len(others) > 1:
        half = float(np.hypot(half, 1.96 * np.std(np.log(np.clip(others, 1e-6, TOP)))))
    moved, doubt = _doubt(data, x, best, goal)
    mean, half = mean + moved, float(np.hypot(half, 1.96 * doubt))
    curve = _curve(data, scale, best, mean - float(np.log(place)), half, sd, scores)
    estimate = mean + float(np.log(scale))
    return Crossing(curve, estimate, estimate - half, estimate + half, kept, broken, broken_from)


@dataclass(frozen=True)
class _Fit:
    fitted: FormFit
    table: Floats
    shift: Floats
    shift_sd: Floats
    noise: float
    score: float


def _doubt(data: Data, x: Floats, best: _Fit, goal: float) -> tuple[float, float]:
    """By how much the logarithm of the place where D meets the goal is to be moved, and the standard deviation that is
    the shape's own.

    Where no trial lies on the steep part, walls of any width in the gap between two loads fit alike, with restarts
    shifted a little otherwise: more of them do not help. So every width counts whose misfit, its own shifts fitted, is
    within one standard deviation of the least (profile likelihood: Venzon & Moolgavkar, Appl. Stat. 37, 1988): the
    middle of where they meet the goal, and half of how far these are apart.
    """
    form = best.fitted.form
    if form.shapes.shape[1] < 2:
        return 0.0, 0.0
    fits = [
        _fit(data, x, replace(form, shapes=form.shapes[form.shapes[:, 1] == width]))
        for width in np.unique(form.shapes[:, 1])
    ]
    misfit = np.array([fit.score for fit in fits]) ** 2 * data.y.size / best.noise**2
    met = np.array([_met(fit, goal) for fit in fits])[misfit <= misfit.min() + 1]
    return float((met.min() + met.max()) / 2 - _met(best, goal)), float(met.max() - met.min()) / 2


def _met(fit: _Fit, goal: float) -> float:
    return float(np.log(np.clip(_inverse(fit.table, goal), 1e-6, TOP)) - np.mean(fit.shift))


def _curve(
    data: Data, scale: float, fit: _Fit, centre: float, half: float, sd: float, scores: dict[str, float]
) -> ScaledCurve:
    return ScaledCurve(data, scale, fit.fitted, fit.table, fit.shift, fit.shift_sd, centre, half, sd, fit.noise, scores)


def _fit(data: Data, x: Floats, form: Form) -> _Fit:
    shift = np.zeros(data.restarts)
    sd = np.full(data.restarts, np.inf)
    weights = np.ones_like(x)
    noise = 0.0
    rounds = ROUNDS if data.restarts > 1 else 1
    for left in reversed(range(rounds + FINE_ROUNDS)):
        fitted = fit_form(form, x * np.exp(shift[data.restart]), data.y, weights[None])
        table = fitted.predict(GRID)[0]
        residual = data.y - np.interp(x * np.exp(shift[data.restart]), GRID, table)
        noise = max(1.4826 * float(np.median(np.abs(residual))), NOISE_FLOOR)
        weights = np.minimum(1.0, HUBER * noise / np.maximum(np.abs(residual), 1e-12))
        if data.restarts > 1:
            shift, sd = _shifts(data, x, table, noise)
            shift = shift - _centre(shift, sd)
        if 0 < left <= FINE_ROUNDS:
            form = replace(form, shapes=_nearby(form.shapes, form.shapes[fitted.shape[0]]))
    residual = data.y - np.interp(x * np.exp(shift[data.restart]), GRID, table)
    score = float(np.sqrt(np.mean(np.minimum(np.abs(residual), 3 * HUBER * noise) ** 2)))
    return _Fit(fitted, table, shift, sd, noise, score)


def _nearby(shapes: Floats, chosen: Floats) -> Floats:
    """A finer grid about the chosen shape, to half of the way to the next ones; an axis of one point stays one."""
    axes = []
    for column, value in zip(shapes.T, chosen, strict=True):
        points = np.unique(column)
        place = int(np.searchsorted(points, value))
        below, above = points[max(place - 1, 0)], points[min(place + 1, points.size - 1)]
        axes.append(np.unique(np.concatenate([np.sqrt([below * value]), [value], np.sqrt([value * above])])))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, shapes.shape[1])


def _centre(shift: Floats, sd: Floats) -> float:
    weight = 1 / (sd**2 + 0.05**2)
    return float(np.sum(weight * shift) / np.sum(weight))


def _shifts(data: Data, x: Floats, table: Floats, noise: float) -> tuple[Floats, Floats]:
    """Each restart's shift, and how well it is known, from its rows' likelihood on a grid of shifts."""
    predicted = np.interp(x[:, None] * np.exp(SHIFTS), GRID, table)
    standardised = np.abs(data.y[:, None] - predicted) / noise
    loss = np.where(standardised < HUBER, standardised**2 / 2, HUBER * (standardised - HUBER / 2))
    total = np.zeros((data.restarts, SHIFTS.size))
    np.add.at(total, data.restart, loss)
    chance = np.exp(-(total - total.min(axis=1, keepdims=True)))
    known = np.sqrt(np.maximum(_variance(chance), (SHIFTS[1] - SHIFTS[0]) ** 2 / 12))
    posterior = chance * np.exp(-(SHIFTS**2) / (2 * PRIOR_SD**2))
    posterior /= posterior.sum(axis=1, keepdims=True)
    return posterior @ SHIFTS, known


def _variance(chance: Floats) -> Floats:
    chance = chance / chance.sum(axis=1, keepdims=True)
    mean = chance @ SHIFTS
    return np.asarray(chance @ SHIFTS**2 - mean**2)


def _inverse(table: Floats, goal: float) -> float:
    if table[0] >= goal:
        return float(GRID[0])
    if table[-1] < goal:
        return TOP
    return float(np.interp(goal, table, GRID))


def censored_mean(values: Floats, known: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Normal sample of which some are only known to be above their value: (mean, sd, standard error, degrees).

    At least 1 known value; with a single one the error is infinite.
    """
    count, sure = values.size, int(known.sum())
    mean = float(values.mean()) if sure == count else float(values[known].mean())
    spread = float(np.var(values[known], ddof=1)) if sure > 1 else 0.0
    if sure < count and sure > 1:
        for _ in range(60):
            sigma = max(np.sqrt(spread), 1e-6)
            a = (values[~known] - mean) / sigma
            hazard = np.exp(scipy.stats.norm.logpdf(a) - scipy.stats.norm.logsf(a))
            expected = mean + sigma * hazard
            extra = spread * np.clip(1 + a * hazard - hazard**2, 0, 1)
            mean = float((values[known].sum() + expected.sum()) / count)
            square = np.sum((values[known] - mean) ** 2) + np.sum((expected - mean) ** 2 + extra)
            spread = float(square) / (count - 1)
    sd = float(np.sqrt(spread))
    if sure < 2:
        return mean, sd, np.inf, 1.0
    return mean, sd, sd / np.sqrt(sure + 0.5 * (count - sure)), float(sure - 1)
