"""A command on a terminal of its own, and what a person would see there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyte


class Terminal:
    """``lines``: the screen as it is now, without trailing blanks."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int, columns: int, rows: int) -> None:
        self.process, self._descriptor = process, descriptor
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def until(self, seen: Callable[[list[str]], bool], seconds: float = 60.0) -> list[str]:
        """The first screen of which that is true."""
        deadline = time.monotonic() + seconds
        while not seen(self.lines):
            assert self._read(deadline), "\n".join(self.lines)
        return self.lines

    def press(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    def ended(self, seconds: float = 60.0) -> list[str]:
        """The last screen; the exit code is ``process.returncode``."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        self.process.wait(max(1.0, deadline - time.monotonic()))
        return self.lines

    def _read(self, deadline: float) -> bool:
        if not select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        with suppress(OSError):  # EIO: the other side is closed
            if data := os.read(self._descriptor, 1 << 16):
                self._stream.feed(data)
                return True
        return False


@contextmanager
def on_terminal(argv: Sequence[str], directory: Path, *, columns: int = 100, rows: int = 30) -> Iterator[Terminal]:
    """Run a command whose terminal has that size, as a shell would: its keys reach it. It is killed at the end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "CI"):
        environment.pop(name, None)
    process = subprocess.Popen(
        ["setsid", "--ctty", *argv], stdin=theirs, stdout=theirs, stderr=theirs, cwd=directory, env=environment
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours, columns, rows)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
