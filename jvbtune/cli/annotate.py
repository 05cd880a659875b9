"""``jvbtune annotate``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jvbtune.cli.common import (
    find_host,
    first_line,
    inventory_option,
    json_option,
    print_json,
    put,
    runs_dir_option,
    say,
)

if TYPE_CHECKING:
    from jvbtune.export.grafana.annotations import Annotation

TOKEN = "GRAFANA_TOKEN"
file_type = click.Path(path_type=Path, dir_okay=False)


@click.command("annotate")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "--grafana", "url", required=True, metavar="URL", help="Address of Grafana, with the path it is served at."
)
@click.option("--token-file", type=file_type, help=f"File with the token on its first line. Default: ${TOKEN}.")
@click.option("--ca", "ca_file", type=file_type, help="PEM file of the CA that signed Grafana's certificate.")
@click.option(
    "--host",
    "host_names",
    multiple=True,
    metavar="HOST",
    help="Also annotate the apply that is in force on this host. Repeatable.",
)
@runs_dir_option
@inventory_option
@json_option
def command(
    runs: tuple[str, ...],
    url: str,
    token_file: Path | None,
    ca_file: Path | None,
    host_names: tuple[str, ...],
    runs_dir: Path | None,
    inventory: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Mark runs and applies in Grafana, so that its graphs show when jvbtune loaded or changed a host.

    A sweep or a search for the max packet rate becomes a region, one for each session if it was resumed; the apply that
    is in force on a host becomes a moment. Each has the tags jvbtune, host:HOST and run:RUN, and the dashboards of
    jvbtune export --format grafana show all with the tag jvbtune.

    RUN is an id, the beginning of one, a path, or latest. A second call adds nothing; it updates what has changed
    since. The token is that of a service account which may write annotations. It comes from the environment or a file
    only.

    \b
    Examples:
      GRAFANA_TOKEN=… jvbtune annotate --grafana https://grafana.example.org latest
      jvbtune annotate --grafana https://grafana.example.org --token-file token --host jvb-eu-1
    """
    from jvbtune.errors import UsageError
    from jvbtune.export.grafana.api import Grafana

    if not runs and not host_names:
        raise UsageError("name a run or a host to annotate", hint="Example: jvbtune annotate --grafana URL latest")
    grafana = Grafana(url, _token(token_file), ca_file)
    wanted = [*_of_runs(runs, runs_dir), *_of_hosts(host_names, inventory)]
    if grafana.unencrypted:
        say(f"The token goes to {url} unencrypted. Use https:// if Grafana has it.")
    done = []
    for annotation in wanted:
        outcome = grafana.put(annotation)
        done.append({"outcome": outcome.value, "tags": list(annotation.tags)})
        if not as_json:
            put(f"{outcome.value}: {' '.join(annotation.tags)}")
    if as_json:
        print_json({"schema_version": 1, "annotations": done})
    return 0


def _token(file: Path | None) -> str:
    """Of a file, else of the environment."""
    from jvbtune.errors import UsageError

    if file is not None:
        return first_line(file, "token")
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise UsageError(f"there is no token for Grafana: ${TOKEN} is not set", hint="Set it, or use --token-file.")
    return token


def _of_runs(names: tuple[str, ...], runs_dir: Path | None) -> Iterator[Annotation]:
    from jvbtune.export.grafana.annotations import of_run
    from jvbtune.result import result_of
    from jvbtune.store import open_run

    for name in names:
        run = open_run(name, runs_dir)
        yield from of_run(result_of(run), run.events())


def _of_hosts(names: tuple[str, ...], inventory: tuple[Path, ...]) -> Iterator[Annotation]:
    from jvbtune.export.grafana.annotations import of_apply
    from jvbtune.hosts import connect
    from jvbtune.hosts.agent_client import AgentClient
    from jvbtune.protocol.deploy import LATEST
    from jvbtune.protocol.messages import Nothing

    for name in names:
        with connect(find_host(name, inventory)) as host, AgentClient(host) as agent:
            latest = agent.call(LATEST, Nothing()).generation
        if latest is None:
            say(f"{name}: nothing is applied, so there is nothing to annotate")
        else:
            yield of_apply(name, latest)
