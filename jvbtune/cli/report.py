"""``jvbtune report``."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from jvbtune.cli.common import put, run_argument, runs_dir_option, say
from jvbtune.store import open_run


@click.command("report")
@run_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Also copy the report to this file."
)
@runs_dir_option
def command(run: str, output: Path | None, runs_dir: Path | None) -> None:
    """Write a run's HTML report: one file with plots, verdicts and provenance, which works offline.

    The report's path goes to stdout.

    RUN is an id, the beginning of one, a path, or latest.
    """
    from jvbtune.report import write_report

    path = write_report(open_run(run, runs_dir))
    if output is not None:
        shutil.copyfile(path, output)
        say(f"copied to {output}")
    put(path)
