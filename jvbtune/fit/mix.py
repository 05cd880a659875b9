"""What a packet in, out and relayed costs, where the data can tell; and the mix for which a max packet rate holds.

A sweep may hold further shapes of conferences for that; the figures are those of the main one.

With one ratio of in to out, any split of the cost between them fits alike: the condition number of the columns says so
(above 30 harmful: Belsley, Kuh & Welsch, "Regression Diagnostics", 1980). Where mixes differ enough, rows are brought
to one mix by their packets' relative costs before a curve over the total is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from jvbtune.fit.bounds import unsaturated
from jvbtune.fit.columns import main_shape
from jvbtune.fit.curve import Data
from jvbtune.fit.forms import CPU_FORMS, fit_form

Floats = npt.NDArray[np.float64]

HARMFUL_CONDITION = 30.0
DIRECTIONS = ("in", "out", "relay")
SQRT_LINEAR = next(form for form in CPU_FORMS if form.name == "sqrt + linear")


@dataclass(frozen=True)
class PacketMix:
    """``shares`` and ``weights`` by direction (those that carry packets). A weight is the cost relative to the mean
    packet of the mix; None where the data cannot tell them apart."""

    shares: dict[str, float]
    worst_shares: dict[str, float]
    condition_number: float
    weights: dict[str, float] | None
    cost_us: dict[str, float] | None  #: marginal CPU microseconds a packet, over the upper half of the loads
    explanation: str

    def to_json(self) -> dict[str, Any]:
        return {
            "shares": _rounded(self.shares),
            "worst_shares": _rounded(self.worst_shares),
            "worst_rate_ratio": round(self.worst_rate_ratio, 4),
            "condition_number": None if np.isinf(self.condition_number) else round(self.condition_number, 1),
            "cost_us": None if self.cost_us is None else _rounded(self.cost_us),
            "explanation": self.explanation,
        }

    @property
    def worst_rate_ratio(self) -> float:
        """Packet rate of the dearest plausible mix over that of the mean mix, at equal CPU; 1 where it is not known."""
        if self.weights is None:
            return 1.0
        return 1 / max(1.0, sum(self.weights[name] * share for name, share in self.worst_shares.items()))

    def equivalent(self, rows: pl.DataFrame) -> Floats:
        """(rows,) packets per second of the mean mix that would cost the same."""
        if self.weights is None:
            return rows["bridge_pps"].to_numpy()
        return np.asarray(
            sum(rows[f"{name}_pps"].fill_null(0.0).to_numpy() * weight for name, weight in self.weights.items())
        )


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def packet_mix(rows: pl.DataFrame) -> PacketMix | None:
    """Of the rows of one host (columns of ``prepare``); None where in and out were not measured."""
    rows = rows.filter((pl.col("in_pps") > 0) | (pl.col("out_pps") > 0)).filter(pl.col("bridge_pps") > 0)
    if rows.height < 3 or rows["in_pps"].null_count() or rows["out_pps"].null_count():
        return None
    packets = np.stack([rows[f"{name}_pps"].fill_null(0.0).to_numpy() for name in DIRECTIONS], axis=1)
    used = [i for i in range(3) if packets[:, i].sum() > 0]
    names = [DIRECTIONS[i] for i in used]
    packets = packets[:, used]
    total = packets.sum(axis=1)
    main = (rows["mix"] == main_shape(rows)).to_numpy()
    shares = packets[main].sum(axis=0) / total[main].sum()
    each = packets / total[:, None]
    cpu = rows["cpu_ratio"].to_numpy()
    condition = _condition(each)
    mean = dict(zip(names, shares.tolist(), strict=True))
    fitted = None
    if len(used) > 1 and condition < HARMFUL_CONDITION and np.isfinite(cpu).sum() >= 6:
        fitted = _weights(packets, cpu, shares)
    if fitted is None:
        why = _why_not(names, condition, cpu)
        return PacketMix(mean, mean, condition, None, None, why)
    weights, slope = fitted
    cost = each @ weights
    worst = each[np.argmin(np.abs(cost - np.quantile(cost, 0.95)))]
    cores = float(rows["cores"].drop_nulls().median() or 1.0)  # type: ignore[arg-type]
    microseconds = {name: float(weight * slope * cores * 1e6) for name, weight in zip(names, weights, strict=True)}
    told = ", ".join(f"{name} {value:.1f}" for name, value in microseconds.items())
    return PacketMix(
        mean,
        dict(zip(names, worst.tolist(), strict=True)),
        condition,
        dict(zip(names, weights.tolist(), strict=True)),
        microseconds,
        f"the mixes differ enough to tell what a packet costs: {told} µs (condition number {condition:.0f})",
    )


def _why_not(names: list[str], condition: float, cpu: Floats) -> str:
    if len(names) < 2:
        return f"all packets go one way ({names[0]})"
    if not np.isfinite(cpu).any():
        return "without CPU the cost of a packet cannot be told"
    number = "infinite" if condition > 1e6 else f"{condition:.0f}"
    return (
        f"the mix is nearly the same in all trials (condition number {number}, above {HARMFUL_CONDITION:.0f}): what a "
        f"packet {' and a packet '.join(names)} costs cannot be told apart, and the figure holds for this mix only; "
        "run a second shape of conference beside it ([[load.other_mixes]] in the experiment)"
    )


def _condition(each: Floats) -> float:
    """Of the columns' shares, each of unit length."""
    lengths = np.linalg.norm(each, axis=0)
    values = np.linalg.svd(each / lengths, compute_uv=False)
    return float(values[0] / values[-1]) if values[-1] > 1e-9 else float("inf")


