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
from jvbtune.agent.journal import Journal
from jvbtune.agent.procfs import start_ticks
from jvbtune.agent.putback import put_back
from jvbtune.agent.rundir import tidy

POLL_SECONDS = 0.25
LOCK_PATIENCE_SECONDS = 3.0


class Lease:
    """The deadline in a file, in seconds of the monotonic clock, which all processes of a host share."""

    def __init__(self, path: str) -> None:
        self.path = path

    def renew(self, seconds: float) -> None:
        temporary = f"{self.path}.{os.getpid()}"
        with open(temporary, "w") as file:
            file.write(repr(time.monotonic() + seconds))
        os.replace(temporary, self.path)

    def remaining(self) -> float:
        """Seconds left; 0 where there is no lease."""
        try:
            with open(self.path) as file:
                return float(file.read()) - time.monotonic()
        except (OSError, ValueError):
            return 0.0

    def end(self) -> None:
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass


def main(arguments: list[str]) -> int:
    """``guard JOURNAL_DIRECTORY LEASE AGENT_PID AGENT_START_TICKS BOOT_ID`` or ``guard --once …`` with the same."""
    once = arguments[0] == "--once"
    directory, lease_path, pid, started, boot_id = arguments[once:]
    journal, lease = Journal(directory), Lease(lease_path)
    if once:
        return _once(journal, lease, int(pid), int(started), boot_id)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("-900")
    except OSError:
        pass
    try:
        os.write(1, b"ready\n")
    except OSError:
        pass  # the agent died while this guard was started: that is what it is for
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    why = _watch(journal, lease, int(pid), int(started))
    if why is None:
        return 0
    return _revert(journal, lease, int(pid), int(started), boot_id, why)


def _watch(journal: Journal, lease: Lease, pid: int, started: int) -> str | None:
    """Until the host has to be put back (why), or the journal is gone (None)."""
    poll = select.poll()
    descriptor = _pidfd(pid, started)
    if descriptor is not None:
        poll.register(descriptor, select.POLLIN)
    while True:
        ended = bool(poll.poll(int(POLL_SECONDS * 1000))) if descriptor is not None else _sleep()
        if not os.path.exists(journal.path):
            return None
        if ended or start_ticks(pid) != started:
            return "the guard: the agent ended"
        if lease.remaining() <= 0:
            return "the guard: the lease ended"


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


def _revert(journal: Journal, lease: Lease, pid: int, started: int, boot_id: str, why: str) -> int:
    """Put the host back; an agent that keeps the lock is killed first."""
    lease.end()  # so that an agent that comes to again applies nothing more
    try:
        with journal.locked(LOCK_PATIENCE_SECONDS):
            report = put_back(journal, boot_id, why)
            tidy(journal)
    except TimeoutError:
        kill(pid, started)
        with journal.locked(60.0):
            report = put_back(journal, boot_id, why)
            tidy(journal)
    for text in report.get("failed", ()):
        sys.stderr.write(text + "\n")
    return 0 if report.get("complete", True) else 1


def _once(journal: Journal, lease: Lease, pid: int, started: int, boot_id: str) -> int:
    """For the timer that stands behind the guard: nothing while the lease lives; the timer ends with the journal."""
    if lease.remaining() > 0:
        return 0
    if not os.path.exists(journal.path):
        with contextlib.suppress(TimeoutError), journal.locked(0.0):  # held: somebody begins, or puts back
            tidy(journal)
        return 0
    return _revert(journal, lease, pid, started, boot_id, "the timer: the lease ended")
