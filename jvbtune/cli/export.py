"""``jvbtune export``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import run_argument, runs_dir_option, say
from jvbtune.store import open_run

FORMATS = ("sysctl", "jvb-conf", "docker", "json")


@click.command("export")
@run_argument
@click.option("--format", "format_name", type=click.Choice(FORMATS), required=True, help="What to write.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="A directory for the files; default: they go to stdout.",
)
@runs_dir_option
def command(run: str, format_name: str, output: Path | None, runs_dir: Path | None) -> None:
    """Write a run's result in the form in which it is deployed.

    \b
    sysctl    60-jvbtune.conf for /etc/sysctl.d
    jvb-conf  HOCON for jvb.conf: load measurement, thresholds, receive buffer
    docker    docker-jitsi-meet: custom-jvb.conf, Jicofo's variables, the host's sysctl file
    json      the recommendation itself

    Exit code 5 where the run has no trustworthy recommendation.
    """
    from jvbtune.export import export_run, write_files

    files = export_run(open_run(run, runs_dir), format_name)
    if output is not None:
        for path in write_files(files, output):
            say(f"wrote {path}")
        return
    for name, text in files.items():
        if len(files) > 1:
            click.echo(f"# ---- {name}")
        click.echo(text, nl=False)
