"""``jvbtune check``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jvbtune.cli.common import find_hosts, hosts_options, json_option, print_json, put, say
from jvbtune.cli.many import jobs_option, json_lines_option, several

if TYPE_CHECKING:
    from jvbtune.inventory import HostEntry, Selection
    from jvbtune.protocol.check import Finding
    from jvbtune.sweep.experiment import Needs

#: Of a finding on one line, in characters.
MAX_TEXT = 1000
MARKS = {"ok": "ok", "problem": "PROBLEM", "unknown": "note"}


@click.command("check")
@hosts_options
@click.argument("experiment", required=False, type=click.Path(path_type=Path, dir_okay=False))
@jobs_option(16, "Hosts that are checked at the same time.")
@json_option
@json_lines_option
def command(selection: Selection, experiment: Path | None, jobs: int, as_json: bool, json_lines: bool) -> int:
    """Look whether hosts are ready for a sweep; nothing is touched.

    It prints a line for each thing that a sweep needs: ssh, root, Python, the bridge, its REST interface, drain mode,
    calls, how the bridge is restarted, the settings of EXPERIMENT, the media port, the receive buffer that the bridge
    asked for and got, the address for load, the generator's cores, and the bridge channel and relays if the mix of
    EXPERIMENT needs them. Each sweep looks first in the same way. For several hosts it prints a table.

    EXPERIMENT is a TOML file, or the name of one that comes with jvbtune. Default: udp-buffers.toml.

    Exit code 1 means that a sweep would be refused, 4 that it would be refused on some of the hosts.

    \b
    Examples:
      jvbtune check --host jvb-eu-1
      jvbtune check --group all --label region=eu
    """
    from jvbtune.cli.sweep import find_experiment
    from jvbtune.sweep.experiment import load_experiment

    entries = find_hosts(selection)
    read = load_experiment(find_experiment(experiment))
    settings, needs = read.touched_settings(), read.needs()
    if several(entries, json_lines):
        return check_many(entries, settings, needs, jobs, as_json, json_lines)
    return _check_one(entries[0], list(settings), needs, as_json)


def _check_one(entry: HostEntry, settings: list[str], needs: Needs, as_json: bool) -> int:
    from jvbtune.protocol.codec import to_json
    from jvbtune.sweep.check import check

    checked = check(entry, settings, needs=needs)
    ready = checked.ready
    if as_json:
        print_json({"schema_version": 1, "host": entry.name, "ready": ready, "findings": to_json(checked.findings)})
    else:
        print_findings(checked.findings)
        put(f"{entry.name} is ready." if ready else f"{entry.name} is not ready: a sweep would be refused.")
    return 0 if ready else 1


def check_many(
    entries: Sequence[HostEntry],
    settings: tuple[str, ...],
    needs: Needs,
    jobs: int,
    as_json: bool,
    json_lines: bool,
) -> int:
    from jvbtune.cli.many import tell, work_through
    from jvbtune.fleet.looking import Check
    from jvbtune.fleet.nursery import Nursery
    from jvbtune.fleet.run import Fleet, Member, Rules
    from jvbtune.interrupts import handled

    members = [Member(entry, Check(entry, settings, needs)) for entry in entries]
    fleet = Fleet("check", members, Rules(jobs))
    with handled(say), Nursery() as nursery:
        code, outcomes = work_through(fleet, nursery, json_lines=json_lines)
    tell(outcomes, as_json=as_json, json_lines=json_lines, exit_code=code)
    return code


def print_findings(findings: Sequence[Finding]) -> None:
    """One line each, and the way out of a problem below it."""
    from jvbtune.text import clean

    for finding in findings:
        put(f"{MARKS[finding.state]:8}{finding.what:11}{clean(finding.text, MAX_TEXT)}")
        if finding.state == "problem" and finding.hint:
            put(f"{'':19}{clean(finding.hint, MAX_TEXT)}")
