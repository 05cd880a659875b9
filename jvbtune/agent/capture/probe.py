"""What a host and its JVM permit a profiler: read from /proc, nothing is changed. Bits are capability.h's."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from typing import Any

from jvbtune.agent.bridge import command_line, jvm_options
from jvbtune.agent.capture.transfer import perf_event_open
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.procfs import read_text, start_ticks

CAP_SYS_ADMIN, CAP_SYSLOG, CAP_PERFMON = 21, 34, 38
SIGQUIT_BIT = 1 << 2
PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, PERF_SAMPLE_CALLCHAIN = 1, 0, 32


@dataclass(frozen=True)
class Target:
    """The JVM to be profiled. Effective ids; ``own_pid`` is the pid in its own namespace."""

    pid: int
    start_ticks: int
    own_pid: int
    uid: int
    gid: int
    capabilities: int
    seccomp: bool
    options: tuple[str, ...]

    def alive(self) -> bool:
        return start_ticks(self.pid) == self.start_ticks

    def has(self, capability: int) -> bool:
        return bool(self.capabilities >> capability & 1)

    def option(self, name: str) -> bool | None:
        """The last ``-XX:+name`` or ``-XX:-name`` of the command line and the environment."""
        found = [option[4] == "+" for option in self.options if option[:4] == "-XX:" and option[5:] == name]
        return found[-1] if found else None


def target(pid: int) -> Target:
    """Raises AgentFault where it is gone, no JVM, or cannot be attached to without harm."""
    status, started = read_text(f"/proc/{pid}/status"), start_ticks(pid)
    if status is None or started is None:
        raise AgentFault("capture", f"process {pid} is gone")
    fields = dict(re.findall(r"^(\w+):\s*(.*)$", status, re.M))
    found = Target(
        pid=pid,
        start_ticks=started,
        own_pid=int(fields.get("NSpid", str(pid)).split()[-1]),
        uid=int(fields["Uid"].split()[1]),
        gid=int(fields["Gid"].split()[1]),
        # Those of another user namespace are good for nothing that the kernel asks of perf.
        capabilities=int(fields["CapEff"], 16) if same_user_namespace(pid) else 0,
        seccomp=fields.get("Seccomp", "0") != "0",
        options=tuple(jvm_options(pid, command_line(pid))),
    )
    if "libjvm.so" not in (read_text(f"/proc/{pid}/maps") or "libjvm.so"):
        raise AgentFault("capture", f"process {pid} is no HotSpot JVM: it has not loaded libjvm.so")
    if found.option("DisableAttachMechanism"):
        raise AgentFault(
            "capture",
            "the bridge's JVM runs with -XX:+DisableAttachMechanism: no profiler can be attached",
            "Take that option away and restart the bridge.",
        )
    if not int(fields.get("SigCgt", "0"), 16) & SIGQUIT_BIT:
        raise AgentFault(
            "capture",
            "the bridge's JVM does not handle SIGQUIT (-Xrs, or it is still starting): attaching would end it",
            "Take -Xrs away and restart the bridge, or wait until it is up.",
        )
    return found


def same_user_namespace(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino
    except OSError:
        return False


def machine(pid: int) -> dict[str, Any]:
    """What of perf is to be had by this agent."""
    perf = shutil.which("perf", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin")
    version = _perf_version(perf) if perf else None
    return {
        "machine": os.uname().machine,
        "kernel": os.uname().release,
        "perf_event_paranoid": _number("kernel/perf_event_paranoid"),
        "kptr_restrict": _number("kernel/kptr_restrict"),
        "perf_events": _perf_events(pid),
        "kernel_symbols": _kernel_symbols(),
        "perf": perf if version else None,
        "perf_version": version,
        "root": os.geteuid() == 0,
    }


def jvm_may(jvm: Target, found: dict[str, Any]) -> bool:
    """Whether the JVM itself may open perf events with kernel frames, and read the kernel's symbols.

    kernel/events/core.c (perf_allow_kernel), kernel/kallsyms.c (kallsyms_show_value).
    """
    paranoid, restricted = found["perf_event_paranoid"], found["kptr_restrict"]
    if paranoid is None or jvm.seccomp:
        return False
    events = paranoid <= 1 or jvm.has(CAP_PERFMON) or jvm.has(CAP_SYS_ADMIN)
    symbols = (restricted == 0 and paranoid <= 1) or ((restricted or 0) <= 1 and jvm.has(CAP_SYSLOG))
    return events and symbols


def foreign_profiler(jvm: Target, ours: str) -> dict[str, Any]:
    """Signs of somebody else's session: async-profiler's library under another path, perf descriptors of the JVM's."""
    maps = read_text(f"/proc/{jvm.pid}/maps") or ""
    paths = {line.split(None, 5)[5].strip() for line in maps.splitlines() if "asyncProfiler" in line}
    libraries = sorted({path.replace(" (deleted)", "") for path in paths if f"/{ours}/" not in path})
    descriptors = 0
    try:
        for name in os.listdir(f"/proc/{jvm.pid}/fd"):
            try:
                descriptors += os.readlink(f"/proc/{jvm.pid}/fd/{name}") == "anon_inode:[perf_event]"
            except OSError:
                continue
    except OSError:
        pass
    return {"libraries": libraries, "perf_descriptors": descriptors}


def _number(name: str) -> int | None:
    text = read_text(f"/proc/sys/{name}")
    return int(text) if text is not None and text.strip().lstrip("-").isdigit() else None


def _perf_version(perf: str) -> str | None:
    """None where it does not run: Ubuntu's is a script that looks for the running kernel's own."""
    try:
        done = subprocess.run([perf, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().replace("perf version ", "") or None if done.returncode == 0 else None


def _perf_events(pid: int) -> str | None:
    """None where a CPU clock with kernel frames can be opened on the process; else why not."""
    head = struct.pack("IIQQQ", PERF_TYPE_SOFTWARE, 64, PERF_COUNT_SW_CPU_CLOCK, 10**9, PERF_SAMPLE_CALLCHAIN)
    attributes = (head + struct.pack("QQ", 0, 1)).ljust(64, b"\0")  # read_format; disabled
    try:
        os.close(perf_event_open(attributes, pid, -1))
    except OSError as error:
        return str(error.strerror)
    return None


def _kernel_symbols() -> bool:
    try:
        with open("/proc/kallsyms") as file:
            return any(int(file.readline().split()[0] or "0", 16) for _ in range(10))
    except (OSError, ValueError, IndexError):
        return False
