"""Samples of the host and the bridge, on a grid of the host's clock: cumulative counters, as the kernel gives them.

What does not change is opened once: the files of /proc stay open and are read with pread, the sock_diag socket stays
in the bridge's network namespace. Its own cost stands in every sample.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from typing import Any

from jvbtune.agent import procfs
from jvbtune.agent.bridge import find_pid
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.hsperf import HsPerf
from jvbtune.agent.sockdiag import SockDiag, inodes_of, mark_receivers

#: The one thread that reads the media socket (ice4j's AbstractUdpListener); the kernel keeps 15 characters of a name.
RECEIVE_THREAD_PREFIX = "org.ice4j.ice.h"
#: Cores whose clock is read: on a machine of many, some tell enough.
MAX_CLOCKS = 8
SOCKET_FIELDS = ("port", "inode", "receives", "rmem_bytes", "rcvbuf_bytes", "wmem_bytes", "sndbuf_bytes", "drops")
#: Names of threads, and which sockets are the bridge's, are looked up anew this often.
SLOW_SECONDS = 5.0


class OpenFile:
    """A file of /proc, opened once and read from its start."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def text(self) -> str:
        parts: list[bytes] = []
        offset = 0
        while True:
            data = os.pread(self._fd, 65536, offset)
            if not data:
                return b"".join(parts).decode("utf-8", "replace")
            parts.append(data)
            offset += len(data)

    def close(self) -> None:
        os.close(self._fd)


class BridgeWatch:
    """What is sampled of one bridge process. Ends with an OSError when the process does."""

    def __init__(self, pid: int, media_port: int | None = None) -> None:
        started = procfs.start_ticks(pid)
        if started is None:
            raise ProcessLookupError(pid)
        self.pid, self.start_ticks, self._media_port = pid, started, media_port
        self._stat = OpenFile(f"/proc/{pid}/stat")
        self._snmp = OpenFile(f"/proc/{pid}/net/snmp")
        self._dev = OpenFile(f"/proc/{pid}/net/dev")
        self._threads: dict[int, tuple[str, OpenFile]] = {}
        self._ended_threads: dict[str, float] = {}
        self._last_cpu: dict[int, float] = {}
        self._diag = SockDiag(pid)
        self._inodes: set[int] = set()
        self._cpus: list[int] = []
        self._scope: dict[str, Any] = {}
        self._next_slow = 0.0
        self._cgroup = procfs.cgroup_directory(pid, "cpu")
        accounting = procfs.cgroup_directory(pid, "cpuacct")
        usage = f"{accounting}/cpuacct.usage"  # v1; v2 has it in cpu.stat
        self._usage = OpenFile(usage) if accounting and os.path.exists(usage) else None
        self._gc: HsPerf | None = None

    def sample(self) -> dict[str, Any]:
        """The part of a sample that is the bridge's."""
        stat = procfs.parse_stat(self._stat.text())
        if stat["start_ticks"] != self.start_ticks or stat["state"] in "ZX":
            raise ProcessLookupError(self.pid)
        if time.monotonic() >= self._next_slow or stat["nr_threads"] != len(self._threads):
            self._refresh()
        groups, receive = self._thread_cpu()
        result: dict[str, Any] = {
            "bridge": {
                "pid": self.pid,
                "start_ticks": self.start_ticks,
                "cpu_user_s": stat["user_s"],
                "cpu_sys_s": stat["sys_s"],
                "rss_bytes": stat["rss_bytes"],
                "nr_threads": stat["nr_threads"],
                "rx_thread_cpu_s": receive,
                "rx_thread_name": RECEIVE_THREAD_PREFIX if receive is not None else None,
                "threads": groups,
                "cpus": self._cpus,
                "load_scope": self._scope,
                "cpu_mhz": procfs.cpu_mhz(self._cpus[:MAX_CLOCKS]),
            },
            "udp": procfs.parse_snmp_udp(self._snmp.text()),
            "interfaces": procfs.parse_net_dev(self._dev.text()),
            "sockets": [
                {name: entry[name] for name in SOCKET_FIELDS}
                for entry in mark_receivers(
                    [entry for entry in self._diag.udp_sockets() if entry["inode"] in self._inodes], self._media_port
                )
            ],
            "cgroup": self._throttling(),
            "gc": self._gc.read() if self._gc is not None else {},
        }
        return result

    def _refresh(self) -> None:
        self._next_slow = time.monotonic() + SLOW_SECONDS
        self._inodes = inodes_of(self.pid)
        self._cpus = sorted(os.sched_getaffinity(self.pid))
        self._scope = procfs.jvm_load_scope(self.pid)
        present = {int(name) for name in os.listdir(f"/proc/{self.pid}/task")}
        for tid in set(self._threads) - present:
            self._end_thread(tid)
        for tid in present - set(self._threads):
            try:
                file = OpenFile(f"/proc/{self.pid}/task/{tid}/stat")
                name = procfs.parse_stat(file.text())["name"]
            except OSError:
                continue
            self._threads[tid] = (name, file)
        if self._gc is None:
            try:
                self._gc = HsPerf(self.pid)
            except (OSError, ValueError):
                self._gc = None

    def _end_thread(self, tid: int) -> None:
        """Keep what an ended thread had used, so that the counters of its group never go back."""
        name, file = self._threads.pop(tid)
        file.close()
        group = procfs.thread_group(name)
        self._ended_threads[group] = self._ended_threads.get(group, 0.0) + self._last_cpu.pop(tid, 0.0)

    def _thread_cpu(self) -> tuple[dict[str, float], float | None]:
        groups = dict(self._ended_threads)
        receive: float | None = None
        for tid, (name, file) in list(self._threads.items()):
            try:
                stat = procfs.parse_stat(file.text())
            except OSError:
                self._end_thread(tid)
                continue
            used = stat["user_s"] + stat["sys_s"]
            self._last_cpu[tid] = used
            group = procfs.thread_group(name)
            groups[group] = groups.get(group, 0.0) + used
            if name.startswith(RECEIVE_THREAD_PREFIX):
                # Of the threads of the sockets that share the port, one receives: the busiest.
                receive = used if receive is None else max(receive, used)
        return {group: round(used, 3) for group, used in groups.items()}, receive

    def _throttling(self) -> dict[str, float]:
        if self._cgroup is None:
            return {}
        found = procfs.parse_cgroup_cpu_stat(procfs.read_text(self._cgroup + "/cpu.stat") or "")
        if self._usage is not None and found:
            found["usage_s"] = int(self._usage.text()) / 1e9
        return found

    def close(self) -> None:
        for file in (self._stat, self._snmp, self._dev, *(file for _, file in self._threads.values())):
            file.close()
        self._threads.clear()
        if self._usage is not None:
            self._usage.close()
        self._diag.close()
        if self._gc is not None:
            self._gc.close()


