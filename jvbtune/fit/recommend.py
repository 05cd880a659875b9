"""From trials to a max packet rate for each host, or to the reasons why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from jvbtune.fit.bounds import MAX_EXTRAPOLATION, MIN_LEVELS, Bound, Unplaced, bounds, unsaturated
from jvbtune.fit.curve import Curve, Data, fit_curve, levels
from jvbtune.fit.forms import CPU_FORMS
from jvbtune.fit.history import nearest_shape, of_host
from jvbtune.fit.host_fit import HostFit, OwnMeasurement, floored, none
from jvbtune.fit.limits import Limits
from jvbtune.fit.mix import ENDPOINTS, PLAUSIBLE_SHARE, PacketMix, packet_mix, production_in_words
from jvbtune.fit.reasons import Code, Reason
from jvbtune.trials.columns import CONSEQUENCES
from jvbtune.trials.delays import with_late_ratio
from jvbtune.trials.frame import Prepared, main_shape, of_main_shape, prepare

#: An interval wider than this (high / low) is no recommendation: nobody buys machines by half or double.
MAX_INTERVAL_FACTOR = 2.5
#: Packet rates within this factor are one load.
SAME_RATE = 1.1
#: A CPU figure of a shorter trial is a few scheduler ticks.
MIN_SECONDS = 2.0
#: A packet of another shape of conference is worth a word from here on.
EXPENSIVE = 1.05
#: Standard deviation of CPU at one packet rate, between trials or restarts, that has a reason outside the bridge: it
#: was 2 to 5 % on quiet machines, in trials of 3 to 8 s, and 9 to 13 % on a shared one.
UNSTEADY_SD = 0.08
#: What each limit is about, beside garbage collections, which many a trial has none of.
COLUMNS_OF_LIMITS = {
    "cpu": ("cpu_ratio", "CPU (cpu_cores and cores, or busy_ratio)"),
    "rx_thread": ("rx_thread_ratio", "rx_thread_ratio"),
    "loss": ("loss_ratio", "loss_ratio"),
    "delay": ("delay_p99_ms", "delay_p99_ms"),
}
#: Sanity (operators' figures): packets per second and core that bridges of today carry at the limit.
PLAUSIBLE_PPS_PER_CORE = (2_000.0, 60_000.0)


def recommend(
    trials: pl.DataFrame,
    limits: Limits | None = None,
    *,
    steps: Sequence[str] | None = None,
    reference: str | None = None,
    force: bool = False,
    history: pl.DataFrame | None = None,
) -> list[HostFit]:
    """One for each host, in the order of their names.

    ``steps``: whose trials to use (None: ``reference`` and those that are not told apart from it). ``reference``: the
    step that hosts will be in (``fit.compare.deployed``; None: ``baseline``). ``force`` lifts the
    ban on extrapolating beyond 15 %, and says so. ``history``: what was carried in production (``fit.history``); what
    is exported then holds for its dearest plausible mix. Pure: the same rows give the same figures, in any order of
    rows.
    """
    limits = limits or Limits()
    prepared = prepare(trials)
    frame = with_late_ratio(prepared.frame, limits.delay_p99_ms)
    hosts = frame.partition_by("host", as_dict=True, maintain_order=False)
    found = [
        _one_host(str(key[0]), rows, prepared, limits, steps, reference, force, of_host(history, str(key[0])))
        for key, rows in sorted(hosts.items(), key=lambda item: str(item[0][0]))
    ]
    return found or [none("host", limits, [Reason(Code.NO_TRIALS, "There are no trials")], missing=prepared.missing)]


def _one_host(
    host: str,
    rows: pl.DataFrame,
    prepared: Prepared,
    limits: Limits,
    steps: Sequence[str] | None,
    reference: str | None,
    force: bool,
    history: pl.DataFrame | None,
) -> HostFit:
    missing = prepared.missing
    notes = [
        Reason(Code.MISSING_COLUMN, f"Column {name} is missing: {CONSEQUENCES[name]}")
        for name in missing
        if name not in ("host", "step")
    ]
    usable = usable_rows(rows)
    if usable.height == 0:
        return none(host, limits, _why_none_usable(rows), remarks=notes, missing=missing)
    misused = _misused_step(usable)
    if misused is not None:
        return none(host, limits, [misused], remarks=notes, missing=missing)
    chosen = _choose_steps(rows.filter(pl.col("valid")), usable, steps, reference)
    usable = usable.filter(pl.col("step").is_in(chosen))
    scale = float(usable["bridge_pps"].max())  # type: ignore[arg-type]
    indexed = with_restarts(usable)
    mix = packet_mix(indexed, history)
    if mix is None or mix.weights is None:  # other shapes of conference cannot be brought to the main one
        indexed = with_restarts(of_main_shape(usable))
    equivalent = indexed["bridge_pps"].to_numpy() if mix is None else mix.equivalent(indexed)
    indexed = indexed.with_columns(equivalent_pps=pl.Series(equivalent))
    unplaced: list[Reason] = []
    try:
        found = bounds(indexed, limits, scale, force=force)
    except Unplaced as why:
        found, unplaced = [], [Reason(Code.UNPLACED, str(why))]
    facts = {
        "highest_tested_pps": scale,
        "steps": tuple(chosen),
        "restarts": int(indexed["restart"].n_unique()),
        "trials": indexed.height,
        "bounds": tuple(found),
        "mix": mix,
        **_per_participant(of_main_shape(indexed), history),
        "own_measurement": _own_measurement(of_main_shape(indexed)),
    }
    notes = [*_unsteady(found), *([] if unplaced else _not_placed(indexed, found)), *notes]
    problems = unplaced or _problems(indexed, found, "block" in missing)
    if problems:
        return none(host, limits, problems, remarks=notes, missing=missing, **facts)
    ordered = sorted(found, key=lambda bound: bound.estimate_pps)
    binding = ordered[0]
    problems = _untrustworthy(binding, ordered, scale, force)
    if problems:
        return none(host, limits, problems, remarks=notes, missing=missing, **facts)
    behind = min(ordered[1:], key=_distance, default=None)
    rate = floored(binding.estimate_pps)
    low, high = _interval(ordered)
    return HostFit(
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
        remarks=(*_remarks(binding, ordered, scale, indexed, mix), *_of_production(mix, history), *notes),
        missing_columns=missing,
        **facts,
    )


def _misused_step(usable: pl.DataFrame) -> Reason | None:
    """One packet rate in each step, and another in the next: what was meant by step is the load."""
    rates = usable.group_by("step").agg(
        low=pl.col("bridge_pps").min(), high=pl.col("bridge_pps").max(), rate=pl.col("bridge_pps").median()
    )
    ordered = rates["rate"].sort()
    differ = (ordered[1:] > SAME_RATE * ordered[:-1]).any()
    if not differ or rates.filter(pl.col("high") > SAME_RATE * pl.col("low")).height:
        return None
    first, *_, last = rates.sort("rate").iter_rows(named=True)
    text = (
        f"Each of the {rates.height} steps has one packet rate only ({first['step']}: {first['rate']:.0f} pps, "
        f"{last['step']}: {last['rate']:.0f} pps), so the column step seems to name the load"
    )
    advice = (
        "Leave the column step out: jvbtune takes the load from in_pps and out_pps. "
        "A step is a combination of settings, measured at several packet rates."
    )
    return Reason(Code.STEP_MISUSED, text, advice)


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
    compiler = pl.col("compiler_cores").fill_null(0.0)  # is in what a JVB reads, and is gone when its code is compiled
    read = pl.col("jvb_cpu_ratio") - (compiler / pl.col("jvb_scope_cores")).fill_null(0.0)
    share = read if measured else pl.col("net_cpu_cores") / pl.col("jvb_scope_cores")
    kept = rows.with_columns(share=share).filter(pl.col("share") > 0)
    x, y, restarts, block = (kept[name].to_numpy() for name in ("bridge_pps", "share", "restart", "block_index"))
    data = unsaturated(Data(x, y, restarts, block))
    if levels(data.x) < MIN_LEVELS:
        return None
    return OwnMeasurement(scopes[0], fit_curve(data, CPU_FORMS), measured)


def usable_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Valid, steady, with a packet rate, not too short: what a curve may be fitted to."""
    long_enough = pl.col("duration_s").is_null() | (pl.col("duration_s") >= MIN_SECONDS)
    return rows.filter(pl.col("valid") & (pl.col("kind") == "steady") & (pl.col("bridge_pps") > 0) & long_enough)


