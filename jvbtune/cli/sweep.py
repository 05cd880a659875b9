"""``jvbtune sweep``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jvbtune.cli.common import find_host, inventory_option, json_option, owner, print_json, runs_dir_option, say

if TYPE_CHECKING:
    from jvbtune.sweep.experiment import Experiment
    from jvbtune.sweep.plan import Plan

DEFAULT_EXPERIMENT = "udp-buffers.toml"


@click.command("sweep")
@click.option(
    "--host",
    "host_name",
    metavar="HOST",
    help="An entry of jvbtune.toml, a running lab, or an alias of your OpenSSH configuration.",
)
@click.argument("experiment", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Print the plan and how long it takes; touch nothing.")
@click.option("--resume", metavar="RUN", help="Go on with an interrupted run: an id, the beginning of one, or latest.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Of the random order; default: the file's, else drawn.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of experiment files, and end.")
@inventory_option
@runs_dir_option
@json_option
def command(
    host_name: str | None,
    experiment: Path | None,
    dry_run: bool,
    resume: str | None,
    seed: int | None,
    schema: bool,
    inventory: Path | None,
    runs_dir: Path | None,
    as_json: bool,
) -> int:
    """Sweep settings of a host under controlled load, and recommend a max packet rate and settings.

    The bridge is drained, settings are changed and measured block by block, and everything is put back: at the end,
    on an interrupt, and by a guard on the host when this command or the link dies. EXPERIMENT is a TOML file; without
    one, experiments/udp-buffers.toml is run.

    Exit code 5 where the data cannot carry a recommendation.

    \b
    Examples:
      jvbtune sweep --host jvb-eu-1 --dry-run
      jvbtune sweep --host jvb-eu-1 experiments/udp-buffers-quick.toml
      jvbtune sweep --host jvb-eu-1 --resume latest
    """
    from jvbtune.sweep.experiment import json_schema, load_experiment, read_experiment

    if schema:
        print_json(json_schema())
        return 0
    if host_name is None:
        raise click.UsageError("Missing option '--host'.")
    from jvbtune.store import open_run, runs_directory

    resumed = open_run(resume, runs_dir) if resume else None
    if resumed is not None:
        if resumed.experiment_name == "capacity-search":
            raise click.UsageError(f"run {resumed.id} is a capacity search: begin a new one with jvbtune capacity")
        loaded = read_experiment(resumed.manifest["experiment"])
        if resumed.host != host_name:
            raise click.UsageError(f"run {resumed.id} is of the host {resumed.host}, not {host_name}")
    else:
        loaded = load_experiment(experiment or default_experiment())
    if dry_run:
        return _dry_run(loaded, host_name, seed, as_json)

    from jvbtune.cli.progress import Progress
    from jvbtune.cli.show import text_of
    from jvbtune.report import write_report
    from jvbtune.report.result import derive
    from jvbtune.sweep.run import Options, sweep

    options = Options(runs_directory(runs_dir), owner(), seed, resumed, tuple(sys.argv))
    with Progress() as progress:
        run = sweep(find_host(host_name, inventory), loaded, options, progress)
    result = derive(run)
    report = write_report(run)
    if as_json:
        print_json(result)
    else:
        click.echo(text_of(result))
    say(f"report: {report}")
    return 0 if result["recommendation"] is not None else 5


def default_experiment() -> Path:
    """experiments/udp-buffers.toml here, of the checkout, or the copy in the installed package."""
    package = Path(__file__).parents[1]
    places = [Path("experiments"), package.parent / "experiments", package / "experiments"]
    return next(
        (place / DEFAULT_EXPERIMENT for place in places if (place / DEFAULT_EXPERIMENT).is_file()),
        places[0] / DEFAULT_EXPERIMENT,
    )


def example_rates(experiment: Experiment) -> tuple[float, ...]:
    """Its packet rates; where they are found on the host, such as a host of moderate size would have."""
    from jvbtune.sweep.probe import spread

    section = experiment.load
    if section.packet_rates_pps is not None:
        return section.packet_rates_pps
    assert section.auto is not None
    return spread(section.auto.start_pps * 4, section.auto.lowest_ratio, section.auto.levels)


def _dry_run(experiment: Experiment, host_name: str, seed: int | None, as_json: bool) -> int:
    """The plan; where the packet rates are found on the host, an example of it at the starting rate."""
    from jvbtune.sweep.plan import estimate_seconds, make_plan

    auto = experiment.load.auto
    chosen = seed if seed is not None else experiment.seed or 0
    plan = make_plan(experiment, example_rates(experiment), chosen)
    seconds = estimate_seconds(plan, experiment)
    if as_json:
        print_json(
            {
                "schema_version": 1,
                "host": host_name,
                "estimated_seconds": seconds,
                "packet_rates_found_on_host": auto is not None,
                **plan.to_json(),
            }
        )
        return 0
    _print_plan(plan, experiment, seconds, auto is not None)
    return 0


_KINDS = {"burst": " bursts", "profiled": " profiled"}


def _print_plan(plan: Plan, experiment: Experiment, seconds: float, found_on_host: bool) -> None:
    if found_on_host:
        click.echo("The packet rates are found on the host; these are an example.")
    for step in plan.steps:
        values = ", ".join(f"{name} = {value}" for name, value in step.values.items()) or "the values found on arrival"
        click.echo(f"block {step.block + 1}  {values}{'  (restart)' if step.restart else ''}")
        loads = ", ".join(f"{t.load.packet_rate_pps:.0f}{_KINDS.get(t.kind, '')}" for t in step.trials)
        click.echo(f"         pps: {loads}")
    changed = ", ".join(experiment.touched_settings()) or "nothing"
    click.echo(f"Changes, and puts back: {changed}. Restarts of the bridge: {plan.restarts + 1}.")
    click.echo(f"Takes about {human_seconds(seconds)}, longer where trials have to be extended.")


def human_seconds(seconds: float) -> str:
    """``95`` as ``2 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


__all__: list[str] = ["command", "default_experiment", "human_seconds"]
