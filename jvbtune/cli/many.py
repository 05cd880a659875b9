"""What commands on several hosts share: options, the way through a fleet's work, the table at its end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvbtune.cli.common import Command, find_host, inventory_of, print_json, put, say
from jvbtune.errors import Interrupted
from jvbtune.text import counted

if TYPE_CHECKING:
    from jvbtune.fleet.nursery import Job, Nursery
    from jvbtune.fleet.outcome import Outcome
    from jvbtune.fleet.run import Fleet, Member, Rules
    from jvbtune.fleet.store import FleetRun
    from jvbtune.inventory import HostEntry, Selection
    from jvbtune.store import Run
    from jvbtune.sweep.experiment import Needs

SCHEMA_VERSION = 1

json_lines_option = click.option(
    "--json-lines", is_flag=True, help="Print each event as a line of JSON, while it happens. See docs/fleet.md."
)


def jobs_option(default: int, what: str) -> Callable[[Command], Command]:
    """``--jobs``."""
    return click.option(
        "--jobs", type=click.IntRange(1, 256), default=default, show_default=True, metavar="N", help=what
    )


def budget_options(command: Command) -> Command:
    """``--max-unavailable`` and ``--per``."""
    most = click.option(
        "--max-unavailable",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help="At most N hosts are out of service at the same time, for each value of --per.",
    )
    per = click.option(
        "--per",
        metavar="LABEL",
        help="Apply --max-unavailable to each value of this label, such as region. Hosts of the inventory that are "
        "drained, unhealthy or unreachable count as well.",
    )
    return most(per(command))


def rules_of(
    context: click.Context, entries: Sequence[HostEntry], selection: Selection, resumed: FleetRun | None
) -> Rules:
    """What --jobs, --max-unavailable and --per say; a resumed fleet run keeps its own, unless others are given.

    Raises UsageError for a label that a host does not have: such a host would be counted nowhere.
    """
    from jvbtune.errors import UsageError
    from jvbtune.fleet.budget import Budget
    from jvbtune.fleet.run import Rules

    kept = {} if resumed is None else dict(resumed.work.get("rules") or {})

    def value(name: str) -> Any:
        given = context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        return context.params[name] if given or name not in kept else kept[name]

    per = value("per")
    without = [entry.name for entry in entries if per is not None and per not in entry.labels]
    if without:
        raise UsageError(
            f"--per {per}: {', '.join(without[:8])} {'has' if len(without) == 1 else 'have'} no label {per}",
            hint="Give each host the label in jvbtune.toml, or choose another label.",
        )
    budget = Budget(int(value("max_unavailable")), per)
    neighbours = _neighbours(selection, per) if per is not None else _not_put_back(entries, selection, resumed)
    return Rules(int(value("jobs")), budget, False, neighbours)


def rules_json(rules: Rules) -> dict[str, Any]:
    """As ``rules_of`` finds it again."""
    assert rules.budget is not None
    return {"jobs": rules.jobs, "max_unavailable": rules.budget.max_unavailable, "per": rules.budget.per}


def _neighbours(selection: Selection, per: str) -> list[HostEntry]:
    """Every host of the inventory: by a label they share a budget."""
    loaded = inventory_of(selection.inventories)
    if loaded.failed:
        raise loaded.failed[0]  # who shares the budget is not known
    return list(loaded.hosts.values())


def _not_put_back(entries: Sequence[HostEntry], selection: Selection, resumed: FleetRun | None) -> list[HostEntry]:
    """The hosts that a resumed fleet run left out of service, and that are not selected now. One that no inventory has
    any more does not count."""
    from jvbtune.errors import UsageError

    names = {} if resumed is None else resumed.not_put_back()
    found = []
    for name in names.keys() - {entry.name for entry in entries}:
        try:
            found.append(find_host(name, selection.inventories))
        except UsageError:
            if inventory_of(selection.inventories).failed:
                raise
    return found


def work_through(fleet: Fleet, nursery: Nursery, *, json_lines: bool) -> tuple[int, list[Outcome]]:
    """Run a fleet's work in the foreground, with a live table on a terminal. The exit code, and how each host ended."""
    from jvbtune.cli.live import LiveTable

    with LiveTable([one.entry.name for one in fleet.members], quiet=json_lines) as table:

        def observe(event: str, data: Mapping[str, Any]) -> None:
            if json_lines:
                put(json.dumps({"schema_version": SCHEMA_VERSION, "event": event, "unix": _now(), **data}, default=str))
            table(event, data)

        fleet.observe = observe
        code = fleet.run(nursery)
    return code, fleet.ordered()


