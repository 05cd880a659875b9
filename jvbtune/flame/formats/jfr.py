"""JFR recordings, of the JVM's own profiler and of async-profiler: the samples of one event.

Only samples of running code are CPU. The JVM samples threads in native methods apart (``native``): most of them wait,
in accept or epoll. async-profiler's samples of all threads are ``wall``. A sample without a stack is a sample.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jvbtune.errors import FormatError, UsageError
from jvbtune.flame.formats.jfr_chunks import MAGIC, Chunk, chunks
from jvbtune.flame.formats.streams import Input
from jvbtune.flame.formats.table import Rows, StackTable, thread_label
from jvbtune.flame.model import Meta

__all__ = ["EVENTS", "MAGIC", "Recording", "collapsed", "open_recording", "read"]


@dataclass(frozen=True)
class Kind:
    """What a profile of one event is made of."""

    unit: str
    types: tuple[str, ...]
    weight: tuple[str, ...] = ()  # fields: the first that is there and not 0; (): each event is one sample
    leaf: tuple[str, ...] = ()  # fields of a class that is shown as the last frame


_MONITOR = ("monitorClass", "parkedClass")
_OBJECT = ("objectClass",)
EVENTS: dict[str, Kind] = {
    "cpu": Kind("samples", ("jdk.ExecutionSample",)),
    "cpu-time": Kind("samples", ("jdk.CPUTimeSample",)),
    "wall": Kind("samples", ("profiler.WallClockSample",), ("samples",)),
    "native": Kind("samples", ("jdk.NativeMethodSample",)),
    "alloc": Kind("bytes", ("jdk.ObjectAllocationInNewTLAB", "jdk.ObjectAllocationOutsideTLAB",
                            "jdk.ObjectAllocationSample"), ("tlabSize", "allocationSize", "weight"), _OBJECT),
    "lock": Kind("ns", ("jdk.JavaMonitorEnter", "jdk.ThreadPark"), ("duration",), _MONITOR),
}  # fmt: skip
#: The first of these that a recording holds is read without ``--event``.
DEFAULTS = ("cpu", "cpu-time", "wall")
#: Engines of async-profiler that sample CPU time without perf events, and so without the kernel's frames.
TIMERS = ("ctimer", "itimer")
#: Of a thread on the CPU, since async-profiler 2.10. Until 4.0 samples of all threads are execution samples as well.
_ON_CPU = "STATE_DEFAULT"
_RECORDING = "async-profiler "  # how the name of its recordings begins
#: What async-profiler's execution samples are of, where they are of time on the CPU or of all threads.
_CPU_EVENTS = frozenset({"cpu", "cpu-clock", "task-clock", "wall", *TIMERS})
_UNNAMED = re.compile(r"\[tid=\d+\]")  # async-profiler's name of a thread that it knows no name of
_SUFFIXES = {"Interpreted": "_[0]", "JIT compiled": "_[j]", "Inlined": "_[i]", "Kernel": "_[k]", "C1 compiled": "_[1]"}
_NOT_JAVA = ("Native", "C++", "Kernel")  # async-profiler has the library's name in place of a class
_PRIMITIVES = {"B": "byte", "C": "char", "D": "double", "F": "float", "I": "int", "J": "long", "S": "short"} | {
    "Z": "boolean"
}


@dataclass(frozen=True)
class Sample:
    """One event: its thread's label ("" for none), its frames as a collapsed file writes them, root first."""

    thread: str
    frames: tuple[bytes, ...]
    weight: int  # in the unit of the event
    samples: int
    unix: float