def _weights(packets: Floats, cpu: Floats, shares: Floats) -> tuple[Floats, float] | None:
    """Relative costs of the directions that make CPU one curve of the weighted total, and that curve's upper slope."""
    keep = np.isfinite(cpu) & (cpu > 0)
    nothing = np.zeros(int(keep.sum()), dtype=np.int64)
    total = packets[keep].sum(axis=1)
    below = float(np.max(unsaturated(Data(total, cpu[keep], nothing, nothing)).x, initial=0.0))
    keep &= packets.sum(axis=1) <= below
    packets, cpu = packets[keep], cpu[keep]
    if cpu.size < 6:
        return None
    steps = np.geomspace(1 / 30, 30, 61)
    grid = [np.array([1.0, *others]) for others in product(steps, repeat=packets.shape[1] - 1)]
    if len(grid) > 61:  # three directions: a coarse grid first, a fine one around its best
        coarse = np.geomspace(1 / 30, 30, 13)
        grid = [np.array([1.0, *others]) for others in product(coarse, repeat=packets.shape[1] - 1)]
        best = min(grid, key=lambda weights: _misfit(packets, cpu, weights)[0])
        fine = np.geomspace(0.6, 1.7, 13)
        grid = [best * np.array([1.0, *others]) for others in product(fine, repeat=packets.shape[1] - 1)]
    best = min(grid, key=lambda weights: _misfit(packets, cpu, weights)[0])
    if packets.shape[1] == 2:
        grid = [best * np.array([1.0, other]) for other in np.geomspace(0.88, 1.14, 31)]
        best = min(grid, key=lambda weights: _misfit(packets, cpu, weights)[0])
    slope = _misfit(packets, cpu, best)[1]
    mean = float(best @ shares)
    return best / mean, slope * mean


def _misfit(packets: Floats, cpu: Floats, weights: Floats) -> tuple[float, float]:
    """(robust relative misfit of one curve over the weighted total, slope of its upper half)."""
    x = packets @ weights
    top = float(x.max())
    fit = fit_form(SQRT_LINEAR, x / top, cpu, (1 / cpu**2)[None])
    relative = np.abs(cpu / np.maximum(fit.predict(x / top)[0], 1e-9) - 1)
    half, full = fit.predict(np.array([0.5, 1.0]))[0]
    return float(np.mean(np.minimum(relative, 0.5) ** 1.5)), float((full - half) / (0.5 * top))
