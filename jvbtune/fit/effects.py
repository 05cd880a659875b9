"""What a step does to a metric: one value for each restart, contrasts within blocks, an error pooled over steps.

A restart (block × step) is one restart of the bridge; its trials say one thing about the step, however many they are.
Every metric is on a log scale, taken at equal loads, and lower is better. Steps are compared within their blocks
(randomised complete blocks; the whole plots of a split-plot design), with the residual of the additive layout
``value = block + step`` as the error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy

from jvbtune.fit.bounds import MAX_EXTRAPOLATION, unsaturated
from jvbtune.fit.curve import Curve, Data, fit_curve, levels
from jvbtune.fit.forms import CPU_FORMS
from jvbtune.trials.frame import of_main_shape

Floats = npt.NDArray[np.float64]

LOSS_FLOOR = 1e-6
SIGNIFICANT_P = 0.05
SQRT_LINEAR = tuple(form for form in CPU_FORMS if form.name == "sqrt + linear")


@dataclass(frozen=True)
class Layout:
    """One metric: ``values`` (blocks, steps), NaN where a restart is missing. Log scale, lower is better."""

    metric: str
    steps: tuple[str, ...]
    values: Floats

    def contrast(self, step: str, reference: str) -> Contrast | None:
        """The step against the reference; None where they share no 2 blocks, or there is nothing to compare."""
        one, other = self.steps.index(step), self.steps.index(reference)
        differences = self.values[:, one] - self.values[:, other]
        differences = differences[np.isfinite(differences)]
        if differences.size < 2:
            return None
        variance, degrees = self._pooled()
        own = float(np.var(differences, ddof=1))
        # Steps may differ in their noise (drops of a buffer that never overflows have none): never less than this
        # pair's own.
        error = float(np.sqrt(max(2 * variance, own) / differences.size))
        return Contrast(self.metric, float(differences.mean()), error, degrees, tuple(differences.tolist()))

    def _pooled(self) -> tuple[float, float]:
        """Residual variance of block + step, and its degrees of freedom."""
        block, step = np.nonzero(np.isfinite(self.values))
        y = self.values[block, step]
        design = np.zeros((y.size, sum(self.values.shape)))
        design[np.arange(y.size), block] = 1
        design[np.arange(y.size), self.values.shape[0] + step] = 1
        solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
        degrees = max(1, y.size - int(rank))
        return float(np.sum((y - design @ solution) ** 2)) / degrees, float(degrees)


@dataclass(frozen=True)
class Contrast:
    """A log ratio with its standard error."""

    metric: str
    difference: float
    error: float
    degrees: float
    within_blocks: tuple[float, ...]

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        half = float(scipy.stats.t.ppf(0.5 + confidence / 2, self.degrees)) * self.error
        return self.difference - half, self.difference + half

    @property
    def p_value(self) -> float:
        """Two-sided: Student's t, and where there are blocks enough the sign-flip permutation test; the larger."""
        if self.error == 0:
            return 1.0 if self.difference == 0 else 2.0 ** (1 - len(self.within_blocks))
        by_t = float(2 * scipy.stats.t.sf(abs(self.difference) / self.error, self.degrees))
        if len(self.within_blocks) < 11:  # below it the permutation test cannot reach the levels that are asked for
            return by_t
        return max(by_t, sign_flip_p(np.array(self.within_blocks)))


def sign_flip_p(differences: Floats, limit: int = 16) -> float:
    """Exact two-sided permutation p-value of a mean of paired differences; the first ``limit`` pairs at most."""
    d = differences[:limit]
    signs = 1 - 2 * ((np.arange(2 ** (d.size - 1))[:, None] >> np.arange(d.size - 1)) & 1)
    sums = np.abs(d[0] + signs @ d[1:])
    return float(np.mean(sums >= abs(float(d.sum())) * (1 - 1e-12)))


def layouts(rows: pl.DataFrame) -> list[Layout]:
    """Every metric that was measured, of one host; ``rows``: valid trials, columns of ``prepare``."""
    steady = of_main_shape(rows.filter((pl.col("kind") == "steady") & (pl.col("bridge_pps") > 0)))
    burst = rows.filter(pl.col("kind") == "burst")
    blocks = sorted(rows["block"].unique().to_list())
    steps = tuple(sorted(rows["step"].unique().to_list()))
    makers: Sequence[tuple[str, pl.DataFrame, Callable[[pl.DataFrame], pl.DataFrame]]] = (
        ("burst_drops", burst, _burst_drops),
        ("cpu_per_packet", steady, _cpu),
        ("delay_p99", steady, _delay),
        ("loss", steady, _loss),
    )
    found = []
    for metric, source, make in makers:
        restarts = make(source) if source.height else source
        if restarts.height == 0 or restarts["value"].max() == restarts["value"].min():
            continue
        found.append(_layout(metric, restarts, blocks, steps))
    return found


def _layout(metric: str, restarts: pl.DataFrame, blocks: Sequence[str], steps: tuple[str, ...]) -> Layout:
    """``restarts``: ``block``, ``step``, ``value``."""
    values = np.full((len(blocks), len(steps)), np.nan)
    for block, step, value in restarts.select("block", "step", "value").iter_rows():
        values[blocks.index(block), steps.index(step)] = value
    return Layout(metric, steps, values)


