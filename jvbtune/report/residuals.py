"""The residuals of a fitted curve: against packet rate, by restart, against the normal quantiles."""

from __future__ import annotations

import numpy as np
from scipy import stats

from jvbtune.fit.curve import Curve
from jvbtune.fit.scaled import ScaledCurve
from jvbtune.report.plots import COLOURS, Svg, figure


def residual_plot(curve: Curve | ScaledCurve) -> Svg | None:
    """Three panels; None with fewer than 8 trials."""
    data, residual = curve.data, np.asarray(curve.residuals())
    if residual.size < 8:
        return None
    with figure(height=2.6, width=9.0) as (canvas, axes, svg):
        axes.remove()
        rate, restart, normal = canvas.subplots(1, 3)
        shown = 100 * residual if data.relative else residual
        rate.plot(data.x / 1000, shown, "o", ms=3, color=COLOURS[0], alpha=0.7)
        rate.set_xlabel("packet rate (kpps)")
        rate.set_ylabel("residual (%)" if data.relative else "residual (log)")
        effect = np.asarray(curve.restart_effect) * (100 if data.relative else 1)
        restart.plot(data.plot + 1, shown, "o", ms=3, color=COLOURS[0], alpha=0.5)
        restart.plot(np.arange(effect.size) + 1, effect, "_", ms=14, color=COLOURS[1])
        restart.set_xlabel("restart (bar: its own effect)")
        (theory, ordered), (slope, middle, _) = stats.probplot(shown)
        normal.plot(theory, ordered, "o", ms=3, color=COLOURS[0], alpha=0.7)
        normal.plot(theory, slope * theory + middle, color=COLOURS[1], lw=1)
        normal.set_xlabel("normal quantiles")
        for panel in (rate, restart):
            panel.axhline(0, color="#000000", lw=0.6)
        return svg()
