"""What a packet in, out and relayed costs, and an endpoint beside its packets, where the data can tell; and the mix
for which a max packet rate holds.

CPU is a curve over one weighted sum: packets in, out and relayed, and endpoints, each times what it costs relative to
the mean packet. The same packet rate as many slow streams was seen to cost twice what it does as few fast ones, so
endpoints count by themselves. A sweep may hold further shapes of conferences to tell these costs apart; the figures
are those of the main one, to whose packets the others' rows are brought.

With one ratio of in to out, any split of the cost between them fits alike: the condition number of the columns says so
(above 30 harmful: Belsley, Kuh & Welsch, "Regression Diagnostics", 1980). Then a coarser split is tried: the packets'
directions without endpoints, and packets of any direction beside endpoints. Where both of these would do, the shapes
can be brought together, but which of the two makes the difference is not told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy

from jvbtune.fit.bounds import SATURATED_RATIO, unsaturated
from jvbtune.fit.curve import Data, Integers, components, huber, leave_out, plot_means
from jvbtune.fit.forms import CPU_FORMS, Form, fit_form
from jvbtune.fit.intervals import pseudo_values, spread_of_mean
from jvbtune.trials.frame import main_shape

Floats = npt.NDArray[np.float64]

HARMFUL_CONDITION = 30.0
DIRECTIONS = ("in", "out", "relay")
ENDPOINTS = "endpoints"
#: Of what production carried, this share cost no more a packet than the mix that an export has to hold for.
PLAUSIBLE_SHARE = 0.95
MIN_ROWS = 6
#: Mixes are alike whose shares differ by no more than this, and packets an endpoint by no more than this factor.
ALIKE_SHARE = 0.03
ALIKE_RATIO = 1.25
FORMS: tuple[Form, ...] = tuple(
    form for form in CPU_FORMS if form.name in ("power law", "sqrt + linear", "quadratic", "hinge")
)
#: A slope by any of these curves is off by up to 3 % where the true one is another (simulated hosts, without noise):
#: so much standard deviation comes on top of what trials scatter by.
SLOPE_DOUBT = 0.03
#: Curves that miss by no more than this factor of the best one's misfit cannot be told from it.
RIVAL = 1.05
#: A cost is looked for up to this multiple of that of the commonest kind of packet, each as it occurs in the main mix.
MOST = 50.0


@dataclass(frozen=True)
class Cost:
    """Marginal CPU over the upper half of the loads, with its 95 % interval over restarts (none of a single one)."""

    name: str  #: in | out | relay | packets | endpoints
    estimate: float  #: microseconds a packet, or microseconds a second of an endpoint
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        interval = [round(self.low, 3), round(self.high, 3)] if np.isfinite(self.high) else None
        unit = "us a second of an endpoint" if self.name == ENDPOINTS else "us a packet"
        return {"name": self.name, "estimate": round(self.estimate, 3), "interval": interval, "unit": unit}

    def __str__(self) -> str:
        unit = "µs a second" if self.name == ENDPOINTS else "µs"
        interval = f" ({self.low:.1f} to {self.high:.1f})" if np.isfinite(self.high) else ""
        label = {"packets": "a packet", ENDPOINTS: "an endpoint"}.get(self.name, f"a packet {self.name}")
        return f"{label.replace('packet relay', 'relayed packet')} {self.estimate:.1f}{interval} {unit}"


@dataclass(frozen=True)
class PacketMix:
    """``shares`` by direction (those that carry packets), of the main shape. ``weights``: what one of each costs
    relative to the mean packet of that mix (of an endpoint: in packets a second); None where the data cannot tell."""

    shares: dict[str, float]
    packets_per_endpoint_pps: float | None
    worst_shares: dict[str, float]
    worst_packets_per_endpoint_pps: float | None
    worst_cost_ratio: float  #: a packet of the dearest plausible mix to one of the mean mix, at the upper end
    worst_source: str  #: "trials" | "history"
    condition_number: float
    weights: dict[str, float] | None
    costs: tuple[Cost, ...]  #: empty where they cannot be told, also where the weights are
    shape_cost_ratios: dict[str, float]  #: of the other shapes that were run: a packet to one of the mean mix
    explanation: str

    def to_json(self) -> dict[str, Any]:
        return {
            "holds_for": self.in_words(),
            "shares": _rounded(self.shares),
            "packets_per_endpoint_pps": _maybe(self.packets_per_endpoint_pps),
            "worst_shares": _rounded(self.worst_shares),
            "worst_packets_per_endpoint_pps": _maybe(self.worst_packets_per_endpoint_pps),
            "worst_rate_ratio": round(self.worst_rate_ratio, 4),
            "worst_source": self.worst_source,
            "condition_number": None if np.isinf(self.condition_number) else round(self.condition_number, 1),
            "costs": [cost.to_json() for cost in self.costs],
            "shape_cost_ratios": _rounded(self.shape_cost_ratios),
            "explanation": self.explanation,
        }

    def in_words(self) -> str:
        return in_words(self.shares, self.packets_per_endpoint_pps)

    def worst_in_words(self) -> str:
        return in_words(self.worst_shares, self.worst_packets_per_endpoint_pps)

    def cost(self, name: str) -> Cost | None:
        return next((cost for cost in self.costs if cost.name == name), None)

    def is_like(self, history: pl.DataFrame) -> bool:
        """Did production carry much the same mix?"""
        shares = _shares(history, tuple(self.shares))
        apart = sum(abs(shares[name] - share) for name, share in self.shares.items()) / 2
        each, own = _per_endpoint(history), self.packets_per_endpoint_pps
        return apart <= ALIKE_SHARE and (each is None or own is None or max(each, own) <= ALIKE_RATIO * min(each, own))

    @property
    def worst_rate_ratio(self) -> float:
        """Packet rate of the dearest plausible mix over that of the mean mix, at equal CPU; 1 where it is not known."""
        return 1 / max(1.0, self.worst_cost_ratio)

    def equivalent(self, rows: pl.DataFrame) -> Floats:
        """(rows,) packets per second of the mean mix that would cost the same."""
        if self.weights is None:
            return rows["bridge_pps"].to_numpy()
        return np.asarray(_columns(rows, tuple(self.weights)) @ np.array(list(self.weights.values())))


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def in_words(shares: Mapping[str, float], packets_per_endpoint_pps: float | None) -> str:
    """``in 10 %, out 90 %, 300 pps an endpoint``."""
    told = ", ".join(f"{name} {share:.0%}".replace("%", " %") for name, share in shares.items())
    return told if packets_per_endpoint_pps is None else f"{told}, {packets_per_endpoint_pps:.0f} pps an endpoint"


def _maybe(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def production_in_words(history: pl.DataFrame) -> str:
    """The mix of ``history`` (``fit.history``), of all its packets."""
    names = [name for name in DIRECTIONS if history[f"{name}_pps"].fill_null(0.0).sum() > 0]
    return in_words(_shares(history, names), _per_endpoint(history))


def packet_mix(rows: pl.DataFrame, history: pl.DataFrame | None = None) -> PacketMix | None:
    """Of one host's rows (columns of ``prepare``, with ``restart`` and ``block_index``); None where in and out were
    not measured.

    ``history``: what the host carried in production (``fit.history``); the dearest plausible mix is then looked for
    there, else among the trials of the main shape.
    """
    rows = rows.filter((pl.col("in_pps") > 0) | (pl.col("out_pps") > 0)).filter(pl.col("bridge_pps") > 0)
    if rows.height < 3 or rows["in_pps"].null_count() or rows["out_pps"].null_count():
        return None
    names = tuple(name for name in DIRECTIONS if rows[f"{name}_pps"].fill_null(0.0).sum() > 0)
    counted = rows["endpoints"].null_count() == 0 and bool((rows["endpoints"] > 0).all())
    figures_of = main_shape(rows)
    main = rows.filter(pl.col("mix") == figures_of)
    split = _split(rows, names, counted)
    fitted = None if split.columns is None else _fit(rows, main, split.columns)
    plausible = main if history is None else history
    source = "trials" if history is None else "history"
    mean = _shares(main, names)
    per_endpoint = _per_endpoint(main) if counted else None
    if fitted is None:
        why = _why_not(names, split.condition, rows["cpu_ratio"].to_numpy())
        return PacketMix(mean, per_endpoint, mean, per_endpoint, 1.0, source, split.condition, None, (), {}, why)
    plausible = _in_terms_of(plausible, names, per_endpoint)
    worst, ratio = _worst(plausible, fitted)
    for columns in split.others:  # which of them is true is not known: the dearest counts
        if (other := _fit(rows, main, columns)) is not None:
            worst, ratio = max((worst, ratio), _worst(plausible, other), key=lambda found: found[1])
    told = () if split.others else fitted.costs(float(rows["cores"].drop_nulls().median() or 1.0))  # type: ignore[arg-type]
    shapes = {
        str(shape): fitted.ratio(_each(of_shape, fitted.columns))[0]
        for (shape,), of_shape in sorted(rows.group_by("mix"), key=lambda item: str(item[0][0]))
        if shape != figures_of
    }
    return PacketMix(
        mean,
        per_endpoint,
        _shares(worst, names),
        _per_endpoint(worst) if counted else None,
        ratio,
        source,
        split.condition,
        fitted.weights(),
        told,
        shapes,
        _explain(told, split),
    )


def _columns(rows: pl.DataFrame, names: Sequence[str]) -> Floats:
    """(rows, names): packets a second of each direction, of all of them, endpoints."""
    of = {"packets": "bridge_pps", ENDPOINTS: ENDPOINTS}
    return np.stack([rows[of.get(name, f"{name}_pps")].fill_null(0.0).to_numpy() for name in names], axis=1)


def _shares(rows: pl.DataFrame, names: Sequence[str]) -> dict[str, float]:
    totals = _columns(rows, names).sum(axis=0)
    return dict(zip(names, (totals / totals.sum()).tolist(), strict=True))


def _each(rows: pl.DataFrame, names: Sequence[str]) -> Floats:
    """(names,) how much of each there is to a packet."""
    return np.asarray(_columns(rows, names).sum(axis=0) / float(rows["bridge_pps"].sum()))


def _per_endpoint(rows: pl.DataFrame) -> float | None:
    endpoints = float(rows[ENDPOINTS].fill_null(0.0).sum())
    return float(rows["bridge_pps"].sum()) / endpoints if endpoints > 0 else None


@dataclass(frozen=True)
class _Split:
    """``columns`` whose costs can be told apart; None: none can. ``others``: so could those of these."""

    columns: tuple[str, ...] | None
    condition: float
    others: tuple[tuple[str, ...], ...] = ()


def _split(rows: pl.DataFrame, names: tuple[str, ...], counted: bool) -> _Split:
    each = {names: _condition(rows, names)} if len(names) > 1 else {}
    if counted:
        whole = (*names, ENDPOINTS)
        each[whole] = _condition(rows, whole)
        if len(names) > 1:
            each["packets", ENDPOINTS] = _condition(rows, ("packets", ENDPOINTS))
        if each[whole] < HARMFUL_CONDITION:
            return _Split(whole, each[whole])
    able = [columns for columns in each if each[columns] < HARMFUL_CONDITION]
    if not able:
        return _Split(None, min(each.values(), default=float("inf")))
    best = min(able, key=lambda columns: each[columns])
    return _Split(best, each[best], tuple(columns for columns in able if columns != best))


def _condition(rows: pl.DataFrame, names: Sequence[str]) -> float:
    """Of the columns per packet, each of unit length."""
    each = _columns(rows, names) / rows["bridge_pps"].to_numpy()[:, None]
    values = np.linalg.svd(each / np.linalg.norm(each, axis=0), compute_uv=False)
    return float(values[0] / values[-1]) if values[-1] > 1e-9 else float("inf")


def _why_not(names: Sequence[str], condition: float, cpu: Floats) -> str:
    if not np.isfinite(cpu).any():
        return "without CPU the cost of a packet is unknown"
    if len(names) < 2:
        return f"all packets go one way ({names[0]})"
    if condition < HARMFUL_CONDITION:
        return "too few trials below saturation to tell what a packet costs"
    number = "infinite" if condition > 1e6 else f"{condition:.0f}"
    return (
        f"the mix is nearly the same in all trials (condition number {number}, above {HARMFUL_CONDITION:.0f}): what a "
        f"packet {' and a packet '.join(names)} costs cannot be told apart, and the figure holds for this mix only; "
        "run a second shape of conference beside it ([[load.other_mixes]] in the experiment)"
    )


def _explain(costs: Sequence[Cost], split: _Split) -> str:
    if split.others:
        return (
            "the mixes differ, but packets in and out and packets an endpoint differ together: the shapes can be "
            "brought to one packet rate, what makes the difference is not told; run a third shape of conference"
        )
    told = ", ".join(str(cost) for cost in costs)
    rest = "" if ENDPOINTS in (split.columns or ()) else "; what an endpoint costs by itself is in its packets"
    return f"the mixes differ enough to tell what is paid for: {told} (condition number {split.condition:.0f}){rest}"


@dataclass(frozen=True)
class _Fitted:
    """Of all data (set 0) and without each restart (sets 1 …): shares of the main mix's cost by column, upper slope."""

    columns: tuple[str, ...]
    each: Floats  #: (columns,) how much of it a packet of the main mix has
    shares: Floats  #: (1 + restarts, columns) sums of 1
    slope: Floats  #: (1 + restarts,) CPU ratio a packet of the main mix, over the upper half of the loads
    rivals: tuple[tuple[Floats, float], ...]  #: (shares, slope) by other curves that fit alike
    block_of_plot: Integers

    def weights(self) -> dict[str, float]:
        return dict(zip(self.columns, (self.shares[0] / self.each).tolist(), strict=True))

    def costs(self, cores: float) -> tuple[Cost, ...]:
        values = self.shares / self.each * self.slope[:, None] * cores * 1e6
        half = self._half(values, [share / self.each * slope * cores * 1e6 for share, slope in self.rivals])
        half = np.hypot(half, 1.96 * SLOPE_DOUBT * values[0])
        return tuple(
            Cost(name, float(value), float(max(0.0, value - off)), float(value + off))
            for name, value, off in zip(self.columns, values[0], half, strict=True)
        )

    def ratio(self, packets: Floats) -> tuple[float, float]:
        """A packet of the mix ``packets`` (columns,) to one of the main mix: (estimate, upper end)."""
        each = packets / self.each
        values = each @ self.shares.T
        half = self._half(values, [each @ share for share, _ in self.rivals]) if values.size > 2 else 0.0
        return float(values[0]), float(values[0] + half)

    def _half(self, values: Floats, rivals: Sequence[Floats | float]) -> Floats:
        """Of the 95 % interval of what was estimated with and without each restart and by other curves; inf of a single
        restart."""
        if values.shape[0] < 3:
            return np.full(values.shape[1:], np.inf)
        pseudo = pseudo_values(values[0], values[1:])
        half = spread_of_mean(pseudo, self.block_of_plot).half_width()
        return np.asarray(np.hypot(half, 1.96 * np.std([values[0], *rivals], axis=0)))