def _now() -> float:
    return round(time.time(), 3)


def measure_many(
    command: str,
    entries: Sequence[HostEntry],
    job: Callable[[HostEntry, Run | None], Job],
    work: Mapping[str, Any],
    settings: tuple[str, ...],
    needs: Needs,
    resumed: FleetRun | None,
    rules: Rules,
    directory: Path,
    *,
    as_json: bool,
    json_lines: bool,
) -> int:
    """A sweep or a search of several hosts. All are checked at once before one is taken out of service; those that are
    not ready fail at that, and the others are measured. A host whose run was measured to its end, but is not in the
    record as done, only gets its result.

    ``job``: of a host, and of its run that is gone on with. ``work``: what a later --resume has to know.
    """
    from jvbtune.fleet.looking import Check
    from jvbtune.fleet.measuring import Derive
    from jvbtune.fleet.nursery import MEASURING, Nursery
    from jvbtune.fleet.outcome import FINISHED, Outcome, State
    from jvbtune.fleet.run import Fleet, Member, Rules
    from jvbtune.fleet.store import create_fleet
    from jvbtune.interrupts import handled

    work = {**work, "rules": rules_json(rules)}
    record = resumed or create_fleet(directory, command, entries, work, sys.argv)
    earlier = record.outcomes() if resumed is not None else {}
    done = {name: one for name, one in earlier.items() if one.state in FINISHED}
    left = [entry for entry in entries if entry.name not in done]
    runs = {entry.name: _earlier_run(earlier.get(entry.name), directory) for entry in left}
    measured = {name: Derive(run) for name, run in runs.items() if run is not None and run.status() == "done"}
    if resumed is not None:
        say(f"Done already: {len(done)} of {len(entries)} hosts.")
    with handled(say), Nursery(MEASURING) as nursery:
        if measured:  # jvbtune was ended before the record had it
            say(f"Measured to the end already, and not touched again: {', '.join(measured)}.")
        say(f"Checking {counted(len(left) - len(measured), 'host')}.")
        jobs = [Member(one, measured.get(one.name) or Check(one, settings, needs)) for one in left]
        checking = Fleet("check", jobs, Rules())
        code, checked = work_through(checking, nursery, json_lines=json_lines)
        done |= {one.host: one for one in checked if one.host in measured and one.state in FINISHED}
        ended = {**done, **{one.host: one for one in checked if one.state != "done"}}
        if code == Interrupted.exit_code:
            ended = {entry.name: Outcome(entry.name, State.INTERRUPTED, code, "nothing was touched") for entry in left}
            ended |= done
        members = [Member(entry, job(entry, runs.get(entry.name)), ended.get(entry.name)) for entry in entries]
        return _run_recorded(record, members, rules, nursery, as_json=as_json, json_lines=json_lines)


def _earlier_run(outcome: Outcome | None, directory: Path) -> Run | None:
    """The run that an earlier attempt left, if it measured anything and is done, or can be gone on with."""
    from jvbtune.errors import StoreError
    from jvbtune.store import open_run

    if outcome is None or outcome.run is None:
        return None
    try:
        run = open_run(outcome.run, directory)
    except StoreError:
        return None  # refused before anything began
    status = run.status()
    if status == "running":
        raise StoreError(
            f"{run.path}: another jvbtune is writing this run",
            hint="It may still be putting the host back. Try again in a minute.",
        )
    return run if status == "done" or run.experiment_name != "capacity-search" else None


