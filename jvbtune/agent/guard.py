"""The guard: a process of its own that puts the host back when the agent dies or its lease ends.

It is started and has said that it is ready before the first change. It ends when the journal is gone. It watches the
agent by a pidfd, and the lease: a deadline of the monotonic clock in a file that the agent moves on while its
controller sends heartbeats. An agent that is stopped, or hangs with the lock, is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

from jvbtune.agent.control import kill
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.journal import Journal, Record, identity
from jvbtune.agent.procfs import start_ticks
from jvbtune.agent.putback import MAX_TRIES, given_up, put_back
from jvbtune.agent.rundir import DIRECTORY, stop_timer, tidy

POLL_SECONDS = 0.25
LOCK_PATIENCE_SECONDS = 3.0
#: Between two tries of a put-back; doubled each time.
RETRY_SECONDS = 2.0
#: An agent that is between its guard and its journal for longer hangs.
ARM_SECONDS = 60.0
#: An agent that has put the host back takes no longer to stop the timer and to remove its files.
TIDY_SECONDS = 40.0


class Lease:
    """The deadline in a file, in seconds of the monotonic clock, which all processes of a host share.

    ``owner``: the agent that has it, as (pid, start in clock ticks). An agent that lost its own, and lives on, takes
    that of the next sweep neither for its own nor away. None: anybody's.
    """

    def __init__(self, path: str, owner: tuple[int, int] | None = None) -> None:
        self.path = path
        self._owner = "" if owner is None else f"{owner[0]}:{owner[1]}"

    def renew(self, seconds: float) -> None:
        temporary = f"{self.path}.{os.getpid()}"
        with open(temporary, "w") as file:
            file.write(f"{time.monotonic() + seconds!r} {self._owner}")
        os.replace(temporary, self.path)

    def remaining(self) -> float:
        """Seconds left; 0 where there is no lease, or another owner's."""
        try:
            with open(self.path) as file:
                deadline, _, owner = file.read().partition(" ")
            return float(deadline) - time.monotonic() if self._owner in ("", owner) else 0.0
        except (OSError, ValueError):
            return 0.0

    def end(self) -> None:
        """Take it away, if it is not another owner's."""
        try:
            with open(self.path) as file:
                owner = file.read().partition(" ")[2]
            if self._owner in ("", owner):
                os.unlink(self.path)
        except FileNotFoundError:
            pass


def main(arguments: list[str]) -> int:
    """``guard JOURNAL_DIRECTORY LEASE AGENT_PID AGENT_START_TICKS BOOT_ID`` or ``guard --once …`` with the same.

    Until the journal is written the guard only looks at the agent, and at the end of its standard input.
    """
    once = arguments[0] == "--once"
    directory, lease_path, pid, started, boot_id = arguments[once:]
    owner = int(pid), int(started)
    watched = Watched(Journal(directory), Lease(lease_path, owner), *owner, boot_id)
    if once:
        _once(watched)
        return 0  # a unit that failed would be one more thing that was left behind
    signal.signal(signal.SIGTERM, lambda *_: watched.told_to_end())
    stand_by()
    _wait_until_armed(watched)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    why = _watch(watched)
    if why is not None:
        return _revert(watched, why)
    _tidy_up(watched)
    return 0