def with_restarts(rows: pl.DataFrame) -> pl.DataFrame:
    """``restart`` (of block × step) and ``block_index`` beside the rows, in an order that rows do not change."""
    return rows.sort("block", "step", "bridge_pps", "cpu_cores", "offered_pps").with_columns(
        restart=(pl.struct("block", "step").rank("dense") - 1).cast(pl.Int64),
        block_index=(pl.col("block").rank("dense") - 1).cast(pl.Int64),
    )


def _choose_steps(
    valid: pl.DataFrame, usable: pl.DataFrame, steps: Sequence[str] | None, reference: str | None
) -> list[str]:
    """``valid`` has the bursts as well: a step that drops more of them is another host, whatever its CPU."""
    there = sorted(usable["step"].unique().to_list())
    if steps is not None:
        return [name for name in there if name in steps] or there
    from jvbtune.fit.effects import alike_steps

    return alike_steps(valid, there, reference if reference in there else None)


def common_reasons(invalid: pl.DataFrame) -> list[str]:
    """The three most frequent reasons of trials that are not valid, with their counts."""
    counts = Counter(str(reason) for reasons in invalid["invalid_because"].to_list() for reason in reasons or ())
    return [f"{count} × {reason}" for reason, count in counts.most_common(3)]


def _why_none_usable(rows: pl.DataFrame) -> list[Reason]:
    if rows.height == 0:
        return [Reason(Code.NO_TRIALS, "There are no trials")]
    invalid = rows.filter(~pl.col("valid"))
    if invalid.height == rows.height:
        why = "; ".join(common_reasons(invalid))
        return [Reason(Code.ALL_INVALID, f"All {rows.height} trials are invalid" + (f": {why}" if why else ""))]
    steady = rows.filter(pl.col("kind") == "steady")
    if steady.height == 0:
        return [Reason(Code.NO_STEADY_TRIALS, "There is no steady trial", "Run steady loads: a curve needs them.")]
    if steady.filter(pl.col("bridge_pps") > 0).height:
        text = f"All steady trials with a packet rate are invalid or shorter than {MIN_SECONDS:.0f} s"
        return [Reason(Code.ALL_INVALID, text)]
    text = f"None of the {steady.height} steady trials has a packet rate"
    return [Reason(Code.NO_PACKET_RATE, text, "Give bridge_pps, or in_pps and out_pps.")]


