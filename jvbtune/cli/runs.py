"""``jvbtune runs``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from jvbtune.cli.common import json_option, print_json, runs_dir_option
from jvbtune.store import list_runs


@click.command("runs")
@click.option("--host", "host_name", metavar="HOST", help="Only the runs of this host.")
@runs_dir_option
@json_option
def command(host_name: str | None, runs_dir: Path | None, as_json: bool) -> None:
    """List runs, newest first."""
    runs = [run for run in list_runs(runs_dir) if host_name in (None, run.host)]
    rows = [
        {
            "id": run.id,
            "host": run.host,
            "experiment": run.experiment_name,
            "status": run.status(),
            "created_unix": run.manifest["created_unix"],
            "path": str(run.path),
        }
        for run in runs
    ]
    if as_json:
        print_json({"schema_version": 1, "runs": rows})
        return
    if not rows:
        click.echo("no run yet: jvbtune sweep --host HOST", err=True)
        return
    width = max(len(str(row["id"])) for row in rows)
    for row in rows:
        made = time.strftime("%Y-%m-%d %H:%M", time.gmtime(float(str(row["created_unix"]))))
        click.echo(f"{row['id']:<{width}}  {made}  {row['status']}")
