"""One host: look, apply, verify, watch, and roll back by itself. The caller prints and asks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jvbtune.apply.wanted import Expected, expected_of, not_in_force, refuse_lowered, set_earlier, wanted_of
from jvbtune.apply.watch import Reading, worse
from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import AgentError, BridgeBusyError, BridgeError, HostError, JvbtuneError, TuningError
from jvbtune.export.settings import NOTHING_KNOWN, OfHost
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.interrupts import held, pause
from jvbtune.inventory import HostEntry, bridge_arguments
from jvbtune.observe.columns import MACHINE_TYPE
from jvbtune.protocol import deploy as messages
from jvbtune.protocol import tuning
from jvbtune.protocol.agent import BRIDGE_CONFIG, BRIDGE_FIND, CLOCK, PROVENANCE, OfBridge, ReadConfig
from jvbtune.protocol.codec import to_json
from jvbtune.protocol.messages import Nothing
from jvbtune.result.model import RunResult
from jvbtune.text import clean

#: Two restarts of a bridge that hangs, and the wait for the lock (``agent.deploy``).
WRITE_TIMEOUT_SECONDS = 600.0
POLL_SECONDS = 2.0
BEFORE_SECONDS = 6.0
#: An agent that lives answers at once, whatever else it does.
ANSWER_SECONDS = 20.0

#: Takes a message about the host, without the host's name.
Say = Callable[[str], None]

_AGENT_GONE = (
    "the agent or the link to it is gone. What was begun is taken back on the host now, by the agent or by its guard, "
    "or a minute later if the link was cut without a word. To see whether it was: jvbtune rollback --host {} --check"
)


@dataclass(frozen=True)
class Options:
    owner: str
    watch_seconds: float = 300.0
    drain_timeout_seconds: float = 3600.0
    pin: bool = False


@dataclass(frozen=True)
class Order:
    """An export for one host, and the result that it is of."""

    wanted: messages.Wanted
    expected: Expected
    result: RunResult
    pin: bool


@dataclass(frozen=True)
class Plan:
    """What an apply would do. ``faults``: what is not in force although every file and value is as it should be.
    ``differences``: in what this host is another machine than the one that was measured, in words."""

    wanted: messages.Wanted
    expected: Expected
    planned: messages.Planned
    faults: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()

    @property
    def files(self) -> list[messages.FileChange]:
        return [change for change in self.planned.files if change.before != change.after]

    @property
    def values(self) -> dict[str, messages.ValueChange]:
        return {name: one for name, one in self.planned.values.items() if one.found != one.wanted}

    @property
    def restart(self) -> str | None:
        """Why the bridge is restarted; None: it is not."""
        return self.planned.restart or (self.faults[0] if self.faults else None)

    @property
    def changes(self) -> bool:
        return bool(self.files or self.values or self.restart)


@dataclass(frozen=True)
class Applied:
    """How an apply ended. ``worse``: why it was rolled back."""

    changed: bool
    restarted: bool = False
    generation: int | None = None
    worse: str | None = None
    restored: messages.Restored | None = None
    watched_seconds: float = 0.0
    readings: tuple[Reading, ...] = field(default=(), repr=False)


def order(entry: HostEntry, result: RunResult, *, pin: bool = False, host: OfHost = NOTHING_KNOWN) -> Order:
    """What is to be applied; ``host``: as far as it is known. No host is asked. Raises NoRecommendation."""
    wanted = wanted_of(result, bridge_arguments(entry), pin=pin, host=host)
    return Order(wanted, expected_of(result, pin=pin, host=host), result, pin)


def plan(entry: HostEntry, agent: AgentClient, ordered: Order) -> Plan:
    """Look; nothing is changed. Raises what the agent refuses, and TuningError."""
    planned = agent.call(messages.PLAN, ordered.wanted, timeout_seconds=60)
    in_force = {name: value.found for name, value in planned.values.items()}
    earlier = set_earlier(planned)
    here = order(entry, ordered.result, pin=ordered.pin, host=OfHost(in_force, earlier))
    if here != ordered:
        planned = agent.call(messages.PLAN, here.wanted, timeout_seconds=60)
    refuse_lowered(planned)
    dropped = [f"{name} = {value}" for name, value in earlier.items() if name not in here.wanted.sysctls]
    faults: tuple[str, ...] = ()
    if planned.restart is None and not any(one.found != one.wanted for one in planned.values.values()):
        faults = tuple(_faults(entry, agent, here.expected, in_force, planned.sockets))
    differences = list(_differences(entry, agent, ordered.result))
    if dropped:
        differences.append(
            f"an earlier apply set {', '.join(dropped)}, with which it was not measured, and which the next boot loses"
        )
    return Plan(here.wanted, here.expected, planned, faults, tuple(differences))


def _differences(entry: HostEntry, agent: AgentClient, result: RunResult) -> Iterator[str]:
    """Figures hold for one kind of machine and one bridge; what is not known of either counts as equal, but for a host
    of which nothing is known that tells machines apart."""
    measured = result.provenance
    types = result.labels.get(MACHINE_TYPE), entry.labels.get(MACHINE_TYPE)
    if all(types) and types[0] != types[1]:
        yield f"it was measured on the machine type {types[0]}, and this host is a {types[1]}"
    cpu = agent.call(PROVENANCE, Nothing(), timeout_seconds=60).cpu.get("model")
    if measured.cpu and cpu and clean(str(cpu)) != measured.cpu:
        yield f"it was measured on the CPU {measured.cpu}, and this host has {clean(str(cpu))}"
    cores = agent.call(BRIDGE_FIND, OfBridge(bridge_arguments(entry))).cores
    if measured.cores and abs(cores - measured.cores) > 0.5:
        yield f"it was measured with {measured.cores:g} cores for the bridge, and this host has {cores:g}"
    if not measured.cores and not measured.cpu and not all(types):
        yield "the run does not tell on which machine it was measured"
    version = None
    with contextlib.suppress(BridgeError, HostError):
        client = BridgeClient(agent.host, entry.bridge.http_address, entry.bridge.http_port)
        version = clean(client.version())
    if measured.jvb_version and version and version != measured.jvb_version:
        yield f"it was measured with the bridge {measured.jvb_version}, and this host runs {version}"


def apply(entry: HostEntry, agent: AgentClient, plan: Plan, options: Options, say: Say) -> Applied:
    """Apply a plan. Raises BridgeBusyError if calls do not end in time, and what fails after it was rolled back."""
    if not plan.changes:
        return Applied(False)
    before = list(_readings(entry, agent, min(BEFORE_SECONDS, options.watch_seconds)))
    generation = agent.call(
        messages.BEGIN, messages.Begin(plan.wanted, options.owner, plan.planned.seen, plan.restart is not None)
    )
    try:
        if generation.restart:
            say("drained; jvbtune waits until nobody is on the bridge")
            _wait_for_calls(entry, agent, options.drain_timeout_seconds, say)
    except BaseException:
        with held():
            if _answers(agent):
                agent.call(messages.ABANDON, Nothing())
            else:
                say(_AGENT_GONE.format(entry.name))
        raise
    try:
        found = agent.call(messages.WRITE, Nothing(), timeout_seconds=WRITE_TIMEOUT_SECONDS)
        faults = _faults(entry, agent, plan.expected, found.values | _unchanged(plan), found.sockets)
        if faults:
            raise TuningError(f"{entry.name}: not in force after the restart: {'; '.join(faults)}")
        agent.call(messages.RELEASE, Nothing())
    except BaseException as error:
        with held():
            _roll_back_after(entry, agent, options, generation, error, say)
        raise
    say(f"in force; jvbtune watches it for {options.watch_seconds:.0f} s")
    return _watch(entry, agent, options, generation, before, say)


def roll_back(
    entry: HostEntry,
    agent: AgentClient,
    options: Options,
    say: Say,
    meant: messages.Generation,
    *,
    force: bool = False,
) -> messages.Restored | None:
    """Take back the apply that is meant, and no other. ``force``: also one that another command is at. None: its guard
    or somebody else has taken it back, and nothing was to be done. Raises BridgeBusyError if calls do not end in
    time."""
    asked = messages.OfRollback(bridge_arguments(entry), options.owner, meant.number, force, meant.created_unix)
    seconds = options.drain_timeout_seconds
    try:
        while True:
            found = agent.call(messages.PREPARE_ROLLBACK, asked, timeout_seconds=WRITE_TIMEOUT_SECONDS)
            if found.restart and not _wait_for_calls(entry, agent, seconds, say, lambda: _taken_back(agent, meant)):
                return None
            try:
                return agent.call(messages.ROLLBACK, asked, timeout_seconds=WRITE_TIMEOUT_SECONDS)
            except BridgeBusyError:
                if found.restart:
                    raise  # else it did not run, and came up with somebody on it: it is drained first
    except TuningError:
        if _taken_back(agent, meant):
            return None
        raise


def _taken_back(agent: AgentClient, meant: messages.Generation) -> bool:
    """Whether that apply is gone. A later one has its number again, or none has one that is as high."""
    latest = agent.call(messages.LATEST, Nothing()).generation
    if latest is None or latest.number < meant.number:
        return True
    return latest.number == meant.number and latest.created_unix != meant.created_unix


def _watch(
    entry: HostEntry,
    agent: AgentClient,
    options: Options,
    generation: messages.Generation,
    before: list[Reading],
    say: Say,
) -> Applied:
    seen: list[Reading] = []
    for reading in _watched(entry, agent, options.watch_seconds, say):
        seen.append(reading)
        why = worse(before, seen)
        if why is not None:
            say(f"worse than before: {why}. jvbtune takes the export back")
            with held():
                restored = roll_back(entry, agent, options, say, generation)
            return Applied(True, generation.restart, generation.number, why, restored, reading.seconds, tuple(seen))
    agent.call(messages.CONFIRM, Nothing())
    return Applied(True, generation.restart, generation.number, None, None, options.watch_seconds, tuple(seen))


def _watched(entry: HostEntry, agent: AgentClient, seconds: float, say: Say) -> Iterator[Reading]:
    try:
        yield from _readings(entry, agent, seconds)
    except KeyboardInterrupt:
        say("jvbtune no longer watches. The export stays in force; take it back with: jvbtune rollback")
        raise


def _roll_back_after(
    entry: HostEntry,
    agent: AgentClient,
    options: Options,
    generation: messages.Generation,
    error: BaseException,
    say: Say,
) -> None:
    """Nobody is on the bridge yet. What an agent that is gone has left, it or its guard takes back."""
    say(error.message.removeprefix(f"{entry.name}: ") if isinstance(error, JvbtuneError) else "interrupted")
    if not _answers(agent):
        say(_AGENT_GONE.format(entry.name))
        return
    say("jvbtune takes the export back")
    roll_back(entry, agent, options, say, generation)


def _answers(agent: AgentClient) -> bool:
    """Whether the agent is there. One behind a link that was cut without a word is not waited for any more: it ends by
    itself (``agent.deploylease``)."""
    if not agent.alive:
        return False
    try:
        agent.call(CLOCK, Nothing(), timeout_seconds=ANSWER_SECONDS)
    except AgentError:
        agent.give_up()
        return False
    return True


def _wait_for_calls(
    entry: HostEntry, agent: AgentClient, seconds: float, say: Say, given_up: Callable[[], bool] = lambda: False
) -> bool:
    """Until it is known that nobody else is on the drained bridge; no call is ever cut. False: there is nothing left to
    wait for. Nothing here may be silent for as long as the agent's lease (``agent.deploylease``)."""
    deadline, told = time.monotonic() + seconds, ""
    while True:
        found = agent.call(tuning.CALLS, OfBridge(bridge_arguments(entry)))
        if found.foreign == 0:
            return True
        if given_up():
            return False
        if time.monotonic() >= deadline:
            raise BridgeBusyError(
                f"{entry.name}: {found.text} after {seconds:.0f} s: jvbtune never cuts calls",
                hint="Run the command again with a longer --drain-timeout.",
            )
        if found.text != told:
            told = found.text
            say(told)
        pause(min(POLL_SECONDS, max(0.05, deadline - time.monotonic())))


