"""``jvbtune compare``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import json_option, print_json, runs_dir_option
from jvbtune.report.result import result_of
from jvbtune.store import open_run


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@runs_dir_option
@json_option
def command(runs: tuple[str, ...], runs_dir: Path | None, as_json: bool) -> None:
    """Put runs beside each other: max packet rate with its interval, kernel, bridge, machine.

    Two runs are said to differ only where their 95 % intervals do not overlap, which is stricter than a test at 5 %.
    """
    results = [result_of(open_run(run, runs_dir)) for run in runs]
    rows = [
        {
            "id": result["id"],
            "host": result["host"],
            "status": result["status"],
            "recommendation": result["recommendation"],
            "provenance": result["provenance"],
        }
        for result in results
    ]
    pairs = []
    for index, first in enumerate(results):
        for second in results[index + 1 :]:
            one, other = first["recommendation"], second["recommendation"]
            verdict = "unresolved"
            if one and other:
                (low, high), (other_low, other_high) = one["interval_pps"], other["interval_pps"]
                apart = low > other_high or high < other_low
                verdict = "different" if apart else "not significant"
            ratio = other["max_packet_rate_pps"] / one["max_packet_rate_pps"] if one and other else None
            pairs.append({"a": first["id"], "b": second["id"], "ratio": ratio, "verdict": verdict})
    if as_json:
        print_json({"schema_version": 1, "runs": rows, "comparisons": pairs})
        return
    for result in results:
        figures = result["recommendation"]
        figure = "no recommendation"
        if figures is not None:
            low, high = figures["interval_pps"]
            rate, limit = figures["max_packet_rate_pps"], figures["binding_limit"]
            figure = f"{rate:.0f} pps ({low:.0f} to {high:.0f}), bound by {limit}"
        facts = result["provenance"]
        click.echo(f"{result['id']}: {figure}")
        names = ("jvb_version", "java", "kernel", "cpu")
        click.echo("    " + ", ".join([result["host"], *(f"{name} {facts[name]}" for name in names)]))
    for pair in pairs:
        ratio = f" (× {pair['ratio']:.3f})" if pair["ratio"] else ""
        click.echo(f"{pair['b']} against {pair['a']}: {pair['verdict']}{ratio}")