class Recording:
    """The chunks of a recording. Raises ValueError, IndexError or KeyError if it is damaged."""

    def __init__(self, data: bytes) -> None:
        self.chunks = [_Reader(chunk) for chunk in chunks(data)]
        self.settings: dict[str, str] = {}
        self.is_async_profiler = any(reader.is_async_profiler for reader in self.chunks)
        for reader in self.chunks:  # async-profiler writes them into the first chunk of its recording only
            self.settings |= reader.settings
        for reader in self.chunks:
            reader.sort_states(all_threads=self.settings.get("event") == "wall")

    def there(self) -> dict[str, int]:
        """How many events of each kind there are."""
        found = {event: sum(reader.count(event) for reader in self.chunks) for event in EVENTS}
        return {event: count for event, count in found.items() if count}

    def samples(self, event: str) -> Iterator[Sample]:
        """Those of one event, chunk by chunk."""
        for reader in self.chunks:
            yield from reader.samples(event)

    def meta(self, event: str) -> Meta:
        """What the recording tells of an event. async-profiler's timers sample without the kernel's frames."""
        kind = EVENTS[event]
        if not self.is_async_profiler:
            periods = {period for reader in self.chunks for period in reader.periods(event)}
            interval_ns = float(periods.pop()) if len(periods) == 1 else None
            return Meta(engine="jfr", event=event, unit=kind.unit, interval_ns=interval_ns, seconds=self._seconds)
        engine = self.settings.get("engine", "")
        name = engine if event == "cpu" and engine in TIMERS else event
        sampled = self.settings.get("event", "")
        if event == "cpu" and sampled and not _CPU_EVENTS & set(sampled.split(",")):  # the interval is of such events
            return Meta(engine="async-profiler", event=sampled, unit=kind.unit, seconds=self._seconds)
        told = self.settings.get("wall", "0") if event == "wall" else "0"
        if event in ("cpu", "wall") and not int(told or 0):
            told = self.settings.get("interval", "0")
        interval = float(told) if told.isdigit() else 0.0
        return Meta("", "async-profiler", name, kind.unit, interval or None, self._seconds)

    @property
    def _seconds(self) -> float | None:
        """How long it was recorded; None if a chunk does not say.

        Both profilers may have recorded the same time, each into chunks of its own (async-profiler's ``jfrsync``).
        """
        spans = sorted((one.chunk.start_ns, one.chunk.start_ns + one.chunk.length_ns) for one in self.chunks)
        recorded = until = 0
        for begin, end in spans:
            if end <= begin:
                return None
            recorded += max(0, end - max(begin, until))
            until = max(until, end)
        return recorded / 1e9 or None