def _unsteady(found: Sequence[Bound]) -> list[Reason]:
    """Why intervals are wide where nothing is wrong with the trials."""
    cpu = next((bound.curve for bound in found if bound.name == "cpu"), None)
    if not isinstance(cpu, Curve) or max(cpu.noise_sd, cpu.restart_sd) < UNSTEADY_SD:
        return []
    text = (
        f"At one packet rate, CPU differed by {cpu.noise_sd:.0%} between trials and by {cpu.restart_sd:.0%} between "
        "restarts (standard deviations; on a quiet host 2 to 5 %), so the host is not always as fast"
    )
    advice = "Run at a quieter time, or more blocks. A virtual machine may have busy neighbours that it cannot see."
    return [Reason(Code.UNSTEADY_HOST, text, advice)]


def _not_placed(rows: pl.DataFrame, found: Sequence[Bound]) -> list[Reason]:
    """Limits that are not applied, since too few of the trials have what they are about."""
    there = {bound.name for bound in found}
    return [
        Reason(
            Code.LIMIT_NOTE,
            f"{name}: {empty} of {rows.height} trials have no {told}, and the others fewer than {MIN_LEVELS} packet "
            "rates, so this limit is not applied",
            "Fill it in for every trial.",
        )
        for name, (column, told) in COLUMNS_OF_LIMITS.items()
        if name not in there and 0 < (empty := rows[column].null_count()) < rows.height
    ]


def _problems(rows: pl.DataFrame, found: Sequence[Bound], no_blocks: bool) -> list[Reason]:
    problems: list[Reason] = []
    if not found:
        problems.append(
            Reason(
                Code.TOO_FEW_RATES,
                "No limit can be placed: fewer than 3 packet rates have CPU, loss or delay",
                "Run at least 3 loads, better 5, up to the limit.",
            )
        )
    if rows["restart"].n_unique() < 2:
        what = "There is no block column" if no_blocks else "There is only one block"
        problems.append(
            Reason(
                Code.ONE_RESTART,
                f"{what}, so the variation between restarts of the bridge is not known",
                "Run at least 3 blocks, and restart the bridge before each.",
            )
        )
    return problems


