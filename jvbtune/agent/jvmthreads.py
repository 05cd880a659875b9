"""What a JVM's threads work for: the bridge, the compilers, the collectors, the JVM itself.

Names are those of HotSpot (share/compiler/compileBroker.cpp, share/gc/*, share/runtime/*), as far as the kernel keeps
them: 15 characters, and without their numbers as ``procfs.thread_group`` leaves them. OpenJ9's are there as well.
"""

from __future__ import annotations

from collections.abc import Mapping

COMPILER, COLLECTOR, JVM, BRIDGE = "compiler", "collector", "jvm", "bridge"

_STARTS = (
    (COMPILER, ("C1 Compiler", "C2 Compiler", "JVMCI", "Compiler Thread", "JIT Compilation", "JIT-", "StressRecompil")),
    (COLLECTOR, ("GC Thread", "G1 ", "Gang worker", "Concurrent Mark", "CMS ", "ParGC", "Shenandoah", "GC Slave")),
    (COLLECTOR, ("ZWorker", "ZDriver", "ZDirector", "ZStat", "ZUncommit", "ZUnmap", "XWorker", "XDriver", "XStat")),
    (JVM, ("VM Thread", "VM Periodic", "VM Op", "Sweeper thread", "Service Thread", "Monitor Deflati", "JFR ")),
    (JVM, ("Signal Dispatch", "Reference Handl", "Finalizer", "Notification Th", "Common-Cleaner", "Attach Listener")),
    (JVM, ("DestroyJavaVM", "Async-profiler", "StringDedup")),
)


def kind_of(name: str) -> str:
    """What a thread, or a group of them, works for: ``compiler``, ``collector``, ``jvm`` or ``bridge``."""
    for kind, starts in _STARTS:
        if name.startswith(starts):
            return kind
    return BRIDGE


def seconds_by_kind(groups: Mapping[str, float]) -> dict[str, float]:
    """CPU seconds of groups of threads, added up by what they work for. Every kind is there."""
    found = dict.fromkeys((COMPILER, COLLECTOR, JVM, BRIDGE), 0.0)
    for name, seconds in groups.items():
        found[kind_of(name)] += float(seconds)
    return found
