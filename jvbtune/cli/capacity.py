"""``jvbtune capacity``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvbtune.cli.common import (
    AUDIO_ONLY,
    AUDIO_SHAPE,
    DEFAULT_MIX,
    Number,
    PacketRate,
    conference_options,
    find_hosts,
    hosts_options,
    json_option,
    mix_asked_for,
    mix_option,
    owner,
    print_json,
    refuse_other_command,
    runs_dir_option,
    runs_to_write,
    say,
)
from jvbtune.cli.limits import Ratio, given, limit_options
from jvbtune.cli.many import (
    budget_options,
    entries_of,
    jobs_option,
    json_lines_option,
    measure_many,
    resumed_fleet,
    rules_of,
    several,
)
from jvbtune.text import counted

if TYPE_CHECKING:
    from jvbtune.capacity.run import Wanted
    from jvbtune.fleet.store import FleetRun
    from jvbtune.inventory import HostEntry, Selection
    from jvbtune.store import Run


JOBS = (
    "Hosts that are searched at the same time. Their loads are all made on this machine, so more than one can disturb "
    "each other."
)


@click.command("capacity")
@hosts_options
@limit_options
@click.option(
    "--width",
    type=Ratio(),
    default="0.03",
    show_default=True,
    help="The search ends when the bracket around the figure is this narrow, relative to it.",
)
@click.option(
    "--minutes",
    type=Number(0.5, 600),
    default=15.0,
    show_default=True,
    help="Time budget of all restarts together, in minutes. A restart takes about 3.",
)
@click.option(
    "--restarts",
    type=click.IntRange(1, 20),
    default=5,
    show_default=True,
    help="Searches, each after a restart of the bridge.",
)
@click.option(
    "--start-pps",
    type=PacketRate(100),
    default=6000.0,
    show_default=True,
    help="First load, in packets per second.",
)
@click.option(
    "--max-pps",
    type=PacketRate(100),
    default=200_000.0,
    show_default=True,
    help="Highest load, in packets per second.",
)
@click.option("--trial-seconds", type=Number(2, 600), default=10.0, show_default=True, help="Trial length, in seconds.")
@click.option(
    "--settle-seconds",
    type=Number(0, 120),
    default=2.0,
    show_default=True,
    help="Seconds of load before each trial.",
)
@click.option(
    "--warm-up-seconds",
    type=Number(0, 600),
    default=6.0,
    show_default=True,
    help="Least seconds of load after each restart. The warm-up ends when the JVM's compilers are quiet.",
)
@click.option(
    "--max-warm-up-seconds",
    type=Number(0, 600),
    default=90.0,
    show_default=True,
    help="Most seconds of load after each restart.",
)
@conference_options
@click.option(
    "--stream-pps",
    type=Number(1, 1000),
    default=50.0,
    show_default=True,
    help=f"Packets per second of each sender. {AUDIO_SHAPE}",
)
@mix_option(DEFAULT_MIX)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of --json.")
@click.option("--resume", metavar="FLEET", help="Search the hosts of a fleet run that are not done: its id, or latest.")
@jobs_option(1, JOBS)
@budget_options
@runs_dir_option
@json_option
@json_lines_option
@click.pass_context
def command(
    context: click.Context,
    selection: Selection,
    cpu_ratio: float | None,
    loss_ratio: float | None,
    delay_p99_ms: float | None,
    rx_thread_ratio: float | None,
    gc_ratio: float | None,
    width: float,
    minutes: float,
    restarts: int,
    start_pps: float,
    max_pps: float,
    trial_seconds: float,
    settle_seconds: float,
    warm_up_seconds: float,
    max_warm_up_seconds: float,
    participants: int,
    senders: int,
    stream_pps: float,
    mix_name: str | None,
    schema: bool,
    resume: str | None,
    jobs: int,
    max_unavailable: int,
    per: str | None,
    runs_dir: Path | None,
    as_json: bool,
    json_lines: bool,
) -> int:
    """Search the max packet rate of hosts: each trial decides the load of the next one. No setting is changed.

    The bridge is drained and restarted as in a sweep, and left as it was found. The search's figure is compared with
    the curves that are fitted to the same trials; if the two disagree, there is no recommendation. The result is a run:
    show, explain, report and export read it.

    Exit code 5 means that there is no trustworthy recommendation.

    \b
    Example:
      jvbtune capacity --host jvb-eu-1 --loss 0.001 --cpu 0.8
    """
    from jvbtune.capacity.run import Wanted, find_capacity
    from jvbtune.cli.finish import finish
    from jvbtune.cli.progress import Progress
    from jvbtune.interrupts import handled
    from jvbtune.sweep.experiment import LimitsSection, Needs
    from jvbtune.sweep.session import Options

    if schema:
        from jvbtune.result.model import RunResult
        from jvbtune.result.stored import schema_of

        print_json(schema_of(RunResult, "jvbtune capacity --json"))
        return 0
    if max_warm_up_seconds < warm_up_seconds:
        raise click.UsageError(
            f"--max-warm-up-seconds {max_warm_up_seconds:g} is below --warm-up-seconds {warm_up_seconds:g}"
        )
    shape = {"participants": participants, "senders": senders, "stream_pps": stream_pps}
    mix = mix_asked_for(context, mix_name, shape)
    fleet = resumed_fleet(resume, selection, runs_dir, "capacity")
    refuse_other_command(fleet, "capacity")
    if resume is not None and fleet is None:
        raise click.UsageError("--resume takes a fleet run: the search of one host is begun again instead")
    entries = find_hosts(selection) if fleet is None else entries_of(fleet, selection)
    limits = given(
        cpu_ratio=cpu_ratio,
        loss_ratio=loss_ratio,
        delay_p99_ms=delay_p99_ms,
        rx_thread_ratio=rx_thread_ratio,
        gc_ratio=gc_ratio,
    )
    wanted = Wanted(
        LimitsSection(**limits),
        mix,
        start_pps=min(start_pps, max_pps),
        max_pps=max_pps,
        width=width,
        restarts=restarts,
        minutes=minutes,
        trial_seconds=trial_seconds,
        settle_seconds=settle_seconds,
        warm_up_seconds=warm_up_seconds,
        max_warm_up_seconds=max_warm_up_seconds,
    )
    directory, who = runs_to_write(runs_dir), owner()
    options = Options(directory, who, 0, None, tuple(sys.argv))
    if fleet is not None or several(entries, json_lines, per):
        from jvbtune.fleet.measuring import Capacity

        if fleet is not None:
            wanted = _wanted_of(fleet)

        def job(entry: HostEntry, run: Run | None) -> Capacity:
            return Capacity(entry, wanted, options)

        each = f" for each of {len(entries)} hosts" if len(entries) > 1 else ""
        say(f"Takes about {wanted.minutes:g} min and {counted(wanted.restarts + 1, 'restart')}{each}.")
        return measure_many(
            "capacity",
            entries,
            job,
            {"wanted": _wanted_json(wanted)},
            (),
            Needs.of((wanted.mix,)),
            fleet,
            rules_of(context, entries, selection, fleet),
            directory,
            as_json=as_json,
            json_lines=json_lines,
        )
    [entry] = entries
    say(f"Takes about {minutes:g} min and {counted(restarts + 1, 'restart')} of the bridge.")
    if mix.video is None:
        say(AUDIO_ONLY)
    with handled(say), Progress() as progress:
        run = find_capacity(entry, wanted, options, progress)
    return finish(run, as_json=as_json)


def _wanted_json(wanted: Wanted) -> Any:
    """For a later --resume."""
    from pydantic import TypeAdapter

    return TypeAdapter(type(wanted)).dump_python(wanted, mode="json")


def _wanted_of(fleet: FleetRun) -> Wanted:
    """What its record keeps. Raises ConfigError."""
    from pydantic import TypeAdapter, ValidationError

    from jvbtune.capacity.run import Wanted as Kind
    from jvbtune.errors import ConfigError

    try:
        return TypeAdapter(Kind).validate_python(fleet.work.get("wanted"))
    except ValidationError as error:
        raise ConfigError(f"the search of {fleet.id} is not one that this jvbtune reads: {error}") from error
