"""``jvbtune hosts``."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jvbtune.cli.common import hosts_options, json_option, look_up, pass_over, print_json, put, runs_dir_option, say
from jvbtune.cli.runs import status_of
from jvbtune.text import clean

if TYPE_CHECKING:
    from jvbtune.inventory import HostEntry, Selection
    from jvbtune.store import Run

SCHEMA_VERSION = 1
CONNECTIONS = 16  #: at once, for --connect
MACHINE_TYPE = "machine_type"
FIGURES = "MAX PACKET RATE"  #: a figure that is cut says something else
#: The columns that give way on a narrow terminal; HOST never does.
LEAST_IMPORTANT_FIRST = ("SOURCE", "LABELS", "GROUPS", "MEASURED", "SSH", "REACHED", FIGURES)
LEAST_WIDTH = 10
GAP = "  "


@dataclass(frozen=True)
class Measured:
    """The newest finished run with a recommendation. ``host``: the one that was measured, maybe another of the type.
    ``created_unix``: seconds since 1970, UTC."""

    run: str
    host: str
    created_unix: float
    max_packet_rate_pps: float
    interval_pps: tuple[float | None, float | None]


@dataclass(frozen=True)
class Reached:
    """Whether ssh reaches the host. ``problem``: why not."""

    ok: bool
    problem: str | None


@dataclass(frozen=True)
class ListedHost:
    """One host. ``ssh``: what OpenSSH is given; null: this machine. ``measured`` is of the host itself, and
    ``measured_of_type`` of another host with its label machine_type, if it has no figure of its own."""

    name: str
    ssh: str | None
    media_address: str | None
    labels: dict[str, str]
    groups: tuple[str, ...]
    source: str
    last_run: str | None
    last_run_status: str | None
    measured: Measured | None
    measured_of_type: Measured | None
    reached: Reached | None


@dataclass(frozen=True)
class LeftOut:
    """A host of a source that cannot be measured, with the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Hosts:
    """The document of ``jvbtune hosts --json``."""

    schema_version: int
    hosts: tuple[ListedHost, ...]
    left_out: tuple[LeftOut, ...]


@click.command("hosts")
@hosts_options
@click.option("--connect", is_flag=True, help="Log in to each host by ssh, to see whether it can be reached.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of --json.")
@runs_dir_option
@json_option
def command(selection: Selection, connect: bool, schema: bool, runs_dir: Path | None, as_json: bool) -> int:
    """List hosts of the inventory, with their labels, groups, and the last figures.

    Without --host, --group and --label it lists all. It connects to no host unless you give --connect. A host without a
    run of its own is shown with the figures of another host of its machine type.

    Exit code 4 means that --connect did not reach some hosts.

    \b
    Examples:
      jvbtune hosts
      jvbtune hosts --inventory terraform-show.json --label region=eu-central-1
      jvbtune hosts --group jitsi-eu1-jvb --members 2
    """
    from jvbtune.errors import SOME_HOSTS
    from jvbtune.result.stored import schema_of, to_json

    if schema:
        print_json(schema_of(Hosts, "jvbtune hosts --json"))
        return 0
    entries, inventory = look_up(selection)
    reached = _reach(entries) if connect else [None] * len(entries)
    listed = _listed(entries, reached, runs_dir)
    left_out = tuple(LeftOut(name, why) for name, why in sorted(inventory.left_out.items()))
    if as_json:
        print_json(to_json(Hosts(SCHEMA_VERSION, listed, left_out if selection.is_empty else ())))
    else:
        _print_table(listed)
        for one in left_out if selection.is_empty else ():
            say(f"Left out: {clean(one.name)}: {clean(one.reason)}")
    return SOME_HOSTS if any(one.reached is not None and not one.reached.ok for one in listed) else 0


def _listed(
    entries: Sequence[HostEntry], reached: Sequence[Reached | None], runs_dir: Path | None
) -> tuple[ListedHost, ...]:
    from jvbtune.store import Damaged, list_runs

    names, types = {entry.name for entry in entries}, {entry.labels.get(MACHINE_TYPE) for entry in entries}
    last: dict[str, Run] = {}
    of_host: dict[str, Measured] = {}
    of_type: dict[str, Measured] = {}
    damaged: list[Damaged] = []
    for run in list_runs(runs_dir, damaged):
        machine_type = run.labels.get(MACHINE_TYPE)
        wanted_host = run.host in names and run.host not in of_host
        wanted_type = machine_type is not None and machine_type in types and machine_type not in of_type
        if run.host in names:
            last.setdefault(run.host, run)
        if (wanted_host or wanted_type) and (measured := _measured(run)) is not None:
            of_host.setdefault(run.host, measured)
            if machine_type is not None:
                of_type.setdefault(machine_type, measured)
    pass_over(damaged)

    def listed(entry: HostEntry, how: Reached | None) -> ListedHost:
        newest, own = last.get(entry.name), of_host.get(entry.name)
        return ListedHost(
            name=entry.name,
            ssh=entry.ssh,
            media_address=entry.bridge.media_address,
            labels=entry.labels,
            groups=entry.groups,
            source=entry.source,
            last_run=newest.id if newest is not None else None,
            last_run_status=status_of(newest) if newest is not None else None,
            measured=own,
            measured_of_type=of_type.get(entry.labels.get(MACHINE_TYPE, "")) if own is None else None,
            reached=how,
        )

    return tuple(map(listed, entries, reached))


