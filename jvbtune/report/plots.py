"""The report's plots: data frames in, SVG text out. Colours are those of Okabe and Ito, safe for the colour-blind."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl

mpl.use("svg")
from matplotlib import pyplot as plt

from jvbtune.fit.columns import main_shape, of_main_shape, prepare
from jvbtune.fit.curve import Curve
from jvbtune.fit.recommendation import Recommendation

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "jvbtune",
}
Svg = str


@contextmanager
def figure(width: float = 7.2, height: float = 3.4, rows: int = 1) -> Iterator[tuple[Any, Any, Callable[[], Svg]]]:
    with mpl.rc_context(STYLE):
        canvas, axes = plt.subplots(rows, 1, figsize=(width, height), layout="constrained", sharex=rows > 1)
        try:
            yield canvas, axes, lambda: _svg(canvas)
        finally:
            plt.close(canvas)


def _svg(canvas: Any) -> Svg:
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%"', text[text.index("<svg") :], count=1)


def _steps(trials: pl.DataFrame) -> list[str]:
    """The steps, the baseline first."""
    there = trials["step"].unique(maintain_order=True).to_list()
    return sorted(there, key=lambda step: (step != "baseline", step))


def cpu_against_packet_rate(trials: pl.DataFrame, recommendation: Recommendation | None) -> Svg:
    """Every steady trial, the fitted curve with its 95 % band and the wider one of a further restart's trials, the
    limit, the max packet rate with its interval; trials of other shapes of conference hollow."""
    markers = cycle("sD^v")
    with figure() as (_, axes, svg):
        rows_of_fit = prepare(trials).frame.with_columns(used_cores=pl.col("cpu_ratio") * pl.col("cores"))
        all_shapes = rows_of_fit.filter(pl.col("kind") == "steady")
        steady = of_main_shape(all_shapes)
        for step, colour in zip(_steps(steady), _cycle(), strict=False):
            rows = steady.filter((pl.col("step") == step) & pl.col("valid"))
            axes.plot(rows["bridge_pps"] / 1000, rows["used_cores"], "o", ms=4, color=colour, alpha=0.8, label=step)
        invalid = steady.filter(~pl.col("valid"))
        if invalid.height:
            axes.plot(
                invalid["bridge_pps"] / 1000, invalid["used_cores"], "x", color="#7F7F7F", label="not used", alpha=0.7
            )
        others = all_shapes.filter((pl.col("mix") != main_shape(all_shapes)) & pl.col("valid"))
        for (shape,), rows in sorted(others.group_by("mix"), key=lambda item: str(item[0][0])):
            place = {"ms": 4, "mfc": "none", "mec": "#7F7F7F", "label": str(shape)}
            axes.plot(rows["bridge_pps"] / 1000, rows["used_cores"], next(markers), **place)
        bound = recommendation.bound("cpu") if recommendation else None
        cores = steady["cores"].drop_nulls()
        if bound is not None and len(cores):
            top = max(float(recommendation.highest_tested_pps or 0), 1.0)  # type: ignore[union-attr]
            grid = np.linspace(top * 0.02, top * 1.15, 120)
            mean, low, high = bound.quantity(grid)
            scale = float(cores.median())  # type: ignore[arg-type]
            least, most = bound.curve.prediction_band(grid) if isinstance(bound.curve, Curve) else (low, high)
            axes.fill_between(grid / 1000, least * scale, most * scale, color="#0072B2", alpha=0.08, lw=0)
            axes.fill_between(grid / 1000, low * scale, high * scale, color="#0072B2", alpha=0.15, lw=0)
            axes.plot(grid / 1000, mean * scale, color="#0072B2", lw=1.5, label=f"fit: {bound.curve.form.name}")
            axes.axhline(bound.limit * scale, color="#D55E00", lw=1, ls="--", label=f"limit {bound.limit:.0%}")
        _mark_recommendation(axes, recommendation)
        axes.set_xlabel("packet rate of the bridge, in + out (kpps)")
        axes.set_ylabel("CPU, of the cores that the bridge may use (cores)")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        _legend(axes)
        return svg()


def _mark_recommendation(axes: Any, recommendation: Recommendation | None) -> None:
    if recommendation is None or recommendation.max_packet_rate_pps is None or recommendation.interval_pps is None:
        return
    low, high = recommendation.interval_pps
    axes.axvspan(low / 1000, high / 1000, color="#009E73", alpha=0.12, lw=0)
    axes.axvline(recommendation.max_packet_rate_pps / 1000, color="#009E73", lw=1.2, label="max packet rate")


def against_packet_rate(trials: pl.DataFrame, column: str, label: str, limit: float | None, *, kind: str) -> Svg | None:
    """One quantity against packet rate, a colour a step; None where it was not measured."""
    rows = trials.filter((pl.col("kind") == kind) & pl.col(column).is_not_null())
    if rows.height == 0:
        return None
    with figure(height=3.0) as (_, axes, svg):
        for step, colour in zip(_steps(rows), _cycle(), strict=False):
            of_step = rows.filter(pl.col("step") == step).sort("offered_pps")
            axes.plot(of_step["offered_pps"] / 1000, of_step[column], "o", ms=4, color=colour, alpha=0.8, label=step)
        if limit is not None:
            axes.axhline(limit, color="#D55E00", lw=1, ls="--", label=f"limit {limit:g}")
        axes.set_yscale("symlog", linthresh=_smallest(rows[column]))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("offered packet rate (kpps)")
        axes.set_ylabel(label)
        _legend(axes)
        return svg()


def drops_of_bursts(trials: pl.DataFrame) -> Svg | None:
    """Packets that the receive buffer dropped in the burst trials, one dot a trial; None where there were none."""
    rows = trials.filter((pl.col("kind") == "burst") & pl.col("socket_drops").is_not_null())
    if rows.height == 0:
        return None
    steps = _steps(rows)
    with figure(height=0.9 + 0.35 * len(steps)) as (_, axes, svg):
        for place, step in enumerate(steps):
            of_step = rows.filter(pl.col("step") == step)
            axes.plot(of_step["socket_drops"], [place] * of_step.height, "o", color=COLOURS[0], alpha=0.6)
        axes.set_yticks(range(len(steps)), steps)
        axes.set_ylim(len(steps) - 0.5, -0.5)
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=-0.2)
        axes.set_xlabel("packets dropped by the receive buffer (one dot a trial)")
        return svg()


def timeline(samples: pl.DataFrame, window: tuple[float, float], title: str) -> Svg | None:
    """The seconds of one trial: CPU of the bridge and its receive thread, drops, the measured window."""
    if samples.height < 3 or "bridge.cpu_user_s" not in samples.columns:
        return None
    seconds = samples["t_unix"].to_numpy() - window[0]
    middle, step = (seconds[1:] + seconds[:-1]) / 2, np.diff(seconds)
    with figure(height=1.9, width=7.2) as (_, axes, svg):
        used = samples["bridge.cpu_user_s"].to_numpy() + samples["bridge.cpu_sys_s"].to_numpy()
        axes.plot(middle, np.diff(used) / step, color=COLOURS[0], lw=1.3, label="bridge CPU (cores)")
        if "bridge.rx_thread_cpu_s" in samples.columns:
            receive = samples["bridge.rx_thread_cpu_s"].cast(pl.Float64).to_numpy()
            axes.plot(middle, np.diff(receive) / step, color=COLOURS[2], lw=1.3, label="receive thread (cores)")
        drops = [name for name in samples.columns if name.startswith("sockets.") and name.endswith(".drops")]
        if drops:
            total = samples.select(pl.sum_horizontal(drops)).to_series().to_numpy()
            gained = np.diff(total.astype(float))
            if np.nansum(gained) > 0:
                other = axes.twinx()
                other.bar(middle, gained, width=0.8, color=COLOURS[1], alpha=0.4)
                other.set_ylabel("drops a second", color=COLOURS[1])
        axes.axvspan(0, window[1] - window[0], color="#7F7F7F", alpha=0.12, lw=0, label="measured window")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("seconds")
        axes.set_title(title, fontsize=9, loc="left")
        _legend(axes)
        return svg()


def intervals(rows: Sequence[Mapping[str, Any]]) -> Svg | None:
    """Every comparison of a value with the baseline: the effect on its metric, with its interval."""
    shown = [row for row in rows if row.get("effect") is not None and row.get("interval")]
    if not shown:
        return None
    with figure(height=0.9 + 0.3 * len(shown)) as (_, axes, svg):
        for place, row in enumerate(shown):
            low, high = (100 * bound for bound in row["interval"])
            colour = {"better": COLOURS[2], "worse": COLOURS[1]}.get(str(row.get("verdict")), "#7F7F7F")
            axes.plot([low, high], [place, place], color=colour, lw=2)
            axes.plot([100 * row["effect"]], [place], "o", color=colour)
        axes.axvline(0, color="#000000", lw=0.8)
        axes.set_yticks(range(len(shown)), [str(row["label"]) for row in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel("change against the baseline (%), with its 95 % interval; less is better")
        return svg()


def _smallest(values: pl.Series) -> float:
    positive = values.drop_nulls().filter(values.drop_nulls() > 0)
    return max(float(positive.min()), 1e-6) if len(positive) else 1e-3  # type: ignore[arg-type]


def _cycle() -> Iterator[str]:
    while True:
        yield from COLOURS


def _legend(axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, labels, fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