def stand_by() -> None:
    """Outlive the session and a lack of memory, and say that the guard is ready (``guarded.start``)."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("-900")
    with contextlib.suppress(OSError):  # the agent died while this guard was started: that is what it is for
        os.write(1, b"ready\n")


class Watched:
    """What a guard looks after, and what it remembers of it should the journal be taken away."""

    def __init__(self, journal: Journal, lease: Lease, pid: int, started: int, boot_id: str) -> None:
        self.journal, self.lease, self.pid, self.started, self.boot_id = journal, lease, pid, started, boot_id
        self.record: Record | None = None
        self.ends = False

    def told_to_end(self) -> None:
        """By SIGTERM, as at a shutdown: the host is put back first."""
        self.ends = True

    def agent_lives(self) -> bool:
        return start_ticks(self.pid) == self.started

    def is_own(self, record: Record) -> bool:
        """Whether a journal is of the sweep that this guard is for. One journal follows another on a host."""
        if self.record is not None:
            return identity(record) == identity(self.record)
        agent = record.get("agent") or {}
        return (agent.get("pid"), agent.get("start_ticks")) == (self.pid, self.started)

    def pending(self) -> bool:
        """Whether something is to be put back. A journal that somebody deleted or damaged is written again."""
        try:
            found = self.journal.read()
        except AgentFault:
            found = None
            if self.record is None:
                return True
        if found is not None:
            if not self.is_own(found):
                return False  # of a later sweep, which began when this one was put back
            self.record = found
            return True
        if self.record is None or self.journal.is_finished(self.record):
            return False
        # Neither finished nor there. The lock: whoever finishes it at this moment is let through.
        with contextlib.suppress(TimeoutError), self.journal.locked(LOCK_PATIENCE_SECONDS):
            if self.journal.is_finished(self.record) or _reads(self.journal):
                return True
            self.journal.progress(self.record)
            sys.stderr.write("the journal was deleted or damaged: the guard wrote it again\n")
        return True


def _reads(journal: Journal) -> bool:
    try:
        return journal.read() is not None
    except AgentFault:
        return False


def _wait_until_armed(watched: Watched) -> None:
    """The journal is written after the guard is ready; an agent that dies before that has changed nothing."""
    deadline = time.monotonic() + ARM_SECONDS
    while time.monotonic() < deadline and watched.agent_lives() and not watched.pending():
        if select.select([0], [], [], POLL_SECONDS)[0] and not os.read(0, 64):
            return


def _watch(watched: Watched) -> str | None:
    """Until the host has to be put back (why), or nothing is left to be put back (None)."""
    poll = select.poll()
    descriptor = _pidfd(watched.pid, watched.started)
    if descriptor is not None:
        poll.register(descriptor, select.POLLIN)
    while True:
        ended = bool(poll.poll(int(POLL_SECONDS * 1000))) if descriptor is not None else _sleep()
        if not watched.pending():
            return None
        if watched.ends:
            return "the guard: it was asked to end"
        if ended or not watched.agent_lives():
            return "the guard: the agent ended"
        if watched.lease.remaining() <= 0:
            tried = watched.record is not None and watched.record.get("tries")
            return "the guard: the agent had left something" if tried else "the guard: the lease ended"


def _tidy_up(watched: Watched) -> None:
    """Whoever put the host back tidies up, if it lives so long: an agent ends with its ssh session."""
    deadline = time.monotonic() + TIDY_SECONDS
    while os.path.isdir(DIRECTORY) and watched.agent_lives() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    with contextlib.suppress(TimeoutError, OSError):
        if os.path.isdir(DIRECTORY):
            with watched.journal.locked(0.0):  # held: somebody begins, or puts back
                tidy(watched.journal)


def _sleep() -> bool:
    time.sleep(POLL_SECONDS)
    return False


def _pidfd(pid: int, started: int) -> int | None:
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None  # a kernel before 5.3: /proc is polled
    if start_ticks(pid) != started:
        os.close(descriptor)
        return None
    return descriptor


def _revert(watched: Watched, why: str) -> int:
    """Put the host back, again where something could not be done, until a person has to."""
    wait = RETRY_SECONDS
    for _ in range(MAX_TRIES):
        report = _try(watched, why)
        for text in [*report.get("failed", ()), *filter(None, [report.get("pending")])]:
            sys.stderr.write(text + "\n")
        if report.get("complete", True):
            return 0
        if watched.record is None or given_up(watched.record):
            return 1
        time.sleep(wait)
        wait *= 2
        if not watched.pending():
            return 0  # somebody else did it
    return 1


def _try(watched: Watched, why: str) -> Record:
    """One try; an agent that keeps the lock is killed first."""
    with contextlib.suppress(OSError):
        watched.lease.end()  # so that an agent that comes to again applies nothing more
    try:
        try:
            with watched.journal.locked(LOCK_PATIENCE_SECONDS):
                return _put_back(watched, why)
        except TimeoutError:
            kill(watched.pid, watched.started)
            with watched.journal.locked(60.0):
                return _put_back(watched, why)
    except (AgentFault, OSError, TimeoutError) as error:
        return {"complete": False, "failed": [str(error)]}


def _put_back(watched: Watched, why: str) -> Record:
    found = watched.journal.read()
    if found is not None and not watched.is_own(found):
        return {}  # somebody else was first, and the next sweep has begun
    report = put_back(watched.journal, watched.boot_id, why)
    tidy(watched.journal)
    with contextlib.suppress(AgentFault):
        watched.record = watched.journal.read() or watched.record
    return report


def _once(watched: Watched) -> None:
    """For the timer that stands behind the guard: nothing while agent and lease live; it ends with the journal.

    An agent that is dead is not waited for: its guard holds the lock, or is dead too.
    """
    if watched.lease.remaining() > 0 and watched.agent_lives():
        return
    try:
        if not watched.journal.exists():
            with watched.journal.locked(0.0):  # held: somebody begins, or puts back
                tidy(watched.journal)
            return
        found = watched.journal.read()
        if found is not None and not watched.is_own(found):
            return  # of a later sweep, which has a timer of its own
        watched.record = found
        if watched.record is not None and given_up(watched.record):
            stop_timer()
            return
        report = _try(watched, "the timer: the agent or its lease ended")
    except (TimeoutError, AgentFault, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return
    for text in [*report.get("failed", ()), *filter(None, [report.get("pending")])]:
        sys.stderr.write(text + "\n")
