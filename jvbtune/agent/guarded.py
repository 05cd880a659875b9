"""What an agent has begun: its journal, lease, guard, timer and watch, and the way back."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from typing import Any

from jvbtune.agent.bridgewatch import BridgeWatch
from jvbtune.agent.control import Bridge
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.guard import Lease
from jvbtune.agent.journal import Journal, Record, identity
from jvbtune.agent.procfs import start_ticks
from jvbtune.agent.putback import put_back
from jvbtune.agent.rundir import (
    DIRECTORY,
    LEASE_PATH,
    TIMER_UNIT,
    ask_systemd,
    own_archive,
    stop_timer,
    systemd,
    tidy,
)
from jvbtune.protocol import agent as protocol

GUARD_READY_SECONDS = 15.0
#: A bridge that boots is waited for (``putback.BOOT_SECONDS``), and one that hangs is restarted within
#: RESTART_TIMEOUT_SECONDS + HEALTHY_TIMEOUT_SECONDS of ``control``.
PUT_BACK_SECONDS = 460.0
#: The timer behind the guard looks so often within a lease.
LOOKS_PER_LEASE = 3.0
LEAST_TIMER_SECONDS = 2.0


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """A process of this archive that outlives this one; it has said that it is ready. Raises AgentFault."""
    argv = [sys.executable, "-I", "-B", own_archive(), *arguments]
    if systemd():
        # Out of the ssh session's scope, which logind may kill with the session (KillUserProcesses=yes).
        argv = ["systemd-run", "--quiet", "--scope", "--slice=system.slice", "--", *argv]
    with open(os.path.join(DIRECTORY, "guard.log"), "ab") as log:
        guard = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
    assert guard.stdout is not None
    watchdog = threading.Timer(GUARD_READY_SECONDS, guard.kill)
    watchdog.start()
    try:
        ready = guard.stdout.readline()
    finally:
        watchdog.cancel()
    if ready != b"ready\n":
        raise AgentFault("tuning", f"the guard did not start; see {DIRECTORY}/guard.log")
    return guard


def close_streams(guard: subprocess.Popen[bytes]) -> None:
    """Of a guard that has ended, or that is to learn that there is nothing left for it to do."""
    for stream in (guard.stdin, guard.stdout):
        if stream is not None:
            stream.close()


class GuardedTuning:
    """What this agent has begun. Its operations come from several threads; the journal's lock orders them."""

    def __init__(self, agent: Any, journal: Journal, lease_seconds: float, boot_id: str) -> None:
        self.agent, self.journal, self.lease_seconds, self.boot_id = agent, journal, lease_seconds, boot_id
        self.lease = Lease(LEASE_PATH, (os.getpid(), start_ticks(os.getpid()) or 0))
        self.record: Record | None = None  #: as last read or written, should the journal be taken away
        self.watch: BridgeWatch | None = None
        self.alarm: str | None = None  #: why the sweep must not go on
        self.guard: subprocess.Popen[bytes] | None = None
        self.timer = False
        self._leased = False
        self._ended = threading.Event()

    def take_lease(self, seconds: float) -> None:
        """From now on the lease is this agent's. Before, it may be that of a colleague whose sweep refuses this one."""
        self._leased = True
        self.lease.renew(seconds)

    def start_guard(self) -> None:
        """Start the guard, and wait until it says that it is ready."""
        self.guard = start("guard", *self._guard_arguments())

    def _guard_arguments(self) -> list[str]:
        started = start_ticks(os.getpid()) or 0
        return [self.journal.directory, self.lease.path, str(os.getpid()), str(started), self.boot_id]

    def start_timer(self) -> None:
        """Behind the guard, where systemd is there: a timer that looks at the lease, should both die at once."""
        if not systemd():
            return
        stop_timer()  # one that was left over has the unit's name
        every = f"{max(LEAST_TIMER_SECONDS, self.lease_seconds / LOOKS_PER_LEASE):.0f}s"
        argv = [
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={TIMER_UNIT}",
            f"--on-active={every}",
            f"--on-unit-active={every}",
            # Python's, where the archive went while the timer fired: the host was put back.
            "--property=SuccessExitStatus=2",
        ]
        argv += ["--timer-property=AccuracySec=1s", "--", sys.executable, "-I", "-B", own_archive(), "guard", "--once"]
        why = ask_systemd([*argv, *self._guard_arguments()])
        self.timer = why is None
        if why is not None:
            self.agent.log(f"there is no timer behind the guard: {why}")

    def watch_guard(self) -> None:
        """A guard that dies before its time is replaced, and it is said."""

        def watch() -> None:
            while not self._ended.wait(0.25):
                guard = self.guard
                if guard is None or guard.poll() is None or not self.journal.exists():
                    continue
                if not self._is_own(self._read()):
                    return  # the guard has put the host back, and it is another sweep's now
                try:
                    self.start_guard()
                    self.agent.emit(protocol.Note(f"the guard died ({guard.returncode}); a new one runs"))
                except (AgentFault, OSError) as error:
                    self.raise_alarm(f"the guard died and cannot be started again: {error}")
                    self.put_back("the agent: there is no guard")
                    return

        threading.Thread(target=watch, name="guard-watch", daemon=True).start()

    def raise_alarm(self, why: str) -> None:
        """The sweep ends: no operation goes on, and the controller hears of it at once."""
        self.alarm = self.alarm or why
        self.agent.emit(protocol.Alarm(why))

    def watch_bridge(self, bridge: Bridge) -> None:
        self.watch = BridgeWatch(bridge, bridge.identity(), self.raise_alarm, lambda: self.lease.remaining() > 0)
        self.watch.start()

    def require(self) -> Record:
        """The journal, while it is this agent's and the lease lives; the caller holds the lock."""
        if self.alarm is not None:
            raise AgentFault("tuning", self.alarm, "The sweep ends, and the host is put back.")
        record = self.journal.read()
        if record is None or not self._is_own(record) or self.lease.remaining() <= 0:
            raise AgentFault(
                "tuning",
                "the host was put back already: the lease ended, or somebody reverted it",
                "The controller's heartbeats did not arrive in time.",
            )
        self.record = record
        return record

    def _read(self) -> Record | None:
        """The journal; None if there is none, or if it is damaged."""
        try:
            return self.journal.read()
        except AgentFault:
            return None

    def _is_own(self, found: Record | None) -> bool:
        """Whether a journal is this agent's, or none that can be told from it: another sweep may have begun since."""
        return found is None or self.record is None or identity(found) == identity(self.record)

    def write(self, record: Record) -> None:
        """Into the journal, before the change that it tells of."""
        try:
            self.journal.write(record)
        except OSError as error:
            raise AgentFault(
                "tuning", f"the journal {self.journal.path} cannot be written: {error.strerror}"
            ) from error
        self.record = record

    def put_back(self, by: str) -> Record:
        """Put the host back; its report, also where the guard was first."""
        self._ended.set()
        if self.watch is not None:
            self.watch.stop()
        with contextlib.suppress(OSError):
            if self.lease.remaining() > 0:  # a restart under way may hold the lock for longer than the lease
                self.lease.renew(PUT_BACK_SECONDS)
        with self.journal.locked(PUT_BACK_SECONDS):
            if not self._is_own(self._read()):
                self.finish()
                return self._report_of_another()
            remembered = self.record if self._lost() else None
            if remembered is not None:
                self.journal.progress(remembered)
            with contextlib.suppress(OSError):
                if self.journal.exists():
                    self.lease.renew(PUT_BACK_SECONDS)  # no heartbeat comes any more; the guard is not to step in
            report = put_back(self.journal, self.boot_id, by, remembered=remembered)
            tidy(self.journal)
        self.finish()
        return report or self._report_of_another()

    def _report_of_another(self) -> Record:
        """Somebody else was first, and finished: the guard, or a person."""
        found = None if self.record is None else self.journal.last_report(self.record)
        return found or {"complete": True, "by": "somebody else", "notes": ["the report of the put-back is lost"]}

    def _lost(self) -> bool:
        """Whether the journal is gone although nobody has put the host back."""
        return self._read() is None and self.record is not None and not self.journal.is_finished(self.record)

    def finish(self) -> None:
        """Leave the rest to the guard: it ends with the journal, or tries again. The lock is not held."""
        self._ended.set()
        if self._leased:
            with contextlib.suppress(OSError):
                self.lease.end()
        if self.guard is None:
            return
        close_streams(self.guard)
        if not self.journal.exists() or not self._is_own(self._read()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.guard.wait(5)