def _measured(run: Run) -> Measured | None:
    """The figures of a finished run; None without a recommendation, or if it cannot be read."""
    from jvbtune.errors import JvbtuneError
    from jvbtune.result.model import Source
    from jvbtune.result.stored import result_of

    try:
        result = result_of(run)
        real = run.status() == "done" and result.source is not Source.SIMULATED
        found = result.recommendation if real else None
    except JvbtuneError as error:
        pass_over([error])
        return None
    if found is None:
        return None
    created = float(run.manifest["created_unix"])
    return Measured(run.id, run.host, created, found.max_packet_rate_pps, found.interval_pps)


def _reach(entries: Sequence[HostEntry]) -> list[Reached]:
    from jvbtune.errors import JvbtuneError
    from jvbtune.hosts import connect

    def one(entry: HostEntry) -> Reached:
        try:
            with connect(entry) as host:
                done = host.run(["true"])
        except TimeoutError:
            return Reached(False, "it did not answer in time")
        except JvbtuneError as error:
            return Reached(False, clean(error.message))
        return Reached(done.status == 0, None if done.status == 0 else f"true ended with status {done.status}")

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(one, entries))


def _print_table(listed: Sequence[ListedHost]) -> None:
    """A line for each host. The last columns hold the longest texts; on a terminal the lines fit."""
    connected = any(one.reached is not None for one in listed)
    rows = [
        (
            "HOST",
            "SSH",
            *(["REACHED"] if connected else []),
            FIGURES,
            "MEASURED",
            "GROUPS",
            "LABELS",
            "SOURCE",
        )
    ]
    for one in listed:
        figures = one.measured or one.measured_of_type
        rows.append(
            (
                clean(one.name),
                clean(one.ssh) if one.ssh is not None else "this machine",
                *([_reached(one.reached)] if connected else []),
                _rate(figures),
                _when(one, figures),
                clean(",".join(one.groups)) or "–",
                clean(" ".join(f"{key}={value}" for key, value in one.labels.items())) or "–",
                clean(one.source),
            )
        )
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    widths = widths_of(rows, width)
    for row in rows:
        cells = [f"{_cut(row[at], own):<{own}}" for at, own in widths.items()]
        put(GAP.join(cells).rstrip())
    hidden = [name for at, name in enumerate(rows[0]) if at not in widths]
    if hidden:
        put(f"On a wider terminal also: {', '.join(hidden)}")


def widths_of(rows: Sequence[Sequence[str]], width: int | None) -> dict[int, int]:
    """Column -> its width, of the columns that are shown. ``width``: of the terminal; None: there is none.

    The least important columns are shortened, and left out if even that is not enough; never the host's name.
    """
    heads = rows[0]
    full = {at: max(len(row[at]) for row in rows) for at in range(len(heads))}
    if width is None:
        return full
    order = [heads.index(name) for name in LEAST_IMPORTANT_FIRST if name in heads]
    found = full
    for left_out in range(len(order) + 1):
        found = {at: own for at, own in full.items() if at not in order[:left_out]}
        over = sum(found.values()) + len(GAP) * (len(found) - 1) - width
        for at in order[left_out:]:
            if heads[at] != FIGURES:
                least = min(found[at], max(LEAST_WIDTH, len(heads[at])))
                taken = max(0, min(over, found[at] - least))
                found[at] -= taken
                over -= taken
        if over <= 0:
            break
    return found


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _rate(figures: Measured | None) -> str:
    from jvbtune.cli.result_text import interval, pps

    if figures is None:
        return "–"
    return f"{pps(figures.max_packet_rate_pps)} ({interval(figures.interval_pps)})"


def _when(one: ListedHost, figures: Measured | None) -> str:
    if figures is None:
        return f"{one.last_run_status}: {one.last_run}" if one.last_run else "never"
    day = time.strftime("%Y-%m-%d", time.gmtime(figures.created_unix))
    return f"{day} {figures.run}" if one.measured else f"{day} {figures.run}, same machine type"


def _reached(reached: Reached | None) -> str:
    return "–" if reached is None else "yes" if reached.ok else f"no: {reached.problem}"
