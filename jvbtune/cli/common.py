"""What commands share: options, output, exit codes."""

from __future__ import annotations

import contextlib
import errno
import functools
import getpass
import json
import math
import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from jvbtune import interrupts
from jvbtune.text import clean, printable

if TYPE_CHECKING:
    from jvbtune.errors import JvbtuneError
    from jvbtune.fleet.store import FleetRun
    from jvbtune.inventory import HostEntry, Inventory, Selection
    from jvbtune.load.mixfile import MixSection
    from jvbtune.result import RunResult
    from jvbtune.store import Run

Command = TypeVar("Command", bound=Callable[..., Any])

inventory_option = click.option(
    "--inventory",
    multiple=True,
    type=click.Path(path_type=Path),
    envvar="JVBTUNE_INVENTORY",
    help="A jvbtune.toml, or an inventory of Ansible, Terraform or a cloud (docs/inventory.md). Repeatable. Default: "
    "jvbtune.toml here, then ~/.config/jvbtune/jvbtune.toml.",
)
runs_dir_option = click.option(
    "--runs-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of runs. Default: $JVBTUNE_RUNS, experiments/runs of the checkout you are in, then "
    "~/.local/share/jvbtune/runs.",
)
captures_dir_option = click.option(
    "--captures-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of captures. Default: $JVBTUNE_CAPTURES, flamegraphs of the checkout you are in, then "
    "~/.local/share/jvbtune/flamegraphs.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, with a schema_version.")
column_option = click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=COLUMN",
    help="A column under another name, such as in_pps=packet_rate_download. Repeatable.",
)
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


def hosts_options(command: Command) -> Command:
    """``--host``, ``--group``, ``--label``, ``--members``, ``--inventory``: the command gets them as one argument,
    ``selection``, for ``find_hosts``."""

    @functools.wraps(command)
    def with_selection(
        *args: Any,
        host_names: tuple[str, ...],
        group_names: tuple[str, ...],
        label_texts: tuple[str, ...],
        members: int | None,
        inventory: tuple[Path, ...],
        **others: Any,
    ) -> Any:
        from jvbtune.inventory import Selection, parse_labels

        selection = Selection(host_names, group_names, parse_labels(label_texts), members, inventory)
        return command(*args, selection=selection, **others)

    options = (
        click.option(
            "--host",
            "host_names",
            multiple=True,
            metavar="HOST",
            help="A host of the inventory, a running lab, or an alias of your OpenSSH configuration. Repeatable.",
        ),
        click.option(
            "--group",
            "group_names",
            multiple=True,
            metavar="GROUP",
            help="All hosts of a group of the inventory. Repeatable. The group all has every host.",
        ),
        click.option(
            "--label",
            "label_texts",
            multiple=True,
            metavar="KEY=VALUE",
            help="Only hosts with this label. Repeatable: all keys must fit, and one of the values of each key.",
        ),
        click.option(
            "--members",
            type=click.IntRange(min=1),
            metavar="N",
            help="Only N hosts of each --group, spread over its zones; always the same ones.",
        ),
        inventory_option,
    )
    wrapped: Any = with_selection
    for option in reversed(options):
        wrapped = option(wrapped)
    selected: Command = wrapped
    return selected


def find_hosts(selection: Selection, *, to_put_back: bool = False) -> list[HostEntry]:
    """The hosts that are selected, in the inventory's order. Raises UsageError if none is named, for a host, group or
    label that nobody knows, and for one machine under two names, before anything is connected to. ``to_put_back``: as
    for ``find_host``."""
    from jvbtune.inventory import refuse_same_machine

    if selection.is_empty:
        raise click.UsageError("Name the hosts: --host, --group or --label. Every host: --group all.")
    found, _ = look_up(selection, to_put_back=to_put_back)
    refuse_same_machine(found)
    return found


def look_up(selection: Selection, *, to_put_back: bool = False) -> tuple[list[HostEntry], Inventory]:
    """The hosts that are selected, all if none is named, and the inventory. Raises UsageError."""
    from dataclasses import replace

    from jvbtune.inventory import select

    loaded = inventory_of(selection.inventories, to_put_back=to_put_back)
    if loaded.failed and (selection.groups or selection.labels):
        raise loaded.failed[0]  # who belongs to the group is not known
    others = {name: _host_of(name, loaded) for name in selection.hosts if loaded.failed or name not in loaded.hosts}
    known = replace(loaded, hosts={**loaded.hosts, **others})
    found = select(known, selection.hosts, selection.groups, selection.labels, selection.members)
    if selection.members is not None:
        say(f"Chosen from {', '.join(selection.groups)}: {', '.join(entry.name for entry in found)}")
    warn_of_same_bridges(found)
    return found, known


