"""``jvbtune flame``: each subcommand is a module of its own and is imported only when it is called."""

from __future__ import annotations

import click

from jvbtune.cli import LazyGroup

#: subcommand name -> ("module:attribute", short help), as ``jvbtune.cli.COMMANDS``.
SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "view": ("jvbtune.cli.flame_view:command", "Show a profile as a flamegraph."),
    "diff": ("jvbtune.cli.flame_diff:command", "Compare two profiles: what costs more, and what is noise."),
    "convert": ("jvbtune.cli.flame_convert:command", "Convert profiles, or add several up into one file."),
    "scaling": ("jvbtune.cli.flame_scaling:command", "Show which frames grow faster than the packet rate."),
    "serve": ("jvbtune.cli.flame_serve:command", "List captures in the browser, and compare any two."),
}


@click.group("flame", cls=LazyGroup, table=SUBCOMMANDS)
def command() -> None:
    """Convert, compare and view profiles of a bridge: collapsed stacks, perf script, JFR, speedscope, pprof."""
