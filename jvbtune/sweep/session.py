"""A host opened for measuring: everything that trials need of it, and that is undone on the way out.

Everything that a session uses is undone by a context manager in the reverse order; what it learns goes into the run
directory at once. Which trials are held is decided elsewhere: by a plan (``run``), a search (``capacity``), a probe.
"""

from __future__ import annotations

import queue
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from jvbtune.agent.procfs import boot_id
from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import BridgeBusyError, GeneratorLostError, HostError, JvbtuneError, LoadError, UsageError
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.interrupts import hold, pause, release
from jvbtune.inventory import HostEntry, bridge_arguments
from jvbtune.load import expire_leftover, open_generator
from jvbtune.load.base import Generator, IntendedLoad
from jvbtune.load.renewed import RenewedGenerator
from jvbtune.protocol import agent as protocol
from jvbtune.protocol.codec import to_json
from jvbtune.protocol.messages import Nothing
from jvbtune.protocol.samples import QueueSeen, Sample
from jvbtune.settings.catalogue import CATALOGUE
from jvbtune.settings.tuning import Tuning
from jvbtune.store import Run, RunWriter
from jvbtune.sweep import check, warmup
from jvbtune.sweep.experiment import Experiment
from jvbtune.sweep.plan import Step, Trial
from jvbtune.sweep.poller import BridgePoller
from jvbtune.sweep.resumed import refuse_changed, refuse_other_values
from jvbtune.sweep.trial import Context, Measured, measure
from jvbtune.trials.judge import Why

#: Where the bridge gives counts only, refreshed every 5 s, participants of ours that are gone may still be in them.
STALE_STATS_SECONDS = 8.0

SYSCTL_ROOTS = ("net.", "kernel.")

#: Setting up conferences comes before a trial's own time.
QUEUE_MARGIN_SECONDS = 60.0
#: The load of a warm-up is offered for so long, and goes on until the next offer.
LEAST_OFFER_SECONDS = 1.0
#: A trial in which the compilers were at work is held again, so often at most.
COMPILING_ATTEMPTS = 3
#: A trial's clock is judged by the median of those before it at its own load, from so many on.
LEAST_CLOCKS = 3

#: So many are used for one load, where each is lost.
GENERATORS = 3

T = TypeVar("T")

#: Tells the caller what happens: an event of the journal's vocabulary, or ``tick``.
Observer = Callable[[str, Mapping[str, Any]], None]


@dataclass
class Samples:
    """The agent's samples as they arrive, and what else it reports."""

    events: queue.Queue[Any]
    kept: list[Sample] = field(default_factory=list)
    other: list[Any] = field(default_factory=list)

    def collect(self) -> None:
        """Take what has arrived so far."""
        while True:
            try:
                event = self.events.get_nowait()
            except queue.Empty:
                return
            (self.kept if isinstance(event, Sample) else self.other).append(event)

    def forget(self) -> None:
        """Drop the samples that have arrived so far."""
        self.collect()
        self.kept.clear()

    def since(self, host_unix: float) -> list[Sample]:
        self.collect()
        self.kept = [sample for sample in self.kept if sample.t_unix >= host_unix]
        return list(self.kept)


