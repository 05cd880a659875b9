"""The seconds of one trial: CPU of the bridge and of its receive thread, drops, and the measured window."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import polars as pl

from jvbtune.report import words
from jvbtune.report.figure import Axis, Figure, draw_x_axis, draw_y_axis, figure
from jvbtune.report.scales import linear
from jvbtune.report.svg import Canvas

WIDTHS = (420.0, 344.0)  #: two beside each other on a wide page


def timeline(
    samples: pl.DataFrame,
    window: tuple[float, float],
    trial: str,
    about: str,
    *,
    valid: bool,
    clock_offset_seconds: float = 0.0,
) -> Figure | None:
    """``window``: begin and end of the measurement, Unix time. None if the samples tell nothing.

    ``clock_offset_seconds``: the clock of the samples minus that of the window.
    """
    if samples.height < 3 or not {"bridge.cpu_user_s", "bridge.cpu_sys_s"} <= set(samples.columns):
        return None
    seconds = [float(t) - clock_offset_seconds - window[0] for t in samples["t_unix"]]
    lines = {"curve": _rate(seconds, _sum(samples, ["bridge.cpu_user_s", "bridge.cpu_sys_s"]))}
    if "bridge.rx_thread_cpu_s" in samples.columns:
        lines["curve second"] = _rate(seconds, _sum(samples, ["bridge.rx_thread_cpu_s"]))
    names = [name for name in samples.columns if name.startswith("sockets.") and name.endswith(".drops")]
    drops = [(t, d) for t, d in _rate(seconds, _sum(samples, names)) if d > 0] if names else []
    values = [value for line in lines.values() for _, value in line]
    if not values:
        return None
    length = window[1] - window[0]

    def draw(canvas: Canvas) -> None:
        left, top, bottom = 44.0, 52.0, 142.0
        canvas.height = bottom + 42
        x = Axis(linear([*seconds, length], zero=False, most=6), left, canvas.width - 6)
        y = Axis(linear(values, most=3), bottom, top)
        canvas.rect(x.clamped(0.0), top, x.clamped(length), bottom, "zone" if valid else "zone invalid")
        draw_x_axis(canvas, x, top, bottom, "seconds since the window began", words.count)
        draw_y_axis(canvas, y, left, x.last, "cores", lambda v: f"{v:g}")
        for css, line in lines.items():
            canvas.path([(x.at(t), y.at(v)) for t, v in line], css)
        for t, dropped in drops:
            canvas.line(x.at(t), top, x.at(t), top + 14, "drops", data_drops=repr(dropped))
        if drops:
            text = f"{words.count(sum(d for _, d in drops))} packets dropped"
            canvas.text(canvas.width - 6, 14, text, "limit-label", "end")

    alt = f"CPU of the bridge in trial {trial}: at most {max(values):.2f} cores."
    return figure(f"timeline-{trial}", trial, about, draw, alt=alt, widths=WIDTHS)


def _sum(samples: pl.DataFrame, names: Sequence[str]) -> list[float | None]:
    columns = [pl.col(name).cast(pl.Float64, strict=False) for name in names]
    return samples.select(pl.sum_horizontal(*columns, ignore_nulls=False)).to_series().to_list()


def _rate(seconds: Sequence[float], totals: Sequence[float | None]) -> list[tuple[float, float]]:
    """Of a counter, between each two samples: their middle, and what it gained per second."""
    both = zip(pairwise(seconds), pairwise(totals), strict=True)
    return [((t + u) / 2, (b - a) / (u - t)) for (t, u), (a, b) in both if a is not None and b is not None and u > t]
