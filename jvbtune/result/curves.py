"""A fit's curves as plain numbers, so that whoever draws or tells them needs no fit."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from jvbtune.fit.bounds import Bound
from jvbtune.fit.curve import Curve as FittedCurve
from jvbtune.fit.diagnostics import MIN_ROWS, diagnose
from jvbtune.fit.host_fit import HostFit
from jvbtune.fit.lateness import LatenessCurve
from jvbtune.result.model import Curve, LimitFit, Residuals

#: A curve is drawn from this share of the highest tested packet rate to this multiple of it.
GRID = np.linspace(0.02, 1.15, 60)


def limit_fits(fitted: HostFit) -> tuple[LimitFit, ...]:
    """Every limit of a host's fit, the one that binds first."""
    top = max(float(fitted.highest_tested_pps or 0.0), 1.0)
    return tuple(_limit_fit(bound, top * GRID) for bound in sorted(fitted.bounds, key=lambda b: b.estimate_pps))


def _limit_fit(bound: Bound, grid: np.ndarray) -> LimitFit:
    curve = bound.curve
    return LimitFit(
        name=bound.name,
        limit=bound.limit,
        unit=bound.unit,
        column=bound.column,
        estimate_pps=_number(bound.estimate_pps, 1),
        interval_pps=(_number(bound.low_pps, 1), _number(bound.high_pps, 1)),
        restart_low_pps=_number(bound.restart_low_pps, 1),
        model=curve.form.name,
        formula=curve.form.formula,
        prediction_errors={name: _digits(score) for name, score in curve.scores.items() if math.isfinite(score)},
        restart_sd=_digits(curve.restart_sd),
        noise_sd=_digits(curve.noise_sd),
        note=bound.note,
        diagnostics=tuple(diagnose(bound)),
        curve=_curve(bound, grid),
        residuals=_residuals(bound),
    )


def _curve(bound: Bound, grid: np.ndarray) -> Curve:
    mean, low, high = bound.quantity(grid)
    trial: dict[str, tuple[float | None, ...]] = {}
    if isinstance(bound.curve, FittedCurve) and bound.transform == "none":
        least, most = bound.curve.prediction_band(grid)
        trial = {"trial_low": _numbers(least), "trial_high": _numbers(most)}
    return Curve(tuple(round(float(x), 1) for x in grid), _numbers(mean), _numbers(low), _numbers(high), **trial)


def _residuals(bound: Bound) -> Residuals | None:
    if isinstance(bound.curve, LatenessCurve):
        return None
    data, residual = bound.curve.data, np.asarray(bound.curve.residuals())
    if residual.size < MIN_ROWS:
        return None
    return Residuals(
        relative=data.relative,
        packet_rate_pps=tuple(round(float(x), 1) for x in data.x),
        restart=tuple(int(index) for index in data.restart),
        residual=tuple(_digits(value) for value in residual),
        restart_effect=tuple(_digits(value) for value in np.asarray(bound.curve.restart_effect)),
    )


def _number(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def _numbers(values: Iterable[float]) -> tuple[float | None, ...]:
    return tuple(_digits(value) if math.isfinite(value) else None for value in values)


def _digits(value: float) -> float:
    """Five significant digits: what a picture shows, and no more."""
    return float(f"{float(value):.5g}")