def _in_terms_of(rows: pl.DataFrame, names: Sequence[str], per_endpoint: float | None) -> pl.DataFrame:
    """Without directions that no trial had, and with endpoints, where nobody counted them, as in the trials."""
    rows = rows.with_columns(bridge_pps=pl.sum_horizontal(pl.col(f"{name}_pps").fill_null(0.0) for name in names))
    counted = (
        pl.col(ENDPOINTS) if per_endpoint is None else pl.col(ENDPOINTS).fill_null(pl.col("bridge_pps") / per_endpoint)
    )
    return rows.with_columns(counted).filter(pl.col("bridge_pps") > 0)


def _worst(plausible: pl.DataFrame, fitted: _Fitted) -> tuple[pl.DataFrame, float]:
    """The row than which ``PLAUSIBLE_SHARE`` of the packets were no dearer, and its cost to one of the main mix."""
    packets = plausible["bridge_pps"].to_numpy()
    each = _columns(plausible, fitted.columns) / packets[:, None]
    cost = (each / fitted.each) @ fitted.shares[0]
    order = np.argsort(cost, kind="stable")
    carried = np.cumsum(packets[order])
    place = int(order[np.searchsorted(carried, PLAUSIBLE_SHARE * carried[-1])])
    return plausible[[place]], fitted.ratio(each[place])[1]