class _Reader:
    """Samples of one chunk; every constant is looked into once."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        states = chunk.constants.get("jdk.types.ThreadState", {})
        self._states = {key: self._text(name) for key, (name, *_) in states.items()}
        self.is_async_profiler = self._by_async_profiler()
        self.settings: dict[str, str] = {}
        if self.is_async_profiler:
            self.settings = {str(one["name"]): str(one["value"]) for one in chunk.read("jdk.ActiveSetting")}
        self._off_cpu: set[int] = set()
        self._threads: dict[int, str] = {}
        self._frames: dict[tuple[int, int], bytes] = {}
        self._stacks: dict[int, tuple[bytes, ...]] = {}
        trace = next((kind for kind in chunk.types.values() if kind.name == "jdk.types.StackFrame"), None)
        self._width = len(trace.fields) if trace else 1
        self._method = (trace.index("method") if trace else None) or 0
        self._type = trace.index("type") if trace else None

    def _by_async_profiler(self) -> bool:
        types = self.chunk.types.values()
        if _ON_CPU in self._states.values() or any(kind.name.startswith("profiler.") for kind in types):
            return True
        recordings = self.chunk.read("jdk.ActiveRecording")
        return any(self._text(one.get("name")).startswith(_RECORDING) for one in recordings)

    def sort_states(self, *, all_threads: bool) -> None:
        """Which states are of threads off the CPU. ``all_threads``: the recording's event is wall.

        Before 2.10 there is no state of a thread on the CPU: execution samples are of one kind, whatever their state.
        """
        if _ON_CPU in self._states.values() or all_threads:
            self._off_cpu = {key for key, name in self._states.items() if name != _ON_CPU}

    def _types(self, event: str) -> list[str]:
        """Types of events to read. The JVM's samples of allocations are of the same ones as its TLAB events."""
        types = [kind for kind in EVENTS[event].types if self.chunk.events.get(kind)]
        return types[:-1] if event == "alloc" and len(types) > 1 and types[-1].endswith("AllocationSample") else types

    def _mixed(self) -> bool:
        return self.is_async_profiler and "jdk.ExecutionSample" in self.chunk.events

    def count(self, event: str) -> int:
        if event in ("cpu", "wall") and self._mixed():
            return sum(1 for _ in self._events(event))
        return sum(len(self.chunk.events[kind]) for kind in self._types(event))

    def periods(self, event: str) -> set[int]:
        """Nanoseconds; recorded as all lengths of time are, in ticks (OpenJDK's jfrcputime sampler: Tickspan)."""
        if event != "cpu-time":
            return set()
        ticks = {one["samplingPeriod"] for one in self.chunk.read("jdk.CPUTimeSample") if "samplingPeriod" in one}
        return {round(period * 1e9 / self.chunk.ticks_per_second) for period in ticks}

    def _events(self, event: str) -> Iterator[Mapping[str, Any]]:
        for kind in self._types(event):
            for one in self.chunk.read(kind):
                if event != "cpu" or not self.is_async_profiler or one.get("state") not in self._off_cpu:
                    yield one
        if event == "wall" and self._mixed():
            yield from (one for one in self.chunk.read("jdk.ExecutionSample") if one.get("state") in self._off_cpu)

    def samples(self, event: str) -> Iterator[Sample]:
        kind = EVENTS[event]
        to_unit = 1e9 / self.chunk.ticks_per_second if kind.unit == "ns" else 1.0
        for one in self._events(event):
            weight = next((int(one[name]) for name in kind.weight if one.get(name)), 0 if kind.unit != "samples" else 1)
            frames = self._stack(one.get("stackTrace", 0)) or (b"[no stack]",)
            leaf = next((self._class_name(one[name]) for name in kind.leaf if one.get(name)), "")
            if leaf:
                frames = (*frames, f"{leaf}_[i]".encode(errors="backslashreplace"))
            thread = self._thread(one.get("sampledThread") or one.get("eventThread") or 0)
            samples = weight if kind.unit == "samples" else 1
            when = self.chunk.unix(one["startTime"])
            yield Sample(thread, frames, round(weight * to_unit), samples, when)

    def _text(self, value: Any) -> str:
        """A string: in the field, or a constant, or a symbol with it."""
        for _ in range(4):
            if isinstance(value, str) or value is None:
                return value or ""
            if isinstance(value, list):
                value = value[0] if value else None
                continue
            symbol = self.chunk.constants.get("jdk.types.Symbol", {}).get(value)
            value = self.chunk.constants.get("java.lang.String", {}).get(value) if symbol is None else symbol
        return ""

    def _thread(self, key: int) -> str:
        label = self._threads.get(key)
        if label is None:
            thread = self.chunk.constant("java.lang.Thread", key)
            name = self._text(thread.get("javaName")) or self._text(thread.get("osName"))
            name = "" if _UNNAMED.fullmatch(name) else name
            tid = thread.get("osThreadId") or key
            label = self._threads[key] = thread_label(name.encode() or b"thread", str(tid).encode()) if key else ""
        return label

    def _class_name(self, key: int) -> str:
        """As source code writes it: ``byte[]``, ``java.lang.String``."""
        name = self._text(self.chunk.constant("java.lang.Class", key).get("name"))
        element = name.lstrip("[")
        dimensions = len(name) - len(element)
        if dimensions:
            element = _PRIMITIVES.get(element) or element.removeprefix("L").removesuffix(";")
        return element.replace("/", ".") + "[]" * dimensions

    def _stack(self, key: int) -> tuple[bytes, ...]:
        stack = self._stacks.get(key)
        if stack is None:
            flat = self.chunk.constant("jdk.types.StackTrace", key).get("frames") or []
            methods = flat[self._method :: self._width]
            types = flat[self._type :: self._width] if self._type is not None else [0] * len(methods)
            stack = tuple(self._frame(*pair) for pair in zip(reversed(methods), reversed(types), strict=True))
            self._stacks[key] = stack
        return stack

    def _frame(self, method: int, kind: int) -> bytes:
        frame = self._frames.get((method, kind))
        if frame is None:
            told = self.chunk.constant("jdk.types.Method", method)
            name = self._text(told.get("name")) or "[unknown]"
            owner = self._text(self.chunk.constant("java.lang.Class", told.get("type") or 0).get("name"))
            described = self._text(self.chunk.constants.get("jdk.types.FrameType", {}).get(kind))
            if owner and not (self.is_async_profiler and described in _NOT_JAVA):
                name = f"{owner}.{name}"
            name += _SUFFIXES.get(described, "")
            frame = self._frames[method, kind] = name.encode(errors="backslashreplace")
        return frame


