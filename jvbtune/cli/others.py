"""Who else uses this machine, before anything is measured on it. Names only: a command line may hold secrets."""

from __future__ import annotations

import os
import time

import psutil

MOST = 3


def busiest(seconds: float) -> tuple[float, dict[str, float]]:
    """(share of the CPU of this machine that was used in the next ``seconds``, the three busiest processes' shares).

    This process and its parents are not counted among the processes.
    """
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    before, begun = _seconds(), time.monotonic()
    psutil.cpu_percent()
    time.sleep(seconds)
    used = psutil.cpu_percent() / 100
    whole = (time.monotonic() - begun) * (psutil.cpu_count() or 1)
    shares: dict[str, float] = {}
    for (pid, started, name), now in _seconds().items():
        more = now - before.get((pid, started, name), 0.0)
        if more > 0.005 * whole and pid not in ours:
            shares[name] = shares.get(name, 0.0) + more / whole
    return used, dict(sorted(shares.items(), key=lambda one: -one[1])[:MOST])


def _seconds() -> dict[tuple[int, float, str], float]:
    """CPU seconds of every process, by what identifies it."""
    found = {}
    for process in psutil.process_iter(["pid", "create_time", "name", "cpu_times"]):
        times = process.info["cpu_times"]
        if times is not None:
            found[(process.info["pid"], process.info["create_time"], process.info["name"])] = times.user + times.system
    return found
