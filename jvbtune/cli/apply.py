"""``jvbtune apply`` and ``jvbtune rollback``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvbtune.cli.common import (
    Number,
    find_hosts,
    hosts_options,
    json_option,
    owner,
    print_json,
    put,
    run_argument,
    runs_dir_option,
    say,
)
from jvbtune.cli.many import budget_options, jobs_option, json_lines_option, rules_of, several
from jvbtune.errors import CHANGES_PENDING
from jvbtune.interrupts import EXIT_CODE
from jvbtune.text import counted

if TYPE_CHECKING:
    from jvbtune.apply.run import Applied, Plan
    from jvbtune.fleet.nursery import Job
    from jvbtune.fleet.outcome import Outcome
    from jvbtune.fleet.run import Rules
    from jvbtune.inventory import HostEntry, Selection
    from jvbtune.protocol.deploy import Generation, Restored

drain_timeout_option = click.option(
    "--drain-timeout",
    type=Number(min=0),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for calls to end. jvbtune never cuts a call.",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
keep_going_option = click.option(
    "--keep-going", is_flag=True, help="Go on with other hosts after one has failed. Default: stop at the first."
)
AT_ONCE = "Hosts that are changed at the same time, if --max-unavailable permits it."


@click.command("apply")
@hosts_options
@run_argument
@click.option("--check", is_flag=True, help="Only report what would change. Exit code 3 if something would.")
@click.option("--diff", is_flag=True, help="Show the changes of each file, line by line. Secrets are not shown.")
@yes_option
@click.option("--pin", is_flag=True, help="Also apply the values that the run was measured with.")
@click.option(
    "--watch",
    "watch_seconds",
    type=Number(min=0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Time to watch stress and drops after the bridge takes conferences again.",
)
@drain_timeout_option
@keep_going_option
@jobs_option(16, AT_ONCE)
@budget_options
@runs_dir_option
@json_option
@json_lines_option
@click.pass_context
def command(
    context: click.Context,
    selection: Selection,
    run: str,
    check: bool,
    diff: bool,
    yes: bool,
    pin: bool,
    watch_seconds: float,
    drain_timeout: float,
    keep_going: bool,
    jobs: int,
    max_unavailable: int,
    per: str | None,
    runs_dir: Path | None,
    as_json: bool,
    json_lines: bool,
) -> int:
    """Apply a run's result to hosts: files, kernel settings, a restart of the drained bridge.

    It shows what changes, asks, keeps the previous files on the host, drains the bridge, waits until nobody is on it,
    writes, restarts, verifies that everything is in force, and lets the bridge take conferences again. Then it watches
    stress and drops, and takes everything back if they get worse. A second apply changes nothing.

    Of several hosts, jvbtune looks at all first, asks once, and changes one at a time for each value of --per. After a
    failure it begins with no further host.

    RUN is an id, the beginning of one, a path, or latest. jvbtune rollback takes the apply back.

    \b
    Examples:
      jvbtune apply --host jvb-eu-1 latest --check --diff   what would change
      jvbtune apply --host jvb-eu-1 latest                  do it
      jvbtune apply --group edge --per region latest        one host of each region at a time
    """
    from jvbtune import apply as applying
    from jvbtune.apply.differ import applied_json, plan_json
    from jvbtune.hosts import connect
    from jvbtune.hosts.agent_client import AgentClient
    from jvbtune.interrupts import handled
    from jvbtune.result import result_of
    from jvbtune.store import open_run

    entries = find_hosts(selection)
    options = applying.Options(owner(), watch_seconds, drain_timeout, pin)
    if several(entries, json_lines, per):
        rules = rules_of(context, entries, selection, None)
        path = open_run(run, runs_dir).path
        from jvbtune.fleet.applying import Apply, PlanApply

        plans = {entry.name: PlanApply(entry, path, pin) for entry in entries}
        return _change_many(
            f"Apply run {path.name}",
            entries,
            lambda entry: plans[entry.name],
            lambda entry, shown: Apply(plans[entry.name], options, shown),
            replace(rules, stop_on_error=not keep_going),
            check=check,
            diff=diff,
            yes=yes,
            as_json=as_json,
            json_lines=json_lines,
        )
    [entry] = entries
    host_name = entry.name
    order = applying.order(entry, result_of(open_run(run, runs_dir)), pin=pin)
    with handled(say), connect(entry) as host, AgentClient(host) as agent:
        plan = applying.plan(entry, agent, order)
        if not as_json:
            _tell_plan(host_name, plan, diff or not (check or yes))
        if check or not plan.changes:
            if as_json:
                print_json({**plan_json(host_name, plan), "applied": False})
            return CHANGES_PENDING if plan.changes else 0
        _ask(yes, f"Apply this to {host_name}?")
        done = applying.apply(entry, agent, plan, options, lambda text: say(f"{host_name}: {text}"))
    if as_json:
        print_json({**plan_json(host_name, plan), "applied": done.worse is None, **applied_json(done)})
    else:
        _tell_done(host_name, done)
    return 1 if done.worse is not None else 0


@click.command("rollback")
@hosts_options
@click.option("--check", is_flag=True, help="Only report what would be taken back. Exit code 3 if there is something.")
@click.option("--force", is_flag=True, help="End an apply that is under way, and take it back.")
@yes_option
@drain_timeout_option
@keep_going_option
@jobs_option(16, AT_ONCE)
@budget_options
@json_option
@json_lines_option
@click.pass_context
def rollback(
    context: click.Context,
    selection: Selection,
    check: bool,
    force: bool,
    yes: bool,
    drain_timeout: float,
    keep_going: bool,
    jobs: int,
    max_unavailable: int,
    per: str | None,
    as_json: bool,
    json_lines: bool,
) -> int:
    """Take the last apply back: the files byte for byte, and the kernel settings that were in force.

    It drains the bridge, waits until nobody is on it, restores, restarts, and lets it take conferences again. It also
    ends an apply that was interrupted. What somebody else changed since the apply is reported and left as it is.

    \b
    Example:
      jvbtune rollback --host jvb-eu-1
    """
    from jvbtune import apply as applying
    from jvbtune.hosts import connect
    from jvbtune.hosts.agent_client import AgentClient
    from jvbtune.interrupts import handled
    from jvbtune.protocol import deploy as messages
    from jvbtune.protocol.codec import build, to_json
    from jvbtune.protocol.messages import Nothing

    entries = find_hosts(selection, to_put_back=True)
    options = applying.Options(owner(), drain_timeout_seconds=drain_timeout)
    if several(entries, json_lines, per):
        from jvbtune.fleet.applying import Latest, RollBack

        return _change_many(
            "Roll back",
            entries,
            Latest,
            lambda entry, seen: RollBack(entry, options, build(messages.Generation, seen["latest"], "latest"), force),
            replace(rules_of(context, entries, selection, None), stop_on_error=not keep_going),
            check=check,
            diff=False,
            yes=yes,
            as_json=as_json,
            json_lines=json_lines,
        )
    [entry] = entries
    host_name = entry.name
    with handled(say), connect(entry) as host, AgentClient(host) as agent:
        latest = agent.call(messages.LATEST, Nothing()).generation
        if latest is None or check:
            document: dict[str, Any] = {"schema_version": 1, "host": host_name, "latest": None, "restored": None}
            if latest is not None:
                document["latest"] = to_json(latest)
            if as_json:
                print_json(document)
            else:
                _tell_latest(host_name, latest)
            return CHANGES_PENDING if latest is not None else 0
        if not as_json:
            _tell_latest(host_name, latest)
        _ask(yes, f"Take this back on {host_name}?")
        restored = applying.roll_back(
            entry, agent, options, lambda text: say(f"{host_name}: {text}"), latest, force=force
        )
    if as_json:
        restored_json = None if restored is None else to_json(restored)
        print_json({"schema_version": 1, "host": host_name, "latest": to_json(latest), "restored": restored_json})
    elif restored is None:
        by = "by its guard on the host or by somebody else"
        put(f"{host_name}: the apply of run {latest.run_id} is taken back already, {by}. Nothing more was changed.")
    else:
        _tell_restored(host_name, restored)
    return 0


def _change_many(
    what: str,
    entries: Sequence[HostEntry],
    look: Callable[[HostEntry], Job],
    change: Callable[[HostEntry, Mapping[str, Any]], Job],
    rules: Rules,
    *,
    check: bool,
    diff: bool,
    yes: bool,
    as_json: bool,
    json_lines: bool,
) -> int:
    """Look at every host, all at once; ask; then change them as the rules permit it. ``change``: of a host, and of what
    the look found there."""
    from jvbtune.cli.many import tell, work_through
    from jvbtune.fleet.nursery import APPLYING, Nursery
    from jvbtune.fleet.outcome import State
    from jvbtune.fleet.run import Fleet, Member, Rules
    from jvbtune.interrupts import handled

    with handled(say), Nursery(APPLYING) as nursery:
        looking = Fleet("look", [Member(entry, look(entry)) for entry in entries], Rules())
        code, looked = work_through(looking, nursery, json_lines=json_lines)
        pending = [one.host for one in looked if one.state is State.DONE and one.data.get("changes")]
        failed = [one for one in looked if one.state is not State.DONE]
        stop = bool(failed) and rules.stop_on_error
        if check or not pending or stop or code == EXIT_CODE:
            if stop and pending and not check:
                say("Nothing was changed, because a host failed. Mend it, leave it out, or use --keep-going.")
            code = code if failed else CHANGES_PENDING if pending else 0
            tell(looked, as_json=as_json, json_lines=json_lines, exit_code=code)
            _tell_diffs(looked, diff and not (as_json or json_lines))
            return code
        if not (as_json or json_lines):
            tell(looked, as_json=False)
            _tell_diffs(looked, diff)
        hosts = pending[0] if len(pending) == 1 else counted(len(pending), "host")
        _ask(yes, f"{what} on {hosts}, {rules.budget}?")
        seen = {one.host: one for one in looked}
        members = [
            Member(entry, change(entry, seen[entry.name].data))
            if entry.name in pending
            else Member(entry, look(entry), seen[entry.name])
            for entry in entries
        ]
        changing = Fleet("change", members, rules)
        code, outcomes = work_through(changing, nursery, json_lines=json_lines)
    tell(outcomes, as_json=as_json, json_lines=json_lines, exit_code=code)
    return code


def _tell_diffs(outcomes: Sequence[Outcome], wanted: bool) -> None:
    for one in outcomes if wanted else ():
        for file in one.data.get("files", ()):
            put(f"{one.host}: {file['path']}: {'a new file' if file['new'] else 'changed'}")
            put(file["diff"], nl=False)


def _ask(yes: bool, question: str) -> None:
    """Raises UsageError if there is nobody to ask, and Abort for a no."""
    from jvbtune.errors import UsageError
    from jvbtune.interrupts import asking

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "standard input is not a terminal, so nobody can be asked", hint="Look with --check, then use --yes."
        )
    with asking():
        click.confirm(question, abort=True, err=True)


def _tell_plan(host_name: str, plan: Plan, diff: bool) -> None:
    from jvbtune.apply.differ import diff as diff_text

    if not plan.changes:
        put(f"{host_name}: everything of run {plan.wanted.run_id} is in force. Nothing is to be changed.")
    else:
        put(f"{host_name}: run {plan.wanted.run_id} changes this:")
    for change in plan.files:
        put(f"  {change.path}: {'a new file' if change.before is None else 'changed'}")
        if diff:
            put(diff_text(change.path, change.before or "", change.after or ""), nl=False)
    for name, value in plan.values.items():
        put(f"  {name}: {value.found} -> {value.wanted}")
    if plan.restart:
        put(f"  The drained bridge is restarted: {plan.restart}")
    for text in plan.differences:
        say(f"The figures of run {plan.wanted.run_id} may not hold here: {text}.")
    latest = plan.planned.latest
    if latest is not None and latest.state == "watching":
        say(f"The last apply (run {latest.run_id} by {latest.owner}) is in force, but was not watched to its end.")
    for name, path in plan.planned.overridden.items():
        say(f"{path} sets {name} after jvbtune's file: the value is lost at the next boot. Remove it there.")


def _tell_done(host_name: str, done: Applied) -> None:
    if done.worse is None:
        watched = (
            f"Nothing got worse in {done.watched_seconds:.0f} s." if done.watched_seconds else "Nobody watched it."
        )
        put(f"{host_name}: applied and in force. {watched}")
        say(f"To take it back: jvbtune rollback --host {host_name}")
        return
    put(f"{host_name}: rolled back, because {done.worse}.")
    if done.restored is not None:
        _tell_restored(host_name, done.restored)


def _tell_latest(host_name: str, latest: Generation | None) -> None:
    if latest is None:
        put(f"{host_name}: there is nothing to roll back")
        return
    what = f"an apply of run {latest.run_id} by {latest.owner} ({latest.state})"
    if latest.state == "drained":
        put(f"{host_name}: {what} has written nothing yet. The bridge is drained for it.")
        return
    put(f"{host_name}: to take back {what} changes this:")
    for path in latest.files:
        if path not in latest.foreign:
            put(f"  {path}")
    for name, value in latest.values.items():
        if name not in latest.foreign:
            put(f"  {name}: {value.wanted} -> {value.found}")
    for text in latest.foreign.values():
        put(f"  {text}")


def _tell_restored(host_name: str, restored: Restored) -> None:
    for path in restored.files:
        put(f"{path}: as it was")
    for name, value in restored.values.items():
        put(f"{name} = {value}")
    for text in restored.foreign:
        say(text)
    if restored.restarted:
        say("The bridge was restarted.")
    if restored.undrained:
        say("The bridge takes conferences again.")
    put(f"{host_name}: the apply of run {restored.run_id} is rolled back.")