def _fit(rows: pl.DataFrame, main: pl.DataFrame, columns: tuple[str, ...]) -> _Fitted | None:
    """Relative costs that make CPU one curve of the weighted sum. None where too few rows lie below saturation."""
    kept = _below_saturation(rows)
    if kept.height < MIN_ROWS:
        return None
    # a direction that the main shape lacks has a share of next to nothing in it
    each = np.maximum(_each(main, columns), 1e-3 * _each(rows, columns))
    restart = np.unique(kept["restart"].to_numpy(), return_inverse=True)[1]
    total, cpu, block = (kept[name].to_numpy() for name in ("bridge_pps", "cpu_ratio", "block_index"))
    unit = int(np.argmax(np.where(np.array(columns) == ENDPOINTS, 0.0, each)))
    return _SingleIndex(_columns(kept, columns) / each, Data(total, cpu, restart, block), unit).fit(columns, each)


def _below_saturation(rows: pl.DataFrame) -> pl.DataFrame:
    rows = rows.filter((pl.col("cpu_ratio") > 0) & (pl.col("cpu_ratio") < SATURATED_RATIO))
    nothing = np.zeros(rows.height, dtype=np.int64)
    data = unsaturated(Data(rows["bridge_pps"].to_numpy(), rows["cpu_ratio"].to_numpy(), nothing, nothing))
    return rows.filter(pl.col("bridge_pps") <= float(np.max(data.x, initial=0.0)))


