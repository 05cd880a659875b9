"""The command line: thin commands over the library, and the only place that prints and exits.

Commands are loaded when they are called: the table below is all that ``jvbtune --help`` needs, so that start-up stays
near a bare interpreter's.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import click

from jvbtune import __version__

if TYPE_CHECKING:
    from jvbtune.errors import JvbtuneError

#: command name -> ("module:attribute", short help). A test holds each against its command.
COMMANDS: dict[str, tuple[str, str]] = {
    "hosts": (
        "jvbtune.cli.hosts:command",
        "List hosts of the inventory, with their labels, groups, and the last figures.",
    ),
    "check": ("jvbtune.cli.check:command", "Look whether hosts are ready for a sweep; nothing is touched."),
    "sweep": ("jvbtune.cli.sweep:command", "Sweep settings and packet rates of hosts under controlled load."),
    "capacity": ("jvbtune.cli.capacity:command", "Search the max packet rate of hosts; no setting is changed."),
    "load": ("jvbtune.cli.load:command", "Hold one load on a bridge, and report what was lost and delayed."),
    "profile": ("jvbtune.cli.profile:command", "Profile a live bridge, and write its flamegraph."),
    "revert": ("jvbtune.cli.revert:command", "Put a host back to the values that a sweep found on arrival."),
    "runs": ("jvbtune.cli.runs:command", "List runs, newest first."),
    "show": ("jvbtune.cli.show:command", "Show what a run found: what to set, and what to do next."),
    "fit": ("jvbtune.cli.fit:command", "Compute a max packet rate from a run, or from your own measurements."),
    "history": ("jvbtune.cli.history:command", "Record the traffic of a live bridge, for mix and fit."),
    "mix": ("jvbtune.cli.mix:command", "List the traffic mixes, or build one from recorded traffic."),
    "observe": ("jvbtune.cli.observe:command", "Observe live bridges: InfluxDB, Prometheus, Parquet, terminal."),
    "compare": ("jvbtune.cli.compare:command", "Compare runs: hosts, kernels, versions."),
    "export": ("jvbtune.cli.export:command", "Write a run's result as the files that you deploy."),
    "apply": ("jvbtune.cli.apply:command", "Apply a run's result to hosts, and watch them; rolls back by itself."),
    "rollback": ("jvbtune.cli.apply:rollback", "Take the last apply on hosts back."),
    "fleet": ("jvbtune.cli.fleet:command", "Compare machine types and hosts: one page for the whole fleet."),
    "annotate": ("jvbtune.cli.annotate:command", "Mark runs and applies in Grafana."),
    "report": ("jvbtune.cli.report:command", "Write a run's HTML report."),
    "flame": ("jvbtune.cli.flame:command", "Convert, compare and view profiles of a bridge."),
    "lab": ("jvbtune.cli.lab:command", "Start and stop the embedded lab host on this machine."),
    "explain": ("jvbtune.cli.explain:command", "Explain where each figure of a run comes from."),
    "simulate": ("jvbtune.cli.simulate:command", "Write a run of a simulated host with known figures."),
}

#: A write that fails by these does not name its file (write(2)).
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


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
    """Measure the max packet rate of a Jitsi Videobridge host, and the kernel settings that it needs.

    \b
    Begin with:
      jvbtune sweep --host HOST --dry-run    what a sweep will do, and how long it takes
      jvbtune sweep --host HOST              measure
      jvbtune show                           the result
      jvbtune export --format jvb-conf       the files to deploy

    HOST is an entry of jvbtune.toml, a running lab, or an alias of your OpenSSH configuration. Data goes to stdout,
    messages go to stderr. Exit codes: 0 success, 1 failure, 2 usage, 3 changes pending, 4 some hosts failed, 5 no
    trustworthy recommendation, 130 interrupted after the host was put back.
    """


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with the exit code of the design: data on stdout, all else on stderr."""
    arguments = sys.argv[1:] if argv is None else argv
    _mend_streams()
    if arguments == ["--version"]:  # the fast way: scripts ask this often
        sys.exit(_version())
    from jvbtune.interrupts import leave_ignored

    leave_ignored()
    sys.exit(_run(arguments))


def _mend_streams() -> None:
    """A standard stream that is closed (``2>&-``) is on /dev/null, so that no file gets its number: messages are lost,
    data cannot be written. A character that the encoding of stdout does not have becomes a question mark."""
    for number, name, flags in ((0, "stdin", os.O_RDONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, flags)
            os.dup2(opened, number)
            os.set_inheritable(number, True)
            if opened != number:
                os.close(opened)
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115  stays open
            setattr(sys, name, stream)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding.lower() not in ("utf-8", "utf8"):
        sys.stdout.reconfigure(errors="replace")


def _version() -> int:
    try:
        sys.stdout.write(f"jvbtune {__version__}\n")
        sys.stdout.flush()
    except OSError:
        return _run(["--version"])  # says why
    return 0


def _run(arguments: list[str]) -> int:
    from jvbtune.cli.common import ReaderGone, lost_output, say, to_nowhere
    from jvbtune.errors import READER_GONE, JvbtuneError

    stdout = sys.stdout
    try:
        result: Any = cli.main(args=arguments, prog_name="jvbtune", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        text = io.StringIO()
        error.show(text)
        say(text.getvalue().rstrip("\n"))
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        say("interrupted")
        return 130
    except JvbtuneError as error:
        return _told(error)
    except ReaderGone:
        return READER_GONE
    except SystemExit:
        if sys.stdout is stdout:
            raise
        to_nowhere(stdout)  # click's own way out if --help finds no reader
        return READER_GONE
    except OSError as error:
        if (lost := lost_output()) is not None:  # of click's own --help and --version
            return _told(lost)
        if error.filename is None and error.errno not in DISK_ERRORS:
            raise  # no file of the user's
        where = "" if error.filename is None else f"{error.filename!s:.200}: "
        say(f"jvbtune: {where}{error.strerror}")
        return 1


def _told(error: JvbtuneError) -> int:
    from jvbtune.cli.common import say

    say(f"jvbtune: {error.message}")
    if error.hint:
        say(error.hint)
    return error.exit_code
