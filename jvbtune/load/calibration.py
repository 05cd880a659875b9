"""What this machine's generator can make: measured against a sink of its own, kept, and held against later loads.

A limit is the highest packet rate of a mix at which the generator keeps the same bounds that make a trial invalid: its
lateness and its CPU. It holds for the machine, the cores, the mix and the version of jvbtune that it was measured with.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from jvbtune import __version__
from jvbtune.errors import LoadError, StoreError, UsageError
from jvbtune.hosts import connect
from jvbtune.inventory import BridgeEntry, GeneratorEntry, HostEntry
from jvbtune.load.base import IntendedLoad, Mix, Offered
from jvbtune.load.generator import MAX_CPU_RATIO, MAX_LATENESS_MS, WorkerGenerator
from jvbtune.load.media.codecs import CODECS
from jvbtune.load.sink import ADDRESS, Sink
from jvbtune.store.atomic import write_json
from jvbtune.store.places import state_directory

SCHEMA_VERSION = 1
START_PPS = 4000.0
TRIAL_SECONDS, SETTLE_SECONDS = 4.0, 1.0
#: The search ends when the limit is known this exactly, or to one conference.
WIDTH = 0.05
#: A load is raised at least and at most by these factors, by what the generator's CPU leaves.
RAISE = (1.2, 2.0)
#: A trial that breaks a bound is repeated once; one that other processes disturbed, more often.
ATTEMPTS, DISTURBED_ATTEMPTS = 2, 4
#: The share of this machine's CPU that others may use in a trial that breaks a bound: above it they broke it.
MAX_OTHERS_RATIO = 0.1
#: The sink is the limit above this share of its core.
MAX_SINK_CPU_RATIO = 0.9
MAX_TRIALS = 30
_FILE = "generator-limits.json"


@dataclass(frozen=True)
class Trial:
    """One load against the sink. ``because``: the bounds that it broke."""

    intended_pps: float
    offered_pps: float
    sent_pps: float
    received_pps: float
    lateness_p99_ms: float
    cpu_ratio: float
    sink_cpu_ratio: float
    others_ratio: float  #: of this machine's CPU, what other processes and the hypervisor used
    because: tuple[str, ...]

    @property
    def disturbed(self) -> bool:
        return bool(self.because) and self.others_ratio > MAX_OTHERS_RATIO


@dataclass(frozen=True)
class Limit:
    """The generator's limit in packets per second, received + sent by the bridge, and what it is a limit of.

    ``limited_by``: ``generator``, or ``sink``: then the generator can make at least that much.
    """

    machine: str
    cores: tuple[int, ...]
    mix_name: str
    mix_key: str
    version: str
    limit_pps: float
    sent_pps: float
    received_pps: float
    lateness_p99_ms: float
    cpu_ratio: float
    limited_by: str
    because: tuple[str, ...]
    measured_unix: float
    max_lateness_p99_ms: float = MAX_LATENESS_MS
    max_cpu_ratio: float = MAX_CPU_RATIO

    @property
    def day(self) -> str:
        return time.strftime("%Y-%m-%d", time.localtime(self.measured_unix))

    @property
    def key(self) -> tuple[object, ...]:
        return self.machine, self.cores, self.mix_key, self.version


# -- measuring -----------------------------------------------------------------------------------------------------


def calibrate(entry: HostEntry | None, mix: Mix, observe: Callable[[Trial], None] = lambda trial: None) -> Limit:
    """Measure the limit of this machine's generator on the cores that ``entry`` gives it (None: all).

    The generator and the sink talk over loopback; no bridge is needed. Takes a minute or two. Raises LoadError where
    the generator breaks a bound with one conference already, or other processes disturb it; UsageError for a mix with a
    relay, and for one with VP9 or AV1.
    """
    if mix.relayed is not None:
        raise UsageError(
            f"{mix.name or mix} has a relay: what takes the bridge's place when the generator is calibrated takes none",
            hint="Calibrate a mix without a relay, as meeting-20: jvbtune load --calibrate --mix meeting-20",
        )
    codec = CODECS[mix.video.codec] if mix.video is not None else None
    if codec is not None and codec.svc:
        raise UsageError(
            f"{mix.name or mix} has {codec.name}: what takes the bridge's place when the generator is calibrated "
            "chooses layers of VP8 only",
            hint='Calibrate a mix with codec = "vp8", as meeting-5: jvbtune load --calibrate --mix meeting-5',
        )
    if entry is not None and (maker := entry.generator.elsewhere) is not None:
        raise UsageError(
            f"the load on {entry.name} is made by {maker}, and jvbtune can only calibrate this machine",
            hint="Without --host, jvbtune measures this machine on all of its cores.",
        )
    mix = _steady(mix)
    cores = cores_of(entry)
    others = sorted(os.sched_getaffinity(0) - set(cores))
    given = entry.generator if entry is not None else GeneratorEntry()
    with Sink(others) as sink:
        here = HostEntry(
            "this machine",
            None,
            bridge=BridgeEntry(media_address=ADDRESS, media_port=sink.port, allowed_media_addresses=(ADDRESS,)),
            generator=replace(given, netns=None, bind_address=ADDRESS),
        )
        with connect(here) as host, WorkerGenerator(here, host, sink=sink.conference) as generator:
            search = _Search(generator, sink, mix, observe)
            kept, broken = search.run()
    if kept is None:
        assert broken is not None
        raise LoadError(
            f"the generator cannot make one conference ({mix}) on schedule: {'; '.join(broken.because)}",
            hint="Stop what else uses this machine's cores, or use another machine.",
        )
    because = broken.because if broken is not None else ()
    return Limit(
        machine=machine(),
        cores=cores,
        mix_name=mix.name or str(mix),
        mix_key=key_of(mix),
        version=__version__,
        limit_pps=kept.offered_pps,
        sent_pps=kept.sent_pps,
        received_pps=kept.received_pps,
        lateness_p99_ms=kept.lateness_p99_ms,
        cpu_ratio=kept.cpu_ratio,
        limited_by="sink" if any(one.startswith("the sink") for one in because) or not because else "generator",
        because=because,
        measured_unix=time.time(),
    )


class _Search:
    """Raises the load until a bound is broken, then halves the interval."""

    def __init__(self, generator: WorkerGenerator, sink: Sink, mix: Mix, observe: Callable[[Trial], None]) -> None:
        self._generator, self._sink, self._mix, self._observe = generator, sink, mix, observe

    def run(self) -> tuple[Trial | None, Trial | None]:
        """The highest load that was kept, and the least that was not."""
        conferences = max(1, round(START_PPS / self._mix.packet_rate_pps()))
        low = high = 0
        kept: Trial | None = None
        broken: Trial | None = None
        for _ in range(MAX_TRIALS):
            trial = self._hold(conferences)
            if trial.because:
                high, broken = conferences, trial
            else:
                low, kept = conferences, trial
            if high and (high - low <= 1 or low >= high * (1 - WIDTH)):
                break
            if high:
                conferences = max(low + 1, min(high - 1, round(math.sqrt(low * high)))) if low else high // 2
            else:
                spare = 0.95 * MAX_CPU_RATIO / max(trial.cpu_ratio, 0.01)
                conferences = math.ceil(low * min(max(spare, RAISE[0]), RAISE[1]))
        return kept, broken

    def _hold(self, conferences: int) -> Trial:
        """Raises LoadError where other processes disturb each attempt."""
        broken = disturbed = 0
        while True:
            trial = self._once(IntendedLoad(conferences, self._mix))
            self._observe(trial)
            broken, disturbed = broken + (not trial.disturbed), disturbed + trial.disturbed
            if not trial.because or broken == ATTEMPTS:
                return trial
            if disturbed == DISTURBED_ATTEMPTS:
                raise LoadError(
                    f"this machine is too busy to be calibrated: other processes used {trial.others_ratio:.0%} of its "
                    f"CPU, and {MAX_OTHERS_RATIO:.0%} is allowed",
                    hint="Stop them, then calibrate again. What was measured is not stored.",
                )

    def _once(self, load: IntendedLoad) -> Trial:
        edges = []

        def edge() -> None:
            edges.append((time.monotonic(), self._sink.usage(), _others_seconds()))

        offered = self._generator.offer(load, TRIAL_SECONDS, settle_seconds=SETTLE_SECONDS, edge=edge)
        (begun, before, others_before), (ended, after, others_after) = edges
        sink_cpu = (after.cpu_seconds - before.cpu_seconds) / (ended - begun)
        others = (others_after - others_before) / (ended - begun) / (os.cpu_count() or 1)
        because = list(offered.generator_limited_because)
        lost = after.dropped - before.dropped
        if not because and sink_cpu > MAX_SINK_CPU_RATIO:
            because.append(f"the sink's CPU is at {sink_cpu:.0%} of a core")
        if not because and lost:
            because.append(f"the sink was too slow for {lost} packets")
        return _trial(offered, sink_cpu, max(0.0, others), tuple(because))


def _others_seconds() -> float:
    """CPU seconds of this machine so far that are not of this process and its children; what was stolen, too."""
    times = psutil.cpu_times()
    busy = sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            busy -= used.user + used.system
    return float(busy)


def _trial(offered: Offered, sink_cpu: float, others: float, because: tuple[str, ...]) -> Trial:
    seconds = offered.duration_seconds
    kinds = offered.extra["kinds"]
    return Trial(
        intended_pps=offered.intended_pps,
        offered_pps=offered.offered_pps,
        sent_pps=offered.sent_packets / seconds,
        received_pps=(sum(kind["received"] for kind in kinds.values()) or offered.received_packets) / seconds,
        lateness_p99_ms=offered.lateness_p99_ms,
        cpu_ratio=offered.cpu_ratio,
        sink_cpu_ratio=sink_cpu,
        others_ratio=others,
        because=because,
    )


# -- what a limit is of ----------------------------------------------------------------------------------------------


def cores_of(entry: HostEntry | None) -> tuple[int, ...]:
    """The cores that the generator uses."""
    given = entry.generator.cpus if entry is not None else None
    return tuple(sorted(given)) if given else tuple(sorted(os.sched_getaffinity(0)))


def machine() -> str:
    """This machine: its name, CPU and number of cores. A home directory may be shared by many."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    return f"{platform.node()}, {model}, {os.cpu_count()} cores"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(errors="replace").splitlines()


