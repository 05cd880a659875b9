"""From trials to a max packet rate for each host, or to the reasons why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from jvbtune.fit.bounds import MAX_EXTRAPOLATION, MIN_LEVELS, Bound, Unplaced, bounds, unsaturated
from jvbtune.fit.columns import CONSEQUENCES, Prepared, main_shape, of_main_shape, prepare
from jvbtune.fit.curve import Data, fit_curve, levels
from jvbtune.fit.forms import CPU_FORMS
from jvbtune.fit.history import nearest_shape, of_host
from jvbtune.fit.limits import Limits
from jvbtune.fit.mix import ENDPOINTS, PLAUSIBLE_SHARE, PacketMix, packet_mix, production_in_words
from jvbtune.fit.recommendation import OwnMeasurement, Recommendation, floored, none

#: An interval wider than this (high / low) is no recommendation: nobody buys machines by half or double.
MAX_INTERVAL_FACTOR = 2.5
#: A CPU figure of a shorter trial is a few scheduler ticks.
MIN_SECONDS = 2.0
#: A packet of another shape of conference is worth a word from here on.
DEARER = 1.05
#: Sanity (operators' figures): packets per second and core that bridges of today carry at the limit.
PLAUSIBLE_PPS_PER_CORE = (2_000.0, 60_000.0)


def recommend(
    trials: pl.DataFrame,
    limits: Limits | None = None,
    *,
    seed: int = 0,
    steps: Sequence[str] | None = None,
    force: bool = False,
    history: pl.DataFrame | None = None,
) -> list[Recommendation]:
    """One for each host, in the order of their names.

    ``steps``: whose trials to use (None: ``baseline`` and those that are not told apart from it). ``force`` lifts the
    ban on extrapolating beyond 15 %, and says so. ``history``: what was carried in production (``fit.history``); what
    is exported then holds for its dearest plausible mix. Pure: the same rows give the same figures, in any order of
    rows; ``seed`` is recorded for the resampling that some comparisons use.
    """
    del seed  # the jackknife is deterministic; kept in the contract for every function of ``fit``
    limits = limits or Limits()
    prepared = prepare(trials)
    hosts = prepared.frame.partition_by("host", as_dict=True, maintain_order=False)
    found = [
        _one_host(str(key[0]), rows, prepared, limits, steps, force, of_host(history, str(key[0])))
        for key, rows in sorted(hosts.items(), key=lambda item: str(item[0][0]))
    ]
    return found or [none("host", limits, ["there are no trials at all"], missing=prepared.missing)]


def _one_host(
    host: str,
    rows: pl.DataFrame,
    prepared: Prepared,
    limits: Limits,
    steps: Sequence[str] | None,
    force: bool,
    history: pl.DataFrame | None,
) -> Recommendation:
    missing = prepared.missing
    notes = [f"column {name} is missing: {CONSEQUENCES[name]}" for name in missing if name not in ("host", "step")]
    usable = usable_rows(rows)
    if usable.height == 0:
        return none(host, limits, [*_why_none_usable(rows), *notes], missing=missing)
    chosen = _choose_steps(rows.filter(pl.col("valid")), usable, steps)
    usable = usable.filter(pl.col("step").is_in(chosen))
    scale = float(usable["bridge_pps"].max())  # type: ignore[arg-type]
    indexed = with_plots(usable)
    mix = packet_mix(indexed, history)
    if mix is None or mix.weights is None:  # other shapes of conference cannot be brought to the main one
        indexed = with_plots(of_main_shape(usable))
    equivalent = indexed["bridge_pps"].to_numpy() if mix is None else mix.equivalent(indexed)
    indexed = indexed.with_columns(equivalent_pps=pl.Series(equivalent))
    unplaced: list[str] = []
    try:
        found = bounds(indexed, limits, scale, force=force)
    except Unplaced as why:
        found, unplaced = [], [str(why)]
    facts = {
        "highest_tested_pps": scale,
        "steps": tuple(chosen),
        "plots": int(indexed["plot"].n_unique()),
        "trials": indexed.height,
        "bounds": tuple(found),
        "mix": mix,
        **_per_participant(of_main_shape(indexed), history),
        "own_measurement": _own_measurement(of_main_shape(indexed)),
    }
    problems = unplaced or _problems(indexed, found, "block" in missing)
    if problems:
        return none(host, limits, [*problems, *notes], missing=missing, **facts)
    ordered = sorted(found, key=lambda bound: bound.estimate_pps)
    binding = ordered[0]
    problems = _untrustworthy(binding, ordered, scale, force)
    if problems:
        return none(host, limits, [*problems, *notes], missing=missing, **facts)
    behind = min(ordered[1:], key=_distance, default=None)
    rate = floored(binding.estimate_pps)
    low, high = _interval(ordered)
    return Recommendation(
        host,
        limits,
        max_packet_rate_pps=rate,
        interval_pps=(round(min(low, rate), 1), round(max(high, rate), 1)),
        binding_limit=binding.name,
        next_limit=behind.name if behind else None,
        next_limit_pps=round(behind.estimate_pps, 1) if behind and np.isfinite(behind.estimate_pps) else None,
        model=binding.curve.form.name,
        restart_low_pps=round(min(rate, *(_restart_low(bound, mix) for bound in ordered)), 1),
        extrapolated=binding.estimate_pps > scale,
        reasons=(*_remarks(binding, ordered, scale, indexed, mix), *_of_production(mix, history), *notes),
        missing_columns=missing,
        **facts,
    )


def _distance(bound: Bound) -> tuple[float, float]:
    """Of limits that were not met, the one that would be met first comes first."""
    return bound.estimate_pps, bound.beyond_pps


def _interval(ordered: Sequence[Bound]) -> tuple[float, float]:
    """Of the least of the rates: any limit's low end may be the one that counts, and the least high end ends it."""
    return min(bound.low_pps for bound in ordered), min(bound.high_pps for bound in ordered)


