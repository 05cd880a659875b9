"""What commands share: options, output, exit codes."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from jvbtune.errors import SomeHostsFailed

Command = TypeVar("Command", bound=Callable[..., Any])

inventory_option = click.option(
    "--inventory",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="JVBTUNE_INVENTORY",
    help="The jvbtune.toml to use; default: here, then ~/.config/jvbtune.",
)
runs_dir_option = click.option(
    "--runs-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where runs are kept; default: $JVBTUNE_RUNS, experiments/runs here, then ~/.local/share/jvbtune/runs.",
)
captures_dir_option = click.option(
    "--captures-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where captures are kept; default: $JVBTUNE_CAPTURES, flamegraphs here, then ~/.local/share/jvbtune.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output, with a schema_version.")
run_argument = click.argument("run", default="latest", metavar="[RUN]")


def host_option(required: bool = True) -> Callable[[Command], Command]:
    """``--host``: an entry of jvbtune.toml, a running lab, or an alias of the OpenSSH configuration."""
    return click.option(
        "--host",
        "host_name",
        required=required,
        metavar="HOST",
        help="An entry of jvbtune.toml, a running lab, or an alias of your OpenSSH configuration.",
    )


def find_host(name: str, inventory: Path | None) -> Any:
    """The entry of that name. A running lab is found by its name where no inventory has it."""
    from jvbtune.inventory import load_inventory

    loaded = load_inventory(inventory)
    if name not in loaded.hosts:
        from jvbtune.lab import running_labs

        lab = running_labs().get(name)
        if lab is not None:
            return load_inventory(lab).host(name)
    return loaded.host(name)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, default=str))


def say(message: str) -> None:
    """Progress and messages go to stderr."""
    click.echo(message, err=True)


def owner() -> str:
    """Who holds a host's lock: user, machine, process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"


def on_terminal() -> bool:
    return sys.stderr.isatty()


def fail_for_some(failed: list[str], total: int) -> None:
    """Exit code 4 where some hosts failed."""
    if failed:
        raise SomeHostsFailed(f"{len(failed)} of {total} hosts failed: {', '.join(failed)}")