def _untrustworthy(binding: Bound, ordered: Sequence[Bound], scale: float, force: bool) -> list[Reason]:
    if binding.estimate_pps <= 0:
        text = f"{binding.name}: above its limit of {binding.limit:g} {binding.unit} even at the lowest load"
        return [Reason(Code.ABOVE_LIMIT, text)]
    if not np.isfinite(binding.estimate_pps) or (binding.estimate_pps > MAX_EXTRAPOLATION * scale and not force):
        nearest = min(ordered, key=_distance)
        at = nearest.estimate_pps if np.isfinite(nearest.estimate_pps) else nearest.beyond_pps
        first = f"; {nearest.name} would be first, at about {at:.0f} pps" if np.isfinite(at) else ""
        return [
            Reason(
                Code.NO_LIMIT_REACHED,
                f"No limit was reached, even at the highest steady load, {scale:.0f} pps{first}",
                f"Run loads above {scale:.0f} pps until a limit is reached.",
            )
        ]
    low, high = _interval(ordered)
    if high > MAX_INTERVAL_FACTOR * low:
        widest = min(ordered, key=lambda bound: bound.low_pps)
        end = f"{high:.0f} pps" if np.isfinite(high) else "no upper end"
        return [
            Reason(
                Code.TOO_WIDE,
                f"The interval is too wide: {low:.0f} pps ({widest.name}) to {end} "
                f"({binding.name} would bind, at about {binding.estimate_pps:.0f} pps)",
                "Run more blocks, and longer trials, on a quiet host.",
            )
        ]
    return []


def _of_production(mix: PacketMix | None, history: pl.DataFrame | None) -> list[Reason]:
    """What production carried beside what was run, and what that means for the threshold."""
    return [Reason(Code.PRODUCTION_MIX, text) for text in _production_in_words(mix, history)]


def _production_in_words(mix: PacketMix | None, history: pl.DataFrame | None) -> list[str]:
    if mix is None or history is None:
        return []
    relayed = float(history["relay_pps"].fill_null(0.0).sum()) / float(history["bridge_pps"].sum())
    unknown = []
    if relayed > 0.01 and "relay" not in mix.shares:
        unknown.append(f"{relayed:.0%} of production's packets were relayed; their cost was not measured")
    if mix.weights is not None:
        if ENDPOINTS in mix.weights and history["endpoints"].null_count():
            unknown.append("Production's endpoints are not known: as many per packet as in the trials are assumed")
        if mix.worst_rate_ratio > 0.995:
            return [f"{PLAUSIBLE_SHARE:.0%} of production's packets cost no more than those of the trials", *unknown]
        return [
            *unknown,
            f"Production's most expensive mix costs up to {mix.worst_cost_ratio:.2f} times as much per packet: "
            f"its CPU limit is met at {mix.worst_rate_ratio:.0%} of the packet rate. The load threshold allows for it",
        ]
    production, run = production_in_words(history), mix.in_words()
    if mix.is_like(history):
        return [f"Production's mix, {production}, is much like that of the trials", *unknown]
    shape = nearest_shape(history)
    advice = "" if shape is None else f"; run [load.mix] {shape}, or add it as one of [[load.other_mixes]]"
    return [
        f"Production's mix is {production}; the trials had {run}, and the other's cost is not known{advice}",
        *unknown,
    ]


def _remarks(
    binding: Bound, ordered: Sequence[Bound], scale: float, rows: pl.DataFrame, mix: PacketMix | None
) -> list[Reason]:
    remarks = [Reason(Code.LIMIT_NOTE, bound.note) for bound in ordered if bound.note]
    if mix is not None and mix.weights is None and len(mix.shares) > 1:
        remarks.append(Reason(Code.COSTS_UNKNOWN, mix.explanation))
    if mix is not None and mix.worst_source == "trials":
        remarks += [
            Reason(
                Code.OTHER_SHAPE,
                f"A packet of the shape {shape} costs {ratio:.2f} times as much: a bridge with only such conferences "
                f"sustains {1 / ratio:.0%} of this rate. The load threshold is for {main_shape(rows)}",
                "Give jvbtune production's traffic: jvbtune fit --history.",
            )
            for shape, ratio in mix.shape_cost_ratios.items()
            if ratio > EXPENSIVE
        ]
    if binding.estimate_pps > scale:
        beyond = binding.estimate_pps / scale - 1
        text = (
            f"The max packet rate is {beyond:.0%} above the highest tested load, {scale:.0f} pps; "
            "the load threshold stays at the tested load"
        )
        remarks.append(Reason(Code.EXTRAPOLATED, text))
    cores = rows["cores"].drop_nulls().median()
    if cores and binding.estimate_pps > 0:
        per_core = binding.estimate_pps / float(cores)  # type: ignore[arg-type]
        low, high = PLAUSIBLE_PPS_PER_CORE
        if not low <= per_core <= high:
            text = f"{per_core:.0f} pps per core is outside the range seen on other bridges ({low:.0f} to {high:.0f})"
            remarks.append(Reason(Code.IMPLAUSIBLE, text, "Check the units of the columns."))
    return remarks
