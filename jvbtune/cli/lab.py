"""``jvbtune lab``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import json_option, print_json, put, say

#: ``jvbtune.lab.KINDS``, which a command line that needs no lab does not load.
KINDS = ("process", "systemd", "container")


@click.group("lab")
def command() -> None:
    """Start and stop the embedded lab host: a real sshd and a real JVM bridge on this machine."""


@command.command("up")
@click.argument("name", default="lab")
@click.option(
    "--bridge-home",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    envvar="JVBTUNE_JVB_HOME",
    help="Directory of a real bridge, with jitsi-videobridge.jar and lib/. Default: $JVBTUNE_JVB_HOME, else the "
    "lab's own small bridge.",
)
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default=KINDS[0],
    show_default=True,
    help="How the bridge runs: as a process of this machine; as the Debian package's unit on a host with systemd; "
    "in a container, as docker-jitsi-meet runs it. The last two boot a Debian host that is built on first use.",
)
@click.option("--own-namespace", is_flag=True, help="Put the host into a network namespace of its own.")
def up(name: str, bridge_home: Path | None, kind: str, own_namespace: bool) -> None:
    """Start the lab NAME. Default: lab. It needs root.

    The path of its jvbtune.toml goes to stdout. Then: jvbtune sweep --host NAME.
    """
    from jvbtune.lab import Lab

    lab = Lab.up(name, kind=kind, bridge_home=bridge_home, own_namespace=own_namespace, say=say)
    say(f"the lab {name!r} is up: bridge process {lab.bridge_pid()}, {lab.network.bridge_address}:{lab.media_port}")
    put(lab.inventory)


@command.command("down")
@click.argument("name", default="lab")
def down(name: str) -> None:
    """Stop the lab NAME and remove everything that it made. Default: lab."""
    from jvbtune.lab import Lab, lab_directory

    lab = Lab.named(name)
    if lab is None:
        say(f"there is no lab {name!r} in {lab_directory()}")
        return
    lab.down()
    say(f"the lab {name!r} is down")


@command.command("status")
@json_option
def status(as_json: bool) -> None:
    """Show which labs run on this machine."""
    from jvbtune.lab import Lab, lab_directory

    names = sorted(path.parent.name for path in lab_directory().glob("*/state.json"))
    labs = [lab.status() for lab in map(Lab.named, names) if lab is not None]
    if as_json:
        print_json({"schema_version": 1, "labs": labs})
        return
    if not labs:
        say(f"no lab is up in {lab_directory()}: jvbtune lab up")
    for lab in labs:
        health = "healthy" if lab["bridge_healthy"] else "not healthy"
        put(
            f"{lab['name']}: {'running' if lab['running'] else 'not running'}, bridge process {lab['bridge_pid']} "
            f"({health}), media {lab['media_address']}:{lab['media_port']}, "
            f"ssh -F {lab['directory']}/ssh_config {lab['name']}"
        )
