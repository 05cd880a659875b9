"""``jvbtune runs``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import click

from jvbtune.cli.common import json_option, pass_over, print_json, put, runs_dir_option, say
from jvbtune.errors import StoreError
from jvbtune.store import Damaged, Run, list_runs, runs_directory
from jvbtune.store.places import remembered
from jvbtune.store.run import reference_runs
from jvbtune.text import clean, did_you_mean

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Listed:
    """One run. ``status``: running, done, failed, interrupted or damaged. ``created_unix``: seconds since 1970, UTC."""

    id: str
    host: str
    labels: dict[str, str]
    experiment: str
    status: str
    created_unix: float
    path: str


@dataclass(frozen=True)
class Listing:
    """The document of ``jvbtune runs --json``, newest run first."""

    schema_version: int
    runs: tuple[Listed, ...]


@click.command("runs")
@click.option("--host", "host_name", metavar="HOST", help="List only the runs of this host.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of --json.")
@runs_dir_option
@json_option
def command(host_name: str | None, schema: bool, runs_dir: Path | None, as_json: bool) -> None:
    """List runs, newest first: id, time of the start (UTC), status, and labels of the host.

    \b
    Example:
      jvbtune runs --host jvb-eu-1 --json
    """
    if schema or as_json:
        from jvbtune.result.stored import schema_of, to_json

        if schema:
            print_json(schema_of(Listing, "jvbtune runs --json"))
            return
    where = runs_directory(runs_dir)
    damaged: list[Damaged] = []
    every = list_runs(where, damaged)
    pass_over(damaged)
    runs = tuple(
        Listed(
            id=run.id,
            host=run.host,
            labels=run.labels,
            experiment=run.experiment_name,
            status=status_of(run),
            created_unix=float(run.manifest["created_unix"]),
            path=str(run.path),
        )
        for run in every
        if host_name in (None, run.host)
    )
    if as_json:
        print_json(to_json(Listing(SCHEMA_VERSION, runs)))
        return
    if not runs and host_name is not None and (hosts := {run.host for run in every}):
        near = did_you_mean(host_name, hosts) or "."
        say(f"There is no run of {clean(host_name)}{near} Hosts with runs: {', '.join(sorted(hosts))}")
        return
    if not runs:
        of_host = f" of {host_name}" if host_name else ""
        examples = reference_runs(where)
        own = " of your own" if examples and not host_name else ""
        say(f"There is no run{own}{of_host} in {where} yet. To make one: jvbtune sweep --host HOST")
        if examples:
            say(f"Reference runs are there, by their names: {', '.join(examples)}")
        for other in remembered():
            if runs_dir is None and other != where.absolute() and list_runs(other, []):
                say(f"There are runs in {other}: jvbtune runs --runs-dir {other}")
        return
    width = max(len(run.id) for run in runs)
    for run in runs:
        begun = time.strftime("%Y-%m-%d %H:%M", time.gmtime(run.created_unix))
        labels = "".join(f"  {clean(key)}={clean(value)}" for key, value in run.labels.items())
        put(f"{run.id:<{width}}  {begun}  {run.status}{labels}")


def status_of(run: Run) -> str:
    """As ``Run.status``, or ``damaged`` if its journal cannot be read."""
    try:
        return run.status()
    except StoreError:
        return "damaged"
