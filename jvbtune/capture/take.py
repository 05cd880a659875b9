"""A capture from the request to the directory on disk, through the agent of a host."""

from __future__ import annotations

import base64
import contextlib
import gzip
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jvbtune.bridge.counts import bridge_counts
from jvbtune.capture.choose import Choice, choose, needs_sysctls
from jvbtune.capture.cost import Cost, cost
from jvbtune.capture.quality import name_libraries, quality_of
from jvbtune.capture.request import Request
from jvbtune.capture.store import write_capture
from jvbtune.errors import CaptureError
from jvbtune.flame.formats import jfr
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.packages import profiler_library
from jvbtune.protocol import capture as messages
from jvbtune.protocol.agent import BridgeQuery, OfBridge
from jvbtune.protocol.codec import to_json
from jvbtune.settings.tuning import Tuning

#: With these, a JVM of any user may open perf events with kernel frames and read the kernel's symbols.
PERF_SYSCTLS = {"kernel.perf_event_paranoid": 1, "kernel.kptr_restrict": 0}
LEASE_SECONDS = 30.0
OVERHEAD_SECONDS = 120.0
#: event -> unit of its counts. Of CPU and wall time each sample stands for one interval.
UNITS = {"cpu": "samples", "ctimer": "samples", "wall": "samples", "alloc": "bytes", "lock": "ns"}

#: Below this share of the CPU time, a profile says what it misses; the noise of some hundred samples is above it.
WHOLE_RATIO = 0.9

Observer = Callable[[str, Mapping[str, Any]], None]

#: To send a library of half a megabyte over a slow link to a busy host.
LIBRARY_SECONDS = 120.0


def capture(
    agent: AgentClient,
    request: Request,
    directory: Path,
    *,
    host: str,
    bridge: BridgeQuery,
    owner: str = "",
    bridge_version: str | None = None,
    observe: Observer = lambda event, data: None,
) -> list[Path]:
    """Take one capture of the bridge that ``bridge`` means; one directory an event.

    Nothing of the bridge is drained, restarted or left changed. Raises CaptureError. ``observe`` is told ``chosen``
    (a Choice) before anything is started, and ``slice`` after each.
    """
    with _permitted(agent, request, bridge, owner, observe) as probe:
        choice = choose(request, probe)
        observe("chosen", {"choice": choice})
        if choice.engine == "async-profiler":
            content, sha256 = profiler_library(probe.machine)
            library = messages.Library("libasyncProfiler.so", sha256, base64.b64encode(content).decode())
            agent.call(messages.LIBRARY, library, timeout_seconds=LIBRARY_SECONDS)
        seconds = request.seconds * (2 if request.measure_cost else 1)
        run = messages.Run(
            bridge=bridge,
            engine=choice.engine,
            events=["cpu" if event == "ctimer" else event for event in request.events],
            event=choice.native_event,
            transfer=choice.transfer,
            perf=probe.perf,
            perf_version=probe.perf_version,
            interval_ns=request.interval_ns,
            slices=request.slices,
            slice_seconds=request.slice_seconds,
            measure_cost=request.measure_cost,
        )
        result = agent.call(messages.RUN, run, timeout_seconds=seconds * 1.5 + OVERHEAD_SECONDS)
        files = {name: _fetch(agent, name) for name in result.files}
    return _store(directory, request, choice, probe, result, files, host, bridge_version)


@contextlib.contextmanager
def _permitted(
    agent: AgentClient, request: Request, bridge: BridgeQuery, owner: str, observe: Observer
) -> Iterator[messages.Probe]:
    """The host's probe; with the perf sysctls changed under the guard where that is allowed and of use."""
    probe = agent.call(messages.PROBE, OfBridge(bridge), timeout_seconds=60)
    if not (request.allow_sysctls and needs_sysctls(probe)):
        yield probe
        return
    tuning = Tuning(
        agent,
        owner=owner,
        run_id="profile",
        lease_seconds=LEASE_SECONDS,
        bridge=None,
        settings=list(PERF_SYSCTLS),
    )
    with tuning:
        tuning.apply(dict(PERF_SYSCTLS), restart=False)
        observe("sysctls", {"baseline": tuning.baseline, "values": PERF_SYSCTLS})
        yield agent.call(messages.PROBE, OfBridge(bridge), timeout_seconds=60)
    observe("reverted", {"report": to_json(tuning.report)})


def _fetch(agent: AgentClient, name: str) -> bytes:
    content = b""
    while True:
        piece = agent.call(messages.FETCH, messages.Fetch(name, len(content)))
        content += base64.b64decode(piece.content)
        if len(content) >= piece.bytes:
            return gzip.decompress(content)


def _why_none(engine: str, windows: Sequence[Mapping[str, Any]]) -> str:
    """JFR reads stacks of Java code only, and gives up on those that it cannot walk without a word."""
    cpu_seconds = sum(float(one.get("cpu_seconds") or 0.0) for one in windows)
    if engine != "jfr" or cpu_seconds < 1.0:
        return "Is the bridge idle?"
    return f"It used {cpu_seconds:.1f} s of CPU, so JFR could not read its stacks: take another --engine, or try again."


