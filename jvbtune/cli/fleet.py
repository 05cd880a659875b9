"""``jvbtune fleet``: what concerns many hosts together."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jvbtune.cli import LazyGroup
from jvbtune.cli.common import (
    find_hosts,
    hosts_options,
    inventory_of,
    json_option,
    pass_over,
    print_json,
    put,
    readable_results,
    runs_dir_option,
    say,
    warn_of_same_bridges,
)
from jvbtune.errors import StoreError
from jvbtune.text import counted

if TYPE_CHECKING:
    from jvbtune.fleet.kinds import Kind
    from jvbtune.inventory import Selection
    from jvbtune.store import Damaged, Run

SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "runs": ("jvbtune.cli.fleet:runs", "List fleet runs, newest first."),
    "report": ("jvbtune.cli.fleet:report", "Write one HTML page: machine types side by side, and what to set where."),
}


@click.group("fleet", cls=LazyGroup, table=SUBCOMMANDS)
def command() -> None:
    """Look at many hosts together. sweep, check, capacity and apply take many hosts themselves."""


@click.command("runs")
@runs_dir_option
@json_option
def runs(runs_dir: Path | None, as_json: bool) -> None:
    """List fleet runs, newest first, with how far their hosts are.

    \b
    Example:
      jvbtune fleet runs
    """
    from collections import Counter

    from jvbtune.fleet.store import list_fleets
    from jvbtune.store import Damaged

    damaged: list[Damaged] = []
    found = []
    for fleet in list_fleets(runs_dir, damaged):
        try:
            found.append((fleet, Counter(str(one.state) for one in fleet.outcomes().values())))
        except StoreError as error:  # of its journal
            damaged.append(Damaged(fleet.id, error))
    pass_over(damaged)
    if as_json:
        print_json(
            {
                "schema_version": 1,
                "fleet_runs": [
                    {"id": fleet.id, "command": fleet.command, "hosts": list(fleet.hosts), "states": dict(states)}
                    for fleet, states in found
                ],
            }
        )
        return
    for fleet, states in found:
        put(
            f"{fleet.id}  {counted(len(fleet.hosts), 'host')}: "
            + ", ".join(f"{n} {state}" for state, n in states.items())
        )
    if not found:
        say("There is no fleet run yet. Make one: jvbtune sweep --group GROUP")


@click.command("report")
@click.argument("fleet_run", metavar="[FLEET]", required=False)
@hosts_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("fleet.html"),
    show_default=True,
    help="File to write.",
)
@click.option(
    "--price",
    "price_texts",
    multiple=True,
    metavar="TYPE=PRICE",
    help="Price of a host of this machine type for an hour, such as c5.xlarge=0.19. Repeatable. Default: the table "
    "[prices] of jvbtune.toml.",
)
@runs_dir_option
@json_option
def report(
    fleet_run: str | None,
    selection: Selection,
    output: Path,
    price_texts: tuple[str, ...],
    runs_dir: Path | None,
    as_json: bool,
) -> int:
    """Write one HTML page that compares machine types, and hosts with their kind. It works offline.

    The page has the max packet rate of each machine type with its interval, for each core, and for the price if it is
    known; the hosts that are worse than their kind; and what to set on which type. Its path goes to stdout.

    FLEET is a fleet run: an id, the beginning of one, or latest. Without it, the newest finished run of each host
    counts, of the hosts that are selected, or of all.

    \b
    Examples:
      jvbtune fleet report
      jvbtune fleet report latest -o fleet.html --price c5.xlarge=0.19 --price n2-standard-4=0.21
    """
    from jvbtune.errors import UsageError
    from jvbtune.fleet.kinds import kind_name, kinds_of
    from jvbtune.fleet.page import render
    from jvbtune.result.stored import to_json
    from jvbtune.store.atomic import write_bytes

    found, simulated = _runs(fleet_run, selection, runs_dir)
    results = readable_results(found)
    if not results:
        raise UsageError("none of the runs can be read", hint="Measure the hosts again: jvbtune sweep --group GROUP.")
    inventory = inventory_of(selection.inventories)
    measured = {result.host for result in results}
    warn_of_same_bridges(entry for entry in inventory.hosts.values() if entry.name in measured)
    given = _prices(price_texts)
    known = {kind_name(result) for result in results}
    kinds = kinds_of(results, {name: price for name, price in inventory.prices.items() if name in known} | given)
    if as_json:
        print_json(
            to_json({"schema_version": 1, "simulated_hosts": simulated, "kinds": [_document(kind) for kind in kinds]})
        )
        return 0
    page = render(kinds, title="the fleet", created_unix=time.time(), simulated=simulated)
    try:
        write_bytes(output, page.encode())
    except OSError as error:
        hint = "Choose another file: -o FILE."
        raise UsageError(f"{output}: cannot be written: {error.strerror}", hint=hint) from None
    put(output)
    if simulated:
        say(f"Left out: {counted(simulated, 'simulated host')}")
    for kind in kinds:
        for host in kind.worse:
            assert host.residual is not None
            share = f"{100 * host.residual.ratio:.0f} % of what the others predict"
            say(f"{host.host} is worse than its kind, {kind.name}: {share}")
    return 0


def _runs(reference: str | None, selection: Selection, runs_dir: Path | None) -> tuple[list[Run], int]:
    """One finished run for each host that was measured, and how many hosts have simulated runs only."""
    from jvbtune.errors import UsageError
    from jvbtune.store import Damaged, newest_of_hosts

    damaged: list[Damaged] = []
    what, runs_of = _every_run(reference, runs_dir, damaged)
    if not selection.is_empty:
        names = {entry.name for entry in find_hosts(selection)}
        runs_of = [run for run in runs_of if run.host in names]
    kinds: dict[bool, list[Run]] = {True: [], False: []}
    for run in runs_of:
        try:
            kinds[run.is_simulated()].append(run)
        except StoreError as error:
            damaged.append(Damaged(run.id, error))
    found, simulated = newest_of_hosts(kinds[False], damaged), newest_of_hosts(kinds[True], damaged)
    pass_over(damaged)
    left_out = len({run.host for run in simulated} - {run.host for run in found})
    if not found:
        more = f"; {counted(left_out, 'simulated host')} left out" if left_out else ""
        raise UsageError(
            f"{what} has no finished run of these hosts{more}", hint="Measure them: jvbtune sweep --group GROUP."
        )
    return found, left_out


def _every_run(reference: str | None, runs_dir: Path | None, damaged: list[Damaged]) -> tuple[str, list[Run]]:
    """(where, runs), newest first: of the directory, or of one fleet run."""
    from jvbtune.fleet.store import open_fleet
    from jvbtune.store import Damaged, list_runs, open_run

    if reference is None:
        return "the directory of runs", list_runs(runs_dir, damaged)
    fleet, found = open_fleet(reference, runs_dir), []
    for one in fleet.outcomes().values():
        if one.run is None:
            continue
        try:
            found.append(open_run(fleet.path.parent / one.run))
        except StoreError as error:
            damaged.append(Damaged(one.run, error))
    return f"fleet run {fleet.id}", found


def _prices(texts: tuple[str, ...]) -> dict[str, float]:
    from jvbtune.errors import UsageError

    found = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            price = float(number)
        except ValueError:
            price = math.nan
        if not (name and equals) or not 0 < price < math.inf:
            raise UsageError(f"--price {text}: not a machine type and a price", hint="Write --price c5.xlarge=0.19.")
        found[name] = price
    return found


def _document(kind: Kind) -> dict[str, object]:
    return {
        "machine_type": kind.name,
        "cores": kind.cores,
        "price": kind.price,
        "max_packet_rate_pps": kind.rate_pps,
        "interval_pps": kind.interval_pps,
        "pooled": kind.pooled,
        "why_not_pooled": kind.why_not_pooled,
        "settings": [{"file": file, "line": line} for file, line in kind.settings()],
        "hosts": [
            {
                "host": host.host,
                "run": host.result.id,
                "max_packet_rate_pps": host.rate_pps,
                "interval_pps": host.interval_pps,
                "residual": host.residual,
                "worse": host in kind.worse,
            }
            for host in kind.hosts
        ],
    }