def warn_of_same_bridges(entries: Iterable[HostEntry]) -> None:
    """Say which hosts are one bridge under two names."""
    from jvbtune.inventory import same_bridges

    for text in same_bridges(entries):
        say(f"Warning: {text}.")


def inventory_of(inventories: Sequence[Path], *, to_put_back: bool = False) -> Inventory:
    """The command's inventory. It is read once for each command: the commands of its sources may take seconds, and a
    cloud may answer otherwise a moment later. ``to_put_back``: as for ``find_host``."""
    from jvbtune.inventory import load_inventory

    context = click.get_current_context(silent=True)
    kept: dict[Any, Any] = {} if context is None else context.meta
    key = f"{__name__}.inventory {[str(path) for path in inventories]}"
    if key not in kept:
        kept[key] = load_inventory(inventories, without_failed=to_put_back)
        for error in kept[key].failed:
            say(f"Going on without a source of the inventory. {error.message}")
    loaded: Inventory = kept[key]
    return loaded


def find_host(name: str, inventories: Sequence[Path] = (), *, to_put_back: bool = False) -> HostEntry:
    """The entry of that name. A running lab is found by its name where no inventory has it. Raises UsageError for a
    name that nobody knows, before anything is connected to.

    ``to_put_back``: a host is put back although a source of the inventory cannot be read (a cloud's command whose
    login has run out), if its address is known without that source.
    """
    return _host_of(name, inventory_of(inventories, to_put_back=to_put_back))


def _host_of(name: str, loaded: Inventory) -> HostEntry:
    from jvbtune.inventory import load_inventory, refuse_unknown

    entry = loaded.host(name)
    if name not in loaded.hosts:
        from jvbtune.lab import running_labs

        labs = running_labs()
        if name in labs:
            return load_inventory(labs[name]).host(name)
        refuse_unknown(entry, loaded, labs)
    elif loaded.failed:
        refuse_unknown(entry, loaded)
    return entry


class Number(click.FloatRange):
    """A finite number, within a range if there is one. ``nan`` is in every range of click's, ``inf`` in those with one
    end: neither is a time to wait or a share of anything."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class PacketRate(click.ParamType[float]):
    """``50k``, ``50kpps`` or ``50000``, at least ``least``."""

    name = "packet rate"

    def __init__(self, least: float) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from jvbtune.units import parse_rate

        try:
            rate = parse_rate(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not math.isfinite(rate):
            self.fail(f"{clean(str(value))} is not a finite number of packets", param, ctx)
        if rate < self.least:
            self.fail(f"{rate:g} is below {self.least:g} pps", param, ctx)
        return rate


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    put(json.dumps(value, indent=2, default=str))


class ReaderGone(Exception):
    """Nobody reads stdout any more: ``| head`` has what it wants."""


def put(text: object, *, nl: bool = True) -> None:
    """Data go to stdout. This and ``say`` are the only ways out: text of a host, a bridge or a file is made harmless
    to a terminal here, also where stdout is a pipe (``| less -R``).

    If the reader is gone, a command that may have to put a host back ends as by an interrupt; others by ReaderGone.
    """
    try:
        click.echo(printable(str(text)), nl=nl)
    except BrokenPipeError:
        to_nowhere(sys.stdout)
        if not interrupts.interrupt():
            raise ReaderGone from None
    except OSError as error:
        raise _unwritable(error) from None


def _unwritable(error: OSError) -> JvbtuneError:
    from jvbtune.errors import JvbtuneError

    to_nowhere(sys.stdout)
    why = "it is closed" if error.errno == errno.EBADF else error.strerror
    return JvbtuneError(f"stdout cannot be written to: {why}", hint="Write to another file, or make room.")


def lost_output() -> JvbtuneError | None:
    """Why stdout does not take what is still to be written to it; None: it does."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return _unwritable(error)
    return None


#: Said before the time that a measurement takes, and not only after it (docs/faq.md).
AUDIO_ONLY = "The load is audio only. With video, a packet costs up to 1.7 times as much: --mix meeting-5"
#: What capacity and load measure where nothing else is asked for.
DEFAULT_MIX = "meeting-5"
#: Of options that describe a conference of audio.
AUDIO_SHAPE = "With this, the load is audio only."


def say(message: str) -> None:
    """Progress and messages go to stderr. One that cannot be written is lost, and ends no undo half-way."""
    try:
        click.echo(printable(message), err=True)
    except BrokenPipeError:
        to_nowhere(sys.stderr)
        interrupts.interrupt()
    except OSError:
        to_nowhere(sys.stderr)


