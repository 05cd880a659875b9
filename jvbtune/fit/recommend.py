"""From trials to a max packet rate for each host, or to the reasons why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from jvbtune.fit.bounds import Bound, bounds
from jvbtune.fit.columns import CONSEQUENCES, Prepared, prepare
from jvbtune.fit.limits import Limits
from jvbtune.fit.mix import PacketMix, packet_mix
from jvbtune.fit.recommendation import Recommendation, floored, none

#: No figure beyond this multiple of the highest steady load: a curve says nothing of what was never run.
MAX_EXTRAPOLATION = 1.15
#: An interval wider than this (high / low) is no recommendation.
MAX_INTERVAL_FACTOR = 4.0
#: A CPU figure of a shorter trial is a few scheduler ticks.
MIN_SECONDS = 2.0
#: Sanity (operators' figures): packets per second and core that bridges of today carry at the limit.
PLAUSIBLE_PPS_PER_CORE = (2_000.0, 60_000.0)


def recommend(
    trials: pl.DataFrame,
    limits: Limits | None = None,
    *,
    seed: int = 0,
    steps: Sequence[str] | None = None,
    force: bool = False,
) -> list[Recommendation]:
    """One for each host, in the order of their names.

    ``steps``: whose trials to use (None: ``baseline`` and those that are not told apart from it). ``force`` lifts the
    ban on extrapolating beyond 15 %, and says so. Pure: the same rows give the same figures, in any order of rows;
    ``seed`` is recorded for the resampling that some comparisons use.
    """
    del seed  # the jackknife is deterministic; kept in the contract for every function of ``fit``
    limits = limits or Limits()
    prepared = prepare(trials)
    hosts = prepared.frame.partition_by("host", as_dict=True, maintain_order=False)
    found = [
        _one_host(str(key[0]), rows, prepared, limits, steps, force)
        for key, rows in sorted(hosts.items(), key=lambda item: str(item[0][0]))
    ]
    return found or [none("host", limits, ["there are no trials at all"], missing=prepared.missing)]


def _one_host(
    host: str, rows: pl.DataFrame, prepared: Prepared, limits: Limits, steps: Sequence[str] | None, force: bool
) -> Recommendation:
    missing = prepared.missing
    notes = [f"column {name} is missing: {CONSEQUENCES[name]}" for name in missing if name not in ("host", "step")]
    usable = usable_rows(rows)
    if usable.height == 0:
        return none(host, limits, [*_why_none_usable(rows), *notes], missing=missing)
    chosen = _choose_steps(usable, steps)
    usable = usable.filter(pl.col("step").is_in(chosen))
    scale = float(usable["bridge_pps"].max())  # type: ignore[arg-type]
    indexed = with_plots(usable)
    mix = packet_mix(indexed)
    equivalent = indexed["bridge_pps"].to_numpy() if mix is None else mix.equivalent(indexed)
    indexed = indexed.with_columns(equivalent_pps=pl.Series(equivalent))
    found = bounds(indexed, limits, scale)
    facts = {
        "highest_tested_pps": scale,
        "steps": tuple(chosen),
        "plots": int(indexed["plot"].n_unique()),
        "trials": indexed.height,
        "bounds": tuple(found),
        "mix": mix,
    }
    problems = _problems(indexed, found, "block" in missing)
    if problems:
        return none(host, limits, [*problems, *notes], missing=missing, **facts)
    ordered = sorted(found, key=lambda bound: bound.estimate_pps)
    binding = ordered[0]
    problems = _untrustworthy(binding, ordered, scale, force)
    if problems:
        return none(host, limits, [*problems, *notes], missing=missing, **facts)
    low = min(bound.low_pps for bound in ordered if bound.estimate_pps <= MAX_EXTRAPOLATION * scale)
    behind = next((bound for bound in ordered[1:] if np.isfinite(bound.estimate_pps)), None)
    rate = floored(binding.estimate_pps)
    return Recommendation(
        host,
        limits,
        max_packet_rate_pps=rate,
        interval_pps=(round(min(low, rate), 1), round(max(min(b.high_pps for b in ordered), rate), 1)),
        binding_limit=binding.name,
        next_limit=behind.name if behind else None,
        next_limit_pps=round(behind.estimate_pps, 1) if behind else None,
        model=binding.curve.form.name,
        restart_low_pps=round(min(binding.restart_low_pps, rate), 1),
        extrapolated=binding.estimate_pps > scale,
        reasons=(*_remarks(binding, scale, indexed, mix), *notes),
        missing_columns=missing,
        **facts,  # type: ignore[arg-type]
    )


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


def _choose_steps(usable: pl.DataFrame, steps: Sequence[str] | None) -> list[str]:
    there = sorted(usable["step"].unique().to_list())
    if steps is not None:
        return [name for name in there if name in steps] or there
    from jvbtune.fit.effects import alike_steps

    return alike_steps(usable, there)


def _why_none_usable(rows: pl.DataFrame) -> list[str]:
    if rows.height == 0:
        return ["there are no trials"]
    invalid = rows.filter(~pl.col("valid"))
    if invalid.height == rows.height:
        counts = Counter(str(reason) for reasons in invalid["invalid_because"].to_list() for reason in reasons or ())
        most = [f"{count} × {reason}" for reason, count in counts.most_common(3)]
        return [f"all {rows.height} trials are invalid", *most]
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
        first = f"; {binding.name} would be first, at perhaps {binding.estimate_pps:.0f} pps"
        return [
            f"no limit was reached: all of them held at the highest steady load, {scale:.0f} pps"
            + (first if np.isfinite(binding.estimate_pps) else ""),
            f"run loads above {scale:.0f} pps until a limit is met",
        ]
    if binding.high_pps > MAX_INTERVAL_FACTOR * binding.low_pps:
        high = f"{binding.high_pps:.0f}" if np.isfinite(binding.high_pps) else "no upper end"
        return [
            f"{binding.name}: the interval is too wide to mean anything ({binding.low_pps:.0f} to {high} pps)",
            "run more blocks",
        ]
    return []


def _remarks(binding: Bound, scale: float, rows: pl.DataFrame, mix: PacketMix | None) -> list[str]:
    remarks: list[str] = []
    if mix is not None and mix.weights is None and len(mix.shares) > 1:
        remarks.append(mix.explanation)
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
