"""Processes by pid and start time, so that another one that got the same pid is never taken for ours."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from jvbtune.agent.procfs import start_ticks

__all__ = ["alive", "children", "start_ticks", "stop", "stop_with_children"]


def alive(pid: int, started: int) -> bool:
    """Whether exactly that process runs."""
    return bool(started) and start_ticks(pid) == started


def children(pid: int) -> list[int]:
    """The processes that any thread of ``pid`` started."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in path.read_text().split()]
    return found


def stop(pid: int, started: int, *, grace_seconds: float = 5.0) -> None:
    """SIGTERM, then SIGKILL; returns when it is gone."""
    for number, grace in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 10.0)):
        if not alive(pid, started):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + grace
        while alive(pid, started) and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # where it is our own child, it stays a zombie until we ask
            time.sleep(0.02)


def stop_with_children(pid: int, started: int) -> None:
    """The sessions of an sshd too: they outlive their listener."""
    if not alive(pid, started):
        return
    below: Sequence[tuple[int, int]] = [(child, start_ticks(child) or 0) for child in _descendants(pid)]
    stop(pid, started)
    for child, ticks in below:
        stop(child, ticks)


def _descendants(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        found += [child, *_descendants(child)]
    return found