def to_nowhere(stream: TextIO) -> None:
    """What is still to be written to the stream is lost, without another error when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def pass_over(damaged: Iterable[JvbtuneError]) -> None:
    """Say which records a command goes on without, and what to do about them."""
    for error in damaged:
        say(f"Passed over: {error}")


def refuse_other_command(fleet: FleetRun | None, command: str) -> None:
    """Raises StoreError for a fleet run of another command: a path may name one."""
    from jvbtune.errors import StoreError

    if fleet is not None and fleet.command != command:
        raise StoreError(
            f"fleet run {fleet.id} is of jvbtune {fleet.command}, not of jvbtune {command}",
            hint=f"Go on with it: jvbtune {fleet.command} --resume {fleet.id}",
        )


def readable_results(runs: Iterable[Run]) -> list[RunResult]:
    """The results of the runs; one that cannot be read is passed over."""
    from jvbtune.errors import StoreError
    from jvbtune.result.stored import result_of

    found = []
    for run in runs:
        try:
            found.append(result_of(run))
        except StoreError as error:
            pass_over([error])
    return found


def owner() -> str:
    """Who holds a host's lock: user, machine, process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"


def on_terminal() -> bool:
    return sys.stderr.isatty()


def first_line(file: Path, what: str) -> str:
    """A secret from a file. Never an argument: every user of the machine can read those. Raises ConfigError."""
    from jvbtune.errors import ConfigError

    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {getattr(error, 'strerror', 'not UTF-8')}", file=file) from error
    if not lines or not lines[0].strip():
        raise ConfigError("the first line is empty", file=file, hint=f"Put the {what} on the first line.")
    return lines[0].strip()


def runs_to_write(runs_dir: Path | None) -> Path:
    """The directory for a new run; noted, so that the run is found from any directory."""
    from jvbtune.store import remember, runs_directory

    where = runs_directory(runs_dir)
    if runs_dir is None and not os.environ.get("JVBTUNE_RUNS"):
        remember(where)
    return where


def mix_option(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--mix``, and ``--from-history`` for the same thing of a history: what ``read_mix`` takes."""
    return click.option(
        "--mix",
        "--from-history",
        "mix_name",
        metavar="NAME|FILE",
        help="Traffic mix: audio, one-to-one, meeting-5, meeting-20, webinar, screen-share, town-hall-60, a TOML file, "
        f"or a CSV file of jvbtune history. Default: {default}.",
    )


def read_mix(name: str) -> MixSection:
    """The mix of that name or file; of a CSV file the nearest one to what was carried, and how near it is on standard
    error. Raises ConfigError, FormatError."""
    from jvbtune.load.historymix import mix_of_history
    from jvbtune.load.mixfile import load_mix

    if not name.lower().endswith(".csv"):
        return load_mix(name)
    built = mix_of_history(Path(name))
    say(f"traffic mix of {name}: {built.section.mix()}")
    for note in built.notes:
        say(f"  {note}")
    return built.section


def conference_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--participants`` and ``--senders`` of conferences of audio: part of the ``shape`` of ``mix_asked_for``."""
    senders = click.option(
        "--senders",
        type=click.IntRange(1, 500),
        default=3,
        show_default=True,
        help=f"How many of them send. {AUDIO_SHAPE}",
    )
    participants = click.option(
        "--participants",
        type=click.IntRange(2, 500),
        default=5,
        show_default=True,
        help=f"Participants of a conference. {AUDIO_SHAPE}",
    )
    return participants(senders(command))


def mix_asked_for(context: click.Context, name: str | None, shape: Mapping[str, Any]) -> MixSection:
    """The mix of ``--mix``; where options describe conferences instead, audio of that ``shape``, whose keys are the
    options' parameters; where none does, the default mix. Raises UsageError for both, and as ``read_mix``."""
    from jvbtune.load.mixfile import MixSection

    given = [key for key in shape if context.get_parameter_source(key) is click.core.ParameterSource.COMMANDLINE]
    if given and name is not None:
        option = "--" + given[0].replace("_", "-")
        raise click.UsageError(f"--mix describes the conferences, so {option} cannot be given with it")
    if not given:
        return read_mix(name or DEFAULT_MIX)
    if shape["senders"] > shape["participants"]:
        raise click.UsageError(f"--senders {shape['senders']} is more than --participants {shape['participants']}")
    return MixSection(**{key: value for key, value in shape.items() if key in MixSection.model_fields})
