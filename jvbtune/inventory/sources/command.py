"""A program of the user's that prints an inventory: an argv that no shell reads, with a timeout and a bound."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jvbtune.errors import ConfigError
from jvbtune.inventory.document import MAX_BYTES, decode
from jvbtune.text import clean

MAX_ERROR_BYTES = 64 << 10
Explain = Callable[[str], tuple[str, str | None]]


def last_line(errors: str) -> tuple[str, str | None]:
    """The last line that a program wrote to stderr, as (message, hint)."""
    lines = [line for line in errors.splitlines() if line.strip()]
    return (f"it says: {clean(lines[-1])}" if lines else "it says nothing on stderr"), None


def run(
    argv: Sequence[str],
    name: str,
    timeout_seconds: float,
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    explain: Explain = last_line,
) -> str:
    """What the program prints. It and what it started are killed at the timeout, at the bound and on an interrupt.

    ``name``: for messages. ``explain``: stderr as (message, hint). Raises ConfigError.
    """
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=directory,
            env=dict(environment) if environment is not None else None,
            start_new_session=True,
        )
    except OSError as error:
        what = f"{clean(argv[0])} cannot be started: {error.strerror}"
        raise ConfigError(what, file=name, hint=f"In the directory {directory}." if directory else None) from error
    except ValueError as error:  # an argument with a NUL
        raise ConfigError(f"{clean(argv[0])} cannot be started: {error}", file=name) from error
    with process:
        try:
            output, errors = _collect(process, name, time.monotonic() + timeout_seconds, timeout_seconds)
        except BaseException:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # its leader is not reaped yet, so the group is still its own
            raise
        status = process.returncode
    if status != 0:
        message, hint = explain(errors.decode("utf-8", "replace"))
        ended = f"exit status {status}" if status > 0 else f"signal {-status}"
        raise ConfigError(f"{clean(Path(argv[0]).name)} failed with {ended}: {message}", file=name, hint=hint)
    return decode(output, name)


def _collect(process: subprocess.Popen[bytes], name: str, until: float, timeout_seconds: float) -> tuple[bytes, bytes]:
    """stdout, and the end of stderr, until both are closed and the program has ended."""
    kept: dict[str, bytearray] = {"out": bytearray(), "err": bytearray()}
    with selectors.DefaultSelector() as selector:
        for part, stream in (("out", process.stdout), ("err", process.stderr)):
            assert stream is not None
            selector.register(stream, selectors.EVENT_READ, part)
        while selector.get_map():
            left = until - time.monotonic()
            ready = selector.select(max(0.0, left))
            if left <= 0:
                raise _too_long(name, timeout_seconds)
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                kept[key.data] += data
            if len(kept["out"]) > MAX_BYTES:
                raise ConfigError(f"the command prints more than {MAX_BYTES >> 20} MiB", file=name)
            del kept["err"][:-MAX_ERROR_BYTES]
    try:
        process.wait(max(0.0, until - time.monotonic()))  # it can close its output, and go on
    except subprocess.TimeoutExpired:
        raise _too_long(name, timeout_seconds) from None
    return bytes(kept["out"]), bytes(kept["err"])


def _too_long(name: str, timeout_seconds: float) -> ConfigError:
    return ConfigError(
        f"the command did not end within {timeout_seconds:g} s",
        file=name,
        hint="Give it more time: timeout_seconds of the [[source]].",
    )
