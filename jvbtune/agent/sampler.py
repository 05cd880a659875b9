"""Samples of the host and the bridge, on a grid of the host's clock: cumulative counters, as the kernel gives them.

What does not change is opened once: the files of /proc stay open and are read with pread, the sock_diag socket stays
in the bridge's network namespace. Its own cost stands in every sample.
"""

from __future__ import annotations

import dataclasses
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
from jvbtune.agent.tenants import Tenants
from jvbtune.protocol import agent as protocol
from jvbtune.protocol.codec import to_json
from jvbtune.protocol.messages import Nothing
from jvbtune.protocol.peers import Served
from jvbtune.protocol.samples import BridgeSample, CgroupCpu, LoadScope, Sample, SocketMemory

#: The one thread that reads the media socket (ice4j's AbstractUdpListener); the kernel keeps 15 characters of a name.
RECEIVE_THREAD_PREFIX = "org.ice4j.ice.h"
#: Cores whose clock is read: on a machine of many, some tell enough.
MAX_CLOCKS = 8
SOCKET_FIELDS = tuple(field.name for field in dataclasses.fields(SocketMemory))
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
        self._threads: dict[int, OpenFile] = {}
        self._receivers: dict[int, OpenFile] = {}
        self._thread_seconds: dict[int, float] = {}
        self._group_seconds: dict[str, float] = {}
        self._diag = SockDiag(pid)
        self._inodes: set[int] = set()
        self._cpus: list[int] = []
        self._scope: LoadScope | None = None
        self._next_slow = 0.0
        self._cgroup = procfs.cgroup_directory(pid, "cpu")
        accounting = procfs.cgroup_directory(pid, "cpuacct")
        usage = f"{accounting}/cpuacct.usage"  # v1; v2 has it in cpu.stat
        self._usage = OpenFile(usage) if accounting and os.path.exists(usage) else None
        self._jvm: HsPerf | None = None
        self._tenants = Tenants()

    def sample(self, of_host: Sample) -> Sample:
        """The sample of the host with what is the bridge's."""
        stat = procfs.parse_stat(self._stat.text())
        if stat.start_ticks != self.start_ticks or stat.state in "ZX":
            raise ProcessLookupError(self.pid)
        if time.monotonic() >= self._next_slow or stat.nr_threads != len(self._threads):
            self._refresh()
        groups, receive = self._thread_cpu()
        bridge = BridgeSample(
            pid=self.pid,
            start_ticks=self.start_ticks,
            cpu_user_s=stat.user_s,
            cpu_sys_s=stat.sys_s,
            rss_bytes=stat.rss_bytes,
            nr_threads=stat.nr_threads,
            rx_thread_cpu_s=receive,
            rx_thread_name=RECEIVE_THREAD_PREFIX if receive is not None else None,
            threads=groups,
            cpus=self._cpus,
            load_scope=self._scope,
            cpu_mhz=procfs.cpu_mhz(self._cpus[:MAX_CLOCKS]),
        )
        mine = [entry for entry in self._diag.udp_sockets() if entry["inode"] in self._inodes]
        return dataclasses.replace(
            of_host,
            bridge=bridge,
            tenants=self._tenants.look(self.pid, self._cpus),
            udp=procfs.parse_snmp_udp(self._snmp.text()),
            interfaces=procfs.parse_net_dev(self._dev.text()),
            sockets=[
                SocketMemory(**{name: entry[name] for name in SOCKET_FIELDS if name in entry})
                for entry in mark_receivers(mine, self._media_port)
            ],
            cgroup=self._throttling(),
            gc=self._jvm.collections() if self._jvm is not None else None,
            jit=self._jvm.compilation() if self._jvm is not None else None,
        )

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
                self._threads[tid] = OpenFile(f"/proc/{self.pid}/task/{tid}/stat")
            except OSError:
                continue
        if self._jvm is None:
            try:
                self._jvm = HsPerf(self.pid)
            except (OSError, ValueError):
                self._jvm = None

    def _end_thread(self, tid: int) -> None:
        self._threads.pop(tid).close()
        self._thread_seconds.pop(tid, None)
        if tid in self._receivers:
            self._receivers.pop(tid).close()

    def _thread_cpu(self) -> tuple[dict[str, float], float | None]:
        """CPU seconds by group of threads, and of the thread that receives.

        What a thread used since the last sample goes to the group of the name that it has now: compiler threads come
        and go (-XX:+UseDynamicNumberOfCompilerThreads) and a new thread has its parent's name for a moment, but a
        group's counter never goes back, and no thread's past moves to another group.
        """
        receive: float | None = None
        for tid, file in list(self._threads.items()):
            try:
                stat = procfs.parse_stat(file.text())
            except OSError:
                self._end_thread(tid)
                continue
            name, used = stat.name, stat.user_s + stat.sys_s
            group = procfs.thread_group(name)
            more = used - self._thread_seconds.get(tid, 0.0)
            self._thread_seconds[tid] = used
            self._group_seconds[group] = self._group_seconds.get(group, 0.0) + more
            if name.startswith(RECEIVE_THREAD_PREFIX):
                # Of the threads of the sockets that share the port, one receives: the busiest.
                exact = self._exact_cpu(tid, used)
                receive = exact if receive is None else max(receive, exact)
        return {group: round(used, 3) for group, used in self._group_seconds.items()}, receive

    def _exact_cpu(self, tid: int, ticks_s: float) -> float:
        """CPU seconds of a receiving thread to the nanosecond (/proc/PID/task/TID/schedstat, sched-stats.rst).

        A receive thread uses a few ms a second at a low packet rate, which ticks of 10 ms show as none. A kernel
        that does not account for it has no such file, or zeros in it (proc_pid_schedstat); there it is ``ticks_s``.
        """
        try:
            if tid not in self._receivers:
                self._receivers[tid] = OpenFile(f"/proc/{self.pid}/task/{tid}/schedstat")
            return int(self._receivers[tid].text().split()[0]) / 1e9 or ticks_s
        except OSError:
            return ticks_s

    def _throttling(self) -> CgroupCpu | None:
        if self._cgroup is None:
            return None
        found = procfs.parse_cgroup_cpu_stat(procfs.read_text(self._cgroup + "/cpu.stat") or "")
        if self._usage is not None and found is not None:
            return dataclasses.replace(found, usage_s=int(self._usage.text()) / 1e9)
        return found

    def close(self) -> None:
        for file in (self._stat, self._snmp, self._dev, *self._threads.values(), *self._receivers.values()):
            file.close()
        self._threads.clear()
        self._receivers.clear()
        if self._usage is not None:
            self._usage.close()
        self._diag.close()
        if self._jvm is not None:
            self._jvm.close()