def _store(
    directory: Path,
    request: Request,
    choice: Choice,
    probe: messages.Probe,
    result: messages.Taken,
    files: Mapping[str, bytes],
    host: str,
    bridge_version: str | None,
) -> list[Path]:
    windows = [with_packets(one) for one in result.slices]
    off = [with_packets(one) for one in result.off]
    price = cost(windows, off) if off else None
    paths = []
    for event in request.events:
        stacks = _stacks(files, windows, choice.engine, event)
        qualities = [quality_of(content) for content in stacks]
        total = sum(quality.samples for quality in qualities)
        if event in ("cpu", "ctimer", "wall") and total == 0:
            raise CaptureError(
                f"{host}: {choice.engine} took no sample of {event} in {request.seconds:g} s",
                hint=f"{_why_none(choice.engine, windows)} {result.log}".strip(),
            )
        name = "ctimer" if event == "cpu" and choice.native_event == "ctimer" else event
        lost = list(choice.lost)
        interval_ns = _interval_ns(request, choice, event)
        sampled = _sampled_ratio(windows, total, interval_ns) if name in ("cpu", "ctimer") else None
        if sampled is not None and sampled < WHOLE_RATIO:
            lost.append(
                f"{1 - sampled:.0%} of the CPU time by the kernel's account: threads that run for a short time "
                "between switches are sampled less than they use."
            )
        if choice.kernel_frames and event == "cpu" and not any(b"_[k]" in content for content in stacks):
            lost.append("Kernel frames: none came, although the host permits them.")
        slices = [
            {
                **{key: value for key, value in one.items() if key != "queues"},
                "samples": _samples(one, quality.samples, event, several=len(request.events) > 1),
                "unresolved_ratio": round(quality.unresolved_ratio, 5),
                "kernel_ratio": round(quality.kernel_ratio, 5) if name == "cpu" else None,
                "java_ratio": round(quality.java_ratio, 5),
            }
            for one, quality in zip(windows, qualities, strict=True)
        ]
        document = {
            "host": host,
            "created_unix": result.created_unix,
            "engine": choice.engine,
            "engine_version": result.engine_version,
            "event": name,
            "unit": UNITS[event],
            "interval_ns": interval_ns,
            "sampled_ratio": sampled,
            "arguments": result.arguments,
            "kernel_frames": choice.kernel_frames and event == "cpu",
            "lost": lost,
            "because": choice.because,
            "log": result.log,
            "target": {
                "pid": probe.pid,
                "jvm_version": probe.jvm_version,
                "jvm_flags": [flag for flag in probe.jvm_flags if "/" not in flag],  # a path says nothing of speed
                "bridge_version": bridge_version,
                "kernel": probe.kernel,
                "uid": probe.uid,
            },
            **asdict(request.place),
            "cost": None if price is None else price.to_json(),
            "off": [{key: value for key, value in one.items() if key != "queues"} for one in off],
            "slices": slices,
        }
        recording = {name: content for name, content in files.items() if name.endswith(".jfr")}
        paths.append(write_capture(directory, document, stacks, recording))
    return paths


def _stacks(files: Mapping[str, bytes], windows: list[dict[str, Any]], engine: str, event: str) -> list[bytes]:
    """The collapsed stacks of one event, a file for each slice."""
    if "recording" not in windows[0]:
        return [name_libraries(files[one.pop("file")]) for one in windows]
    with tempfile.TemporaryDirectory() as directory:
        recordings = {}
        for name in {one["recording"] for one in windows}:
            path = Path(directory, name)
            path.write_bytes(files[name])
            recordings[name] = jfr.open_recording(path)
    stacks = []
    for one in windows:
        begun = one["started_unix"]
        stacks.append(jfr.collapsed(recordings[one["recording"]], event, begun, begun + one["seconds"]))
    return [name_libraries(content) for content in stacks]


def _interval_ns(request: Request, choice: Choice, event: str) -> int | None:
    """What one sample stands for. JFR samples a few threads at each tick, whatever number works: no time."""
    return request.interval_ns if UNITS[event] == "samples" and choice.engine != "jfr" else None


def _sampled_ratio(windows: list[dict[str, Any]], samples: float, interval_ns: int | None) -> float | None:
    """The samples' time over the CPU time of the process by the kernel's account."""
    used = sum(one["cpu_seconds"] for one in windows)
    return round(samples * interval_ns * 1e-9 / used, 4) if interval_ns and used > 0 else None


def _samples(window: Mapping[str, Any], counted: float, event: str, *, several: bool) -> float | None:
    """Samples of a slice: the sum of its counts where those are samples, else what the profiler tells."""
    if UNITS[event] == "samples":
        return counted
    told = (window.get("profiler") or {}).get("samples_total")
    return None if several or told is None else float(told)


def with_packets(window: Mapping[str, Any]) -> dict[str, Any]:
    """The window with exact packet counts in place of the queues' counters; None where they are not known."""
    fields: dict[str, Any] = {"packets": None, "in_packets": None, "out_packets": None}
    queues = window.get("queues")
    if queues is not None:
        try:
            counts = bridge_counts(queues[0], queues[1], 1.0)
        except ValueError as error:
            raise CaptureError(f"the packets of a slice cannot be counted: {error}") from error
        fields["in_packets"] = round(counts.in_pps)
        fields["out_packets"] = round(counts.out_pps + counts.relay_out_pps)
        fields["packets"] = fields["in_packets"] + fields["out_packets"]
    return {**window, **fields}


__all__ = ["Cost", "capture", "with_packets"]
