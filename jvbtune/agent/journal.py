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
    """The journal below ``directory``."""

    def __init__(self, directory: str = DIRECTORY) -> None:
        self.directory = directory
        self.path = os.path.join(directory, "journal.json")
        self.report_path = os.path.join(directory, "last-revert.json")

    def read(self) -> Record | None:
        """What stands in it; None: there is none. Raises AgentFault where it is damaged."""
        try:
            with open(self.path, encoding="utf-8") as file:
                record = json.load(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise AgentFault(
                "tuning",
                f"the journal {self.path} cannot be read: {error}",
                "It is replaced whole, so this is not jvbtune's doing. Look at it, put the values back by hand "
                "(docs/safety.md), then delete it.",
            ) from error
        if not isinstance(record, dict) or record.get("version") != VERSION:
            raise AgentFault("tuning", f"the journal {self.path} is of another version of jvbtune")
        return record

    def write(self, record: Record) -> None:
        """Replace it: temporary file, fsync, rename, fsync of the directory."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        self._replace(self.path, record)

    def finish(self, report: Record) -> None:
        """All is put back: keep the report, take the journal away."""
        self._replace(self.report_path, report)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._sync_directory()

    def last_report(self, run_id: str) -> Record | None:
        """The report of the last revert, where it was of that run."""
        try:
            with open(self.report_path, encoding="utf-8") as file:
                report = json.load(file)
        except (OSError, ValueError):
            return None
        return report if isinstance(report, dict) and report.get("run_id") == run_id else None

    @contextlib.contextmanager
    def locked(self, timeout_seconds: float = 30.0) -> Iterator[None]:
        """Only one process at a time changes the host. Raises TimeoutError. Ends with its holder."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        descriptor = os.open(os.path.join(self.directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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

    def _replace(self, path: str, record: Record) -> None:
        temporary = f"{path}.{os.getpid()}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        self._sync_directory()

    def _sync_directory(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