def _run_recorded(
    record: FleetRun, members: Sequence[Member], rules: Rules, nursery: Nursery, *, as_json: bool, json_lines: bool
) -> int:
    """Work that is recorded, and can be resumed: to its end, and its table."""
    from jvbtune.fleet.outcome import FINISHED
    from jvbtune.fleet.run import Fleet
    from jvbtune.fleet.store import FleetWriter

    say(f"fleet run {record.id} in {record.path}")
    with FleetWriter(record) as writer:
        fleet = Fleet(record.command, members, rules, writer=writer, not_put_back=record.not_put_back())
        code, outcomes = work_through(fleet, nursery, json_lines=json_lines)
    tell(outcomes, as_json=as_json, json_lines=json_lines, fleet=record, exit_code=code)
    if any(one.state not in FINISHED for one in outcomes):
        say(f"Repeat the hosts that are not done: jvbtune {record.command} --resume {record.id}")
    return code


def tell(
    outcomes: Sequence[Outcome],
    *,
    as_json: bool,
    json_lines: bool = False,
    fleet: FleetRun | None = None,
    exit_code: int = 0,
) -> None:
    """The end of work on several hosts: a table, or one JSON document. After ``--json-lines`` there is no more."""
    from jvbtune.protocol.codec import to_json

    if json_lines:
        return
    if as_json:
        document = {"schema_version": SCHEMA_VERSION, "exit_code": exit_code, "hosts": to_json(list(outcomes))}
        if fleet is not None:
            document["fleet"] = fleet.id
        print_json(document)
        return
    for line in table_lines(outcomes):
        put(line)


def table_lines(outcomes: Iterable[Outcome]) -> list[str]:
    """Host, state, reason; below them what to do. Then how many hosts are in each state."""
    from jvbtune.text import clean

    found = list(outcomes)
    width = max([4, *(len(one.host) for one in found)]) + 2
    states = max([5, *(len(one.state) for one in found)]) + 2
    lines = [f"{'host':{width}}{'state':{states}}reason"]
    for one in found:
        lines.append(f"{clean(one.host):{width}}{one.state:{states}}{clean(one.reason, 400)}")
        indent = " " * (width + states)
        if one.not_put_back:
            lines.append(f"{indent}NOT PUT BACK: the host is {clean(one.not_put_back)}.")
            lines.append(f"{indent}Look with: jvbtune revert --host {clean(one.host)} --check")
        if one.advice and one.state not in ("done",):
            lines += [f"{indent}{clean(line, 400)}" for line in one.advice.splitlines() if line.strip()]
    counts: dict[str, int] = {}
    for one in found:
        counts[one.state] = counts.get(one.state, 0) + 1
    lines.append(f"{counted(len(found), 'host')}: " + ", ".join(f"{many} {state}" for state, many in counts.items()))
    return lines


def several(entries: Sequence[HostEntry], json_lines: bool, per: str | None = None) -> bool:
    """Whether a command works as a fleet; one host is worked on as ever, unless it shares a budget with others."""
    return len(entries) > 1 or json_lines or per is not None


def entries_of(fleet: FleetRun, selection: Selection) -> list[HostEntry]:
    """The hosts of a fleet run, as the inventory has them now; only those that are selected, if some are."""
    from dataclasses import replace

    from jvbtune.cli.common import find_hosts
    from jvbtune.errors import UsageError
    from jvbtune.inventory import Selection

    if selection.is_empty:
        return find_hosts(Selection(hosts=fleet.hosts, inventories=selection.inventories))
    chosen = find_hosts(replace(selection, members=None))
    foreign = [entry.name for entry in chosen if entry.name not in fleet.hosts]
    if foreign:
        raise UsageError(
            f"fleet run {fleet.id} does not have the host {foreign[0]}", hint=f"It has {', '.join(fleet.hosts[:20])}."
        )
    return chosen


def resumed_fleet(reference: str | None, selection: Selection, runs_dir: Path | None, command: str) -> FleetRun | None:
    """The fleet run that ``--resume`` names, if it is one and not the run of one host: by its name, or ``latest``
    without one host that is named."""
    from jvbtune.fleet.store import PREFIX, open_fleet

    if reference is None:
        return None
    named = Path(reference).name.startswith(PREFIX)
    one_host = len(selection.hosts) == 1 and not selection.groups and not selection.labels
    if named or not one_host:
        return open_fleet(reference, runs_dir, command)
    return None