@contextmanager
def _whole(file: Path) -> Iterator[None]:
    """Turns what reading a damaged recording raises into a FormatError."""
    try:
        yield
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        said = error if isinstance(error, ValueError) else "its data do not fit its description"
        raise FormatError(f"a JFR recording that is damaged: {said}", file=file) from None


def open_recording(path: Path) -> Recording:
    """Raises FormatError if the recording is damaged."""
    with Input(path) as stream, _whole(path):
        return Recording(stream.read_all())


def collapsed(recording: Recording, event: str, from_unix: float, to_unix: float) -> bytes:
    """Collapsed stacks of one event between two moments of the host's clock, threads as first frames."""
    found: Counter[bytes] = Counter()
    for sample in recording.samples("cpu" if event in TIMERS else event):
        if from_unix <= sample.unix <= to_unix:
            thread = [f"[{sample.thread}]".encode(errors="backslashreplace")] if sample.thread else []
            frames = (frame.replace(b";", b":").replace(b"\n", b" ") for frame in (*thread, *sample.frames))
            found[b";".join(frames)] += sample.weight
    return b"".join(b"%s %d\n" % (stack, weight) for stack, weight in found.items())


def read(stream: Input, table: StackTable, event: str | None) -> Rows:
    """One event of a recording; without ``event``, its execution samples, or those of all threads (``wall``).

    Raises FormatError where the recording is damaged, or holds no such event.
    """
    event = "cpu" if event in TIMERS else event
    if event is not None and event not in EVENTS:
        raise UsageError(f"no event of a JFR recording is called {event!r}", hint=f"There are: {', '.join(EVENTS)}.")
    with _whole(stream.path):
        recording = Recording(stream.read_all())
        there = recording.there()
    chosen = event or next((one for one in DEFAULTS if one in there), None)
    if chosen not in there:
        what = f"events of {event}" if event else "execution samples"
        listed = ", ".join(f"{name} ({count})" for name, count in there.items())
        hint = f"It holds: {listed}. Choose one with --event." if there else "It holds no samples of any kind."
        raise FormatError(f"no {what} are in this recording", file=stream.path, hint=hint)
    assert chosen is not None
    weights: Counter[tuple[str, tuple[bytes, ...]]] = Counter()
    samples: Counter[tuple[str, tuple[bytes, ...]]] = Counter()
    with _whole(stream.path):
        for sample in recording.samples(chosen):
            weights[sample.thread, sample.frames] += sample.weight
            samples[sample.thread, sample.frames] += sample.samples
    threads: dict[str, int] = {}
    names = table.names.__getitem__
    stacks = [table.stack(b"".join(map(names, frames))) for _, frames in weights]
    thread = [threads.setdefault(label, len(threads)) if label else -1 for label, _ in weights]
    return Rows(stacks, list(weights.values()), thread, tuple(threads), recording.meta(chosen), list(samples.values()))