class Sampler(threading.Thread):
    """Emits a ``sample`` event at each point of the grid until it is stopped."""

    def __init__(self, agent: Any, arguments: dict[str, Any]) -> None:
        super().__init__(name="sampler", daemon=True)
        self._agent, self._arguments = agent, arguments
        self._interval = float(arguments.get("interval_seconds") or 1.0)
        if not 0.1 <= self._interval <= 60:
            raise AgentFault("usage", "interval_seconds must lie between 0.1 and 60")
        self._stopped = threading.Event()
        self._cores = OpenFile("/proc/stat")
        self._softnet = OpenFile("/proc/net/softnet_stat")
        self._bridge: BridgeWatch | None = None
        self._sequence = 0

    def run(self) -> None:
        try:
            while self._wait_for_grid():
                self._agent.emit("sample", self._sample())
        finally:
            self._forget_bridge()
            self._cores.close()
            self._softnet.close()

    def stop(self) -> None:
        self._stopped.set()
        self.join(5)

    def _wait_for_grid(self) -> bool:
        now = time.time()
        self._due = (int(now / self._interval) + 1) * self._interval
        return not self._stopped.wait(self._due - now)

    def _sample(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        now = time.time()
        sample: dict[str, Any] = {
            "t_unix": now,
            "t_mono": time.monotonic(),
            "seq": self._sequence,
            "late_ms": (now - self._due) * 1000,
            "agent_cpu_seconds": usage.ru_utime + usage.ru_stime,
            "cores": procfs.parse_cpu(self._cores.text()),
            "softnet": procfs.parse_softnet(self._softnet.text()),
            "load": list(os.getloadavg()),
            "bridge": None,
        }
        self._sequence += 1
        try:
            sample.update(self._watch().sample())
        except (OSError, AgentFault):
            self._forget_bridge()  # it ended, or restarts: the next sample looks for it anew
        return sample

    def _watch(self) -> BridgeWatch:
        if self._bridge is None:
            self._bridge = BridgeWatch(find_pid(self._arguments), self._arguments.get("media_port"))
            self._agent.emit("bridge", {"pid": self._bridge.pid, "start_ticks": self._bridge.start_ticks})
        return self._bridge

    def _forget_bridge(self) -> None:
        if self._bridge is not None:
            self._bridge.close()
            self._bridge = None


def start(agent: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """``sample.start``: arguments ``interval_seconds`` (default 1) and those of ``bridge.find``."""
    stop(agent, {})
    sampler = Sampler(agent, arguments)
    agent.state["sampler"] = sampler
    sampler.start()
    return {}


def stop(agent: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """``sample.stop``: safe to call when none runs."""
    running = agent.state.pop("sampler", None)
    if running is not None:
        running.stop()
    return {}


OPERATIONS = {"sample.start": start, "sample.stop": stop}
