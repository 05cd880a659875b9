"""Processes by pid and start time, so that another one that got the same pid is never taken for ours."""

from __future__ import annotations

import contextlib
import time

import psutil

from jvbtune.agent.procfs import start_ticks

__all__ = ["alive", "children", "start_ticks", "stop", "stop_with_children"]

KILL_SECONDS = 10.0


def alive(pid: int, started: int) -> bool:
    """Whether exactly that process runs. ``started``: its start ticks, which a state file can hold."""
    return bool(started) and start_ticks(pid) == started


def children(pid: int, *, recursive: bool = False) -> list[int]:
    """The processes that ``pid`` started; with all of theirs."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children(recursive=recursive)]
    return []


def stop(pid: int, started: int, *, grace_seconds: float = 5.0) -> None:
    """SIGTERM, then SIGKILL; returns when it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if not alive(pid, started):  # looked at after: psutil refuses to signal another one that gets the pid later
            return
        for send, grace in ((process.terminate, grace_seconds), (process.kill, KILL_SECONDS)):
            send()
            if _ended(process, started, grace):
                return


def _ended(process: psutil.Process, started: int, seconds: float) -> bool:
    """A zombie that somebody else has to ask after has ended, too."""
    deadline = time.monotonic() + seconds
    while alive(process.pid, started):
        if time.monotonic() > deadline:
            return False
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(0.02)
    return True


def stop_with_children(pid: int, started: int) -> None:
    """The sessions of an sshd too: they outlive their listener."""
    if not alive(pid, started):
        return
    below = [(child, start_ticks(child) or 0) for child in children(pid, recursive=True)]
    stop(pid, started)
    for child, ticks in below:
        stop(child, ticks)
