"""What a result depends on and a later reader must know: the host as it is, read once before and once after a run."""

from __future__ import annotations

import glob
import os
import platform
from typing import Any

from jvbtune.agent.procfs import read_text
from jvbtune.agent.redact import shown_kernel_parameters
from jvbtune.agent.truesize import truesizes
from jvbtune.protocol import agent as protocol
from jvbtune.protocol.messages import Nothing
from jvbtune.protocol.peers import Served


def provenance(agent: Any, arguments: Nothing) -> protocol.Provenance:
    """``provenance``: kernel, CPU, network interfaces, platform, and every sysctl under net.*."""
    return protocol.Provenance(
        kernel=os.uname().release,
        kernel_version=os.uname().version,
        machine=os.uname().machine,
        hostname=os.uname().nodename,
        command_line=shown_kernel_parameters(_line("/proc/cmdline") or ""),
        os=_os_release(),
        boot_id=_line("/proc/sys/kernel/random/boot_id"),
        cpu=_cpu(),
        memory_kib=_memory(),
        clocksource=_line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        transparent_hugepage=_line("/sys/kernel/mm/transparent_hugepage/enabled"),
        vulnerabilities=_directory("/sys/devices/system/cpu/vulnerabilities"),
        platform={name: _line("/sys/class/dmi/id/" + name) for name in ("sys_vendor", "product_name", "bios_vendor")},
        interfaces=_interfaces(),
        udp_truesize_bytes=truesizes(),
        sysctl=sysctls("net"),
        sysctl_kernel={
            name: _line("/proc/sys/kernel/" + name)
            for name in ("perf_event_paranoid", "kptr_restrict", "sched_autogroup_enabled", "numa_balancing")
        },
        python=platform.python_version(),
    )


def sysctls(prefix: str, root: str = "/proc/sys") -> dict[str, str]:
    """Every readable sysctl below ``prefix``, by its dotted name."""
    values = {}
    base = os.path.join(root, *prefix.split("."))
    for directory, _, names in os.walk(base):
        for name in names:
            path = os.path.join(directory, name)
            text = read_text(path)
            if text is not None:
                key = os.path.relpath(path, root)
                # A name of an interface may hold dots: sysctl(8) writes these as slashes.
                values[key.replace(".", "\0").replace("/", ".").replace("\0", "/")] = text.strip()
    return values


def _line(path: str) -> str | None:
    text = read_text(path)
    return None if text is None else text.strip().replace("\0", " ")


def _directory(path: str) -> dict[str, str | None]:
    return {os.path.basename(name): _line(name) for name in sorted(glob.glob(path + "/*"))}


def _os_release() -> dict[str, str]:
    text = read_text("/etc/os-release") or ""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key: values[key].strip('"') for key in ("ID", "VERSION_ID", "PRETTY_NAME") if key in values}


def _cpu() -> dict[str, Any]:
    text = read_text("/proc/cpuinfo") or ""
    models = [
        line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(("model name", "CPU part"))
    ]
    flags = next((line.partition(":")[2].split() for line in text.splitlines() if line.startswith("flags")), [])
    return {
        "model": models[0] if models else None,
        "cores": os.cpu_count(),
        "governor": _line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "max_khz": _line("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"),
        "hypervisor": "hypervisor" in flags,
        "threads_per_core": _line("/sys/devices/system/cpu/smt/active"),
    }


def _memory() -> int | None:
    for line in (read_text("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1])
    return None


def _interfaces() -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(glob.glob("/sys/class/net/*")):
        driver = os.path.realpath(path + "/device/driver")
        found[os.path.basename(path)] = {
            "driver": os.path.basename(driver) if os.path.exists(path + "/device/driver") else None,
            "mtu": _line(path + "/mtu"),
            "speed_mbits": _line(path + "/speed"),
            "rx_queues": len(glob.glob(path + "/queues/rx-*")),
            "tx_queues": len(glob.glob(path + "/queues/tx-*")),
            "rps_cpus": [_line(queue + "/rps_cpus") for queue in sorted(glob.glob(path + "/queues/rx-*"))],
        }
    return found


OPERATIONS = (Served(protocol.PROVENANCE, provenance),)
