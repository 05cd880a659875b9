"""Warm means compiled: how long a load is held after a restart before anything is measured.

A JVM that was just started interprets the bridge's code and compiles it beside: a trial then measures the compiler.
On a real bridge at 21 kpps the compilers took 38, 21, 5, 4 and 2 % of a core in the first windows of 5 s, and from then
on 0 to 3 %, with bursts of up to 9 %; the bridge's CPU without them was the same in every window from the third on. So
a load is held until the compilers are quiet, instead of for a fixed time, and bursts that come later are judged trial
by trial (``trials.judge``). All but ``hold`` is pure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from jvbtune.agent.jvmthreads import COMPILER, seconds_by_kind
from jvbtune.interrupts import pause
from jvbtune.protocol.samples import Sample

#: A bridge is warm when its JVM's compilers use no more than this share of a core ...
COMPILED_CORES = 0.02
#: ... over so many seconds.
QUIET_SECONDS = 5.0
#: Samples come at 1 Hz: after so many of a bridge that tell of no threads, none will.
SAMPLES_TO_BE_SURE = 3
#: How often the samples that have arrived are looked at.
LOOK_SECONDS = 0.1


class Ended(StrEnum):
    """Why a warm-up ended."""

    COMPILED = "compiled"
    LONGEST = "longest"  #: still compiling after the longest time: the trials that follow are judged
    UNKNOWN = "unknown"  #: nobody can tell what the compilers use: the shortest time was held


@dataclass(frozen=True)
class WarmUp:
    """How one warm-up went; the event ``warmed_up`` of a run's journal."""

    ended: Ended
    seconds: float  #: of load
    compiler_cores: float | None  #: over the last ``QUIET_SECONDS``
    compiler_core_seconds: float | None  #: what the JVM's compilers used since the bridge's process was started
    bridge_core_seconds: float | None  #: and all of the bridge, the compilers included

    def to_json(self) -> dict[str, Any]:
        digits = {"seconds": 1, "compiler_cores": 4, "compiler_core_seconds": 2, "bridge_core_seconds": 2}
        return {name: _rounded(value, digits.get(name)) for name, value in asdict(self).items()}


def _rounded(value: Any, digits: int | None) -> Any:
    return value if value is None or digits is None else round(value, digits)


def compiler_cores(samples: Sequence[Sample], seconds: float = QUIET_SECONDS) -> float | None:
    """CPU of the JVM's compilers over the last ``seconds`` of the samples, in cores; None where that is not known.

    ``samples`` hold cumulative counters, by ascending time. A bridge that was restarted in between is not known.
    """
    if not samples:
        return None
    last = samples[-1]
    earlier = [sample for sample in samples if last.t_mono - sample.t_mono >= seconds - 0.2]
    before, after = earlier[-1].bridge if earlier else None, last.bridge
    if before is None or after is None or not before.threads or not after.threads:
        return None
    if (before.pid, before.start_ticks) != (after.pid, after.start_ticks):
        return None
    used = seconds_by_kind(after.threads)[COMPILER] - seconds_by_kind(before.threads)[COMPILER]
    # counters are in ticks of 10 ms: further digits are those of the subtraction
    return round(max(0.0, used) / (last.t_mono - earlier[-1].t_mono), 4)


def verdict(
    samples: Sequence[Sample], held_seconds: float, least_seconds: float, longest_seconds: float
) -> WarmUp | None:
    """Whether a warm-up ends now, after ``held_seconds`` of load in which ``samples`` came; None: hold on."""
    share = compiler_cores(samples)
    of_bridge = [sample.bridge for sample in samples if sample.bridge is not None]
    ended: Ended | None = None
    if held_seconds >= least_seconds:
        if share is not None and share <= COMPILED_CORES:
            ended = Ended.COMPILED
        elif len(of_bridge) >= SAMPLES_TO_BE_SURE and not any(bridge.threads for bridge in of_bridge):
            ended = Ended.UNKNOWN
    if ended is None and held_seconds >= longest_seconds:
        ended = Ended.LONGEST if share is not None else Ended.UNKNOWN
    if ended is None:
        return None
    last = of_bridge[-1] if of_bridge else None
    spent = seconds_by_kind(last.threads)[COMPILER] if last and last.threads else None
    whole = last.cpu_user_s + last.cpu_sys_s if last else None
    return WarmUp(ended, held_seconds, share, spent, whole)


def hold(
    samples: Callable[[], Sequence[Sample]],
    least_seconds: float,
    longest_seconds: float,
    begun: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = pause,
) -> WarmUp:
    """Wait, while a load is held, until the bridge is warm.

    ``samples``: those that came since the load began, which was at ``begun`` of ``clock``.
    """
    while (found := verdict(samples(), clock() - begun, least_seconds, longest_seconds)) is None:
        sleep(LOOK_SECONDS)
    return found
