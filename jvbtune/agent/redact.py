"""What of a host may leave it: secrets stay there.

Command lines, environment variables and kernel parameters hold passwords (``-Dorg.jitsi.videobridge.xmpp.PASSWORD=``,
the keys of monitoring agents). So lists say what is shown, and all else is ``<removed>``: a secret under a name that
nobody thought of stays on the host too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

REMOVED = "<removed>"

#: System properties whose values say how the bridge runs, and hold no secret.
PROPERTIES = frozenset(
    [
        "config.file",
        "config.resource",
        "file.encoding",
        "ice4j.harvest.udp.receive-buffer-size",
        "java.awt.headless",
        "java.io.tmpdir",
        "java.library.path",
        "java.net.preferIPv4Stack",
        "java.net.preferIPv6Addresses",
        "java.util.logging.config.file",
        "jdk.nio.maxCachedBufferSize",
        "jdk.tls.namedGroups",
        "jdk.virtualThreadScheduler.parallelism",
        "net.java.sip.communicator.SC_HOME_DIR_LOCATION",
        "net.java.sip.communicator.SC_HOME_DIR_NAME",
        "net.java.sip.communicator.SC_LOG_DIR_LOCATION",
        "networkaddress.cache.ttl",
        "org.ice4j.ice.harvest.AbstractUdpListener.SO_RCVBUF",
        "sun.net.inetaddr.ttl",
        "user.timezone",
    ]
)
#: Options of the JVM without a value of their own, or with one out of a small set.
_PLAIN = re.compile(
    r"-(server|client|ea|da|esa|dsa|cp|classpath|jar|p|m)|--(class-path|module-path|enable-preview)"
    r"|--(add-opens|add-exports|add-modules|add-reads|enable-native-access)(=[\w./,=-]*)?"
    r"|-X(ms|mx|mn|ss)\d+[kKmMgGtT]?|-X(rs|int|comp|mixed|batch|verify:\w+|share:\w+)|-Xlog(:[\w+*=,]*)?"
    r"|-XX:[+-]\w+|-XX:\w+=\d+(\.\d+)?[kKmMgGtT]?|-XX:(ActiveProcessorCount|Tier\w+|CompileThreshold\w*)=\d+"
)
#: Flags with a text as value that says how the JVM runs.
_TEXT_FLAGS = re.compile(
    r"-XX:(AllocateHeapAt|HeapDumpPath|ErrorFile|SharedArchiveFile|ShenandoahGCHeuristics)=[\w./%+-]*"
)
_TAKES_PATH = ("-cp", "-classpath", "--class-path", "-jar", "-p", "--module-path")
#: A value as paths, numbers and words have it.
_PLAIN_VALUE = re.compile(r"[\w./,:%+-]*")

#: Kernel parameters (Documentation/admin-guide/kernel-parameters.txt) that bear on a packet rate.
KERNEL_PARAMETERS = frozenset(
    [
        "amd_pstate",
        "audit",
        "cgroup_disable",
        "cgroup_enable",
        "cgroup_no_v1",
        "clocksource",
        "cpufreq.default_governor",
        "default_hugepagesz",
        "gather_data_sampling",
        "hugepages",
        "hugepagesz",
        "idle",
        "intel_idle.max_cstate",
        "intel_iommu",
        "intel_pstate",
        "iommu",
        "iommu.passthrough",
        "iommu.strict",
        "irqaffinity",
        "isolcpus",
        "kvm.halt_poll_ns",
        "l1tf",
        "maxcpus",
        "mds",
        "mitigations",
        "mmio_stale_data",
        "nmi_watchdog",
        "noht",
        "nohz",
        "nohz_full",
        "noibpb",
        "noibrs",
        "nopti",
        "nosmt",
        "nospectre_v1",
        "nospectre_v2",
        "nowatchdog",
        "nr_cpus",
        "numa",
        "numa_balancing",
        "preempt",
        "processor.max_cstate",
        "pti",
        "quiet",
        "rcu_nocb_poll",
        "rcu_nocbs",
        "rcupdate.rcu_expedited",
        "reg_file_data_sampling",
        "retbleed",
        "ro",
        "rw",
        "skew_tick",
        "slab_nomerge",
        "spec_rstack_overflow",
        "spec_store_bypass_disable",
        "spectre_bhi",
        "spectre_v2",
        "spectre_v2_user",
        "srbds",
        "swapaccount",
        "systemd.unified_cgroup_hierarchy",
        "threadirqs",
        "transparent_hugepage",
        "tsc",
        "tsx",
        "tsx_async_abort",
    ]
)
_SECRET = re.compile(
    r"(?i)((?:pass(?:word|wd|phrase)?|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)[\"']?\s*[=:]\s*)"
    r"(\"[^\"\n]*\"|'[^'\n]*'|\S+)"
)


def shown_options(options: Iterable[str]) -> list[str]:
    """Options of a JVM as they may be shown: what is not on the lists keeps its name at most."""
    return [_shown_option(option) for option in options]


def shown_command_line(argv: list[str]) -> list[str]:
    """A JVM's command line: program, options, class path and main class; of the program's arguments only names."""
    shown, previous = argv[:1], ""
    rest = iter(argv[1:])
    for argument in rest:
        if previous in _TAKES_PATH:
            shown.append(argument)
        elif argument.startswith(("-", "@")):
            shown.append(_shown_option(argument))
        else:
            shown.append(argument if re.fullmatch(r"[\w.$/]+", argument) else REMOVED)
        if previous == "-jar" or not (argument.startswith(("-", "@")) or previous in _TAKES_PATH):
            break
        previous = argument
    return [*shown, *(_shown_argument(argument) for argument in rest)]


def shown_kernel_parameters(text: str) -> str:
    """/proc/cmdline: the parameters on the list, and ``sysctl.net.*``, as they are."""
    words = re.findall(r'(?:[^\s"]|"[^"]*")+', text)
    return " ".join(word if _is_shown_parameter(word.partition("=")[0]) else REMOVED for word in words)


def masked(text: str) -> str:
    """Free text, such as what a failed command printed: values behind names of secrets are taken out."""
    return _SECRET.sub(r"\1" + REMOVED, text)


def program(argv: list[str]) -> str:
    """A command as an error names it: its program only, of the host's own tools with what they were to do."""
    name = argv[0].rpartition("/")[2] if argv else "?"
    return " ".join([name, *argv[1:]]) if name in ("systemctl", "docker", "podman") else name


def _is_shown_parameter(name: str) -> bool:
    return name in KERNEL_PARAMETERS or name.startswith("sysctl.net.")


def _shown_option(option: str) -> str:
    name, equals, value = option.partition("=")
    if name.startswith("-D"):
        shown = name[2:] in PROPERTIES and _PLAIN_VALUE.fullmatch(value)
        return option if shown or not equals else f"{name}={REMOVED}"
    if _PLAIN.fullmatch(option) or _TEXT_FLAGS.fullmatch(option):
        return option
    if option.startswith(("-javaagent:", "-agentpath:", "-agentlib:", "-XX:")) and equals:
        return f"{name}={REMOVED}"
    return option if re.fullmatch(r"-(javaagent|agentpath|agentlib):[\w./-]+", option) else REMOVED


def _shown_argument(argument: str) -> str:
    name, equals, _ = argument.partition("=")
    return f"{name}={REMOVED}" if equals and re.fullmatch(r"--?[\w-]+", name) else REMOVED
