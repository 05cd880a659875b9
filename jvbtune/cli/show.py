"""``jvbtune show``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from jvbtune.cli.common import json_option, print_json, run_argument, runs_dir_option
from jvbtune.flame.capture.cost import Cost
from jvbtune.report.result import result_of
from jvbtune.store import open_run
from jvbtune.sweep.profiled import captures_of


@click.command("show")
@run_argument
@click.option("--trials", "with_trials", is_flag=True, help="Also list every trial.")
@runs_dir_option
@json_option
def command(run: str, with_trials: bool, runs_dir: Path | None, as_json: bool) -> int:
    """Show what a run found: max packet rate with its interval, a verdict on each setting, the trials.

    RUN is an id, the beginning of one, a path, or latest. Exit code 5 where there is no trustworthy recommendation.
    """
    opened = open_run(run, runs_dir)
    result = result_of(opened)
    captures = captures_of(opened.path)
    if as_json:
        keys = ("path", "id", "engine", "event", "step", "settings", "intended_pps", "kernel_frames", "lost", "cost")
        print_json({**result, "captures": [{key: one.get(key) for key in keys} for one in captures]})
    else:
        click.echo(text_of(result, with_trials=with_trials))
        if captures:
            click.echo("\nProfiles")
        for one in captures:
            price = "" if one["cost"] is None else f"; profiling cost {Cost.from_json(one['cost'])}"
            click.echo(f"  {one['step']} at {one['intended_pps']:.0f} pps: {one['path']}{price}")
    return 0 if result["recommendation"] is not None else 5


def text_of(result: Mapping[str, Any], *, with_trials: bool = False) -> str:
    """The result for people."""
    lines = [f"Run {result['id']} on {result['host']}: {result['status']}", ""]
    figures = result["recommendation"]
    if figures is None:
        lines.append("No recommendation: the data cannot carry one.")
    else:
        low, high = figures["interval_pps"]
        lines.append(
            f"Max packet rate  {figures['max_packet_rate_pps']:,.0f} pps   "
            f"(95 % interval {low:,.0f} to {high:,.0f})".replace(",", "\u202f")
        )
        behind = f"; next: {figures['next_limit']}" if figures.get("next_limit") else ""
        lines.append(f"Bound by         {figures['binding_limit']}{behind}")
        told = result.get("thresholds")
        if told:
            lines.append(f"Load threshold   {told['load_threshold_pps']:.0f} pps: what 19 of 20 restarts carry")
        lines.append(f"Model            {figures['model']}, {figures['restarts']} restarts, {figures['trials']} trials")
    lines += [f"  - {reason}" for reason in result["reasons"]]
    if result["settings"]:
        lines += ["", "Settings"]
    for setting in result["settings"]:
        values = ", ".join(str(value) for value in setting["values"])
        lines.append(f"  {setting['name']}  [{values}]: {setting['verdict']}")
        if setting["verdict"] == "better":
            lines.append(f"      recommended: {setting['recommended']}")
        told = setting["verdict"] in ("better", "worse")  # its reason tells the figures
        if setting["effect"] is not None and setting["interval"] and not told:
            low, high = setting["interval"]
            lines.append(f"      {setting['metric']} {setting['effect']:+.1%} (95 % {low:+.1%} to {high:+.1%})")
        if setting["reason"]:
            lines.append(f"      {setting['reason']}")
    if result.get("receive_buffer"):
        lines += ["", "Receive buffer", f"  {result['receive_buffer']['sentence']}"]
    trials = result["trials"]
    invalid = [trial for trial in trials if not trial["valid"]]
    lines += ["", f"{len(trials)} trials, {len(invalid)} of them not used"]
    listed = trials if with_trials else invalid
    lines += [_trial_line(trial) for trial in listed[: None if with_trials else 10]]
    return "\n".join(lines)


def _trial_line(trial: Mapping[str, Any]) -> str:
    def number(name: str, form: str) -> str:
        value = trial.get(name)
        return "-" if value is None else format(value, form)

    because = "" if trial["valid"] else "  " + "; ".join(trial["invalid_because"] or ())
    return (
        f"  {trial['trial']}: {number('bridge_pps', '.0f')} pps, {number('bridge_cpu_cores', '.2f')} cores, "
        f"loss {number('loss_ratio', '.2g')}, p99 {number('delay_p99_ms', '.1f')} ms{because}"
    )