def _restart_low(bound: Bound, mix: PacketMix | None) -> float:
    """What 19 of 20 restarts carry, with the dearest mix of packets that was seen, where its cost is known."""
    return bound.restart_low_pps * (mix.worst_rate_ratio if mix is not None and bound.name == "cpu" else 1.0)


def _per_participant(rows: pl.DataFrame, history: pl.DataFrame | None) -> dict[str, Any]:
    """What a participant adds, and of what: of production where it is known, else the median of the trials."""
    if history is not None:
        counted = history.filter(pl.col("endpoints") > 0)
        if counted.height:
            value = float(counted["bridge_pps"].sum()) / float(counted["endpoints"].sum())
            return {"packets_per_participant_pps": value, "packets_per_participant_source": "history"}
    value = rows.filter(pl.col("endpoints") > 0).select(pl.col("bridge_pps") / pl.col("endpoints")).median().item()
    if value is None:
        return {}
    return {"packets_per_participant_pps": float(value), "packets_per_participant_source": "trials"}


def _own_measurement(rows: pl.DataFrame) -> OwnMeasurement | None:
    """None where nobody recorded the scope, or at too few packet rates. Measured where every trial has it."""
    scopes = rows["jvb_scope"].unique().to_list()
    if len(scopes) != 1 or not scopes[0]:
        return None
    measured = rows["jvb_cpu_ratio"].null_count() == 0
    share = pl.col("jvb_cpu_ratio") if measured else pl.col("cpu_cores") / pl.col("jvb_scope_cores")
    kept = rows.with_columns(share=share).filter(pl.col("share") > 0)
    x, y, plots, block = (kept[name].to_numpy() for name in ("bridge_pps", "share", "plot", "block_index"))
    data = unsaturated(Data(x, y, plots, block))
    if levels(data.x) < MIN_LEVELS:
        return None
    return OwnMeasurement(scopes[0], fit_curve(data, CPU_FORMS), measured)


