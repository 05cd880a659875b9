"""``jvbtune lab``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import json_option, print_json, say


@click.group("lab")
def command() -> None:
    """Start and stop the embedded lab host: a real sshd and a real JVM bridge on this machine."""


@command.command("up")
@click.argument("name", default="lab")
@click.option(
    "--bridge-home",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A real bridge: a directory with jitsi-videobridge.jar and lib/. Default: the lab's own small one.",
)
@click.option("--own-namespace", is_flag=True, help="Put the host into a network namespace of its own.")
def up(name: str, bridge_home: Path | None, own_namespace: bool) -> None:
    """Start the lab NAME (default: lab). Then: jvbtune sweep --host NAME."""
    from jvbtune.lab import Lab

    lab = Lab.up(name, bridge_home=bridge_home, own_namespace=own_namespace)
    say(f"the lab {name!r} is up: bridge process {lab.bridge_pid()}, {lab.network.bridge_address}:{lab.media_port}")
    click.echo(lab.inventory)


@command.command("down")
@click.argument("name", default="lab")
def down(name: str) -> None:
    """Stop the lab NAME and take away all that it made."""
    from jvbtune.lab import Lab

    lab = Lab.named(name)
    if lab is None:
        say(f"there is no lab {name!r}")
        return
    lab.down()
    say(f"the lab {name!r} is down")


@command.command("status")
@json_option
def status(as_json: bool) -> None:
    """What runs of the labs here."""
    from jvbtune.lab import Lab, lab_directory

    names = sorted(path.parent.name for path in lab_directory().glob("*/state.json"))
    labs = [lab.status() for lab in map(Lab.named, names) if lab is not None]
    if as_json:
        print_json({"schema_version": 1, "labs": labs})
        return
    if not labs:
        say("no lab is up: jvbtune lab up")
    for lab in labs:
        health = "healthy" if lab["bridge_healthy"] else "not healthy"
        click.echo(
            f"{lab['name']}: {'running' if lab['running'] else 'not running'}, bridge process {lab['bridge_pid']} "
            f"({health}), media {lab['media_address']}:{lab['media_port']}, "
            f"ssh -F {lab['directory']}/ssh_config {lab['name']}"
        )
