"""The chain from data to figure in words, each number with where it comes from."""

from __future__ import annotations

from collections import Counter

from jvbtune.fit.thresholds import JICOFO_OVERLOADED_STRESS, RECOVERY_RATIO, Thresholds
from jvbtune.result.model import LimitFit, RunResult, Traffic


def explain(result: RunResult) -> list[str]:
    """Lines for people. Pure."""
    lines = [f"Host {result.host}, run {result.id}", "", "Trials", *_trials(result)]
    if result.limit_fits:
        lines += ["", "Limits, and the packet rate at which each is reached (95 % interval)"]
        lines += [f"  {line}" for fit in result.limit_fits for line in _limit(fit)]
    lines += ["", "Max packet rate", *_figure(result)]
    if result.traffic is not None:
        lines += ["", "Traffic mix (by the bridge's own counters)", *_traffic(result.traffic)]
    if result.thresholds is not None:
        lines += ["", "What to configure", *_thresholds(result.thresholds)]
    if result.settings:
        lines += ["", "Settings, compared with the values found on arrival, within blocks"]
        lines += [f"  {setting.name}: {setting.verdict}. {setting.reason}" for setting in result.settings]
    return lines


def _trials(result: RunResult) -> list[str]:
    trials = result.trials
    steady = [trial for trial in trials if trial["kind"] == "steady" and trial["valid"]]
    found = result.recommendation
    used = "" if found is None else f", {found.trials} of them used for the curves"
    lines = [f"  {len(trials)} in all, {len(steady)} steady and valid{used}"]
    why = Counter(reason for trial in trials if not trial["valid"] for reason in trial["invalid_because"] or ())
    lines += [f"  not used: {count} × {reason}" for reason, count in why.most_common()]
    if found is not None:
        lines.append(f"  {found.restarts} restarts; combinations of settings: {', '.join(found.steps)}")
        lines.append(f"  highest packet rate that was run: {found.highest_tested_pps:.0f} pps")
    return lines


def _limit(fit: LimitFit) -> list[str]:
    unmet = "not placed, though reached in some trials" if fit.note else "not reached at any load that was run"
    met = unmet if fit.estimate_pps is None else f"{fit.estimate_pps:.0f} pps"
    low, high = fit.interval_pps
    end = "no upper end" if high is None else f"{high:.0f}"
    lines = [f"{fit.name} at {fit.limit:g} {fit.unit}: {met} ({low or 0:.0f} to {end})"]
    lines.append(f"    {fit.model}: {fit.formula}")
    if fit.prediction_errors:
        scores = ", ".join(
            f"{name} {score:.3f}" for name, score in sorted(fit.prediction_errors.items(), key=lambda s: s[1])
        )
        lines.append(f"    prediction error of each form, tested on restarts that were left out: {scores}")
    lines += [f"    {line}" for line in fit.diagnostics]
    if not fit.column:  # of late packets there is no such scatter: they come in lumps
        lines.append(f"    scatter: {fit.restart_sd:.1%} between restarts, {fit.noise_sd:.1%} within one")
    return lines


def _figure(result: RunResult) -> list[str]:
    found = result.recommendation
    if found is None:
        lines = ["  There is no recommendation."]
    else:
        low, high = found.interval_pps
        end = "no upper end" if high is None else f"{high:.0f}"
        lines = [
            f"  {found.max_packet_rate_pps:.0f} pps ({low or 0:.0f} to {end}): the lowest of these rates "
            f"({found.binding_limit}), rounded down.",
            f"  One restart in 20 sustains less than {found.restart_low_pps:.0f} pps.",
        ]
    return lines + [f"  {str(reason).rstrip('.')}." for reason in (*result.reasons, *result.remarks)]


def _traffic(mix: Traffic) -> list[str]:
    lines = [f"  The max packet rate holds for {mix.description}."]
    if not mix.costs_known:
        return lines  # why is among the remarks
    lines.append(f"  {mix.explanation[:1].upper()}{mix.explanation[1:]}.")
    lines += [
        f"  A packet of the shape {shape} costs {ratio:.2f} times as much."
        for shape, ratio in mix.shape_cost_ratios.items()
    ]
    if mix.worst_rate_ratio > 0.995 and mix.worst_source == "trials":
        return lines
    of = "in production" if mix.worst_source == "history" else "in the trials of that shape"
    lines.append(
        f"  The most expensive mix {of} is {mix.worst_description}; a packet costs up to "
        f"{max(1.0, mix.worst_cost_ratio):.2f} times as much. The load threshold holds for it too."
    )
    return lines


#: What the CPU of a JVB's cpu-usage measurement is a share of.
SCOPES = {
    "host": "of all cores of the host, which is what JVB measures here",
    "cpuset": "of the cores of its cgroup, which is what JVB measures here",
    "quota": "of its cgroup's CPU quota, which is what JVB measures here",
    "bridge": "of the cores that the bridge may use; JVB measures the whole container or machine",
}


def _thresholds(found: Thresholds) -> list[str]:
    lines = [
        f'  load-measurement = "packet-rate", load-threshold = {found.load_threshold_pps:.0f}: 95 % of restarts '
        "sustain this rate (at the max packet rate itself, half of them exceed the limit)",
        f"  recovery-threshold = {found.recovery_threshold_pps:.0f}: {RECOVERY_RATIO} of it, as in JVB's own defaults",
    ]
    if found.cpu_load_threshold is not None and found.cpu_recovery_threshold is not None:
        lines.append(
            f'  or, with load-measurement = "cpu-usage": load-threshold = {found.cpu_load_threshold:.2f}, '
            f"recovery-threshold = {found.cpu_recovery_threshold:.2f}: {SCOPES[str(found.cpu_scope)]}"
            + ("" if found.cpu_measured else "; other processes there add to it")
        )
    if found.average_participant_stress is not None and found.packets_per_participant_pps is not None:
        of = "production" if found.packets_per_participant_source == "history" else "the load that was run"
        lines.append(
            f"  average-participant-stress = {found.average_participant_stress:.5f} (in jvb.conf): "
            f"{found.packets_per_participant_pps:.0f} pps per participant, from {of}"
        )
    if found.cpu_at_overloaded is not None:
        lines.append(
            f"  Jicofo treats the bridge as overloaded at stress {JICOFO_OVERLOADED_STRESS}, "
            f"{found.overloaded_pps:.0f} pps: it will mostly run below {found.cpu_at_overloaded:.0%} CPU. "
            "Do not lower the threshold for that again."
        )
    bigger = found.bigger_machine
    if bigger is not None and bigger.at_least:
        lines.append("  More cores would raise it. How far is not known: the receive thread did not reach its limit.")
    elif bigger is not None:
        lines.append(f"  More cores would give up to {bigger.gain_ratio:.1f} ×; then the receive thread is the limit.")
    return lines
