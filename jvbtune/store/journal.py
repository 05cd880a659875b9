"""The journal of a run: one event a line, on disk before the run goes on.

A line is ``{"event": name, "unix": seconds, ...}``. A crash can leave half a last line: it is not an event, and a
writer that goes on cuts it off first. So can a full disk: the writer cuts it off at once, or before its next line.
Anything malformed before the last line is damage, and is said.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from jvbtune.errors import StoreError
from jvbtune.protocol.codec import ProtocolError, without_halves
from jvbtune.store.atomic import PRIVATE_FILE

Event = dict[str, Any]


def read_journal(path: Path) -> list[Event]:
    """All whole events, in order; an empty list where there is no journal. Raises StoreError for damage."""
    return _parse(path)[0]


def _parse(path: Path) -> tuple[list[Event], int]:
    """(events, length in bytes of the whole lines)."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    whole = content.rfind(b"\n") + 1
    events: list[Event] = []
    for number, line in enumerate(content[:whole].splitlines(), 1):
        try:
            event = without_halves(line, json.loads(line))
            event["event"]
        except (ValueError, TypeError, KeyError, RecursionError, ProtocolError) as error:
            raise StoreError(
                f"{path}:{number}: not an event of a run: {line[:80]!r}",
                hint="The journal was damaged after it was written. Restore it from a copy, or move the run away.",
            ) from error
        events.append(event)
    return events, whole


class RunJournal:
    """Appends events; each is flushed to disk before ``append`` returns."""

    def __init__(self, path: Path) -> None:
        _, self._whole = _parse(path)
        self._torn = False  #: half a line may be there
        self._lock = threading.Lock()  #: who cuts must not meet who writes
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        self._cut()

    def append(self, event: str, **data: Any) -> Event:
        """Write one event with the controller's clock (``unix``), and flush it to disk. Raises StoreError if that
        cannot be done; then the event is not in the journal."""
        record: Event = {"event": event, "unix": round(time.time(), 6), **data}
        line = json.dumps(record, default=str, allow_nan=False).encode() + b"\n"
        try:
            with self._lock:
                self._write(line)
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot be written: {error.strerror}",
                hint="What was written before is whole. Look at the disk and its free space: df -h "
                f"{shlex.quote(str(self.path.parent))}",
            ) from error
        return record

    def _write(self, line: bytes) -> None:
        """The whole line, or nothing of it. Raises OSError."""
        if self._torn:
            self._cut()
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fdatasync(self._descriptor)
        except OSError:
            self._torn = True
            with contextlib.suppress(OSError):
                self._cut()
            raise
        self._whole += len(line)

    def _cut(self) -> None:
        """Back to the whole lines. Raises OSError."""
        os.ftruncate(self._descriptor, self._whole)
        os.lseek(self._descriptor, self._whole, os.SEEK_SET)
        self._torn = False

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> RunJournal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
