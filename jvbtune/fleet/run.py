"""The controller of a fleet: which host is worked on when, and what became of each.

One loop in the main thread starts processes, takes their messages, and is interrupted. The order is that of the
inventory; a host waits while ``jobs`` others are at work, or while its budget (``budget``) has no room.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from jvbtune.errors import Interrupted
from jvbtune.fleet.budget import Budget
from jvbtune.fleet.looking import Look
from jvbtune.fleet.nursery import Child, Job, Message, Nursery
from jvbtune.fleet.outcome import Outcome, State, exit_code, state_of
from jvbtune.fleet.store import FleetWriter
from jvbtune.interrupts import hang_up_on_leaving, held, take
from jvbtune.inventory import HostEntry
from jvbtune.protocol.codec import to_json

#: So many processes that only look, at once.
LOOKS_AT_ONCE = 16
#: A guard puts a host back within its lease; so long a fleet waits for a host of its own before it holds others back.
PUT_BACK_SECONDS = 120.0
#: What a look at a host has seen holds for so long.
LOOK_AGAIN_SECONDS = 10.0

#: Takes ``(event, data)``; the events are those of docs/fleet.md.
Observer = Callable[[str, Mapping[str, Any]], None]


def nobody(event: str, data: Mapping[str, Any]) -> None:
    """An observer that does nothing."""


@dataclass(frozen=True)
class Member:
    """A host and what is to be done on it. ``done``: how it ended in an earlier run that is resumed."""

    entry: HostEntry
    job: Job
    done: Outcome | None = None


@dataclass(frozen=True)
class Rules:
    """``jobs``: hosts at work at once. ``budget`` None: the work takes no host out of service.

    ``neighbours``: further hosts of the inventory; those of a host's cell count against its budget. Without ``per``
    only those that this work left out of service.
    """

    jobs: int = LOOKS_AT_ONCE
    budget: Budget | None = None
    stop_on_error: bool = False
    neighbours: Sequence[HostEntry] = ()


@dataclass
class _Work:
    """A host at work."""

    child: Child
    begun: float
    run: str | None = None


@dataclass(eq=False)
class Fleet:
    """Made for one piece of work; ``run`` does it. Unknown to it: terminals, files of the user's."""

    command: str
    members: Sequence[Member]
    rules: Rules
    observe: Observer = nobody
    writer: FleetWriter | None = None
    not_put_back: Mapping[str, str] = field(default_factory=dict)  #: left out by an earlier attempt, and why
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    _waiting: list[Member] = field(default_factory=list)
    _at_work: dict[str, _Work] = field(default_factory=dict)
    _out: dict[str, str] = field(default_factory=dict)  #: left out of service by this work, or before it, and why
    _found: dict[str, str] = field(default_factory=dict)  #: how each host was when work on it began
    _held: dict[str, str] = field(default_factory=dict)  #: waits for its budget, and why
    _seen: dict[str, tuple[float, str]] = field(default_factory=dict)  #: when each host was looked at; what was seen
    _messages: queue.Queue[Callable[[], None]] = field(default_factory=queue.Queue)
    _failed: str | None = None

    def run(self, nursery: Nursery) -> int:
        """Work on every host. Returns the exit code; after an interrupt too, when every host at work has ended."""
        self._nursery = nursery
        self._tell("fleet_started", command=self.command, hosts=[one.entry.name for one in self.members])
        known = {one.entry.name for one in self.members} | {one.name for one in self.rules.neighbours}
        self._out = {name: why for name, why in self.not_put_back.items() if name in known}
        self._waiting = [one for one in self.members if one.done is None]
        for member in self.members:
            if member.done is not None:
                self._finish(member.done)
        interrupted = False
        hang_up_on_leaving(self)
        try:
            self._work()
        except KeyboardInterrupt:
            interrupted = True
            with held():  # from here on every host is put back in peace
                self._interrupt()
        code = Interrupted.exit_code if interrupted else exit_code(self.ordered())
        self._tell("fleet_finished", exit_code=code)
        return code

    def ordered(self) -> list[Outcome]:
        """Of all hosts, in the inventory's order."""
        return [self.outcomes[one.entry.name] for one in self.members if one.entry.name in self.outcomes]

    def hang_up(self) -> None:
        """The command leaves at once: so do the processes, and the agents put their hosts back."""
        for work in list(self._at_work.values()):
            work.child.leave()

    # -- the loop -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            ended = len(self.outcomes)
            self._begin_what_may()
            if self._at_work:
                self._take(None)
            elif not self._waiting:
                return
            elif len(self.outcomes) > ended:
                continue  # a host ended while another one was looked at: one that was refused for it may begin now
            elif not self._wait_for_own_hosts():
                self._hold_back()
                return

    def _begin_what_may(self) -> None:
        for member in list(self._waiting):
            if self._stopped():
                return
            if len(self._at_work) >= self.rules.jobs:
                return
            name = member.entry.name
            why = self._refusal(member.entry)
            if self._stopped():  # the failure may have arrived during a look
                return
            if why is None:
                self._held.pop(name, None)
                self._waiting.remove(member)
                self._start(member)
            elif self._held.get(name) != why:
                self._held[name] = why
                self._tell("host_waits", host=name, because=why)

    def _stopped(self) -> bool:
        """Whether no further host begins, because one has failed."""
        if not self.rules.stop_on_error or self._failed is None:
            return False
        self._not_started(f"{self._failed} failed first", f"Mend that host, then {self._again}.")
        return True

    def _refusal(self, entry: HostEntry) -> str | None:
        """Why a host has to wait: first by what is known here, then by a look at its whole cell."""
        budget = self.rules.budget
        if budget is None:
            return None
        cell = self._cell(entry, budget)
        names = [one.name for one in cell]
        why = budget.refusal(entry.name, names, self._at_work, {})
        if why is not None:
            return why
        watched = [one for one in cell if one.name not in self._at_work]
        if budget.per is None:  # no cluster is known: only what this work takes out of service counts
            watched = [one for one in watched if one.name == entry.name or one.name in self._out]
        seen = self._look(watched)
        for name in [name for name in self._out if seen.get(name) == ""]:
            self._in_service(name)
        self._found[entry.name] = seen.get(entry.name, "")
        return budget.refusal(entry.name, names, self._at_work, {n: w for n, w in seen.items() if w} | self._out)

    def _cell(self, entry: HostEntry, budget: Budget) -> list[HostEntry]:
        known = {one.name: one for one in self.rules.neighbours}
        known |= {one.entry.name: one.entry for one in self.members}
        return [one for one in known.values() if budget.cell(one) == budget.cell(entry)]

    def _look(self, entries: Sequence[HostEntry], *, fresh_seconds: float = LOOK_AGAIN_SECONDS) -> dict[str, str]:
        """Why each host is out of service; empty: it is in service. Messages of others are taken in the meantime."""
        oldest = time.monotonic() - fresh_seconds
        seen = {one.name: self._seen[one.name][1] for one in entries if self._seen.get(one.name, (0.0,))[0] > oldest}
        left = [one for one in entries if one.name not in seen]
        pending: set[str] = set()

        def take_in(name: str, message: Message) -> None:
            if message["event"] == "ended":
                seen[name] = (message.get("data") or {}).get("out", "not reachable")
                self._seen[name] = (time.monotonic(), seen[name])

        while left or pending:
            while left and len(pending) < LOOKS_AT_ONCE:
                entry = left.pop()
                pending.add(entry.name)
                self._begin(Look(entry, entry.name in self._out), partial(take_in, entry.name))
            self._take(None)
            pending -= seen.keys()
        return seen

    def _begin(self, job: Job, take_in: Callable[[Message], None]) -> Child:
        return self._nursery.start(job, lambda message: self._messages.put(partial(take_in, message)))

    def _start(self, member: Member) -> None:
        name = member.entry.name
        self._record("host_started", host=name)
        child = self._begin(member.job, partial(self._on_message, name))
        self._at_work[name] = _Work(child, time.monotonic())

    def _take(self, timeout_seconds: float | None) -> None:
        """The next message, if one comes in time. The one place where the loop waits, and is interrupted."""
        with contextlib.suppress(queue.Empty):
            take(self._messages, timeout_seconds)()

    def _on_message(self, name: str, message: Message) -> None:
        event = message["event"]
        if event == "ended":
            with held():  # an outcome is never lost
                self._ended(name, message)
        elif event == "run":
            self._at_work[name].run = message["run"]
            self._record("host_run", host=name, run=message["run"])
        else:
            self._tell(event, **{"host": name, **{key: value for key, value in message.items() if key != "event"}})

    def _ended(self, name: str, message: Message) -> None:
        work = self._at_work.pop(name)
        code = int(message["exit_code"])
        state = state_of(code)
        if self.rules.budget is not None and (state in (State.FAILED, State.INTERRUPTED) or name in self._out):
            self._look_at_ended(name)
        if state is State.FAILED and self._failed is None:
            self._failed = name
        self._finish(
            Outcome(
                name,
                state,
                code,
                str(message["reason"]),
                message.get("advice"),
                work.run,
                round(time.monotonic() - work.begun, 1),
                data=message.get("data") or {},
            )
        )

    def _look_at_ended(self, name: str) -> None:
        """A host that is out of service by work that failed, or by an earlier attempt, counts against the budget until
        it is back."""
        entry = next(one.entry for one in self.members if one.entry.name == name)
        before = name in self._out
        self._out[name] = "being put back"
        out = self._look([entry], fresh_seconds=0.0)[name]
        if out and (before or out != self._found.get(name)):
            self._out[name] = out
        else:
            del self._out[name]

    def _in_service(self, name: str) -> None:
        """A look found a host in service that had been left out of it."""
        del self._out[name]
        ended = self.outcomes.get(name)
        if ended is not None:
            self._finish(replace(ended, not_put_back=""))

    def _finish(self, outcome: Outcome) -> None:
        outcome = replace(outcome, not_put_back=self._out.get(outcome.host, ""))
        self.outcomes[outcome.host] = outcome
        self._record("host_finished", **to_json(outcome))

    # -- when nothing more can begin ------------------------------------------------------------------------------

    def _wait_for_own_hosts(self) -> bool:
        """While a host of this work's own is being put back by its guard, the others wait. Whether one may begin."""
        deadline = time.monotonic() + PUT_BACK_SECONDS
        while self._out and time.monotonic() < deadline:
            self._pause(LOOK_AGAIN_SECONDS)
            if any(self._refusal(one.entry) is None for one in self._waiting):
                return True
        return False

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._take(left)

    def _hold_back(self) -> None:
        for member in self._waiting:
            name = member.entry.name
            advice = f"Put them back into service, then {self._again}."
            self._finish(Outcome(name, State.HELD_BACK, 1, self._held.get(name, ""), advice))
        self._waiting = []

    def _not_started(self, reason: str, advice: str) -> None:
        for member in self._waiting:
            self._finish(Outcome(member.entry.name, State.NOT_STARTED, 1, reason, advice))
        self._waiting = []

    def _interrupt(self) -> None:
        """Every host at work is put back; nothing else begins. A second interrupt does not end this."""
        for name, work in list(self._at_work.items()):
            work.child.interrupt()
            self._tell("phase", host=name, phase="putting back", left_seconds=None)
        while self._at_work:
            self._take(None)
        self._not_started("interrupted before it began", f"To go on, {self._again}.")

    @property
    def _again(self) -> str:
        """Work that is recorded can be resumed; other work finds by itself what is done already."""
        return "repeat the command with --resume" if self.writer is not None else "repeat the command"

    # -- who hears of it ------------------------------------------------------------------------------------------

    def _record(self, event: str, **data: Any) -> None:
        """Into the fleet's record, and to the observer."""
        if self.writer is not None:
            self.writer.append(event, **data)
        self._tell(event, **data)

    def _tell(self, event: str, **data: Any) -> None:
        self.observe(event, data)
