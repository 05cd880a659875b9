"""Readers of /proc: each is a text and a pure function of it. Field numbers are proc(5)'s."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass

from jvbtune.protocol.samples import CgroupCpu, CoreTimes, InterfaceCounters, LoadScope, Softnet

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def read_text(path: str) -> str | None:
    """The file's text; None where it is not there or not readable."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def boot_id() -> str:
    """Of the running kernel: the same in all of its containers and namespaces, another after a reboot."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


@dataclass(frozen=True)
class ProcessStat:
    """Of /proc/PID/stat."""

    name: str
    state: str
    user_s: float
    sys_s: float
    nr_threads: int
    start_ticks: int
    rss_bytes: int


def parse_stat(text: str) -> ProcessStat:
    """/proc/PID/stat: ``comm`` may hold blanks and parentheses, so all counts from the last parenthesis."""
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return ProcessStat(
        name=name,
        state=fields[0],
        user_s=int(fields[11]) / TICKS_PER_SECOND,
        sys_s=int(fields[12]) / TICKS_PER_SECOND,
        nr_threads=int(fields[17]),
        start_ticks=int(fields[19]),
        rss_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
    )


def start_ticks(pid: int) -> int | None:
    """When the process was started, in ticks since boot: with the pid, its identity. None: gone, or a zombie."""
    text = read_text(f"/proc/{pid}/stat")
    if text is None:
        return None
    stat = parse_stat(text)
    return None if stat.state in "ZX" else stat.start_ticks


def now_ticks() -> int:
    """The moment, in ticks since boot: comparable with ``start_ticks`` (CLOCK_BOOTTIME, proc(5))."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_SECOND)


def parse_cpu(text: str) -> list[CoreTimes]:
    """/proc/stat: the ``cpuN`` lines, in seconds."""
    names = ("user_s", "nice_s", "system_s", "idle_s", "iowait_s", "irq_s", "softirq_s", "steal_s")
    cores = []
    for line in text.splitlines():
        match = re.match(r"cpu(\d+) ", line)
        if match:
            values = [int(value) / TICKS_PER_SECOND for value in line.split()[1 : 1 + len(names)]]
            cores.append(CoreTimes(int(match[1]), **dict(zip(names, values))))
    return cores


def parse_snmp_udp(text: str) -> dict[str, int]:
    """/proc/net/snmp: the two ``Udp:`` lines, names and values."""
    lines = [line.split()[1:] for line in text.splitlines() if line.startswith("Udp:")]
    return dict(zip(lines[0], (int(value) for value in lines[1]))) if len(lines) == 2 else {}


def parse_softnet(text: str) -> list[Softnet]:
    """/proc/net/softnet_stat (net-procfs.c): hexadecimal; kernels before 5.14 have no column with the CPU's number."""
    rows = []
    for index, line in enumerate(text.splitlines()):
        columns = [int(value, 16) for value in line.split()]
        cpu = columns[12] if len(columns) > 12 else index
        backlog = columns[11] if len(columns) > 11 else None
        rows.append(Softnet(cpu, processed=columns[0], dropped=columns[1], squeezed=columns[2], backlog=backlog))
    return rows


def parse_net_dev(text: str) -> dict[str, InterfaceCounters]:
    """/proc/net/dev: the counters of each interface but the loopback."""
    interfaces = {}
    for line in text.splitlines()[2:]:
        name, _, values = line.partition(":")
        numbers = [int(value) for value in values.split()]
        if len(numbers) < 16 or name.strip() == "lo":
            continue
        interfaces[name.strip()] = InterfaceCounters(*numbers[:5], *numbers[8:12])
    return interfaces


def parse_cgroup_cpu_stat(text: str) -> CgroupCpu | None:
    """cpu.stat of cgroup v2 (``throttled_usec``) or v1 (``throttled_time`` in ns); None: without a CPU controller."""
    values = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
    if "nr_periods" not in values:
        return None
    throttled = float(values.get("throttled_usec", 0)) / 1e6 + float(values.get("throttled_time", 0)) / 1e9
    usage = int(values["usage_usec"]) / 1e6 if "usage_usec" in values else None
    return CgroupCpu(int(values["nr_periods"]), int(values.get("nr_throttled", 0)), throttled, usage)