class Sampler(threading.Thread):
    """Emits a ``sample`` event at each point of the grid until it is stopped."""

    def __init__(self, agent: Any, arguments: protocol.StartSampling) -> None:
        super().__init__(name="sampler", daemon=True)
        self._agent, self._arguments = agent, to_json(arguments.bridge)
        self._interval = arguments.interval_seconds
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
                self._agent.emit(self._sample())
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

    def _sample(self) -> Sample:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        now = time.time()
        sample = Sample(
            t_unix=now,
            t_mono=time.monotonic(),
            seq=self._sequence,
            late_ms=(now - self._due) * 1000,
            agent_cpu_seconds=usage.ru_utime + usage.ru_stime,
            cores=procfs.parse_cpu(self._cores.text()),
            softnet=procfs.parse_softnet(self._softnet.text()),
            load=list(os.getloadavg()),
        )
        self._sequence += 1
        try:
            return self._watch().sample(sample)
        except (OSError, AgentFault):
            self._forget_bridge()  # it ended, or restarts: the next sample looks for it again
            return sample

    def _watch(self) -> BridgeWatch:
        if self._bridge is None:
            self._bridge = BridgeWatch(find_pid(self._arguments), self._arguments.get("media_port"))
            self._agent.emit(protocol.BridgeSeen(self._bridge.pid, self._bridge.start_ticks))
        return self._bridge

    def _forget_bridge(self) -> None:
        if self._bridge is not None:
            self._bridge.close()
            self._bridge = None


def start(agent: Any, arguments: protocol.StartSampling) -> Nothing:
    """``sample.start``."""
    stop(agent, Nothing())
    sampler = Sampler(agent, arguments)
    agent.state["sampler"] = sampler
    sampler.start()
    return Nothing()


def stop(agent: Any, arguments: Nothing) -> Nothing:
    """``sample.stop``: safe to call when none runs."""
    running = agent.state.pop("sampler", None)
    if running is not None:
        running.stop()
    return Nothing()


OPERATIONS = (Served(protocol.SAMPLE_START, start), Served(protocol.SAMPLE_STOP, stop))
