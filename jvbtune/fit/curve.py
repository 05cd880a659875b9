"""One quantity of one host as an increasing curve over packet rate, chosen by the data, with its uncertainty.

The model: quantity = f(packet rate) × (what is special to this restart) × noise. f is a form, chosen by
leave-one-block-out cross-validation, times what the form misses (``discrepancy``). The restart's part is a random
effect: it is estimated, shrunk by what the data says of its size, and taken out before the shape is fitted. Intervals
are made of its spread and of how far off f may still be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jvbtune.fit.discrepancy import Discrepancy, discrepancy
from jvbtune.fit.forms import Form, FormFit, fit_form
from jvbtune.fit.intervals import pseudo_values, spread_of_mean

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

HUBER = 1.345  #: 95 % efficient on normal noise (Huber & Ronchetti 2009, section 4.5)
#: A later (freer) form is taken only if it lowers the squared prediction error by this share.
PARSIMONY = 0.02
TOP = 3.0  #: curves are followed up to this multiple of the highest packet rate
GRID = np.concatenate([[1e-6], np.geomspace(0.01, TOP, 220)])
#: The slope at a packet rate is taken between so much less and so much more, of its logarithm.
SLOPE_SPAN = 0.1
LEAST_SLOPE = 0.05  #: of the logarithms


@dataclass(frozen=True)
class Data:
    """Rows of one host that carry a quantity.

    ``x``: packets per second; ``y``: the quantity, positive where ``relative``; ``restart`` and ``block``: indices.
    ``relative``: noise and restarts multiply y; otherwise they add to it (a quantity on a log scale already).
    """

    x: Floats
    y: Floats
    restart: Integers
    block: Integers
    relative: bool = True

    @property
    def restarts(self) -> int:
        return int(self.restart.max()) + 1

    def block_of_plot(self) -> Integers:
        found = np.zeros(self.restarts, dtype=np.int64)
        found[self.restart] = self.block
        return found


@dataclass(frozen=True)
class Curve:
    """A fitted curve: of all data (set 0), and without each restart in turn (sets 1 …)."""

    data: Data
    scale: float  #: packets per second at x = 1
    fitted: FormFit
    missed: Discrepancy | None  #: what the form misses; None with a single restart
    level: Floats  #: (1 + restarts,) log factor of the average restart
    restart_effect: Floats  #: (restarts,) log factor of each restart, about 0
    restart_sd: float
    noise_sd: float
    weights: Floats  #: (rows,) robustness, 0..1
    scores: dict[str, float]  #: form -> root mean squared prediction error, relative

    @property
    def form(self) -> Form:
        return self.fitted.form

    def _log_sets(self, x: Floats) -> tuple[Floats, Floats]:
        """x (n,), scaled -> logarithms of the curves (1 + restarts, n), and their variance by what forms miss (n,)."""
        curves = np.log(np.maximum(self.fitted.predict(x), 1e-300)) + self.level[:, None]
        if self.missed is None:
            return curves, np.zeros(x.size)
        more, variance = self.missed.at(x)
        return curves + more, variance

    def sets(self, pps: Floats) -> Floats:
        """(1 + restarts, len(pps)): the curve of all data, and without each restart."""
        return np.asarray(np.exp(self._log_sets(np.asarray(pps, dtype=np.float64) / self.scale)[0]))

    def mean(self, pps: Floats) -> Floats:
        """The average restart's curve."""
        return np.asarray(self.sets(pps)[0])

    def band(self, pps: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
        """Confidence band of ``mean``; NaN with a single restart."""
        return self._band(pps, confidence, 0.0)

    def prediction_band(self, pps: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
        """Where a further trial, of a further restart, lies; NaN with a single restart.

        The variances of the mean, between restarts and within one add up (Hahn & Meeker, "Statistical Intervals", 1991,
        section 4.8).
        """
        return self._band(pps, confidence, self.restart_sd**2 + self.noise_sd**2)

    def _band(self, pps: Floats, confidence: float, more_variance: float) -> tuple[Floats, Floats]:
        values, missed = self._log_sets(np.asarray(pps, dtype=np.float64) / self.scale)
        if self.data.restarts < 2:
            return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
        mean = spread_of_mean(pseudo_values(values[0], values[1:]), self.data.block_of_plot()).informed()
        spread = replace(mean, error=np.sqrt(mean.error**2 + more_variance)).with_known(missed)
        half = spread.half_width(confidence)
        return np.exp(values[0] - half), np.exp(values[0] + half)

    def inverse_sets(self, target: float) -> Floats:
        """(1 + restarts,) packet rates at which each curve meets the target; 0 or inf where it never does."""
        goal = np.log(target)
        curves = np.maximum.accumulate(self._log_sets(GRID)[0], axis=1)
        return np.array([np.interp(goal, curve, GRID, left=0.0, right=np.inf) for curve in curves]) * self.scale

    def missed_sd(self, pps: float) -> float:
        """Of the logarithm of the packet rate that the curve places at ``pps``, by what the form may still miss."""
        if self.missed is None or not 0 < pps < np.inf:
            return 0.0
        x = pps / self.scale * np.exp([-SLOPE_SPAN, 0.0, SLOPE_SPAN])
        curves, variance = self._log_sets(x)
        slope = float(curves[0, 2] - curves[0, 0]) / (2 * SLOPE_SPAN)
        return float(np.sqrt(variance[1]) / max(slope, LEAST_SLOPE))

    def residuals(self) -> Floats:
        """Of each row, with its restart's effect taken out: log ratio."""
        return _residual(self.data, self.mean(self.data.x)) - self.restart_effect[self.data.restart]


def levels(x: Floats) -> int:
    """How many packet rates there are that differ by more than 5 %."""
    count, last = 0, 0.0
    for value in np.sort(x[x > 0]):
        if value > last * 1.05:
            count, last = count + 1, float(value)
    return count


def _residual(data: Data, fitted: Floats) -> Floats:
    return np.asarray(np.log(data.y / np.maximum(fitted, 1e-300)))


def fit_curve(data: Data, forms: Sequence[Form], *, scale: float | None = None) -> Curve:
    """Choose among ``forms`` and fit ``data``, which is relative. At least 2 rows; deterministic.

    A form needs more packet rates than it has parameters: three rates carry a line, and nothing that bends.
    """
    count = levels(data.x)
    forms = [form for form in forms if form.parameters < count] or list(forms[:1])
    scale = float(data.x.max()) if scale is None else scale
    x = data.x / scale
    prior = Preparation.of(data, x, forms[-1] if len(forms) == 1 else _flexible(forms))
    scores = {form.name: _score(data, x, form, prior) for form in forms} if len(forms) > 1 else {}
    chosen = forms[0]
    for form in forms[1:]:
        if scores[form.name] ** 2 < scores[chosen.name] ** 2 * (1 - PARSIMONY):
            chosen = form
    sets = leave_out(data.restart, data.restarts)
    fitted = fit_form(chosen, x, prior.adjusted, sets * prior.row_weights)
    missed = None
    if data.restarts > 1:
        residual = np.log(prior.adjusted / np.maximum(fitted.predict(x), 1e-300))
        missed = discrepancy(x, residual, sets * prior.robust, data.restart, prior.noise_sd, fitted.terms)
    level = prior.shrink * _mean_without(prior.effect)
    curve = Curve(
        data, scale, fitted, missed, level, prior.effect, prior.restart_sd, prior.noise_sd, prior.robust, scores
    )
    return replace(curve, restart_effect=plot_means(_residual(data, curve.mean(data.x)), data, prior.robust))


def _flexible(forms: Sequence[Form]) -> Form:
    names = [form.name for form in forms]
    return forms[names.index("sqrt + linear")] if "sqrt + linear" in names else forms[-1]


@dataclass(frozen=True)
class Preparation:
    """What is settled before a form is chosen: restarts' effects, and which rows to trust how far."""

    adjusted: Floats
    row_weights: Floats
    robust: Floats
    effect: Floats
    shrink: float
    restart_sd: float
    noise_sd: float

    @classmethod
    def of(cls, data: Data, x: Floats, form: Form, rounds: int = 4) -> Preparation:
        robust = np.ones_like(x)
        effect = np.zeros(data.restarts)
        shrink = 0.0
        restart_sd = noise_sd = 0.0
        base = 1 / np.maximum(np.abs(data.y), 1e-12) ** 2
        adjusted = data.y.copy()
        for _ in range(rounds):
            fitted = fit_form(form, x, adjusted, (base * robust)[None]).predict(x)[0]
            base = 1 / np.maximum(fitted, 1e-9 * float(np.max(np.abs(data.y)))) ** 2
            residual = _residual(data, fitted)
            effect = plot_means(residual, data, robust)
            restart_sd, noise_sd, shrink = components(residual, effect, data, robust)
            centre = effect if shrink > 0 else np.zeros_like(effect)
            within = residual - shrink * centre[data.restart]
            robust = huber(within)
            shift = shrink * (effect - effect.mean())[data.restart]
            adjusted = data.y * np.exp(-shift)
        centred = effect - effect.mean()
        return cls(adjusted, base * robust, robust, centred, shrink, restart_sd, noise_sd)


def plot_means(residual: Floats, data: Data, robust: Floats) -> Floats:
    total = np.bincount(data.restart, robust, minlength=data.restarts)
    return np.asarray(np.bincount(data.restart, robust * residual, minlength=data.restarts) / np.maximum(total, 1e-9))


def components(residual: Floats, effect: Floats, data: Data, robust: Floats) -> tuple[float, float, float]:
    """Standard deviation between restarts and within one, and how far effects are shrunk (0: not separable)."""
    counts = np.bincount(data.restart, minlength=data.restarts)
    freedom = residual.size - data.restarts
    spread = float(np.var(effect, ddof=1)) if data.restarts > 1 else 0.0
    if freedom < 1 or data.restarts < 2:
        return float(np.sqrt(spread)), 0.0, 0.0
    noise = float(np.sum(robust * (residual - effect[data.restart]) ** 2)) / freedom
    size = 1 / float(np.mean(1 / counts))
    between = max(0.0, spread - noise / size)
    total = between + noise / size
    return float(np.sqrt(between)), float(np.sqrt(noise)), between / total if total > 0 else 0.0


def huber(residual: Floats) -> Floats:
    """Weights 1 within HUBER robust standard deviations, falling as 1/|r| outside."""
    middle = np.median(residual)
    scale = 1.4826 * float(np.median(np.abs(residual - middle)))
    if scale <= 0:
        return np.ones_like(residual)
    return np.minimum(1.0, HUBER * scale / np.maximum(np.abs(residual - middle), 1e-300))


def leave_out(group: Integers, count: int) -> Floats:
    """(1 + count, rows) of 0 and 1: everything, then without each group."""
    without = (group[None, :] != np.arange(count)[:, None]).astype(np.float64)
    return np.concatenate([np.ones((1, group.size)), without])


def _mean_without(effect: Floats) -> Floats:
    """(1 + restarts,): the mean effect of all restarts, then without each."""
    if effect.size < 2:
        return np.zeros(1 + effect.size)
    without = (effect.sum() - effect) / (effect.size - 1)
    return np.concatenate([[effect.mean()], without])


def _folds(data: Data) -> Integers:
    """Cross-validation folds: blocks where there are at least 3, else restarts, else rows by their order in x."""
    if np.unique(data.block).size >= 3:
        return np.asarray(np.unique(data.block, return_inverse=True)[1])
    if data.restarts >= 3:
        return data.restart
    return np.asarray(np.argsort(np.argsort(data.x, kind="stable"), kind="stable") % 5)


def _score(data: Data, x: Floats, form: Form, prior: Preparation) -> float:
    folds = _folds(data)
    count = int(folds.max()) + 1
    fit = fit_form(form, x, prior.adjusted, leave_out(folds, count)[1:] * prior.row_weights)
    predicted = fit.predict(x)[folds, np.arange(x.size)]
    errors = np.log(np.maximum(prior.adjusted, 1e-300) / np.maximum(predicted, 1e-300))
    return float(np.sqrt(np.sum(prior.robust * errors**2) / np.sum(prior.robust)))
