"""The execution of a sweep: the only code that leads a host through its steps.

Everything it uses is undone by a context manager in the reverse order; what it learns goes into the run directory at
once. What it means is derived afterwards, from the run directory alone.
"""

from __future__ import annotations

import queue
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jvbtune.agent.procfs import boot_id
from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import BridgeBusyError, Interrupted, JvbtuneError, LoadError, TuningError, UsageError
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.inventory import HostEntry
from jvbtune.load import expire_leftover, media_target, open_generator
from jvbtune.load.base import Generator
from jvbtune.settings.catalogue import CATALOGUE, expected_rcvbuf_bytes
from jvbtune.settings.tuning import Tuning
from jvbtune.store import Run, RunWriter, create_run
from jvbtune.sweep.experiment import Experiment
from jvbtune.sweep.plan import Plan, Step, Trial, estimate_trials, make_plan
from jvbtune.sweep.poller import BridgePoller
from jvbtune.sweep.probe import find_levels
from jvbtune.sweep.profiled import hold_profiled
from jvbtune.sweep.stopping import Stopping
from jvbtune.sweep.trial import Context, Measured, measure

#: How long a bridge's stats may still show participants that are gone: refreshed every 5 s, and some margin.
STALE_STATS_SECONDS = 8.0

#: Tells the caller what happens: an event of the journal's vocabulary, or ``tick``.
Observer = Callable[[str, Mapping[str, Any]], None]


@dataclass
class Samples:
    """The agent's samples as they arrive, and what else it says."""

    events: queue.Queue[dict[str, Any]]
    kept: list[dict[str, Any]] = field(default_factory=list)
    other: list[dict[str, Any]] = field(default_factory=list)

    def collect(self) -> None:
        """Take what has arrived so far."""
        while True:
            try:
                event = self.events.get_nowait()
            except queue.Empty:
                return
            (self.kept.append(event["data"]) if event.get("event") == "sample" else self.other.append(event))

    def since(self, host_unix: float) -> list[dict[str, Any]]:
        self.collect()
        self.kept = [sample for sample in self.kept if float(sample["t_unix"]) >= host_unix]
        return list(self.kept)


@dataclass
class Sweep:
    """One host with everything that a sweep needs of it, opened by ``open_sweep``."""

    entry: HostEntry
    experiment: Experiment
    agent: AgentClient
    bridge: BridgeClient
    generator: Generator
    tuning: Tuning
    poller: BridgePoller
    samples: Samples
    writer: RunWriter
    observe: Observer
    cores: float

    def record(self, event: str, **data: Any) -> None:
        """Into the journal, and to the caller."""
        self.writer.journal.append(event, **data)
        self.observe(event, data)

    # -- the parts of a sweep ------------------------------------------------------------------------------------

    def execute(self, plan: Plan, done: set[str]) -> None:
        """Every trial of the plan that is not done yet, in order."""
        order, block = len(done), -1
        stopping = Stopping(self.experiment, self.writer.run)
        for step in plan.steps:
            if step.block != block:
                block = step.block
                why = stopping.before_block(block)
                if why is not None:
                    self.record("stopped", block=block, because=why)
                    break
            missing = [trial for trial in step.trials if trial.id not in done]
            if not missing:
                continue
            expected = self.begin_step(step)
            for trial in missing:
                self.refuse_live_calls()
                self.observe("trial_started", {"trial": trial.id, "intended_pps": trial.load.packet_rate_pps})
                if trial.kind == "profiled":
                    self.observe(
                        "trial_finished", hold_profiled(self, step, trial, order, bridge_arguments(self.entry))
                    )
                else:
                    self.finish(self.hold(step, trial, order, expected))
                order += 1

    def begin_step(self, step: Step) -> int | None:
        """Apply a step's values, restart and warm up where it needs that. Returns the socket buffer to expect."""
        self.record("step_started", step=step.id, block=step.block, name=step.name, values=dict(step.values))
        self.generator.stop()
        self.poller.pause()
        try:
            applied = self.tuning.apply(dict(step.values), restart=step.restart)
        finally:
            self.poller.resume()
        expected = expected_rcvbuf_bytes(applied.values) if step.restart else None
        self.record("step_verified", step=step.id, **applied.to_json(), expected_rcvbuf_bytes=expected)
        if step.restart and self.experiment.durations.warm_up_seconds > 0:
            offered = self.generator.offer(
                step.warm_up_load(), self.experiment.durations.warm_up_seconds, settle_seconds=0.0
            )
            self.record("warmed_up", step=step.id, offered_pps=offered.offered_pps, loss_ratio=offered.loss_ratio)
        return expected

    def hold(self, step: Step, trial: Trial, order: int, expected_rcvbuf: int | None) -> Measured:
        """One trial, extended once where it is not steady and the experiment allows it."""
        durations = self.experiment.durations
        measured = self._hold_once(
            step, trial, order, expected_rcvbuf, durations.settle_seconds, trial.duration_seconds
        )
        if measured.unsteady and durations.extend_seconds > 0:
            self.record("trial_extended", trial=trial.id, because=measured.row["invalid_because"])
            measured = self._hold_once(step, trial, order, expected_rcvbuf, 0.0, durations.extend_seconds)
        return measured

    def _hold_once(
        self, step: Step, trial: Trial, order: int, expected_rcvbuf: int | None, settle: float, seconds: float
    ) -> Measured:
        begun = time.time()
        offered = self.generator.offer(trial.load, seconds, settle_seconds=settle, edge=self.poller.queues_now)
        self._wait_for_samples(offered.started_unix + offered.duration_seconds)
        context = Context(
            run_id=self.writer.run.id,
            host=self.entry.name,
            cores=self.cores,
            expected_rcvbuf_bytes=expected_rcvbuf,
            clock_offset_seconds=self.agent.clock_offset_seconds,
            clock_uncertainty_seconds=self.agent.clock_uncertainty_seconds,
            same_machine=self.agent.capabilities.get("boot_id") == boot_id(),
        )
        samples = self.samples.since(begun + self.agent.clock_offset_seconds - 1)
        answers = self.poller.between(begun, time.time())
        self.poller.forget_before(begun)
        return measure(context, step, trial, order, offered, samples, answers)

    def _wait_for_samples(self, until_unix: float) -> None:
        """The last sample of the window arrives a moment after it."""
        deadline = time.monotonic() + 3.0
        until_host = until_unix + self.agent.clock_offset_seconds
        while time.monotonic() < deadline:
            self.samples.collect()
            if self.samples.kept and float(self.samples.kept[-1]["t_unix"]) >= until_host:
                return
            time.sleep(0.05)

    def finish(self, measured: Measured) -> None:
        """Store a trial, and tell of it."""
        self.writer.finish_trial(
            measured.row, samples=measured.samples, offered=vars(measured.offered), bridge=measured.bridge
        )
        self.observe("trial_finished", measured.row)

    def refuse_live_calls(self) -> None:
        """Participants that are not the generator's: somebody's call. The sweep ends, whatever the drain said."""
        deadline = time.monotonic() + STALE_STATS_SECONDS
        while True:
            participants, ours = self.bridge.stats().participants, self.generator.endpoints
            if participants is None or participants <= ours:
                return
            if time.monotonic() > deadline:
                break  # not our own that were just expired: a bridge's stats are up to 5 s old
            time.sleep(0.5)
        raise BridgeBusyError(
            f"{self.entry.name}: {participants - ours} participants joined the bridge during the sweep",
            hint="The host is put back. Take the bridge out of service, then go on with --resume.",
        )


