"""``jvbtune sweep``: the main job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jvbtune.cli.common import (
    AUDIO_ONLY,
    find_hosts,
    hosts_options,
    json_option,
    mix_option,
    owner,
    print_json,
    put,
    read_mix,
    refuse_other_command,
    runs_dir_option,
    runs_to_write,
    say,
)
from jvbtune.cli.many import (
    budget_options,
    entries_of,
    jobs_option,
    json_lines_option,
    resumed_fleet,
    rules_of,
    several,
)
from jvbtune.text import counted

if TYPE_CHECKING:
    from jvbtune.fleet.run import Rules
    from jvbtune.fleet.store import FleetRun
    from jvbtune.inventory import HostEntry, Selection
    from jvbtune.store import Run
    from jvbtune.sweep.experiment import Experiment
    from jvbtune.sweep.plan import Plan

DEFAULT_EXPERIMENT = "udp-buffers.toml"
JOBS = (
    "Hosts that are measured at the same time. Their loads are all made on this machine, so more than one can disturb "
    "each other."
)


@click.command("sweep")
@hosts_options
@click.argument("experiment", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the plan and its time, and look whether the host is ready. Nothing is touched.",
)
@click.option(
    "--resume",
    metavar="RUN",
    help="Go on with an interrupted run: an id, the beginning of one, or latest. Of a fleet run only the hosts that "
    "are not done are repeated.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    help="Seed of the random order. Default: the experiment's, else a random one. It is recorded.",
)
@mix_option("the experiment's")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of experiment files.")
@jobs_option(1, JOBS)
@budget_options
@runs_dir_option
@json_option
@json_lines_option
@click.pass_context
def command(
    context: click.Context,
    selection: Selection,
    experiment: Path | None,
    dry_run: bool,
    resume: str | None,
    seed: int | None,
    mix_name: str | None,
    schema: bool,
    jobs: int,
    max_unavailable: int,
    per: str | None,
    runs_dir: Path | None,
    as_json: bool,
    json_lines: bool,
) -> int:
    """Sweep settings of hosts under controlled load, and recommend a max packet rate and settings.

    Take the bridge out of service first: jvbtune refuses a bridge with participants. It drains the bridge, changes
    settings, restarts the bridge, measures, and puts everything back at the end and on Ctrl-C. If this command or the
    link dies, a guard on the host puts everything back.

    EXPERIMENT is a TOML file, or the name of one that comes with jvbtune. Default: udp-buffers.toml, which takes two
    hours at most. The experiments that come with jvbtune load the bridge with meetings of five, with video and audio.

    Several hosts are checked first, all at once, and then swept one after the other, because this machine makes the
    load for all of them. The failure of one host does not end the others.

    Exit code 5 means that the data support no trustworthy recommendation, 4 that some of several hosts failed. With
    --dry-run, exit code 1 means that a sweep would be refused.

    \b
    Examples:
      jvbtune sweep --host jvb-eu-1 --dry-run                     the plan, and its time
      jvbtune sweep --host jvb-eu-1 udp-buffers-half-hour.toml    the receive buffer only
      jvbtune sweep --host jvb-eu-1 --mix webinar                 for other conferences than meetings of five
      jvbtune sweep --host jvb-eu-1 --resume latest               go on after an interrupt
      jvbtune sweep --group edge --per region                     all of a group
    """
    from jvbtune.sweep.experiment import json_schema, load_experiment, read_experiment, with_mix

    if schema:
        print_json(json_schema())
        return 0
    from jvbtune.store import open_run

    fleet = resumed_fleet(resume, selection, runs_dir, "sweep")
    refuse_other_command(fleet, "sweep")
    entries = find_hosts(selection) if fleet is None else entries_of(fleet, selection)
    many = fleet is not None or several(entries, json_lines, per)
    if resume is not None and fleet is None and many:
        raise click.UsageError("--resume takes the run of one host or --json-lines, not both")
    resumed = open_run(resume, runs_dir) if resume is not None and fleet is None else None
    if fleet is not None:
        if mix_name is not None or experiment is not None:
            raise click.UsageError("a resumed run keeps its experiment: give neither EXPERIMENT nor --mix")
        loaded = read_experiment(fleet.work.get("experiment", {}))
    elif resumed is not None:
        if resumed.experiment_name == "capacity-search":
            raise click.UsageError(f"run {resumed.id} is a capacity search: begin a new one with jvbtune capacity")
        if resumed.host != entries[0].name:
            raise click.UsageError(f"run {resumed.id} is of the host {resumed.host}, not {entries[0].name}")
        if mix_name is not None:
            raise click.UsageError("a resumed run keeps its mix: --mix cannot be given with --resume")
        loaded = read_experiment(resumed.manifest["experiment"])
    else:
        loaded = load_experiment(find_experiment(experiment))
        if mix_name is not None:
            loaded = with_mix(loaded, read_mix(mix_name))
    if many:
        rules = rules_of(context, entries, selection, fleet)
        if dry_run:
            return _dry_run_many(loaded, entries, as_json, json_lines)
        return _sweep_many(loaded, entries, fleet, rules, seed, runs_dir, as_json, json_lines)
    [entry] = entries
    if dry_run:
        return _dry_run(loaded, entry, seed, as_json)

    from jvbtune.cli.finish import finish
    from jvbtune.cli.progress import Progress
    from jvbtune.interrupts import handled
    from jvbtune.sweep.run import sweep
    from jvbtune.sweep.session import Options

    options = Options(runs_to_write(runs_dir), owner(), seed, resumed, tuple(sys.argv))
    if resumed is None:
        say(time_text(loaded))
        _warn_of_audio(loaded, say)
    with handled(say), Progress() as progress:
        run = sweep(entry, loaded, options, progress)
    return finish(run, as_json=as_json)


def _sweep_many(
    experiment: Experiment,
    entries: Sequence[HostEntry],
    resumed: FleetRun | None,
    rules: Rules,
    seed: int | None,
    runs_dir: Path | None,
    as_json: bool,
    json_lines: bool,
) -> int:
    from jvbtune.cli.many import measure_many
    from jvbtune.fleet.measuring import Sweep
    from jvbtune.sweep.session import Options

    directory, who = runs_to_write(runs_dir), owner()

    def job(entry: HostEntry, run: Run | None) -> Sweep:
        return Sweep(entry, experiment, Options(directory, who, seed, run, tuple(sys.argv)))

    say(time_text(experiment) + (f" That is for each of {len(entries)} hosts." if len(entries) > 1 else ""))
    _warn_of_audio(experiment, say)
    return measure_many(
        "sweep",
        entries,
        job,
        {"experiment": experiment.model_dump(mode="json")},
        tuple(experiment.touched_settings()),
        experiment.needs(),
        resumed,
        rules,
        directory,
        as_json=as_json,
        json_lines=json_lines,
    )


def _dry_run_many(experiment: Experiment, entries: Sequence[HostEntry], as_json: bool, json_lines: bool) -> int:
    """The plan, which is the same for every host, and which hosts are ready."""
    from jvbtune.cli.check import check_many
    from jvbtune.sweep.plan import make_plan

    if not as_json and not json_lines:
        plan = make_plan(experiment, example_rates(experiment), experiment.seed or 0)
        _print_plan(plan, experiment, experiment.load.auto is not None)
    settings, needs = tuple(experiment.touched_settings()), experiment.needs()
    return check_many(entries, settings, needs, 16, as_json, json_lines)


def find_experiment(given: Path | None = None) -> Path:
    """The file of that path, else the shipped one of that name: here, in the checkout, or in the installed package."""
    wanted = given or Path("experiments") / DEFAULT_EXPERIMENT
    if wanted.exists() or wanted.parent not in (Path(), Path("experiments")):
        return wanted
    package = Path(__file__).parents[1]
    places = [Path("experiments"), package.parent / "experiments", package / "experiments"]
    return next((place / wanted.name for place in places if (place / wanted.name).is_file()), wanted)


def example_rates(experiment: Experiment) -> tuple[float, ...]:
    """Its packet rates; where they are found on the host, such as a host of moderate size would have."""
    from jvbtune.sweep.probe import spread

    section = experiment.load
    if section.packet_rates_pps is not None:
        return section.packet_rates_pps
    assert section.auto is not None
    return spread(section.auto.start_pps * 4, section.auto.lowest_ratio, section.auto.levels)


def _dry_run(experiment: Experiment, entry: HostEntry, seed: int | None, as_json: bool) -> int:
    """The plan; where the packet rates are found on the host, an example of it at the starting rate. And whether the
    host is ready, which changes nothing of the plan."""
    from jvbtune.cli.check import print_findings
    from jvbtune.errors import LoadError
    from jvbtune.protocol.check import Finding
    from jvbtune.protocol.codec import to_json
    from jvbtune.sweep.check import check, is_ready
    from jvbtune.sweep.plan import make_plan, planned_time
    from jvbtune.sweep.run import refuse_planned

    auto = experiment.load.auto
    chosen = seed if seed is not None else experiment.seed or 0
    checked = check(entry, list(experiment.touched_settings()), needs=experiment.needs())
    findings = list(checked.findings)
    as_found = experiment.as_found(checked.values)
    plan = make_plan(experiment, example_rates(experiment), chosen, as_found)
    planned = planned_time(experiment, plan)
    if auto is None:
        try:
            refuse_planned(entry, plan)
        except LoadError as error:
            findings.append(Finding("generator", "problem", error.message, error.hint))
    ready = is_ready(findings)
    if as_json:
        print_json(
            {
                "schema_version": 1,
                "host": entry.name,
                "ready": ready,
                "findings": to_json(findings),
                "estimated_seconds": planned.seconds,
                "estimated_blocks": planned.blocks,
                "earliest_seconds": planned.earliest_seconds,
                "packet_rates_found_on_host": auto is not None,
                "as_found": list(as_found),
                **plan.to_json(),
            }
        )
        return 0 if ready else 1
    for name in as_found:
        put(f"{name} is what the host has already: the baseline stands for it.")
    _print_plan(plan, experiment, auto is not None)
    put("The host:" if ready else "The host is not ready, so a sweep would be refused:")
    print_findings(findings)
    return 0 if ready else 1


_KINDS = {"burst": " bursts", "profiled": " profiled"}


def with_size(name: str, value: int | str) -> str:
    """``10485760 (10 MiB)``: the number as it will be set, and as people read it."""
    from jvbtune.settings.catalogue import CATALOGUE
    from jvbtune.units import size_text

    sized = CATALOGUE[name].unit == "bytes" and isinstance(value, int) and value >= 1024
    return f"{value} ({size_text(int(value))})" if sized else str(value)


def _print_plan(plan: Plan, experiment: Experiment, found_on_host: bool) -> None:
    if found_on_host:
        put("The packet rates are found on the host; these are an example.")
    for step in plan.steps:
        values = (
            ", ".join(f"{name} = {with_size(name, value)}" for name, value in step.values.items())
            or "the values found on arrival"
        )
        put(f"block {step.block + 1}  {values}{'  (restart)' if step.restart else ''}")
        loads = ", ".join(f"{t.load.packet_rate_pps:.0f}{_KINDS.get(t.kind, '')}" for t in step.trials)
        put(f"         pps: {loads}")
    changed = ", ".join(experiment.touched_settings()) or "nothing"
    put(f"Changes, and puts back: {changed}.")
    put(time_text(experiment, plan))
    _warn_of_audio(experiment, put)


def _warn_of_audio(experiment: Experiment, tell: Callable[[str], None]) -> None:
    """Before the hours that a sweep takes, not after them."""
    if experiment.audio_only():
        tell(AUDIO_ONLY)


def time_text(experiment: Experiment, plan: Plan | None = None) -> str:
    """How long a sweep takes, and when it may end earlier: what a user plans an evening by. ``plan``: None: before the
    host is known."""
    from jvbtune.sweep.plan import make_plan, planned_time

    planned = planned_time(experiment, plan or make_plan(experiment, example_rates(experiment), 0))
    text = f"Takes about {human_seconds(planned.seconds)} and {counted(planned.restarts, 'restart')} of the bridge"
    if planned.blocks < experiment.blocks:
        text += f": the budget has room for {planned.blocks} of {experiment.blocks} blocks"
    text += ". A bridge that compiles for long, or trials that are repeated, take more."
    if planned.earliest_seconds is not None:
        text += f" Ends after {human_seconds(planned.earliest_seconds)} if every question is answered by then."
    return text


def human_seconds(seconds: float) -> str:
    """``95`` as ``2 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


__all__: list[str] = ["command", "find_experiment", "human_seconds", "time_text"]
