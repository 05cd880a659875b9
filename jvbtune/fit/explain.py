"""The chain from data to figure in words, each number with where it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from jvbtune.fit.bounds import Bound
from jvbtune.fit.columns import prepare
from jvbtune.fit.compare import SettingVerdict
from jvbtune.fit.diagnostics import diagnose
from jvbtune.fit.recommend import usable_rows
from jvbtune.fit.recommendation import Recommendation
from jvbtune.fit.thresholds import JICOFO_OVERLOADED_STRESS, RECOVERY_RATIO, thresholds


def explain(found: Recommendation, verdicts: Sequence[SettingVerdict], trials: pl.DataFrame) -> list[str]:
    """Lines for people. Pure: of the same rows that ``found`` and ``verdicts`` were made of."""
    lines = [f"Host {found.host}", "", "Trials"]
    lines += _trials(found, trials)
    lines += ["", "Limits, and the packet rate at which each is met (95 % interval)"]
    lines += [f"  {line}" for bound in sorted(found.bounds, key=lambda b: b.estimate_pps) for line in _bound(bound)]
    lines += ["", "Max packet rate"]
    if found.max_packet_rate_pps is None:
        lines.append("  None: the data cannot carry one.")
    else:
        lines.append(
            f"  {found.max_packet_rate_pps:.0f} pps: the least of these rates ({found.binding_limit}), rounded down."
        )
        lines.append(f"  One restart in 20 carries less than {found.restart_low_pps:.0f} pps.")
    lines += [f"  {reason}." for reason in found.reasons]
    lines += _mix(found)
    lines += _settings_of(found)
    if verdicts:
        lines += ["", "Settings (against the values found on arrival, within blocks; p corrected for all comparisons)"]
        lines += [f"  {verdict.name}: {verdict.verdict}. {verdict.reason}." for verdict in verdicts]
    return lines


def _trials(found: Recommendation, trials: pl.DataFrame) -> list[str]:
    rows = prepare(trials).frame.filter(pl.col("host") == found.host)
    usable = usable_rows(rows)
    invalid = rows.filter(~pl.col("valid"))
    why = Counter(str(r).split(":")[0] for because in invalid["invalid_because"].to_list() for r in because or ())
    lines = [f"  {rows.height} in all, {usable.height} steady and valid, {found.trials} of them used for the curves"]
    lines += [f"  not valid: {count} × {reason}" for reason, count in why.most_common()]
    if found.steps:
        lines.append(f"  of {found.plots} restarts, of steps that nothing tells apart: {', '.join(found.steps)}")
    if found.highest_tested_pps:
        lines.append(f"  highest packet rate that was run: {found.highest_tested_pps:.0f} pps")
    return lines


def _bound(bound: Bound) -> list[str]:
    unmet = "not placed, though met in some trials" if bound.note else "kept at every load that was run"
    met = unmet if np.isinf(bound.estimate_pps) else f"{bound.estimate_pps:.0f} pps"
    high = "…" if np.isinf(bound.high_pps) else f"{bound.high_pps:.0f}"
    scores = ", ".join(f"{name} {score:.3f}" for name, score in sorted(bound.curve.scores.items(), key=lambda s: s[1]))
    lines = [f"{bound.name} at {bound.limit:g} {bound.unit}: {met} ({bound.low_pps:.0f} to {high})"]
    lines.append(f"    {bound.curve.form.name}: {bound.curve.form.formula}")
    if scores:
        lines.append(f"    prediction error of the forms, restarts left out: {scores}")
    lines += [f"    {line}" for line in diagnose(bound) if "nothing" not in line]
    noise = f"{bound.curve.restart_sd:.1%} between restarts, {bound.curve.noise_sd:.1%} within one"
    lines.append(f"    scatter (standard deviation of the logarithm): {noise}")
    return lines


def _mix(found: Recommendation) -> list[str]:
    mix = found.mix
    if mix is None:
        return []
    lines = ["", "For which packets (the bridge's own counters)"]
    lines.append(f"  The max packet rate is that of {mix.in_words()}.")
    if mix.weights is None:
        return lines  # why it cannot be told stands among the reasons
    lines.append(f"  {mix.explanation[0].upper()}{mix.explanation[1:]}.")
    lines += [
        f"  A packet of the shape {shape} cost {ratio:.2f} times as much."
        for shape, ratio in mix.shape_cost_ratios.items()
    ]
    if mix.worst_rate_ratio > 0.995 and mix.worst_source == "trials":
        return lines
    of = {"trials": "the trials of that shape", "history": "what the host carried in production"}[mix.worst_source]
    lines.append(
        f"  The dearest plausible mix, of {of}: {mix.worst_in_words()}; up to {max(1.0, mix.worst_cost_ratio):.2f} "
        "times as much a packet. What is to be configured holds for it too."
    )
    return lines


#: Of what a JVB's cpu-usage measurement is a share.
SCOPES = {
    "host": "of all cores of the host, which is what JVB measures here",
    "cpuset": "of the cores of its cgroup, which is what JVB measures here",
    "quota": "of its cgroup's CPU quota, which is what JVB measures here",
    "bridge": "of the cores that the bridge may use; JVB measures the whole container or machine",
}


def _settings_of(found: Recommendation) -> list[str]:
    told = thresholds(found)
    if told is None:
        return []
    lines = ["", "What to configure"]
    lines.append(
        f'  load-measurement = "packet-rate", load-threshold = {told.load_threshold_pps:.0f}'
        ": what 19 of 20 restarts carry (at the max packet rate itself, half of them break the limit)"
    )
    lines.append(
        f"  recovery-threshold = {told.recovery_threshold_pps:.0f}: {RECOVERY_RATIO} of it, as JVB's own defaults"
    )
    if told.cpu_load_threshold is not None and told.cpu_recovery_threshold is not None:
        lines.append(
            f'  or, with load-measurement = "cpu-usage": load-threshold = {told.cpu_load_threshold:.2f}, '
            f"recovery-threshold = {told.cpu_recovery_threshold:.2f}: {SCOPES[str(told.cpu_scope)]}"
            + ("" if told.cpu_measured else "; what else runs there comes on top")
        )
    if told.average_participant_stress is not None and told.packets_per_participant_pps is not None:
        lines.append(
            f"  average-participant-stress = {told.average_participant_stress:.5f}: "
            f"{told.packets_per_participant_pps:.0f} pps a participant, of "
            + ("production" if told.packets_per_participant_source == "history" else "the load that was run")
        )
    if told.cpu_at_overloaded is not None:
        lines.append(
            f"  Jicofo takes the bridge for overloaded at stress {JICOFO_OVERLOADED_STRESS}, "
            f"{told.overloaded_pps:.0f} pps: it will mostly run below {told.cpu_at_overloaded:.0%} CPU. "
            "Do not derate the threshold for that again."
        )
    bigger = told.bigger_machine
    if bigger is not None:
        if not bigger.at_least:
            lines.append(f"  More cores would give up to {bigger.gain_ratio:.1f} ×: then the receiving thread binds.")
        else:
            lines.append("  More cores would raise it; how far is not known: the receiving thread's limit was not met.")
    return lines