@dataclass
class Session:
    """One host with everything that a trial needs of it, opened by ``open_session``."""

    entry: HostEntry
    experiment: Experiment
    agent: AgentClient
    bridge: BridgeClient
    generator: RenewedGenerator
    tuning: Tuning
    poller: BridgePoller
    samples: Samples
    writer: RunWriter
    observe: Observer
    cores: float
    in_force: dict[str, str] = field(default_factory=dict)  #: of the settings that the experiment changes
    #: Mean clock of the bridge's cores in each trial so far, by load: a core that has little to do is clocked down.
    clocks_mhz: defaultdict[IntendedLoad, list[float]] = field(default_factory=lambda: defaultdict(list))
    _lost: JvbtuneError | None = None

    def lose(self, error: JvbtuneError) -> None:
        """The host is no longer this session's, or must not be loaded: the load stops now. Any thread."""
        self._lost = self._lost or error
        self.generator.abort(error)

    def check(self) -> None:
        """Raises the error that ended the session, if one did."""
        if self._lost is not None:
            raise self._lost

    def record(self, event: str, **data: Any) -> None:
        """Into the journal, and to the caller."""
        self.writer.journal.append(event, **data)
        self.observe(event, data)

    def begin_step(self, step: Step) -> int | None:
        """Apply a step's values, restart and warm up where it needs that. Returns the socket buffer to expect."""
        self.check()
        self.record("step_started", step=step.id, block=step.block, name=step.name, values=dict(step.values))
        self.generator.stop()
        self.poller.pause()
        try:
            applied = self.tuning.apply(dict(step.values), restart=step.restart)
        finally:
            self.poller.resume()
        self.in_force = self._touched(applied.values)
        self.record("step_verified", step=step.id, **applied.to_json())
        if step.restart:
            self.warm_up(step.warm_up_load(), step=step.id)
        return applied.expected_rcvbuf_bytes

    def _touched(self, values: Mapping[str, Any]) -> dict[str, str]:
        touched = self.experiment.touched_settings()
        return {name: str(value) for name, value in values.items() if name in touched and name.startswith(SYSCTL_ROOTS)}

    def _changed(self) -> tuple[str, ...]:
        """What of the settings is no longer in force as the step set it, in words; read back on the host."""
        now = self._touched(self.tuning.verify().values)
        wanted = self.in_force or self._touched(self.tuning.baseline)
        return tuple(
            f"{name} is {now.get(name)}, and the step set {value}"
            for name, value in wanted.items()
            if now.get(name) != value
        )

    def warm_up(self, load: IntendedLoad, **about: Any) -> None:
        """Hold a load until the bridge's code is compiled, for at least ``warm_up_seconds`` of the experiment and at
        most its ``max_warm_up_seconds``; see ``warmup``. How it went goes into the journal."""
        durations = self.experiment.durations
        if durations.longest_warm_up_seconds() == 0:
            return
        self._match_clocks()
        offered = self.again_if_lost(  # held on until the next offer
            lambda _: self.generator.offer(load, LEAST_OFFER_SECONDS, settle_seconds=0.0)
        )
        begun = offered.started_unix + self.agent.clock_offset_seconds
        since = time.monotonic() - (time.time() - offered.started_unix)
        went = warmup.hold(
            lambda: self._samples_since(begun),
            durations.warm_up_seconds,
            durations.longest_warm_up_seconds(),
            since,
        )
        self.record("warmed_up", **about, offered_pps=offered.offered_pps, **went.to_json())

    def _match_clocks(self) -> None:
        """Before each load: the host's clock may drift in the hours of a run, or be stepped. Samples of before a step
        have another clock's times."""
        self.agent.measure_clock()
        self.samples.forget()

    def _samples_since(self, host_unix: float) -> list[Sample]:
        self.check()
        return self.samples.since(host_unix)

    def hold(self, step: Step, trial: Trial, order: int, expected_rcvbuf: int | None) -> Measured:
        """One trial: held again while the JVM's compilers are at work, and extended once if it is not steady and the
        experiment allows it."""
        durations = self.experiment.durations
        measured = self.hold_once(step, trial, order, expected_rcvbuf, durations.settle_seconds, trial.duration_seconds)
        for _ in range(COMPILING_ATTEMPTS):
            if not measured.only_because_of(Why.COMPILING, Why.UNSTEADY) or not measured.because_of(Why.COMPILING):
                break  # what disturbs the host as well is not waited for
            self.record("trial_extended", trial=trial.id, because=measured.row["invalid_because"])
            measured = self.hold_once(step, trial, order, expected_rcvbuf, 0.0, trial.duration_seconds)
        if measured.because_of(Why.UNSTEADY) and durations.extend_seconds > 0:
            self.record("trial_extended", trial=trial.id, because=measured.row["invalid_because"])
            measured = self.hold_once(step, trial, order, expected_rcvbuf, 0.0, durations.extend_seconds)
        return measured

    def again_if_lost(self, ask: Callable[[bool], T]) -> T:
        """What ``ask`` gives; asked again where the generator is lost meanwhile, with another one: the argument says
        so. Raises GeneratorLostError after ``GENERATORS`` of them: one may die of the load itself."""
        for number in range(GENERATORS - 1):
            try:
                return ask(number > 0)
            except GeneratorLostError as lost:
                self.generator.renew(lost)
        return ask(True)

    def hold_once(
        self, step: Step, trial: Trial, order: int, expected_rcvbuf: int | None, settle: float, seconds: float
    ) -> Measured:
        """One trial, as it comes out. Conferences that are new, after a loss, settle as those of a new load do."""
        least = self.experiment.durations.settle_seconds

        def ask(again: bool) -> Measured:
            return self._measure(step, trial, order, expected_rcvbuf, max(settle, least if again else 0.0), seconds)

        return self.again_if_lost(ask)

    def _measure(
        self, step: Step, trial: Trial, order: int, expected_rcvbuf: int | None, settle: float, seconds: float
    ) -> Measured:
        self._match_clocks()
        begun = time.time()
        clocks_mhz = self.clocks_mhz[trial.load]
        with self._queue_watched(trial, settle + seconds) as watched:
            try:
                offered = self.generator.offer(trial.load, seconds, settle_seconds=settle, edge=self.poller.queues_now)
            except LoadError as error:  # the trial has no figures
                self.record("trial_failed", trial=trial.id, because=error.message)
                raise
        self._wait_for_samples(offered.started_unix + offered.duration_seconds)
        changed = self._changed()
        self.check()
        context = Context(
            run_id=self.writer.run.id,
            host=self.entry.name,
            cores=self.cores,
            expected_rcvbuf_bytes=expected_rcvbuf,
            clock_offset_seconds=self.agent.clock_offset_seconds,
            clock_uncertainty_seconds=self.agent.clock_uncertainty_seconds,
            not_in_force=changed,
            same_machine=self.agent.capabilities.boot_id == boot_id(),
            median_cpu_mhz=median(clocks_mhz) if len(clocks_mhz) >= LEAST_CLOCKS else None,
        )
        samples = self.samples.since(begun + self.agent.clock_offset_seconds - 1)
        answers = self.poller.between(begun, time.time())
        self.poller.forget_before(begun)
        measured = measure(context, step, trial, order, offered, samples, answers, next(iter(watched), None))
        if measured.row.get("cpu_mhz"):
            clocks_mhz.append(measured.row["cpu_mhz"])
        return measured

    @contextmanager
    def _queue_watched(self, trial: Trial, seconds: float) -> Iterator[list[QueueSeen]]:
        """What the socket's queue held in a burst trial, there at the end; other trials have none: polling costs CPU.

        A host on which it cannot be watched loses this evidence, not the sweep.
        """
        seen: list[QueueSeen] = []
        if trial.kind != "burst":
            yield seen
            return
        watch = protocol.WatchQueue(bridge_arguments(self.entry), seconds + QUEUE_MARGIN_SECONDS)
        self.agent.call(protocol.QUEUE_START, watch)
        try:
            yield seen
        finally:
            try:
                seen.append(self.agent.call(protocol.QUEUE_STOP, Nothing()))
            except HostError as error:
                self.record("queue_not_watched", trial=trial.id, because=error.message)

    def _wait_for_samples(self, until_unix: float) -> None:
        """The last sample of the window arrives a moment after it."""
        deadline = time.monotonic() + 3.0
        until_host = until_unix + self.agent.clock_offset_seconds
        while time.monotonic() < deadline:
            self.samples.collect()
            if self.samples.kept and self.samples.kept[-1].t_unix >= until_host:
                return
            pause(0.05)

    def finish(self, measured: Measured) -> None:
        """Store a trial, and tell of it. What the host had to say in the meantime goes into the journal too."""
        self.samples.collect()
        for event in self.samples.other:
            self.record("host_said", what=protocol.NAMES[type(event)], **to_json(event))
        self.samples.other.clear()
        self.writer.finish_trial(
            measured.row, samples=measured.samples, offered=vars(measured.offered), bridge=measured.bridge
        )
        self.observe("trial_finished", measured.row)

    def refuse_live_calls(self) -> None:
        """Participants that are not the generator's: somebody's call. The sweep ends, whatever the drain said.

        Not knowing counts as a call. Told apart by name where the bridge lists its conferences, else by counts.
        """
        self.check()
        deadline = time.monotonic() + STALE_STATS_SECONDS
        while True:
            found = self.tuning.calls()
            foreign = found.foreign
            if foreign is not None and not found.by_name:
                foreign = max(0, foreign - self.generator.endpoints)
            if foreign == 0:
                return
            if found.by_name or time.monotonic() > deadline:
                break
            pause(0.5)
        what = found.text if foreign is None else f"{foreign} participants joined the bridge during the sweep"
        raise BridgeBusyError(
            f"{self.entry.name}: {what}",
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


@contextmanager
def open_session(
    entry: HostEntry, experiment: Experiment, options: Options, writer: RunWriter, observe: Observer
) -> Iterator[Session]:
    """Connect, look, refuse what must be refused, journal the baseline; undo it all on the way out."""
    with ExitStack() as stack:
        stack.callback(release)
        host = connect(entry)
        stack.callback(host.close)
        agent = AgentClient(host)
        stack.callback(agent.close)
        observe("connected", {"host": entry.name, "capabilities": to_json(agent.capabilities)})
        settings = list(experiment.touched_settings())
        findings = check.look(entry, agent, settings).findings
        findings += check.look_for(experiment.needs(), entry, host, agent)
        observe("checked", {"findings": to_json(findings)})
        check.refuse_problems(entry, findings)
        found = agent.call(protocol.BRIDGE_FIND, protocol.OfBridge(bridge_arguments(entry)))
        bridge = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        provenance = _provenance(agent, bridge, found)
        begun = writer.run.events("baseline")  # of a run that goes on
        if begun:
            refuse_changed(entry.name, writer.run.id, writer.run.provenance("before"), provenance)
        writer.write_provenance("before", provenance)
        _refuse_lowered(experiment, provenance.get("sysctl") or {})
        stack.callback(lambda: writer.write_provenance("after", _provenance_after(agent)))
        observe("found", {"bridge": to_json(found)})

        tuning = Tuning(
            agent,
            owner=options.owner,
            run_id=writer.run.id,
            lease_seconds=experiment.lease_seconds,
            bridge=bridge_arguments(entry),
            settings=settings,
        )
        stack.push(_journalled(tuning, writer, observe))
        stack.enter_context(tuning)
        if begun:
            refuse_other_values(entry.name, writer.run.id, begun[0]["values"], tuning.baseline)
        for event in writer.run.events("generator"):
            expire_leftover(bridge, event["prefix"])  # of this run, before it was killed
        asked = None if tuning.asked is None else tuning.asked.to_json()
        writer.journal.append("baseline", values=tuning.baseline, asked_buffer=asked)
        observe("baseline", {"values": tuning.baseline})

        def opens() -> Generator:
            fresh = open_generator(entry, host, leased=True, max_pps=most_pps(experiment))
            writer.journal.append("generator", prefix=fresh.prefix)
            return fresh

        def lost(because: str) -> None:
            writer.journal.append("generator_lost", because=because)
            observe("generator_lost", {"because": because})

        generator = RenewedGenerator(opens, lost)
        stack.callback(generator.close)
        agent.call(protocol.SAMPLE_START, protocol.StartSampling(bridge_arguments(entry), interval_seconds=1.0))
        stack.callback(lambda: agent.call(protocol.SAMPLE_STOP, Nothing()))
        poller = stack.enter_context(BridgePoller(bridge))
        opened = Session(
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
            cores=found.cores or 1.0,
        )
        tuning.watch(generator.keep_alive, opened.lose)
        stack.callback(hold)  # runs first: from here on everything is undone in peace
        yield opened


def most_pps(experiment: Experiment) -> float:
    """What the generator is held to: the experiment's own bound, and one conference for rounding to whole ones."""
    shapes = [section.mix() for section in (experiment.load.mix, *experiment.load.other_mixes)]
    return experiment.load.max_packet_rate_pps + max(shape.packet_rate_pps() for shape in shapes)


def _journalled(tuning: Tuning, writer: RunWriter, observe: Observer) -> Callable[..., None]:
    """Runs after the tuning was left: what was put back stands in the run's journal too."""

    def tell(*_: object) -> None:
        report = to_json(tuning.report)
        writer.journal.append("reverted", report=report)
        observe("reverted", {"report": report})

    return tell


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


def _provenance(agent: AgentClient, bridge: BridgeClient, found: protocol.BridgeFound) -> dict[str, Any]:
    provenance = _provenance_after(agent)
    return {
        **provenance,
        "bridge": to_json(found),
        "jvb_version": bridge.version(),
        "jvb_stats": bridge.stats().to_json(),
    }


def _provenance_after(agent: AgentClient) -> dict[str, Any]:
    found: dict[str, Any] = to_json(agent.call(protocol.PROVENANCE, Nothing(), timeout_seconds=60))
    return found
