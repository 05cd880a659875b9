"""``jvbtune revert``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import find_host, host_option, inventory_option, json_option, print_json, say
from jvbtune.errors import TuningError


@click.command("revert")
@host_option()
@click.option("--check", is_flag=True, help="Only say what would be put back; exit code 3 if there is something.")
@click.option("--force", is_flag=True, help="Also where a sweep holds the host at this moment.")
@inventory_option
@json_option
def command(host_name: str, check: bool, force: bool, inventory: Path | None, as_json: bool) -> int:
    """Put a host back to the values that a sweep found on arrival.

    A value that somebody else changed meanwhile is reported and left as it is.
    """
    from jvbtune.hosts import connect
    from jvbtune.hosts.agent_client import AgentClient

    with connect(find_host(host_name, inventory)) as host, AgentClient(host) as agent:
        status = agent.call("tuning.status")
        if check or not status["pending"]:
            if as_json:
                print_json({"schema_version": 1, "host": host_name, **status})
            elif not status["pending"]:
                say(f"{host_name}: nothing is to be put back")
            else:
                click.echo(f"{host_name}: run {status['run_id']} of {status['owner']} is to be put back")
                for name, ours in status["written"].items():
                    now = status["now"].get(name)
                    note = "" if now in ours else "  (neither: somebody else changed it)"
                    click.echo(f"  {name}: {now} -> {status['baseline'][name]}{note}")
            return 3 if status["pending"] else 0
        report = agent.call("tuning.revert", timeout_seconds=300, force=force)
    if as_json:
        print_json({"schema_version": 1, "host": host_name, **report})
    else:
        for name, value in report.get("restored", {}).items():
            click.echo(f"{name} = {value}")
        for name, values in report.get("foreign", {}).items():
            say(f"{name} is {values['found']}: somebody else changed it, it is left (it was {values['baseline']})")
        if report.get("restarted"):
            say("the bridge was restarted")
        if report.get("undrained"):
            say("the bridge takes conferences again")
    if report.get("failed"):
        raise TuningError(f"{host_name}: not everything was put back: {'; '.join(report['failed'])}")
    return 0
