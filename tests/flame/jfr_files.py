"""Small JFR recordings, written here: of profilers that are not at hand, as their sources say that they write.

async-profiler's src/flightRecorder.cpp and src/jfrMetadata.cpp (2.0, 2.9, 4.0), OpenJDK's jfrCPUTimeThreadSampler.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Fields of each type: name, type, and "c" where it refers to a constant, "[" where it is a list.
TYPES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "long": (),
    "java.lang.String": (),
    "java.lang.Thread": (("osName", "java.lang.String", ""), ("osThreadId", "long", "")),
    "java.lang.Class": (("name", "jdk.types.Symbol", "c"),),
    "jdk.types.Symbol": (("string", "java.lang.String", ""),),
    "jdk.types.ThreadState": (("name", "java.lang.String", ""),),
    "jdk.types.Method": (("type", "java.lang.Class", "c"), ("name", "jdk.types.Symbol", "c")),
    "jdk.types.StackFrame": (("method", "jdk.types.Method", "c"), ("lineNumber", "long", "")),
    "jdk.types.StackTrace": (("truncated", "long", ""), ("frames", "jdk.types.StackFrame", "[")),
    "jdk.ActiveRecording": (("startTime", "long", ""), ("name", "java.lang.String", "")),
    "jdk.ActiveSetting": (
        ("startTime", "long", ""), ("name", "java.lang.String", ""), ("value", "java.lang.String", ""),
    ),
    "jdk.ExecutionSample": (
        ("startTime", "long", ""), ("sampledThread", "java.lang.Thread", "c"),
        ("stackTrace", "jdk.types.StackTrace", "c"), ("state", "jdk.types.ThreadState", "c"),
    ),
    "jdk.CPUTimeSample": (
        ("startTime", "long", ""), ("stackTrace", "jdk.types.StackTrace", "c"),
        ("eventThread", "java.lang.Thread", "c"), ("samplingPeriod", "long", ""),
    ),
    "profiler.Log": (("startTime", "long", ""), ("message", "java.lang.String", "")),
}  # fmt: skip
STATES = ("STATE_RUNNABLE", "STATE_SLEEPING")
#: One stack, number 1: work called by main.
CONSTANTS: dict[str, dict[int, list[Any]]] = {
    "jdk.types.Symbol": {1: ["a/B"], 2: ["main"], 3: ["work"]},
    "java.lang.Class": {1: [1]},
    "jdk.types.Method": {1: [1, 2], 2: [1, 3]},
    "jdk.types.StackTrace": {1: [0, [[2, 7], [1, 8]]]},
}


@dataclass(frozen=True)
class Chunk:
    """``samples``: (state, thread) of execution samples. ``threads``: names by number."""

    samples: Sequence[tuple[str, int]] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    states: Sequence[str] = STATES
    threads: Mapping[int, str] = field(default_factory=lambda: {1: "main"})
    recording: str = "async-profiler 2.9"
    without: Sequence[str] = ()  # types that it does not have
    periods: Sequence[int] = ()  # of CPU-time samples, in ticks
    start_ns: int = 10**18
    length_ns: int = 10**10
    ticks_per_second: int = 10**9

    def bytes(self) -> bytes:
        constants = {
            **CONSTANTS,
            "java.lang.Thread": {number: [name, 100 + number] for number, name in self.threads.items()},
            "jdk.types.ThreadState": {number: [name] for number, name in enumerate(self.states, 1)},
        }
        events: list[tuple[str, list[Any]]] = [("jdk.ActiveRecording", [0, self.recording])]
        events += [("jdk.ActiveSetting", [0, name, value]) for name, value in self.settings.items()]
        for state, thread in self.samples:
            events.append(("jdk.ExecutionSample", [5, thread, 1, self.states.index(state) + 1]))
        events += [("jdk.CPUTimeSample", [5, 1, 1, period]) for period in self.periods]
        types = {name: fields for name, fields in TYPES.items() if name not in self.without}
        numbers = {name: number for number, name in enumerate(types, 10)}
        body = b"".join(_event(numbers[name], _fields(types, name, values)) for name, values in events)
        body += _event(1, _constants(types, numbers, constants)) + _event(0, _metadata(types, numbers))
        head = (b"FLR\0", 2, 0, 68 + len(body), 0, 0, self.start_ns, self.length_ns, 0, self.ticks_per_second, 1)
        return struct.pack(">4sHHQQQQQQQI", *head) + body


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _text(value: str) -> bytes:
    return b"\3" + _number(len(value.encode())) + value.encode()


def _event(kind: int, content: bytes) -> bytes:
    content = _number(kind) + content
    size = len(content) + 4
    return bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 21]) + content


def _fields(types: Mapping[str, Any], kind: str, values: Sequence[Any]) -> bytes:
    out = b""
    for (_, inner, how), value in zip(types[kind], values, strict=True):
        if how == "[":
            out += _number(len(value)) + b"".join(_fields(types, inner, one) for one in value)
        else:
            out += _text(value) if isinstance(value, str) else _number(value)
    return out


def _constants(types: Mapping[str, Any], numbers: Mapping[str, int], constants: Mapping[str, dict[int, Any]]) -> bytes:
    out = bytes(4) + _number(len(constants))
    for name, pool in constants.items():
        out += _number(numbers[name]) + _number(len(pool))
        out += b"".join(_number(key) + _fields(types, name, values) for key, values in pool.items())
    return out


def _metadata(types: Mapping[str, Any], numbers: Mapping[str, int]) -> bytes:
    strings: dict[str, int] = {}

    def element(name: str, attributes: Mapping[str, str], children: Sequence[bytes]) -> bytes:
        pairs = [strings.setdefault(word, len(strings)) for pair in attributes.items() for word in pair]
        head = [strings.setdefault(name, len(strings)), len(attributes), *pairs, len(children)]
        return b"".join(map(_number, head)) + b"".join(children)

    def described(name: str, kind: str, how: str) -> bytes:
        more = {"c": {"constantPool": "true"}, "[": {"dimension": "1"}, "": {}}[how]
        return element("field", {"name": name, "class": str(numbers[kind]), **more}, [])

    classes = [
        element("class", {"id": str(numbers[name]), "name": name}, [described(*one) for one in fields])
        for name, fields in types.items()
    ]
    root = element("root", {}, [element("metadata", {}, classes)])
    return bytes(3) + _number(len(strings)) + b"".join(map(_text, strings)) + root