class _SingleIndex:
    """CPU = f(columns · v) × restart × noise: v by robust least squares, f fitted anew at each v (variable projection:
    Golub & Pereyra 1973), the restarts' parts shrunk and taken out as for any curve (``fit.curve``).

    Replicates without a restart are one Newton step of the normal equations from the whole solution, in the metric of
    restarts' random effects.
    """

    ROUNDS = 3

    def __init__(self, columns: Floats, data: Data, unit: int) -> None:
        self.columns, self.data = columns, data
        self.free = [i for i in range(columns.shape[1]) if i != unit]  #: costs relative to that of ``unit``
        self.adjusted = data.y.copy()
        self.robust = np.ones_like(data.y)

    def fit(self, names: tuple[str, ...], each: Floats) -> _Fitted:
        data, value, shrink = self.data, np.ones(self.columns.shape[1]), 0.0
        for _ in range(self.ROUNDS):
            form = min(FORMS, key=lambda form: self._misfit(value, form))
            value = self._solve(value, form)
            off = self._off(value, form) + np.log(data.y / self.adjusted)
            effect = plot_means(off, data, self.robust)
            shrink = components(off, effect, data, self.robust)[2]
            shift = shrink * (effect - effect.mean())
            self.robust = huber(off - shift[data.restart])
            self.adjusted = data.y * np.exp(-shift[data.restart])
        sets, keep = value[None], np.ones((1, data.y.size))
        if data.restarts > 1:
            sets = np.concatenate([sets, self._without(value, form, shrink)])
            keep = leave_out(data.restart, data.restarts)
        shares = sets / sets.sum(axis=1, keepdims=True)
        slope = np.array([self._slope(share, form, weight) for share, weight in zip(shares, keep, strict=True)])
        return _Fitted(names, each, shares, slope, tuple(self._rivals(value, form)), data.block_of_plot())

    def _misfit(self, value: Floats, form: Form) -> float:
        return float(np.sum(self.robust * self._off(value, form) ** 2))

    def _rivals(self, value: Floats, chosen: Form) -> Iterator[tuple[Floats, float]]:
        """(shares, slope) by each other curve that fits as well."""
        best = self._misfit(value, chosen)
        for form in FORMS:
            if form is chosen:
                continue
            other = self._solve(value, form)
            if self._misfit(other, form) <= RIVAL**2 * best:
                share = other / other.sum()
                yield share, self._slope(share, form, np.ones_like(self.data.y))

    def _solve(self, start: Floats, form: Form) -> Floats:
        def at(part: Floats) -> Floats:
            whole = np.ones(start.size)
            whole[self.free] = part
            return whole

        found = scipy.optimize.least_squares(
            lambda part: np.sqrt(self.robust) * self._off(at(part), form),
            np.clip(start[self.free], 1e-3, MOST),
            bounds=(0.0, MOST),
            diff_step=1e-4,
            xtol=1e-4,
            ftol=1e-6,
        )
        return at(found.x)

    def _off(self, value: Floats, form: Form) -> Floats:
        """(rows,) log ratio of CPU, restarts' parts taken out, to the best curve of the weighted sum."""
        x = self.columns @ value
        x = x / x.max()
        fit = fit_form(form, x, self.adjusted, (self.robust / self.adjusted**2)[None])
        return np.asarray(np.log(self.adjusted / np.maximum(fit.predict(x)[0], 1e-9)))

    def _without(self, value: Floats, form: Form, shrink: float) -> Floats:
        """(restarts, columns): the solution without each restart."""
        off = self._off(value, form)
        slopes = np.empty((off.size, len(self.free)))
        for column, i in enumerate(self.free):
            step = 1e-3 * max(value[i], 0.1)
            moved = value.copy()
            moved[i] += step
            slopes[:, column] = (self._off(moved, form) - off) / step
        means = np.stack([plot_means(slope, self.data, self.robust) for slope in slopes.T], axis=1)
        weighted = self.robust[:, None] * (slopes - shrink * means[self.data.restart])
        normal = slopes.T @ weighted
        found = np.tile(value, (self.data.restarts, 1))
        for g in range(self.data.restarts):
            of = self.data.restart == g
            rest = normal - slopes[of].T @ weighted[of]
            step = np.linalg.lstsq(rest, slopes[of].T @ (self.robust[of] * off[of]), rcond=None)[0]
            found[g, self.free] = np.clip(value[self.free] + step, 0.0, MOST)
        return found

    def _slope(self, share: Floats, form: Form, keep: Floats) -> float:
        x = self.columns @ share
        top = float(x.max())
        fit = fit_form(form, x / top, self.adjusted, (keep * self.robust / self.adjusted**2)[None])
        half, full = fit.predict(np.array([0.5, 1.0]))[0]
        return float((full - half) / (0.5 * top))
