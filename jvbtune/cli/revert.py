"""``jvbtune revert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jvbtune.cli.common import find_host, host_option, inventory_option, json_option, print_json, put, say
from jvbtune.errors import CHANGES_PENDING

if TYPE_CHECKING:
    from jvbtune.protocol.deploy import Generation
    from jvbtune.protocol.tuning import Status


@click.command("revert")
@host_option()
@click.option("--check", is_flag=True, help="Only report what would be put back. Exit code 3 if there is something.")
@click.option("--force", is_flag=True, help="Put back even if a sweep is using the host now.")
@inventory_option
@json_option
def command(host_name: str, check: bool, force: bool, inventory: tuple[Path, ...], as_json: bool) -> int:
    """Put a host back to the values that a sweep found on arrival.

    You need this only if a sweep could not do it: it normally puts everything back itself. A value that somebody else
    changed in the meantime is reported and left as it is.

    \b
    Example:
      jvbtune revert --host jvb-eu-1 --check
    """
    from jvbtune.hosts import connect
    from jvbtune.hosts.agent_client import AgentClient
    from jvbtune.inventory import bridge_arguments
    from jvbtune.protocol import deploy
    from jvbtune.protocol import tuning as messages
    from jvbtune.protocol.codec import to_json
    from jvbtune.protocol.messages import Nothing
    from jvbtune.settings.tuning import not_put_back

    entry = find_host(host_name, inventory, to_put_back=True)
    with connect(entry) as host, AgentClient(host) as agent:
        status = agent.call(messages.STATUS, Nothing())
        if not status.pending and not check:
            agent.call(messages.REVERT, messages.Revert())  # a killed guard may have left files behind
        if check or status.journal is None:
            _tell_status(host_name, status, as_json)
            _tell_apply(host_name, agent.call(deploy.LATEST, Nothing()).generation)
            return CHANGES_PENDING if status.pending else 0
        revert = messages.Revert(force, bridge_arguments(entry))
        report = agent.call(messages.REVERT, revert, timeout_seconds=420)
    if as_json:
        print_json({"schema_version": 1, "host": host_name, **to_json(report)})
    else:
        for name, value in report.restored.items():
            put(f"{name} = {value}")
        for name, values in report.foreign.items():
            say(f"{name} is {values.found} (it was {values.baseline}): somebody else changed it, so it is left")
        if report.restarted:
            say("The bridge was restarted.")
        if report.undrained:
            say("The bridge takes conferences again.")
        for note in report.notes:
            say(note)
    problem = not_put_back(host_name, report)
    if problem is not None:
        raise problem
    return 0


def _tell_status(host_name: str, status: Status, as_json: bool) -> None:
    from jvbtune.protocol.codec import to_json

    found = status.journal
    if as_json:
        about = {name: value for name, value in to_json(status).items() if name != "journal"}
        print_json({"schema_version": 1, "host": host_name, **about, **(to_json(found) if found else {})})
    elif found is None:
        say(f"{host_name}: there is nothing to put back")
    else:
        put(f"{host_name}: these values of run {found.run_id} ({found.owner}) are to be put back:")
        if found.pending_restart:
            put(f"  {found.pending_restart}")
        for name, ours in (found.written or {}).items():
            now, before = status.now.get(name), (found.baseline or {}).get(name)
            if now == before:
                put(f"  {name} = {now}, as it was")
            elif now in ours:
                put(f"  {name}: {now} -> {before}")
            else:
                put(f"  {name} is {now}: somebody else changed it, so it is left as it is")


def _tell_apply(host_name: str, latest: Generation | None) -> None:
    """An apply that did not end is not a sweep's, but whoever asks here looks for it."""
    from jvbtune.protocol.deploy import IN_FORCE

    if latest is not None and latest.state not in IN_FORCE:
        say(f"An apply of run {latest.run_id} did not end. To see it: jvbtune rollback --host {host_name} --check")