def parse_cpus(text: str) -> list[int]:
    """A kernel list of CPUs: ``0-2,5``."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def cpu_quota(directory: str) -> tuple[int, int] | None:
    """The quota of one cgroup, (quota, period) in microseconds; None where it has none."""
    text = read_text(directory + "/cpu.max")
    if text is not None:
        quota, period = text.split()
    else:
        quota = (read_text(directory + "/cpu.cfs_quota_us") or "-1").strip()
        period = (read_text(directory + "/cpu.cfs_period_us") or "100000").strip()
    return None if quota in ("max", "-1") else (int(quota), int(period))


def jvm_load_scope(pid: int, root: str = "") -> LoadScope:
    """Of what a JVM's ``getSystemCpuLoad`` is a share, which is what a JVB's "cpu-usage" measurement reads.

    As the JDK has it (OperatingSystemImpl.getCpuLoad, JDK 11.0.9 and later): of its cgroup's quota where it has one,
    else of its cgroup's cpuset, else of the host. ``scope``: quota | cpuset | host; ``cpus``: of the last two;
    ``quota_s``: CPU seconds a period.
    """
    directory = cgroup_directory(pid, "cpu", root)
    quota = cpu_quota(directory) if directory else None
    if quota is not None:
        return LoadScope("quota", quota[0] / quota[1], quota_s=quota[0] / 1e6)
    online = parse_cpus(read_text(root + "/sys/devices/system/cpu/online") or "")
    directory = cgroup_directory(pid, "cpuset", root)
    if directory:
        text = read_text(directory + "/cpuset.cpus.effective") or read_text(directory + "/cpuset.effective_cpus")
        cpus = parse_cpus(text or "")
        if cpus and len(cpus) < len(online):
            return LoadScope("cpuset", float(len(cpus)), cpus=cpus)
    return LoadScope("host", float(len(online)), cpus=online)


def cpu_mhz(cpus: list[int], root: str = "/sys/devices/system/cpu") -> float | None:
    """The mean clock of these cores now (cpufreq); None where the kernel does not tell, as in most virtual machines."""
    texts = [read_text(f"{root}/cpu{cpu}/cpufreq/scaling_cur_freq") for cpu in cpus]
    kilohertz = [int(text) for text in texts if text and text.strip().isdigit()]
    return sum(kilohertz) / len(kilohertz) / 1000 if kilohertz else None


def cgroup_directory(pid: int, controller: str, root: str = "") -> str | None:
    """The directory of the process's cgroup in which ``controller`` (cpu, cpuacct, cpuset) is; None: not visible.

    Of a unified hierarchy (v2) it is the same one for all; v1 mounts each apart, or several at one place. RHEL 7 names
    them in another order in /proc than the mount does, and has a link for each alone. ``root``: for tests.
    """
    unified = None
    for line in (read_text(f"{root}/proc/{pid}/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            unified = f"{root}/sys/fs/cgroup{path}".rstrip("/")
        elif controller in controllers.split(","):
            for mount in (controllers, ",".join(reversed(controllers.split(","))), controller):
                directory = f"{root}/sys/fs/cgroup/{mount}{path}".rstrip("/")
                if os.path.isdir(directory):
                    return directory
    return unified if unified and os.path.exists(unified + "/cgroup.controllers") else None


def usable_cores(pid: int) -> float:
    """The cores that a process may use: its affinity, and its cgroup's quota where there is one."""
    cores = float(len(os.sched_getaffinity(pid)))
    directory = cgroup_directory(pid, "cpu")
    while directory and directory.startswith("/sys/fs/cgroup"):
        quota = cpu_quota(directory)
        if quota is not None:
            cores = min(cores, quota[0] / quota[1])
        directory = os.path.dirname(directory)
    return cores


_THREAD_RULES = (
    (re.compile(r"@[0-9a-fx]+$"), "@*"),
    (re.compile(r"(?<=[-#@. ])\d+"), "*"),
    (re.compile(r"\d+$"), "*"),
)


def thread_group(name: str) -> str:
    """A thread's name without its numbers, so that a pool's threads count as one: ``qtp123-45`` is ``qtp*-*``."""
    name = re.sub(r"^qtp\d+", "qtp*", name)
    for pattern, replacement in _THREAD_RULES:
        name = pattern.sub(replacement, name)
    return name
