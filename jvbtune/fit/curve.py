"""One quantity of one host as an increasing curve over packet rate, chosen by the data, with its uncertainty.

The model: quantity = f(packet rate) × (what is special to this restart) × noise. The form of f is chosen by
leave-one-block-out cross-validation. The restart's part is a random effect: it is estimated, shrunk by what the data
says of its size, and taken out before the shape is fitted; its spread is what the intervals are made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jvbtune.fit.forms import FROM_NOTHING, Form, FormFit, fit_form
from jvbtune.fit.intervals import pseudo_values, spread_of_mean

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

HUBER = 1.345  #: 95 % efficient on normal noise (Huber & Ronchetti 2009, section 4.5)
#: A later (freer) form is taken only if it lowers the squared prediction error by this share.
PARSIMONY = 0.02
#: Forms whose prediction error is within this factor of the best one's cannot be told from it.
RIVAL = 1.05
TOP = 3.0  #: curves are followed up to this multiple of the highest packet rate


@dataclass(frozen=True)
class Data:
    """Rows of one host that carry a quantity.

    ``x``: packets per second; ``y``: the quantity, positive where ``relative``; ``plot`` and ``block``: indices.
    ``relative``: noise and restarts multiply y; otherwise they add to it (a quantity on a log scale already).
    """

    x: Floats
    y: Floats
    plot: Integers
    block: Integers
    relative: bool = True

    @property
    def plots(self) -> int:
        return int(self.plot.max()) + 1

    def block_of_plot(self) -> Integers:
        found = np.zeros(self.plots, dtype=np.int64)
        found[self.plot] = self.block
        return found


@dataclass(frozen=True)
class Curve:
    """A fitted curve: of all data (set 0), and without each plot in turn (sets 1 …)."""

    data: Data
    scale: float  #: packets per second at x = 1
    fitted: FormFit
    level: Floats  #: (1 + plots,) log factor (relative) or offset of the average restart
    restart_effect: Floats  #: (plots,) log factor or offset of each plot, about 0
    restart_sd: float
    noise_sd: float
    weights: Floats  #: (rows,) robustness, 0..1
    scores: dict[str, float]  #: form -> root mean squared prediction error, relative or additive
    rivals: tuple[FormFit, ...] = ()  #: other forms that predict nearly as well, fitted to all data

    @property
    def form(self) -> Form:
        return self.fitted.form

    def sets(self, pps: Floats) -> Floats:
        """(1 + plots, len(pps)): the curve of all data, and without each plot."""
        curves = self.fitted.predict(np.asarray(pps, dtype=np.float64) / self.scale)
        return np.asarray(curves * np.exp(self.level)[:, None] if self.data.relative else curves + self.level[:, None])

    def mean(self, pps: Floats) -> Floats:
        """The average restart's curve."""
        return np.asarray(self.sets(pps)[0])

    def band(self, pps: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
        """Confidence band of ``mean`` on the same scale; NaN with a single plot."""
        return self._band(pps, confidence, 0.0)

    def prediction_band(self, pps: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
        """Where a further trial, of a further restart, lies; on the same scale, NaN with a single plot.

        The variances of the mean, between restarts and within one add up (Hahn & Meeker, "Statistical Intervals", 1991,
        section 4.8).
        """
        return self._band(pps, confidence, self.restart_sd**2 + self.noise_sd**2)

    def _band(self, pps: Floats, confidence: float, more_variance: float) -> tuple[Floats, Floats]:
        curves = self.sets(pps)
        values = np.log(np.maximum(curves, 1e-300)) if self.data.relative else curves
        if self.data.plots < 2:
            return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
        mean = spread_of_mean(pseudo_values(values[0], values[1:]), self.data.block_of_plot())
        half = replace(mean, error=np.sqrt(mean.error**2 + more_variance)).half_width(confidence)
        low, high = values[0] - half, values[0] + half
        return (np.exp(low), np.exp(high)) if self.data.relative else (low, high)

    def inverse_sets(self, target: float) -> Floats:
        """(1 + plots,) packet rates at which each curve meets the target; 0 or inf where it never does."""
        goal = target * np.exp(-self.level) if self.data.relative else target - self.level
        return self.fitted.inverse(goal, TOP) * self.scale

    def form_sd(self, target: float) -> float:
        """How far the forms that predict alike disagree on the packet rate at the target: of its logarithm."""
        if not self.rivals:
            return 0.0
        goal = target * np.exp(-self.level[0]) if self.data.relative else target - self.level[0]
        found = [float(self.fitted.inverse(goal, TOP)[0]), *(float(f.inverse(goal, TOP)[0]) for f in self.rivals)]
        return float(np.std(np.log(np.clip(found, 1e-6, TOP))))

    def residuals(self) -> Floats:
        """Of each row, with its restart's effect taken out: log ratio (relative) or difference."""
        return _residual(self.data, self.mean(self.data.x)) - self.restart_effect[self.data.plot]


def levels(x: Floats) -> int:
    """How many packet rates there are that differ by more than 5 %."""
    count, last = 0, 0.0
    for value in np.sort(x[x > 0]):
        if value > last * 1.05:
            count, last = count + 1, float(value)
    return count


def _residual(data: Data, fitted: Floats) -> Floats:
    if data.relative:
        return np.asarray(np.log(data.y / np.maximum(fitted, 1e-300)))
    return data.y - fitted


def fit_curve(data: Data, forms: Sequence[Form], *, scale: float | None = None) -> Curve:
    """Choose among ``forms`` and fit. At least 2 rows; deterministic.

    A form needs more packet rates than it has parameters: three rates carry a line, and nothing that bends. Between
    two rates the line is a chord; how far a power law from 0 through the same rates lies off it is added to the doubt.
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
    sets = leave_out(data.plot, data.plots)
    fitted = fit_form(chosen, x, prior.adjusted, sets * prior.row_weights)
    level = prior.shrink * _mean_without(prior.effect)
    near = [f for f in forms if f is not chosen and scores[f.name] < RIVAL * scores[chosen.name]]
    if count == 2 and data.relative:
        near.append(FROM_NOTHING)
    rivals = tuple(fit_form(form, x, prior.adjusted, prior.row_weights[None]) for form in near)
    curve = Curve(
        data, scale, fitted, level, prior.effect, prior.restart_sd, prior.noise_sd, prior.robust, scores, rivals
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
        effect = np.zeros(data.plots)
        shrink = 0.0
        restart_sd = noise_sd = 0.0
        base = 1 / np.maximum(np.abs(data.y), 1e-12) ** 2 if data.relative else np.ones_like(x)
        adjusted = data.y.copy()
        for _ in range(rounds):
            fitted = fit_form(form, x, adjusted, (base * robust)[None]).predict(x)[0]
            if data.relative:
                base = 1 / np.maximum(fitted, 1e-9 * float(np.max(np.abs(data.y)))) ** 2
            residual = _residual(data, fitted)
            effect = plot_means(residual, data, robust)
            restart_sd, noise_sd, shrink = components(residual, effect, data, robust)
            centre = effect if shrink > 0 else np.zeros_like(effect)
            within = residual - shrink * centre[data.plot]
            robust = huber(within)
            shift = shrink * (effect - effect.mean())[data.plot]
            adjusted = data.y * np.exp(-shift) if data.relative else data.y - shift
        centred = effect - effect.mean()
        return cls(adjusted, base * robust, robust, centred, shrink, restart_sd, noise_sd)


def plot_means(residual: Floats, data: Data, robust: Floats) -> Floats:
    total = np.bincount(data.plot, robust, minlength=data.plots)
    return np.asarray(np.bincount(data.plot, robust * residual, minlength=data.plots) / np.maximum(total, 1e-9))


def components(residual: Floats, effect: Floats, data: Data, robust: Floats) -> tuple[float, float, float]:
    """Standard deviation between restarts and within one, and how far effects are shrunk (0: not separable)."""
    counts = np.bincount(data.plot, minlength=data.plots)
    freedom = residual.size - data.plots
    spread = float(np.var(effect, ddof=1)) if data.plots > 1 else 0.0
    if freedom < 1 or data.plots < 2:
        return float(np.sqrt(spread)), 0.0, 0.0
    noise = float(np.sum(robust * (residual - effect[data.plot]) ** 2)) / freedom
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
    """(1 + plots,): the mean effect of all plots, then without each."""
    if effect.size < 2:
        return np.zeros(1 + effect.size)
    without = (effect.sum() - effect) / (effect.size - 1)
    return np.concatenate([[effect.mean()], without])


def _folds(data: Data) -> Integers:
    """Cross-validation folds: blocks where there are at least 3, else plots, else rows by their order in x."""
    if np.unique(data.block).size >= 3:
        return np.asarray(np.unique(data.block, return_inverse=True)[1])
    if data.plots >= 3:
        return data.plot
    return np.asarray(np.argsort(np.argsort(data.x, kind="stable"), kind="stable") % 5)


def _score(data: Data, x: Floats, form: Form, prior: Preparation) -> float:
    folds = _folds(data)
    count = int(folds.max()) + 1
    fit = fit_form(form, x, prior.adjusted, leave_out(folds, count)[1:] * prior.row_weights)
    predicted = fit.predict(x)[folds, np.arange(x.size)]
    if data.relative:
        errors = np.log(np.maximum(prior.adjusted, 1e-300) / np.maximum(predicted, 1e-300))
    else:
        errors = prior.adjusted - predicted
    return float(np.sqrt(np.sum(prior.robust * errors**2) / np.sum(prior.robust)))
