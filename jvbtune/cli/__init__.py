"""The command line: thin commands over the library, and the only place that prints and exits.

Commands are loaded when they are called: the table below is all that ``jvbtune --help`` needs, so that start-up stays
near a bare interpreter's.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import click

from jvbtune import __version__

#: command name -> ("module:attribute", short help). A test holds each against its command.
COMMANDS: dict[str, tuple[str, str]] = {
    "sweep": ("jvbtune.cli.sweep:command", "Sweep settings of a host under controlled load; the main job."),
    "capacity": ("jvbtune.cli.capacity:command", "Find a host's NDR, PDR and max packet rate by adaptive trials."),
    "load": ("jvbtune.cli.load:command", "Hold one load on a bridge, and report what was offered and lost."),
    "profile": ("jvbtune.cli.profile:command", "Profile a live bridge, and write its flamegraph."),
    "revert": ("jvbtune.cli.revert:command", "Put a host back to the values found on arrival."),
    "runs": ("jvbtune.cli.runs:command", "List runs, newest first."),
    "show": ("jvbtune.cli.show:command", "Show a run: recommendation, verdicts, trials."),
    "fit": ("jvbtune.cli.fit:command", "Fit a run, or measurements of your own, into a max packet rate."),
    "history": ("jvbtune.cli.history:command", "Record what a live bridge carries, for fit --history."),
    "compare": ("jvbtune.cli.compare:command", "Compare runs with each other."),
    "export": ("jvbtune.cli.export:command", "Write a run's result in the form in which it is deployed."),
    "report": ("jvbtune.cli.report:command", "Write a run's HTML report."),
    "flame": ("jvbtune.cli.flame:command", "Convert, compare and view profiles of a bridge."),
    "lab": ("jvbtune.cli.lab:command", "Start and stop the embedded lab host."),
    "explain": ("jvbtune.cli.explain:command", "Tell how a run's figures come about, each with its source."),
    "simulate": ("jvbtune.cli.simulate:command", "Write a run of a simulated host whose truth is known."),
}


class LazyGroup(click.Group):
    """A group whose commands, those of a table like ``COMMANDS``, are imported only when they are called."""

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        module_name, attribute = self.table[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module_name), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if not self.table:
            return
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help) for name, (_, short_help) in self.table.items()])


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="jvbtune")
def cli() -> None:
    """Measure what a Jitsi Videobridge host can carry, and which kernel settings it needs."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with the exit code of the design: data on stdout, all else on stderr."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments == ["--version"]:  # the fast way: scripts ask this often
        sys.stdout.write(f"jvbtune {__version__}\n")
        sys.exit(0)
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    from jvbtune.errors import JvbtuneError

    try:
        result: Any = cli.main(args=arguments, prog_name="jvbtune", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except JvbtuneError as error:
        click.echo(f"jvbtune: {error.message}", err=True)
        if error.hint:
            click.echo(error.hint, err=True)
        return error.exit_code
    except BrokenPipeError:
        return 1
