"""Bytes that arrive in pieces, taken out by lines; and the end of what was said on standard error."""

from __future__ import annotations

import threading
import time

STDERR_TAIL_BYTES = 65536


class LineBuffer:
    """Filled by one thread, read by another. Unbounded: the reader decides how far it lags."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ended = False
        self._changed = threading.Condition()

    def feed(self, data: bytes) -> None:
        with self._changed:
            self._bytes += data
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def read_line(self, timeout_seconds: float | None) -> bytes | None:
        """The next line with its newline (the last one may lack it), None at the end. Raises TimeoutError."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        searched = 0
        with self._changed:
            while True:
                end = self._bytes.find(b"\n", searched)
                if end >= 0:
                    return self._take(end + 1)
                if self._ended:
                    return self._take(len(self._bytes)) if self._bytes else None
                searched = len(self._bytes)
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    raise TimeoutError(f"no line within {timeout_seconds:g} s")
                self._changed.wait(remaining)

    def _take(self, length: int) -> bytes:
        line = bytes(self._bytes[:length])
        del self._bytes[:length]
        return line


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
