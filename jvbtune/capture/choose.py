"""Which engine, from what a host permits: pure. It says what it chose, why, and what is lost with it."""

from __future__ import annotations

from dataclasses import dataclass

from jvbtune.capture.request import ENGINES, Request
from jvbtune.errors import CaptureError
from jvbtune.packages import LIBRARIES
from jvbtune.protocol.capture import Probe

NO_KERNEL = (
    "Kernel frames: what the kernel does for a bridge (sending, receiving, waking) is shown at its system calls."
)
TIMER = "Resolution: a timer's signals come with the kernel's tick (CONFIG_HZ), so shorter intervals are not kept."
PERF_LOSES = (
    "Inlined methods are part of their callers, and all interpreted methods are one frame, Interpreter.",
    "Stacks end where a C library keeps no frame pointer, as many of libc's system calls do.",
    "Names of threads are cut to 15 characters.",
)
JFR_LOSES = (
    "Kernel, native and C++ frames: only Java methods are seen, and threads in system calls are not sampled at all.",
    "CPU time: at most 5 threads in Java code are sampled at a time, so counts are shares, not seconds.",
)
COSTS = {
    "async-profiler": "It loads a library into the JVM (it stays mapped, idle, until the next restart) and stops each "
    "running thread once an interval for some microseconds.",
    "perf": "It puts no agent into the JVM. The host folds the samples afterwards at the lowest priority, and the JVM "
    "lists its compiled methods once a slice.",
    "jfr": "The first JFR start of a JVM is expensive: about one more core of CPU for 10 s, and delays of some hundred "
    "milliseconds, were seen on a bridge. Its recorder stays initialised until the next restart.",
}


@dataclass(frozen=True)
class Choice:
    """An engine and how it is asked. ``native_event`` is the profiler's own name of the CPU event."""

    engine: str
    native_event: str
    kernel_frames: bool
    transfer: bool  #: perf descriptors are opened by the agent and passed to the JVM
    lost: tuple[str, ...]
    because: str

    @property
    def cost(self) -> str:
        return COSTS[self.engine]


def choose(request: Request, probe: Probe) -> Choice:
    """The engine that was asked for, or the one that sees most. Raises CaptureError with why it cannot be."""
    if request.engine != "auto":
        why_not = _obstacles(request.engine, request, probe)
        if why_not:
            raise CaptureError(f"{request.engine} cannot be used here: {'; '.join(why_not)}", hint=_hint(probe))
        return _choice(request.engine, request, probe, "it was asked for")
    usable = {}
    for engine in ENGINES:
        why_not = _obstacles(engine, request, probe)
        if not why_not:
            usable[engine] = _choice(engine, request, probe, "")
    if not usable:
        reasons = [f"{engine}: {'; '.join(_obstacles(engine, request, probe))}" for engine in ENGINES]
        raise CaptureError("no engine can be used here", hint="\n".join(reasons))
    # The order of preference is the dict's; kernel frames come before it.
    engine = next((name for name, choice in usable.items() if choice.kernel_frames), next(iter(usable)))
    because = "it sees Java, native and kernel frames" if usable[engine].kernel_frames else "nothing here sees more"
    before = ENGINES[: ENGINES.index(engine)]
    passed = [
        f"{name} cannot be used ({'; '.join(_obstacles(name, request, probe))})"
        for name in before
        if name not in usable
    ]
    return _choice(engine, request, probe, "; ".join([because, *passed]))


def _obstacles(engine: str, request: Request, probe: Probe) -> list[str]:
    """Why an engine cannot be used; empty: it can."""
    flags = probe.jvm_flags
    if engine == "async-profiler":
        found = []
        if probe.machine not in LIBRARIES:
            found.append(f"it has no library for {probe.machine}")
        if "-XX:-EnableDynamicAgentLoading" in flags:
            found.append("the JVM runs with -XX:-EnableDynamicAgentLoading")
        if probe.place is None:
            reasons = ", ".join(f"{path} {why}" for path, why in probe.refused_places.items())
            found.append(f"there is no place that the JVM can map a library from ({reasons})")
        return found
    if engine == "perf":
        found = []
        if request.events != ("cpu",):
            found.append("it takes CPU profiles only")
        if probe.perf is None:
            found.append("perf is not installed on the host (Debian: linux-perf, Ubuntu: linux-tools-generic)")
        elif not probe.root:
            found.append("it needs root")
        elif probe.perf_events is not None:
            found.append(f"the kernel permits no perf events ({probe.perf_events})")
        if "-XX:+PreserveFramePointer" not in flags:
            found.append("the JVM runs without -XX:+PreserveFramePointer: its stacks cannot be walked")
        if _major(probe.jvm_version) < 17:
            found.append(f"JDK {_major(probe.jvm_version)} writes no perf map (17 and newer do)")
        return found
    unknown = [event for event in request.events if event not in ("cpu", "alloc", "lock")]
    return [f"it has no event {event}" for event in unknown]


def _choice(engine: str, request: Request, probe: Probe, because: str) -> Choice:
    if engine == "perf":
        symbols = bool(probe.kernel_symbols)
        return Choice("perf", "cpu-clock", symbols, False, PERF_LOSES if symbols else (NO_KERNEL, *PERF_LOSES), because)
    if engine == "jfr":
        return Choice("jfr", "jdk.ExecutionSample", False, False, JFR_LOSES, because)
    if "cpu" in request.events:
        agent_may = probe.root and probe.perf_events is None and probe.kernel_symbols
        if probe.jvm_may_perf or agent_may:
            # By its own name, not as "cpu": that one falls back to a timer without a word.
            return Choice("async-profiler", "cpu-clock", True, not probe.jvm_may_perf, (), because)
    lost: tuple[str, ...] = (NO_KERNEL, TIMER) if {"cpu", "ctimer"} & set(request.events) else ()
    return Choice("async-profiler", "ctimer", False, False, lost, because)


def needs_sysctls(probe: Probe) -> bool:
    """Whether other values of the perf sysctls would give kernel frames that are not to be had now."""
    agent_may = probe.root and probe.perf_events is None and probe.kernel_symbols
    return not probe.jvm_may_perf and not agent_may and probe.perf_event_paranoid is not None


def _hint(probe: Probe) -> str | None:
    return "--engine auto takes what there is." if probe.place is not None else None


def _major(version: str) -> int:
    head = version.removeprefix("1.").split(".")[0].split("+")[0].split("-")[0]
    return int(head) if head.isdigit() else 0