@dataclass(frozen=True)
class Options:
    """How a sweep is executed; what it does stands in the experiment."""

    runs_directory: Path
    owner: str
    seed: int | None = None
    resume: Run | None = None
    command: tuple[str, ...] = ()


#: Leads an open sweep through its trials.
Lead = Callable[["Sweep", Options, int], None]


def sweep(
    entry: HostEntry, experiment: Experiment, options: Options, observe: Observer, *, lead: Lead | None = None
) -> Run:
    """Execute an experiment on a host, and leave the host as it was found. Returns the finished run.

    ``lead`` chooses the trials instead of the experiment's plan; such a run cannot be resumed. Raises JvbtuneError;
    Interrupted on the user's interrupt, after the host was put back. The run directory holds
    whatever was measured until then, and ``options.resume`` goes on with it.
    """
    media_target(entry)  # refused before anything is begun
    seed = _seed(experiment, options)
    run = options.resume or create_run(
        options.runs_directory,
        host=entry.name,
        experiment=experiment.model_dump(mode="json"),
        seed=seed,
        plan={},
        command=options.command,
    )
    with RunWriter(run) as writer:
        writer.journal.append("run_resumed" if options.resume else "run_started", owner=options.owner)
        observe("run_started", {"run": run.id, "path": str(run.path)})
        status, message = "failed", ""
        try:
            with open_sweep(entry, experiment, options, writer, observe) as opened:
                (lead or follow_plan)(opened, options, seed)
            status = "done"
        except KeyboardInterrupt as error:
            status, message = "interrupted", "by the user"
            raise Interrupted(
                f"interrupted; {entry.name} was put back",
                hint=None if lead else f"Go on with: jvbtune sweep --host {entry.name} --resume {run.id}",
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
    return run


def _seed(experiment: Experiment, options: Options) -> int:
    if options.resume is not None:
        return int(options.resume.manifest["seed"])
    if options.seed is not None:
        return options.seed
    return experiment.seed if experiment.seed is not None else random.SystemRandom().randrange(2**32)


def follow_plan(opened: Sweep, options: Options, seed: int) -> None:
    """Every trial of the experiment's plan that is not done yet."""
    plan = _plan(opened, options, seed)
    done = {str(event["row"]["trial"]) for event in opened.writer.run.finished_trials()}
    seconds = {id: one for id, one in estimate_trials(plan, opened.experiment).items() if id not in done}
    opened.observe("planned", {"plan": plan, "seconds": seconds})
    opened.execute(plan, done)


def _plan(opened: Sweep, options: Options, seed: int) -> Plan:
    """The plan; a resumed run goes on at the packet rates that it was begun with."""
    experiment = opened.experiment
    rates = experiment.load.packet_rates_pps
    if options.resume is not None:
        planned = options.resume.events("planned")
        rates = tuple(planned[-1]["packet_rates_pps"]) if planned else rates
    if rates is None:
        rates = find_levels(opened)
    plan = make_plan(experiment, rates, seed)
    opened.writer.journal.append("planned", **plan.to_json())
    return plan


@contextmanager
def open_sweep(
    entry: HostEntry, experiment: Experiment, options: Options, writer: RunWriter, observe: Observer
) -> Iterator[Sweep]:
    """Connect, look, refuse what must be refused, journal the baseline; undo it all on the way out."""
    with ExitStack() as stack:
        host = connect(entry)
        stack.callback(host.close)
        agent = AgentClient(host)
        stack.callback(agent.close)
        observe("connected", {"host": entry.name, "capabilities": agent.capabilities})
        _refuse_leftover(entry, agent)
        found = agent.call("bridge.find", **bridge_arguments(entry))
        bridge = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        for event in writer.run.events("generator"):
            expire_leftover(bridge, event["prefix"])  # of this run, before it was killed
        provenance = _provenance(agent, bridge, found)
        writer.write_provenance("before", provenance)
        _refuse_lowered(experiment, provenance.get("sysctl") or {})
        stack.callback(lambda: writer.write_provenance("after", _provenance_after(agent)))
        observe("found", {"bridge": found})

        tuning = Tuning(
            agent,
            owner=options.owner,
            run_id=writer.run.id,
            lease_seconds=experiment.lease_seconds,
            bridge=bridge_arguments(entry),
            settings=list(experiment.touched_settings()),
        )
        stack.push(_journalled(tuning, writer, observe))
        stack.enter_context(tuning)
        writer.journal.append("baseline", values=tuning.baseline)
        observe("baseline", {"values": tuning.baseline})

        generator = open_generator(entry, host)
        stack.callback(generator.close)
        writer.journal.append("generator", prefix=generator.prefix)
        agent.call("sample.start", interval_seconds=1.0, **bridge_arguments(entry))
        stack.callback(lambda: agent.call("sample.stop"))
        poller = stack.enter_context(BridgePoller(bridge))
        yield Sweep(
            entry=entry,
            experiment=experiment,
            agent=agent,
            bridge=bridge,
            generator=generator,
            tuning=tuning,
            poller=poller,
            samples=Samples(agent.events),
            writer=writer,
            observe=observe,
            cores=float(found.get("cores") or 0) or 1.0,
        )


def _journalled(tuning: Tuning, writer: RunWriter, observe: Observer) -> Callable[..., None]:
    """Runs after the tuning was left: what was put back stands in the run's journal too."""

    def tell(*_: object) -> None:
        report = tuning.report
        writer.journal.append("reverted", report=report)
        observe("reverted", {"report": report})

    return tell


def bridge_arguments(entry: HostEntry) -> dict[str, Any]:
    """What the agent has to know of the bridge."""
    bridge = entry.bridge
    return {
        "http_address": bridge.http_address,
        "http_port": bridge.http_port,
        "control": bridge.control.to_json() if bridge.control else None,
        "config_file": bridge.config_file,
        "pid_file": bridge.pid_file,
        "match": bridge.match,
        "media_port": bridge.media_port,
    }


def _refuse_leftover(entry: HostEntry, agent: AgentClient) -> None:
    leftover = agent.capabilities.get("leftover_journal")
    if leftover:
        raise TuningError(
            f"{entry.name}: an earlier sweep was not put back ({leftover.get('owner', 'owner unknown')}, "
            f"run {leftover.get('run_id', 'unknown')})",
            hint=f"Put it back first: jvbtune revert --host {entry.name}",
        )


def _refuse_lowered(experiment: Experiment, found: Mapping[str, Any]) -> None:
    """Before anything is changed. Raises UsageError for a value that would hurt the host."""
    for section in experiment.settings:
        for name, value in [*((section.name, value) for value in section.values), *section.together_with.items()]:
            if name in found:
                try:
                    CATALOGUE[name].refuse_lowered(value, found[name])
                except ValueError as error:
                    raise UsageError(
                        str(error), hint="Nothing was changed. Sweep values from the one in force up."
                    ) from error


def _provenance(agent: AgentClient, bridge: BridgeClient, found: Mapping[str, Any]) -> dict[str, Any]:
    provenance = agent.call("provenance", timeout_seconds=60)
    return {**provenance, "bridge": dict(found), "jvb_version": bridge.version(), "jvb_stats": bridge.stats().to_json()}


def _provenance_after(agent: AgentClient) -> dict[str, Any]:
    return agent.call("provenance", timeout_seconds=60)


__all__ = ["LoadError", "Observer", "Options", "Sweep", "bridge_arguments", "open_sweep", "sweep"]
