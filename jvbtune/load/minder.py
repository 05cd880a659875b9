"""Runs a command for a controller, and ends it with all its children as soon as that controller is gone.

The controller writes to the minder's standard input, and the minder hands it on. The end of that input, or silence
where the controller promised to speak, ends the command at once, whatever the command is doing. Standard output and
error are the command's own.

    python minder.py GRACE_SECONDS COMMAND...

Standard library only: it also runs on other hosts (``load.archive``).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

#: How soon the end of the command is noticed.
LOOK_SECONDS = 0.05
CHUNK_BYTES = 65536
#: A command that does not read is not fed for ever.
MAX_WAITING_BYTES = 128 << 20
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def mind(
    argv: Sequence[str],
    *,
    grace_seconds: float = 0.0,
    silence_seconds: float | None = None,
    pass_fds: Sequence[int] = (),
) -> int:
    """Run ``argv``; its exit status. ``silence_seconds``: the controller speaks at least so often. ``grace_seconds``:
    between SIGTERM and SIGKILL once the controller is gone; 0: SIGKILL at once."""
    asked: list[int] = []  # noted only: an exception while the child is being started would leave it to nobody
    for number in ENDING:
        signal.signal(number, lambda number, _: asked.append(number))
    try:
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, pass_fds=tuple(pass_fds), start_new_session=True)
    except OSError as error:
        sys.stderr.write(f"{argv[0]} cannot be started: {error.strerror}\n")
        return 127
    try:
        gone = _hand_on(child, silence_seconds, asked)
        if gone is None:
            return child.wait()
        sys.stderr.write(gone)
        sys.stderr.flush()
        if grace_seconds:
            _kill(child, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(grace_seconds)
    finally:
        _kill(child, signal.SIGKILL)
        child.wait()
    return 1


def _kill(child: subprocess.Popen[bytes], number: int) -> None:
    """The command and what it started, as long as that stayed in its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _hand_on(child: subprocess.Popen[bytes], silence_seconds: float | None, asked: Sequence[int]) -> str | None:
    """Until the command ended (None), or the controller is gone or a signal ``asked`` for the end (what to say)."""
    assert child.stdin is not None
    into = child.stdin.fileno()
    os.set_blocking(into, False)
    waiting = bytearray()
    heard = time.monotonic()
    while child.poll() is None:
        if asked:
            return ""
        wanted = [into] if waiting else []
        readable, writable, _ = select.select([0], wanted, [], LOOK_SECONDS)
        if readable:
            data = os.read(0, CHUNK_BYTES)
            if not data:
                return ""
            heard = time.monotonic()
            waiting += data
        elif silence_seconds is not None and time.monotonic() - heard > silence_seconds:
            return f"nothing came from the controller for {silence_seconds:g} s, so the load was stopped\n"
        if len(waiting) > MAX_WAITING_BYTES:
            return "the command does not read what it is sent\n"
        if writable:
            try:
                del waiting[: os.write(into, waiting)]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                waiting.clear()  # it ends, or it does not want to hear more
    return None


if __name__ == "__main__":
    sys.exit(mind(sys.argv[2:], grace_seconds=float(sys.argv[1])))
