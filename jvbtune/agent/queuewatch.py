"""The receive queue of the bridge's media socket, a thousand times a second: how much of its buffer bursts take.

A buffer that holds a burst shows what the burst needs; a smaller one is then known to overflow, whatever luck a few
trials had. A poll is one netlink request for one socket (sock_diag(7)), about 15 µs of CPU and a wake-up. The watch
measures its own CPU and polls less often if it costs more than it may; it ends by itself after the time asked for.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from jvbtune.agent.bridge import find_pid
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.sockdiag import FAMILIES, SockDiag
from jvbtune.protocol import agent as protocol
from jvbtune.protocol.codec import to_json
from jvbtune.protocol.messages import Nothing
from jvbtune.protocol.peers import Served
from jvbtune.protocol.samples import Burst, QueueSeen

POLL_SECONDS = 0.001
#: If the polls cost more than this share of a core, there are fewer of them.
MAX_CPU_RATIO = 0.1
#: So often the cost is looked at, in polls.
COST_EVERY = 250
MAX_SECONDS = 600.0
#: Bursts are kept one by one up to this number; the peak and the drops of all of them are kept in any case.
MAX_BURSTS = 2000
#: A burst has ended when the queue was empty for so long.
GAP_SECONDS = 0.02


class QueueWatch(threading.Thread):
    """Polls until it is stopped, or its time is over."""

    def __init__(self, pid: int, port: int, seconds: float) -> None:
        super().__init__(name="queue-watch", daemon=True)
        self._diag = SockDiag(pid)
        self._port = port
        self._until = time.monotonic() + min(seconds, MAX_SECONDS)
        self._ended = threading.Event()
        self._ends: list[tuple[int, str]] = []  #: (address family, local address) of the port
        self._polls, self._peak, self._buffer = 0, 0, 0
        self._first_drops: dict[tuple[int, str], int] = {}
        self._drops = 0
        self._bursts: list[Burst] = []
        self._cpu_seconds, self._longest_gap = 0.0, 0.0
        self._fault = ""

    def run(self) -> None:
        begun = time.thread_time()
        try:
            self._find()
            self._poll()
        except OSError as error:
            self._fault = str(error)
        finally:
            self._cpu_seconds = time.thread_time() - begun
            self._diag.close()

    def _find(self) -> None:
        found: dict[tuple[int, str], None] = {}
        for family in FAMILIES:
            for entry in self._diag.udp_sockets(self._port, [family]):
                found[(family, entry["address"])] = None
        self._ends = list(found)
        if not self._ends:
            raise OSError(f"no UDP socket has the port {self._port}")

    def _poll(self) -> None:
        burst: dict[str, Any] | None = None
        queued_at = last = time.monotonic()
        dropped_when_empty = self._look()[1]
        period, used = POLL_SECONDS, time.thread_time()
        while not self._ended.is_set() and last < self._until:
            rmem, drops = self._look()
            now = time.monotonic()
            self._polls += 1
            self._longest_gap = max(self._longest_gap, now - last)
            last = now
            self._peak, self._drops = max(self._peak, rmem), drops
            if rmem:
                queued_at = now
                if burst is None:
                    burst = {"at_unix": time.time(), "peak_bytes": 0, "drops_before": dropped_when_empty}
                burst["peak_bytes"] = max(burst["peak_bytes"], rmem)
            elif burst is not None and now - queued_at > GAP_SECONDS:
                self._keep(burst, drops)
                burst = None
            if burst is None:
                dropped_when_empty = drops
            if self._polls % COST_EVERY == 0:
                used, used_before = time.thread_time(), used
                period = max(POLL_SECONDS, (used - used_before) / COST_EVERY / MAX_CPU_RATIO)
            time.sleep(period)
        if burst is not None:
            self._keep(burst, self._look()[1])

    def _keep(self, burst: dict[str, Any], drops: int) -> None:
        if len(self._bursts) < MAX_BURSTS:
            dropped = (drops - burst["drops_before"]) & 0xFFFFFFFF  # the kernel counts in 32 bits
            self._bursts.append(Burst(burst["at_unix"], burst["peak_bytes"], dropped))

    def _look(self) -> tuple[int, int]:
        """(bytes in the fullest of the receiving sockets' queues, packets that they dropped so far)."""
        fullest = drops = 0
        for end in self._ends:
            entry = self._diag.receiver(*end, self._port)
            if entry is None:
                raise OSError(f"the socket of {end[1]} was closed")
            fullest = max(fullest, entry.get("rmem_bytes", 0))
            self._buffer = entry.get("rcvbuf_bytes", 0)
            drops += entry.get("drops", 0) - self._first_drops.setdefault(end, entry.get("drops", 0))
        return fullest, drops

    def stop(self) -> QueueSeen:
        """End it; what was seen."""
        self._ended.set()
        self.join(5)
        if self._fault:
            raise AgentFault("queue", f"the bridge's queue could not be watched: {self._fault}")
        return QueueSeen(
            polls=self._polls,
            longest_gap_seconds=round(self._longest_gap, 4),
            peak_bytes=self._peak,
            rcvbuf_bytes=self._buffer,
            drops=self._drops & 0xFFFFFFFF,
            bursts=self._bursts,
            cpu_seconds=round(self._cpu_seconds, 4),
        )


def start(agent: Any, arguments: protocol.WatchQueue) -> Nothing:
    """``queue.start``."""
    _drop(agent)
    watch = QueueWatch(find_pid(to_json(arguments.bridge)), arguments.bridge.media_port or 10000, arguments.seconds)
    agent.state["queue"] = watch
    watch.start()
    return Nothing()


def stop(agent: Any, arguments: Nothing) -> QueueSeen:
    """``queue.stop``: what was seen since ``queue.start``."""
    watch = agent.state.pop("queue", None)
    if watch is None:
        raise AgentFault("usage", "no queue is being watched")
    found: QueueSeen = watch.stop()
    return found


def _drop(agent: Any) -> None:
    """One that somebody left behind; what it saw, or why it could not, no longer matters."""
    watch = agent.state.pop("queue", None)
    if watch is not None:
        with contextlib.suppress(AgentFault):
            watch.stop()


OPERATIONS = (Served(protocol.QUEUE_START, start), Served(protocol.QUEUE_STOP, stop))
