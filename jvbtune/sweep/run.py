"""The execution of a sweep: a plan's trials on an open session, from nothing to a finished run."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from itertools import chain

from jvbtune.errors import Interrupted, JvbtuneError, LoadError
from jvbtune.fit.bounds import MIN_LEVELS
from jvbtune.inventory import HostEntry, bridge_arguments
from jvbtune.load import media_target
from jvbtune.load.base import IntendedLoad
from jvbtune.load.calibration import refuse_above
from jvbtune.store import Run, RunWriter, create_run
from jvbtune.sweep.experiment import Experiment
from jvbtune.sweep.plan import Plan, estimate_trials, make_plan
from jvbtune.sweep.probe import above, find_levels
from jvbtune.sweep.profiled import hold_profiled
from jvbtune.sweep.session import Observer, Options, Session, open_session
from jvbtune.sweep.stopping import Stopping

#: Leads an open sweep through its trials.
Lead = Callable[[Session, Options, int], None]


def sweep(
    entry: HostEntry, experiment: Experiment, options: Options, observe: Observer, *, lead: Lead | None = None
) -> Run:
    """Execute an experiment on a host, and leave the host as it was found. Returns the finished run.

    ``lead`` chooses the trials instead of the experiment's plan; such a run cannot be resumed. Raises JvbtuneError;
    Interrupted on the user's interrupt, after the host was put back. The run directory holds
    whatever was measured until then, and ``options.resume`` goes on with it.
    """
    media_target(entry)  # refused before anything is begun
    if experiment.load.packet_rates_pps is not None:
        refuse_planned(entry, make_plan(experiment, experiment.load.packet_rates_pps, seed=0))
    seed = _seed(experiment, options)
    run = options.resume or create_run(
        options.runs_directory,
        host=entry.name,
        experiment=experiment.model_dump(mode="json"),
        seed=seed,
        plan={},
        command=options.command,
        labels=entry.labels,
        groups=entry.groups,
    )
    try:
        _execute(entry, experiment, options, observe, run, lead or follow_plan, seed, resumable=lead is None)
    except JvbtuneError:
        if options.resume is None and not run.events("baseline"):
            shutil.rmtree(run.path, ignore_errors=True)  # refused before anything began: there is nothing to resume
        raise
    return run


def _execute(
    entry: HostEntry,
    experiment: Experiment,
    options: Options,
    observe: Observer,
    run: Run,
    lead: Lead,
    seed: int,
    *,
    resumable: bool,
) -> None:
    with RunWriter(run) as writer:
        writer.journal.append("run_resumed" if options.resume else "run_started", owner=options.owner)
        observe("run_started", {"run": run.id, "path": str(run.path)})
        status, message = "failed", ""
        try:
            with open_session(entry, experiment, options, writer, observe) as opened:
                lead(opened, options, seed)
            status = "done"
        except KeyboardInterrupt as error:
            status, message = "interrupted", "by the user"
            raise Interrupted(
                f"interrupted; {entry.name} was put back",
                hint=f"Go on with: jvbtune sweep --host {entry.name} --resume {run.id}" if resumable else None,
            ) from error
        except JvbtuneError as error:
            message = error.message
            raise
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
            raise
        finally:
            writer.journal.append("run_finished", status=status, message=message)
            observe("run_finished", {"status": status, "message": message})


def refuse_planned(entry: HostEntry, plan: Plan) -> None:
    """Raises LoadError where the plan has a load that this machine's generator was measured to be too slow for, or
    where its packet rates are too few different loads in whole conferences."""
    for step in plan.steps:
        for trial in step.trials:
            refuse_above(entry, trial.load)
    mix, rates = plan.steps[0].main_mix(), plan.packet_rates_pps
    different = len({IntendedLoad.for_packet_rate(rate, mix).conferences for rate in rates})
    if different < min(MIN_LEVELS, len(rates)):
        raise LoadError(
            f"the {len(rates)} packet rates of {min(rates):.0f} to {max(rates):.0f} pps are only {different} different "
            f"{'load' if different == 1 else 'loads'}: one conference of {mix.participants} is "
            f"{mix.packet_rate_pps():.0f} pps",
            hint="Set smaller conferences in [load.mix] of the experiment or by --mix, or higher packet rates.",
        )


def _seed(experiment: Experiment, options: Options) -> int:
    if options.resume is not None:
        return int(options.resume.manifest["seed"])
    if options.seed is not None:
        return options.seed
    return experiment.seed if experiment.seed is not None else random.SystemRandom().randrange(2**32)


def follow_plan(opened: Session, options: Options, seed: int) -> None:
    """Every trial of the experiment's plan that is not done yet."""
    plan = _plan(opened, options, seed)
    done = {str(event["row"]["trial"]) for event in opened.writer.run.finished_trials()}
    seconds = {id: one for id, one in estimate_trials(plan, opened.experiment).items() if id not in done}
    opened.observe("planned", {"plan": plan, "seconds": seconds})
    execute(opened, plan, done)


def _plan(opened: Session, options: Options, seed: int) -> Plan:
    """The plan; a resumed run goes on at the packet rates that it was begun with."""
    experiment = opened.experiment
    rates = experiment.load.packet_rates_pps
    if options.resume is not None:
        planned = options.resume.events("planned")
        rates = tuple(planned[-1]["packet_rates_pps"]) if planned else rates
    if rates is None:
        rates = find_levels(opened)
    as_found = experiment.as_found(opened.writer.run.events("baseline")[0]["values"])
    for name in as_found:
        opened.record("as_found", step=name)
    plan = make_plan(experiment, rates, seed, as_found)
    refuse_planned(opened.entry, plan)
    opened.writer.journal.append("planned", **plan.to_json())
    return plan


def execute(opened: Session, plan: Plan, done: set[str]) -> None:
    """Every trial of the plan that is not done yet, in order."""
    order, block = len(done), -1
    stopping = Stopping(opened.experiment, opened.writer.run)
    for step in plan.steps:
        missing = [trial for trial in step.trials if trial.id not in done]
        if not missing:
            continue
        if step.block != block:
            block = step.block
            why = stopping.before_block(block, _missing_share(plan, block, done))
            if why is not None:
                opened.record("stopped", block=block, because=why)
                break
        expected = opened.begin_step(step)
        measured = [trial for trial in missing if trial.kind != "profiled"]
        profiled = [trial for trial in missing if trial.kind == "profiled"]
        for trial in chain(measured, above(opened, step), profiled):
            opened.refuse_live_calls()
            opened.observe("trial_started", {"trial": trial.id, "intended_pps": trial.load.packet_rate_pps})
            if trial.kind == "profiled":
                opened.observe(
                    "trial_finished", hold_profiled(opened, step, trial, order, bridge_arguments(opened.entry))
                )
            else:
                opened.finish(opened.hold(step, trial, order, expected))
            order += 1


def _missing_share(plan: Plan, block: int, done: set[str]) -> float:
    """Of a block's trials; 1: none of them is done."""
    trials = [trial.id for step, trial in plan.trials() if step.block == block]
    return sum(id not in done for id in trials) / len(trials)