def _readings(entry: HostEntry, agent: AgentClient, seconds: float) -> Iterator[Reading]:
    """A reading now, and every few seconds until the time is over."""
    begun = time.monotonic()
    client = BridgeClient(agent.host, entry.bridge.http_address, entry.bridge.http_port)
    while True:
        yield _reading(entry, agent, client, time.monotonic() - begun)
        left = seconds - (time.monotonic() - begun)
        if left <= 0:
            return
        pause(min(POLL_SECONDS, left))


def _reading(entry: HostEntry, agent: AgentClient, client: BridgeClient, seconds: float) -> Reading:
    figures = stats = None
    healthy = False
    with contextlib.suppress(BridgeError):
        figures = agent.call(messages.FIGURES, OfBridge(bridge_arguments(entry)))
    with contextlib.suppress(BridgeError, HostError):
        healthy, stats = client.healthy()[0], client.stats()
    return Reading(
        seconds,
        None if figures is None else (figures.pid, figures.start_ticks),
        None if figures is None else figures.drops,
        None if figures is None else figures.datagrams,
        healthy,
        None if stats is None else stats.stress,
        None if stats is None else stats.packet_rate_pps,
    )


def _unchanged(plan: Plan) -> dict[str, str]:
    return {name: one.found for name, one in plan.planned.values.items() if one.found == one.wanted}


def _faults(
    entry: HostEntry, agent: AgentClient, expected: Expected, values: Mapping[str, str], sockets: list[Any]
) -> list[str]:
    """What is not in force on the host now."""
    query = bridge_arguments(entry)

    def ask(files: list[str], names: list[str]) -> dict[str, Any]:
        answer: dict[str, Any] = to_json(agent.call(BRIDGE_CONFIG, ReadConfig(query, files, names)))
        return answer

    client = BridgeClient(agent.host, entry.bridge.http_address, entry.bridge.http_port)
    stress = None
    with contextlib.suppress(BridgeError):
        told = client.request("GET", "/colibri/stats")
        reported = told.get("average_participant_stress") if isinstance(told, dict) else None
        stress = float(reported) if isinstance(reported, int | float) and not isinstance(reported, bool) else None
    return not_in_force(expected, values, sockets, ask, entry.bridge.config_file, stress)
