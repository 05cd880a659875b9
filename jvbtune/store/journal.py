"""The journal of a run: one event a line, on disk before the run goes on.

A line is ``{"event": name, "unix": seconds, ...}``. A crash can leave half a last line: it is not an event, and a
writer that goes on cuts it off first. Anything malformed before the last line is damage, and is said.
"""

from __future__ import annotations

import json
import os
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
        _, whole = _parse(path)
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        os.ftruncate(self._descriptor, whole)
        os.lseek(self._descriptor, 0, os.SEEK_END)

    def append(self, event: str, **data: Any) -> Event:
        """Write one event with the controller's clock (``unix``), and flush it to disk."""
        record: Event = {"event": event, "unix": round(time.time(), 6), **data}
        line = json.dumps(record, default=str, allow_nan=False).encode() + b"\n"
        view = memoryview(line)
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.fdatasync(self._descriptor)
        return record

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
