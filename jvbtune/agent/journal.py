"""The journal of what a sweep changes on this host: on disk before the first change, gone when all is put back.

One host has at most one: it is the lock too. It holds the baseline, every value that is about to be written (before it
is written), how the bridge is controlled and whether it was draining, so that anybody can put the host back: the agent,
the guard, a later ``jvbtune revert``, or a person with ``cat``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from jvbtune.agent.errors import AgentFault

STATE_DIRECTORY = "/var/lib/jvbtune"
RUN_DIRECTORY = "/run/jvbtune"
VERSION = 1


def own_directory(base: str, netns_inode: int | None = None) -> str:
    """``base``, or a sibling of it for a host that is a network namespace of a machine: each is a host of its own.

    The initial namespace is told by ``netdev_max_backlog``, which no other one has.
    """
    if netns_inode is None:
        if os.path.exists("/proc/sys/net/core/netdev_max_backlog"):
            return base
        netns_inode = os.stat("/proc/self/ns/net").st_ino
    return f"{base}-netns-{netns_inode}"


DIRECTORY = own_directory(STATE_DIRECTORY)

Record = dict[str, Any]


class Journal:
    """The journal below ``directory``, with a second copy in /run: either one is enough to put the host back.

    Each write has a number, and the copy with the higher one counts: progress of a put-back is kept even where one of
    the two file systems is full or read-only.
    """

    def __init__(self, directory: str = DIRECTORY, copy_directory: str | None = None) -> None:
        self.directory = directory
        self.path = os.path.join(directory, "journal.json")
        self.report_path = os.path.join(directory, "last-revert.json")
        self.copy_path = os.path.join(copy_directory or _copy_directory(directory), "journal.json")

    def exists(self) -> bool:
        """Whether something is to be put back; also where the journal is damaged."""
        try:
            return self.read() is not None
        except AgentFault:
            return True

    def read(self) -> Record | None:
        """What stands in it; None: there is none. Raises AgentFault where both copies are damaged."""
        found: list[Record] = []
        faults: list[AgentFault] = []
        for path in (self.path, self.copy_path):
            try:
                record = _read(path)
            except AgentFault as fault:
                faults.append(fault)
                continue
            if record is not None:
                found.append(record)
        if not found:
            if faults:
                raise faults[0]
            return None
        finished = {identity(record) for record in found if record.get("finished")}
        pending = [record for record in found if identity(record) not in finished]
        return max(pending, key=lambda record: int(record.get("sequence") or 0)) if pending else None

    def write(self, record: Record) -> None:
        """Replace both copies, before anything is changed. Raises OSError where the first cannot be written."""
        record["sequence"] = int(record.get("sequence") or 0) + 1
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        self._replace(self.path, record)
        with contextlib.suppress(OSError):
            self._replace(self.copy_path, record)

    def progress(self, record: Record) -> bool:
        """Replace what can be replaced; whether anything could. A full disk does not hold up a put-back."""
        record["sequence"] = int(record.get("sequence") or 0) + 1
        kept = False
        for path in (self.path, self.copy_path):
            with contextlib.suppress(OSError):
                self._replace(path, record)
                kept = True
        return kept

    def finish(self, report: Record) -> None:
        """All is put back: keep the report, take the journal away. Raises OSError where it cannot be taken away."""
        whose = {key: report.get(key) for key in ("run_id", "created_unix")}
        record = {"version": VERSION, "finished": True, **whose}
        reported = self._reported(report)
        with contextlib.suppress(OSError):
            self._replace(self.copy_path, record)  # whatever happens next, it is known to be finished
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._sync_directory(self.directory)
        if not reported:
            self._reported(report)  # a full disk has room now
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.copy_path)

    def clear_leftovers(self) -> bool:
        """Temporary files of writers that were killed, and a finished journal; the caller holds the lock, and nothing
        is pending. False: the journal cannot be removed, and the copy that says that it is finished has to stay."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        except OSError:
            return False
        for directory in (self.directory, os.path.dirname(self.copy_path)):
            with contextlib.suppress(OSError):
                for name in os.listdir(directory):
                    if name.endswith(".tmp"):
                        with contextlib.suppress(OSError):
                            os.unlink(os.path.join(directory, name))
        with contextlib.suppress(OSError):
            os.unlink(self.copy_path)
        return True

    def _reported(self, report: Record) -> bool:
        try:
            self._replace(self.report_path, report)
        except OSError:
            return False
        return True

    def is_finished(self, record: Record) -> bool:
        """Whether that journal's host is put back: the report says so, or the copy that the last act leaves if the
        journal itself cannot be removed."""
        with contextlib.suppress(AgentFault):
            copy = _read(self.copy_path)
            if copy is not None and copy.get("finished") and identity(copy) == identity(record):
                return True
        report = self._report()
        if report is None:
            return False
        later = float(report.get("created_unix") or 0.0) > float(record.get("created_unix") or 0.0)
        return later or identity(report) == identity(record)  # a later one began when nothing was left of this one

    def last_report(self, record: Record) -> Record | None:
        """The report of the last revert, where it was of that journal."""
        report = self._report()
        return report if report is not None and identity(report) == identity(record) else None

    def _report(self) -> Record | None:
        """Of the last put-back on this host, whose ever it was."""
        try:
            with open(self.report_path, encoding="utf-8") as file:
                report = json.load(file)
        except (OSError, ValueError):
            return None
        return report if isinstance(report, dict) else None

    @contextlib.contextmanager
    def locked(self, timeout_seconds: float = 30.0) -> Iterator[None]:
        """Only one process at a time changes the host. Ends with its holder. Raises TimeoutError; AgentFault where no
        lock can be made."""
        descriptor = self._open_lock()
        try:
            deadline = time.monotonic() + timeout_seconds
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise TimeoutError("the host's lock is held") from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def _open_lock(self) -> int:
        """In the state directory; where that is broken (EIO, EROFS), beside the copy of the journal, for everybody."""
        why: OSError | None = None
        for directory in (self.directory, os.path.dirname(self.copy_path)):
            try:
                os.makedirs(directory, mode=0o700, exist_ok=True)
                return os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                why = why or error
        assert why is not None
        raise AgentFault("tuning", f"the lock in {self.directory} cannot be opened: {why.strerror}") from why

    def _replace(self, path: str, record: Record) -> None:
        """Temporary file, fsync, rename, fsync of the directory. Raises OSError, and leaves nothing behind."""
        temporary = f"{path}.{os.getpid()}.tmp"
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(record, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self._sync_directory(os.path.dirname(path))

    def _sync_directory(self, directory: str) -> None:
        sync_directory(directory)


def sync_directory(directory: str) -> None:
    """So that a rename in it, or a removal, is on disk. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_directory(directory: str) -> str:
    """/run/jvbtune… for /var/lib/jvbtune…, else a directory below."""
    if os.path.dirname(directory) == os.path.dirname(STATE_DIRECTORY):
        return os.path.join(os.path.dirname(RUN_DIRECTORY), os.path.basename(directory))
    return os.path.join(directory, "copy")


def identity(record: Record) -> tuple[Any, Any]:
    """Which sweep a journal is of: a run that goes on later has another."""
    return record.get("run_id"), record.get("created_unix")


def _read(path: str) -> Record | None:
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise AgentFault(
            "tuning",
            f"the journal {path} cannot be read: {error}",
            "It is replaced whole, so this is not jvbtune's doing. Look at it, put the values back by hand "
            "(docs/safety.md), then delete it.",
        ) from error
    if not isinstance(record, dict) or record.get("version") != VERSION:
        raise AgentFault("tuning", f"the journal {path} is of another version of jvbtune")
    return record