def _per_plot(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("block", "step").agg(pl.col("value").mean()).sort("block", "step")


def _burst_drops(rows: pl.DataFrame) -> pl.DataFrame:
    """Packets that the socket dropped, of those that came in; half a packet where there was none. Where no burst of any
    restart lost one, there is nothing to compare."""
    rows = rows.drop_nulls("socket_drops")
    if not rows["socket_drops"].sum():
        return rows.clear()
    rows = rows.with_columns(
        packets=pl.coalesce(pl.col("in_pps") * pl.col("duration_s"), pl.lit(1e6)).clip(lower_bound=1.0)
    )
    return _per_plot(rows.with_columns(value=((pl.col("socket_drops") + 0.5) / pl.col("packets")).log()))


def _cpu(rows: pl.DataFrame) -> pl.DataFrame:
    """CPU against the curve through all steps: the log ratio of CPU per packet at equal load."""
    found = _cpu_and_curve(rows)
    return rows.clear() if found is None else found[0]


def rate_layout(rows: pl.DataFrame, cpu_ratio: float) -> Layout | None:
    """Minus the log of the packet rate at which each restart meets the CPU limit; ``rows`` as for ``layouts``.

    NaN where that is more than 15 % beyond the highest rate that was run. Where CPU is not what binds, a host does not
    gain so much.
    """
    steady = of_main_shape(rows.filter((pl.col("kind") == "steady") & (pl.col("bridge_pps") > 0)))
    found = _cpu_and_curve(steady)
    if found is None:
        return None
    restarts, curve = found
    grid = np.linspace(0.0, MAX_EXTRAPOLATION * float(curve.data.x.max()), 2000)[1:]
    rates = np.interp(
        cpu_ratio / np.exp(restarts["value"].to_numpy()), curve.mean(grid), grid, left=np.nan, right=np.nan
    )
    steps = tuple(sorted(restarts["step"].unique().to_list()))
    blocks = sorted(restarts["block"].unique().to_list())
    return _layout("max_packet_rate", restarts.with_columns(value=-np.log(rates)), blocks, steps)


def _cpu_and_curve(rows: pl.DataFrame) -> tuple[pl.DataFrame, Curve] | None:
    rows = rows.filter(pl.col("net_cpu_cores") > 0).sort("block", "step", "bridge_pps", "net_cpu_cores")
    if rows.height < 3:
        return None
    # the process's share has no softirqs, which settings of the kernel change; but two kinds of CPU are not compared
    own = pl.col("net_cpu_cores") / pl.col("cores").fill_null(pl.col("net_cpu_cores").max() * 2)
    full = rows.with_columns(ratio=own if rows["busy_ratio"].null_count() else pl.col("cpu_ratio"))
    # all of the fit's caution about restarts is for the interval; here one curve through all rows is enough
    nothing = np.zeros(full.height, dtype=np.int64)
    data = unsaturated(Data(full["bridge_pps"].to_numpy(), full["ratio"].to_numpy(), nothing, nothing))
    if levels(data.x) < 2:  # all of them saturated: CPU is full whatever a packet costs
        return None
    curve = fit_curve(data, SQRT_LINEAR)
    kept = full.filter(pl.col("bridge_pps") <= float(data.x.max()))
    expected = curve.mean(kept["bridge_pps"].to_numpy())
    return _per_plot(kept.with_columns(value=np.log(kept["ratio"].to_numpy() / expected))), curve


def _delay(rows: pl.DataFrame) -> pl.DataFrame:
    rows = rows.filter(pl.col("delay_p99_ms") > 0)
    return _per_plot(_against_level(rows.with_columns(value=pl.col("delay_p99_ms").log())))


def _loss(rows: pl.DataFrame) -> pl.DataFrame:
    rows = rows.drop_nulls("loss_ratio")
    value = (pl.col("loss_ratio").clip(lower_bound=0.0) + LOSS_FLOOR).log()
    return _per_plot(_against_level(rows.with_columns(value=value)))


def _against_level(rows: pl.DataFrame) -> pl.DataFrame:
    """Take out what the load does: the mean over all restarts at the same level (intended load, else within 5 %). Of a
    level that one restart alone has, nothing is left that could be compared."""
    level = pl.coalesce("intended_pps", ((pl.col("bridge_pps").log() / np.log(1.05)).round()))
    rows = rows.with_columns(level=level).filter(pl.struct("block", "step").n_unique().over("level") > 1)
    return rows.with_columns(value=pl.col("value") - pl.col("value").mean().over("level"))


def alike_steps(usable: pl.DataFrame, steps: Sequence[str], reference: str | None = None) -> list[str]:
    """The reference (``baseline``, else the first) and every step that was compared with it, in two blocks at least,
    and that no metric tells apart from it.

    Uncorrected 0.05 on purpose: a step is left out of the pool rather too easily than not.
    """
    if len(steps) == 1:
        return list(steps)
    reference = reference or ("baseline" if "baseline" in steps else steps[0])
    compared, different = {reference}, set()
    for layout in layouts(usable.filter(pl.col("step").is_in(list(steps)))):
        for step in layout.steps:
            contrast = layout.contrast(step, reference) if step != reference else None
            if contrast is not None:
                compared.add(step)
                if contrast.p_value < SIGNIFICANT_P:
                    different.add(step)
    return [step for step in steps if step in compared and step not in different]
