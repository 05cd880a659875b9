"""Bytes that arrive in pieces, taken out by lines; and the end of what was said on standard error."""

from __future__ import annotations

import threading
from collections import deque

from jvbtune.protocol.codec import ProtocolError, Splitter

STDERR_TAIL_BYTES = 65536


class LineBuffer:
    """Filled by one thread, read by another. A line is bounded; how far the reader lags is its own affair."""

    def __init__(self) -> None:
        self._splitter = Splitter()
        self._lines: deque[bytes] = deque()
        self._fault: ProtocolError | None = None
        self._ended = False
        self._changed = threading.Condition()

    def feed(self, data: bytes) -> None:
        with self._changed:
            if self._fault is None:
                try:
                    self._lines.extend(self._splitter.feed(data))
                except ProtocolError as error:
                    self._fault = error
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            if not self._ended:
                rest = self._splitter.rest()
                self._lines.extend([rest] if rest else [])
            self._ended = True
            self._changed.notify_all()

    def read_line(self, timeout_seconds: float | None) -> bytes | None:
        """The next line without its newline (the last one may have had none), None at the end.

        Raises TimeoutError, and ProtocolError for a line without end.
        """
        with self._changed:
            there = self._changed.wait_for(lambda: self._lines or self._fault or self._ended, timeout_seconds)
            if self._lines:
                return self._lines.popleft()
            if self._fault is not None:
                raise self._fault
            if not there:
                raise TimeoutError(f"no line within {timeout_seconds:g} s")
            return None


class Tail:
    """The last bytes of a stream."""

    def __init__(self, size: int = STDERR_TAIL_BYTES) -> None:
        self._size = size
        self._bytes = bytearray()
        self._lock = threading.Lock()

    def feed(self, data: bytes) -> None:
        with self._lock:
            self._bytes += data
            if len(self._bytes) > self._size:
                del self._bytes[: -self._size]

    def get(self) -> bytes:
        with self._lock:
            return bytes(self._bytes)


def after_mark(stdout: bytes, mark: str) -> str:
    """The rest of the last line that begins with the mark; empty if there is none."""
    lines = stdout.decode("utf-8", "replace").splitlines()
    return next((line[len(mark) :] for line in reversed(lines) if line.startswith(mark)), "")
