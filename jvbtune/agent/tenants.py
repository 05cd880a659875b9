"""Who else uses the bridge's cores: the busiest other processes, by name. A command line may hold secrets."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from jvbtune.agent.procfs import parse_stat, read_text

#: Processes are looked at this often, and more seldom on a host of so many that it would cost more than ...
PERIOD_SECONDS = 5.0
#: ... this share of a core. One process costs about 20 µs.
MAX_CPU_RATIO = 0.002
MOST = 5
LEAST_CORES = 0.005


class Tenants:
    """The other processes of a host; ``busiest`` is what they used in the last period."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._used: dict[tuple[int, int], float] = {}  #: (pid, start ticks) -> CPU seconds
        self._looked = 0.0
        self._next = 0.0
        self.busiest: dict[str, float] = {}

    def look(self, bridge_pid: int, cpus: Iterable[int]) -> dict[str, float]:
        """Cores used since the look before, by name: at most 5, of those that may run on ``cpus``; empty at first."""
        now = time.monotonic()
        if now < self._next:
            return self.busiest
        begun = time.thread_time()
        self.busiest = self._busiest(bridge_pid, set(cpus), now)
        self._looked = now
        self._next = now + max(PERIOD_SECONDS, (time.thread_time() - begun) / MAX_CPU_RATIO)
        return self.busiest

    def _busiest(self, bridge_pid: int, cpus: set[int], now: float) -> dict[str, float]:
        before, self._used = self._used, {}
        grown: list[tuple[float, int, str]] = []
        for name in os.listdir(self._proc):
            text = read_text(f"{self._proc}/{name}/stat") if name.isdigit() else None
            if text is None:
                continue
            try:
                stat = parse_stat(text)
            except (ValueError, IndexError):
                continue  # it ended while it was read
            pid, used = int(name), stat.user_s + stat.sys_s
            self._used[(pid, stat.start_ticks)] = used
            more = used - before.get((pid, stat.start_ticks), 0.0)  # one that is new used all of it since
            if more > 0 and pid != bridge_pid and before:
                grown.append((more / (now - self._looked), pid, "jvbtune-agent" if pid == os.getpid() else stat.name))
        found: dict[str, float] = {}
        for cores, pid, comm in sorted(grown, reverse=True):
            if cores < LEAST_CORES or (len(found) == MOST and comm not in found):
                break
            if _may_run_on(pid, cpus):
                found[comm] = round(found.get(comm, 0.0) + cores, 4)
        return found


def _may_run_on(pid: int, cpus: set[int]) -> bool:
    try:
        return bool(os.sched_getaffinity(pid) & cpus)
    except OSError:
        return True  # it ended: what it used is no less