def usable_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Valid, steady, with a packet rate, not too short: what a curve may be fitted to."""
    long_enough = pl.col("duration_s").is_null() | (pl.col("duration_s") >= MIN_SECONDS)
    return rows.filter(pl.col("valid") & (pl.col("kind") == "steady") & (pl.col("bridge_pps") > 0) & long_enough)


def with_plots(rows: pl.DataFrame) -> pl.DataFrame:
    """``plot`` (a restart: block × step) and ``block_index`` beside the rows, in an order that rows do not change."""
    return rows.sort("block", "step", "bridge_pps", "cpu_cores", "offered_pps").with_columns(
        plot=(pl.struct("block", "step").rank("dense") - 1).cast(pl.Int64),
        block_index=(pl.col("block").rank("dense") - 1).cast(pl.Int64),
    )


def _choose_steps(valid: pl.DataFrame, usable: pl.DataFrame, steps: Sequence[str] | None) -> list[str]:
    """``valid`` has the bursts as well: a step that drops more of them is another host, whatever its CPU."""
    there = sorted(usable["step"].unique().to_list())
    if steps is not None:
        return [name for name in there if name in steps] or there
    from jvbtune.fit.effects import alike_steps

    return alike_steps(valid, there)


def common_reasons(invalid: pl.DataFrame) -> list[str]:
    """The three most frequent reasons of trials that are not valid, with their counts."""
    counts = Counter(str(reason) for reasons in invalid["invalid_because"].to_list() for reason in reasons or ())
    return [f"{count} × {reason}" for reason, count in counts.most_common(3)]


def _why_none_usable(rows: pl.DataFrame) -> list[str]:
    if rows.height == 0:
        return ["there are no trials"]
    invalid = rows.filter(~pl.col("valid"))
    if invalid.height == rows.height:
        return [f"all {rows.height} trials are invalid", *common_reasons(invalid)]
    steady = rows.filter(pl.col("kind") == "steady")
    if steady.height == 0:
        return ["there is no steady trial: a curve needs steady loads"]
    if steady.filter(pl.col("bridge_pps") > 0).height:
        return [f"all steady trials with a packet rate are invalid or shorter than {MIN_SECONDS:.0f} s"]
    return [f"none of {steady.height} steady trials has a packet rate: bridge_pps, or in_pps and out_pps, is needed"]


def _problems(rows: pl.DataFrame, found: Sequence[Bound], no_blocks: bool) -> list[str]:
    problems: list[str] = []
    if not found:
        problems.append(
            "no limit can be placed: fewer than 3 packet rates with CPU, loss or delay; "
            "run at least 3 load levels, better 5, up to the limit"
        )
    if rows["plot"].n_unique() < 2:
        what = "without a block column" if no_blocks else "there is one block"
        problems.append(
            f"{what}: the variation between restarts (up to 20 %) cannot be seen; "
            "run at least 3 blocks, with a restart of the bridge before each"
        )
    return problems


def _untrustworthy(binding: Bound, ordered: Sequence[Bound], scale: float, force: bool) -> list[str]:
    if binding.estimate_pps <= 0:
        return [f"{binding.name}: above its limit of {binding.limit:g} {binding.unit} even at the least load"]
    if not np.isfinite(binding.estimate_pps) or (binding.estimate_pps > MAX_EXTRAPOLATION * scale and not force):
        nearest = min(ordered, key=_distance)
        at = nearest.estimate_pps if np.isfinite(nearest.estimate_pps) else nearest.beyond_pps
        first = f"; {nearest.name} would be first, at perhaps {at:.0f} pps"
        return [
            f"no limit was reached: all of them held at the highest steady load, {scale:.0f} pps"
            + (first if np.isfinite(at) else ""),
            f"run loads above {scale:.0f} pps until a limit is met",
        ]
    low, high = _interval(ordered)
    if high > MAX_INTERVAL_FACTOR * low:
        widest = min(ordered, key=lambda bound: bound.low_pps)
        end = f"{high:.0f}" if np.isfinite(high) else "no upper end"
        return [
            f"the interval is too wide to mean anything: {low:.0f} ({widest.name}) to {end} pps ({binding.name} would "
            f"bind, at perhaps {binding.estimate_pps:.0f} pps)",
            "run more blocks, and longer trials on a quiet host",
        ]
    return []


def _of_production(mix: PacketMix | None, history: pl.DataFrame | None) -> list[str]:
    """What production carried beside what was run, and what that means for the threshold."""
    if mix is None or history is None:
        return []
    relayed = float(history["relay_pps"].fill_null(0.0).sum()) / float(history["bridge_pps"].sum())
    unknown = []
    if relayed > 0.01 and "relay" not in mix.shares:
        unknown.append(f"{relayed:.0%} of what production carried was relayed; what that costs was not measured")
    if mix.weights is not None:
        if ENDPOINTS in mix.weights and history["endpoints"].null_count():
            unknown.append("production's endpoints are not known: taken to be as many a packet as were run")
        if mix.worst_rate_ratio > 0.995:
            return [
                f"{PLAUSIBLE_SHARE:.0%} of what production carried costs no more a packet than what was run",
                *unknown,
            ]
        return [
            *unknown,
            f"the dearest mix that production carries costs up to {mix.worst_cost_ratio:.2f} times as much a packet: "
            f"what is exported is {mix.worst_rate_ratio:.0%} of what it would be for the mix that was run",
        ]
    carried, run = production_in_words(history), mix.in_words()
    if mix.is_like(history):
        return [f"production carried {carried}, much as was run", *unknown]
    shape = nearest_shape(history)
    advice = "" if shape is None else f"; run [load.mix] {shape}, or that as one of [[load.other_mixes]]"
    return [f"production carried {carried}, but {run} was run, and what the other costs is not known{advice}", *unknown]


def _remarks(
    binding: Bound, ordered: Sequence[Bound], scale: float, rows: pl.DataFrame, mix: PacketMix | None
) -> list[str]:
    remarks = [bound.note for bound in ordered if bound.note]
    if mix is not None and mix.weights is None and len(mix.shares) > 1:
        remarks.append(mix.explanation)
    if mix is not None and mix.worst_source == "trials":
        remarks += [
            f"a packet of the shape {shape} costs {ratio:.2f} times as much, so that a bridge of such conferences "
            f"carries {1 / ratio:.0%}: what is exported is for {main_shape(rows)}; "
            "give what production carried (jvbtune fit --history)"
            for shape, ratio in mix.shape_cost_ratios.items()
            if ratio > DEARER
        ]
    if binding.estimate_pps > scale:
        beyond = binding.estimate_pps / scale - 1
        remarks.append(
            f"the max packet rate lies {beyond:.0%} above the highest tested load, {scale:.0f} pps: "
            "exports stay at the tested load"
        )
    cores = rows["cores"].drop_nulls().median()
    if cores and binding.estimate_pps > 0:
        per_core = binding.estimate_pps / float(cores)  # type: ignore[arg-type]
        low, high = PLAUSIBLE_PPS_PER_CORE
        if not low <= per_core <= high:
            remarks.append(
                f"{per_core:.0f} pps a core is outside of what bridges carry elsewhere "
                f"({low:.0f} to {high:.0f}): check the columns' units"
            )
    return remarks
