"""What a slice is measured by: the bridge's exact packet counters and the kernel's account of its CPU, together."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from jvbtune.agent import procfs
from jvbtune.agent.control import Bridge
from jvbtune.agent.errors import AgentFault

QUEUE_STATS = "/debug/stats/jvb/queue-stats"


@dataclass(frozen=True)
class Reading:
    """Cumulative counters at one moment; ``queues`` is None where the process has no bridge's HTTP interface."""

    unix: float
    mono: float
    cpu_seconds: float
    threads: dict[str, float]
    queues: dict[str, Any] | None


class Meter:
    """Reads one process. ``arguments`` are those of ``bridge.find``, with ``http_address`` and ``http_port``."""

    def __init__(self, pid: int, arguments: dict[str, Any]) -> None:
        self._pid = pid
        self._bridge = Bridge(arguments)
        self._http = bool(arguments.get("http_port"))

    def read(self) -> Reading:
        """Raises AgentFault where the process is gone."""
        queues = self._queues()
        text = procfs.read_text(f"/proc/{self._pid}/stat")
        if text is None:
            raise AgentFault("capture", "the bridge's JVM ended during the capture")
        stat = procfs.parse_stat(text)
        return Reading(time.time(), time.monotonic(), stat.user_s + stat.sys_s, self._threads(), queues)

    def _queues(self) -> dict[str, Any] | None:
        if not self._http:
            return None
        try:
            return self._bridge.ask_json(QUEUE_STATS)
        except AgentFault:
            self._http = False  # asked once: a JVM that is no bridge is not asked at every edge
            return None

    def _threads(self) -> dict[str, float]:
        groups: dict[str, float] = {}
        try:
            names = os.listdir(f"/proc/{self._pid}/task")
        except OSError:
            return groups
        for name in names:
            text = procfs.read_text(f"/proc/{self._pid}/task/{name}/stat")
            if text is None:
                continue
            stat = procfs.parse_stat(text)
            group = procfs.thread_group(stat.name)
            groups[group] = groups.get(group, 0.0) + stat.user_s + stat.sys_s
        return groups


def between(first: Reading, last: Reading) -> dict[str, Any]:
    """A slice's measurements. Threads that ended meanwhile are in ``cpu_seconds``, not in their group."""
    threads = {
        group: round(used - first.threads.get(group, 0.0), 3)
        for group, used in last.threads.items()
        if used - first.threads.get(group, 0.0) > 0
    }
    return {
        "started_unix": first.unix,
        "seconds": last.mono - first.mono,
        "cpu_seconds": round(last.cpu_seconds - first.cpu_seconds, 3),
        "thread_cpu_seconds": threads,
        "queues": None if first.queues is None or last.queues is None else [first.queues, last.queues],
    }
