"""The residuals of a fitted curve: against packet rate, by restart, against the normal quantiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
from markupsafe import Markup

from jvbtune.report import words
from jvbtune.report.figure import Axis, Figure, draw_x_axis, draw_y_axis, figure
from jvbtune.report.scales import linear
from jvbtune.report.svg import Canvas
from jvbtune.result.model import Residuals

PANEL = 280.0
HEIGHT = 150.0


def residual_figure(found: Residuals) -> Figure:
    """Three panels: side by side on a wide page, below each other on a narrow one."""

    def draw(canvas: Canvas) -> None:
        beside = not canvas.narrow
        panels = (_by_rate, _by_restart, _by_quantile)
        step = HEIGHT + 96
        for place, panel in enumerate(panels):
            part = Canvas(canvas.width if canvas.narrow else PANEL)
            panel(part, found)
            x, y = (place * (PANEL + 20), 0) if beside else (0, place * step)
            canvas.parts.append(
                Markup('<g transform="translate({} {})">{}</g>').format(x, y, Markup("").join(part.parts))
            )
        canvas.height = step if beside else len(panels) * step

    caption = (
        "How far each trial is from the fitted curve, without what its restart has in common. Points without a "
        "pattern, along the line on the right, are what the fit assumes."
    )
    most = max((abs(r) for r in found.residual), default=0.0)
    restarts = len(found.restart_effect)
    alt = f"Residuals of {len(found.residual)} trials in {restarts} restarts, at most {words.percent(most)}."
    return figure("residuals", "Residuals of the CPU curve", caption, draw, alt=alt)


def _by_rate(canvas: Canvas, found: Residuals) -> None:
    x, y = _axes(canvas, found.packet_rate_pps, found.residual, "packet rate (pps)", zero=True)
    for rate, value in zip(found.packet_rate_pps, found.residual, strict=True):
        canvas.marker(0, x.at(rate), y.at(value), "point s0 small", r=2.6)


def _by_restart(canvas: Canvas, found: Residuals) -> None:
    numbers = [float(index + 1) for index in found.restart]
    effects = [*enumerate(found.restart_effect, start=1)]
    values = [*found.residual, *found.restart_effect]
    x, y = _axes(canvas, [*numbers, float(len(effects))], values, "restart (bar: what its trials share)", zero=True)
    for number, value in zip(numbers, found.residual, strict=True):
        canvas.marker(0, x.at(number), y.at(value), "point s0 small", r=2.6)
    for restart, effect in effects:
        canvas.line(x.at(restart) - 6, y.at(effect), x.at(restart) + 6, y.at(effect), "effect")


def _by_quantile(canvas: Canvas, found: Residuals) -> None:
    (theory, ordered), (slope, middle, _) = scipy.stats.probplot(np.array(found.residual))
    x, y = _axes(canvas, theory.tolist(), ordered.tolist(), "normal quantiles", zero=False)
    ends = [float(theory[0]), float(theory[-1])]
    canvas.path(
        [(x.at(q), y.at(min(max(slope * q + middle, y.scale.domain[0]), y.scale.domain[1]))) for q in ends], "effect"
    )
    for quantile, value in zip(theory, ordered, strict=True):
        canvas.marker(0, x.at(float(quantile)), y.at(float(value)), "point s0 small", r=2.6)


def _axes(canvas: Canvas, xs: Sequence[float], ys: Sequence[float], label: str, *, zero: bool) -> tuple[Axis, Axis]:
    left, top, bottom = 50.0, 52.0, 52.0 + HEIGHT
    x = Axis(linear(xs, zero=zero, most=3), left, canvas.width - 6)
    reach = max((abs(v) for v in ys), default=0.01) or 0.01
    y = Axis(linear([-reach, reach], zero=False, most=4), bottom, top)
    draw_x_axis(canvas, x, top, bottom, label, words.count)
    draw_y_axis(canvas, y, left, x.last, "residual", words.percent)
    canvas.line(left, y.at(0.0), x.last, y.at(0.0), "reference")
    return x, y
