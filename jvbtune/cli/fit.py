"""``jvbtune fit``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvbtune.cli.common import json_option, print_json, runs_dir_option, say

if TYPE_CHECKING:
    from jvbtune.fit import Limits, Recommendation

SCHEMA_VERSION = 1


class Ratio(click.ParamType[float]):
    """``0.8`` or ``80%``."""

    name = "ratio"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        try:
            ratio = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            self.fail(f"{text!r} is not a ratio such as 0.8 or 80%", param, ctx)
        if not 0 < ratio <= 1:
            self.fail(f"{text} is not above 0 and at most 1 (1 % is 0.01, or 1%)", param, ctx)
        return ratio


class Milliseconds(click.ParamType[float]):
    """``50ms``, ``0.05s``, or a bare number of milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"\s*([0-9.]+)\s*(us|µs|ms|s|)\s*", str(value))
        try:
            number = float(match[1]) if match else -1.0
        except ValueError:
            number = -1.0
        if match is None or number <= 0:
            self.fail(f"{value!r} is not a duration such as 50ms", param, ctx)
        return number * {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "": 1.0, "s": 1e3}[match[2]]


@click.command("fit")
@click.argument("source", metavar="[RUN | FILE]", default="latest")
@click.option(
    "--from", "form", type=click.Choice(["run", "csv"]), default="run", help="What is fitted; default: a run."
)
@click.option("--cpu", "cpu_ratio", type=Ratio(), help="CPU limit, of the bridge's cores; default 0.8.")
@click.option("--loss", "loss_ratio", type=Ratio(), help="Loss limit; default 0.0001.")
@click.option("--delay-p99", "delay_p99_ms", type=Milliseconds(), help="Limit of the delay's 99th percentile; 50ms.")
@click.option("--rx-thread", "rx_thread_ratio", type=Ratio(), help="Limit of the receiving thread, of one core; 0.7.")
@click.option(
    "--history",
    "history_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What production carried, as CSV: in_pps, out_pps, relay_pps, endpoints, host. Kept with the run.",
)
@click.option("--force", is_flag=True, help="Extrapolate further than 15 % beyond the highest load. Never exported.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of --json.")
@runs_dir_option
@json_option
def command(
    source: str,
    form: str,
    cpu_ratio: float | None,
    loss_ratio: float | None,
    delay_p99_ms: float | None,
    rx_thread_ratio: float | None,
    history_file: Path | None,
    force: bool,
    schema: bool,
    runs_dir: Path | None,
    as_json: bool,
) -> int:
    """Fit a run, or measurements of your own, into a max packet rate for each host, with its interval.

    \b
        jvbtune fit                                     the latest run, with the limits of its experiment
        jvbtune fit RUN --cpu 0.7                       a run, with another limit
        jvbtune fit --from csv FILE --delay-p99 30ms    one row a trial: host, block, step, in_pps, out_pps, relay_pps,
                                                        cpu_cores, cores, loss_ratio, delay_p99_ms, duration_s
        jvbtune fit RUN --history prod.csv              what is exported then holds for the dearest mix of packets that
                                                        production carried, and average-participant-stress is its own

    A fit of a run with its own limits is written to its recommendation.json. Exit code 5 where no host has a
    trustworthy recommendation, 4 where some have none.
    """
    if schema:
        from jvbtune.fit.schema import SCHEMA

        print_json(SCHEMA)
        return 0
    from jvbtune.fit.thresholds import complete

    chosen = {
        "cpu_ratio": cpu_ratio,
        "loss_ratio": loss_ratio,
        "delay_p99_ms": delay_p99_ms,
        "rx_thread_ratio": rx_thread_ratio,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    found, limits, more = (
        _from_csv(source, given, force, history_file)
        if form == "csv"
        else _from_run(source, runs_dir, given, force, history_file)
    )
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                **more,
                "limits": limits.to_json(),
                "hosts": [complete(r) for r in found],
            }
        )
    else:
        click.echo(text_of(found))
    failed = sum(r.max_packet_rate_pps is None for r in found)
    return 0 if failed == 0 else 5 if failed == len(found) else 4


def _from_csv(
    source: str, given: dict[str, float], force: bool, history_file: Path | None
) -> tuple[list[Recommendation], Limits, dict[str, Any]]:
    from jvbtune.fit import Limits, recommend
    from jvbtune.fit.csvfile import read_csv
    from jvbtune.fit.history import read_history

    measured = read_csv(Path(source))
    if measured.ignored:
        say(f"{source}: columns without a meaning here: {', '.join(measured.ignored)}")
    limits = Limits(**given)
    history = None if history_file is None else read_history(history_file)
    found = recommend(measured.trials, limits, force=force, history=history)
    missing = sorted({name for r in found for name in r.missing_columns})
    if missing:
        say(f"{source}: missing columns: {', '.join(missing)} (what follows is said with each host)")
    more = {"source": source, "missing_columns": missing, "ignored_columns": list(measured.ignored)}
    return found, limits, more


def _from_run(
    source: str, runs_dir: Path | None, given: dict[str, float], force: bool, history_file: Path | None
) -> tuple[list[Recommendation], Limits, dict[str, Any]]:
    from dataclasses import replace

    from jvbtune.report.result import derive, fit_run, keep_history, limits_of
    from jvbtune.store import open_run

    run = open_run(source, runs_dir)
    limits = replace(limits_of(run), **given)
    if history_file is not None:
        say(f"{keep_history(run, history_file)} written: show, explain, report and export take it into account")
    found = fit_run(run, limits, force=force)
    if not given and not force:
        derive(run)
        say(f"{run.path / 'recommendation.json'} written")
    return found, limits, {"run": run.id}


def text_of(found: Sequence[Recommendation]) -> str:
    """For people: a block a host."""
    blocks = []
    for r in found:
        lines = [f"{r.host}"]
        if r.max_packet_rate_pps is None or r.interval_pps is None:
            lines.append("  no recommendation: the data cannot carry one")
        else:
            low, high = r.interval_pps
            behind = "" if r.next_limit is None else f"; next: {r.next_limit}"
            if r.next_limit_pps is not None:
                behind += f" at {r.next_limit_pps:.0f} pps"
            lines += [
                f"  max packet rate  {r.max_packet_rate_pps:.0f} pps (95 % interval {low:.0f} to {high:.0f})",
                f"  bound by         {r.binding_limit}{behind}",
                f"  model            {r.model}; {r.trials} trials, {r.plots} restarts",
                f"  load threshold   {r.export_pps:.0f} pps: what 19 of 20 restarts carry within every limit",
            ]
        lines += [f"  - {reason}" for reason in r.reasons]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