def key_of(mix: Mix) -> str:
    """Equal for mixes that the generator makes in the same way, whatever they are called."""
    shape = asdict(replace(_steady(mix), name="", joins_per_second=0.0, ssrc_rewriting=True))
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]


def _steady(mix: Mix) -> Mix:
    return replace(mix, burst_packets=1)


# -- kept and held against loads ---------------------------------------------------------------------------------------


def limits_file() -> Path:
    return state_directory() / _FILE


def keep(limit: Limit) -> Path:
    """Store it; an older one of the same machine, cores, mix and version is replaced."""
    path = limits_file()
    others = [one for one in stored() if one.key != limit.key]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"schema_version": SCHEMA_VERSION, "limits": [asdict(one) for one in (*others, limit)]})
    return path


def stored() -> list[Limit]:
    """All that are kept. Raises StoreError where the file is damaged."""
    path = limits_file()
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}", hint="Delete it, then calibrate again.") from error
    try:
        if document["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"its schema_version is {document['schema_version']}, not {SCHEMA_VERSION}")
        return [_limit(one) for one in document["limits"]]
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is damaged: {error}", hint="Delete it, then calibrate again.") from error


def _limit(found: dict[str, Any]) -> Limit:
    lists = {name: tuple(found[name]) for name in ("cores", "because")}
    limit = Limit(**{**found, **lists})
    if not isinstance(limit.limit_pps, int | float) or limit.limit_pps <= 0:
        raise ValueError(f"limit_pps is {limit.limit_pps!r}")
    return limit


def limit_for(entry: HostEntry, mix: Mix) -> Limit | None:
    """The limit of the generator for this mix, on this machine, as this version measured it; None: not calibrated, or
    the sink was slower than the generator, or something other than this machine makes the load."""
    if entry.generator.elsewhere is not None:
        return None
    wanted = machine(), cores_of(entry), key_of(mix), __version__
    return next((one for one in stored() if one.key == wanted and one.limited_by == "generator"), None)


def reachable_pps(entry: HostEntry, mix: Mix, at_most_pps: float) -> float:
    """The highest packet rate that a search may try: ``at_most_pps``, or the generator's limit."""
    limit = limit_for(entry, mix)
    return at_most_pps if limit is None else min(at_most_pps, limit.limit_pps)


def refuse_above(entry: HostEntry, load: IntendedLoad) -> None:
    """Raises LoadError for a load that this machine's generator was measured to be too slow for. Bursts are not judged:
    a limit is of steady load."""
    if load.mix.burst_packets > 1:
        return
    limit = limit_for(entry, load.mix)
    if limit is None or load.packet_rate_pps <= limit.limit_pps:
        return
    option = f" --mix {load.mix.name}" if load.mix.name else ""
    raise LoadError(
        f"{load.packet_rate_pps:.0f} pps is more than this machine's generator can make of this mix on "
        f"{len(limit.cores)} cores: {limit.limit_pps:.0f} pps, as jvbtune load --calibrate measured on {limit.day}",
        hint="Use a lower packet rate, give the generator more cores or machines (generator.cpus, generator.hosts in "
        "jvbtune.toml), or run jvbtune on a faster machine. To measure the limit again: jvbtune load --calibrate"
        + option,
    )
