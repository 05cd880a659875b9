"""JFR recordings without what is nobody's business: only samples and their settings leave the host.

The JVM and async-profiler write the system properties, the environment, the command line and the list of processes
into each recording. All events but those of ``KEPT`` are overwritten by zeros where they are, so that every position
in the file holds; readers pass over them by their size, as they do over types that they do not know.
"""

from __future__ import annotations

from typing import Any

MAGIC, HEADER_BYTES = b"FLR\0", 68
METADATA, CONSTANTS = 0, 1
#: Samples, and the settings that say how they were taken.
KEPT = frozenset(
    [
        "jdk.ExecutionSample",
        "jdk.NativeMethodSample",
        "jdk.CPUTimeSample",
        "jdk.CPUTimeSamplesLost",
        "profiler.WallClockSample",
        "jdk.ObjectAllocationInNewTLAB",
        "jdk.ObjectAllocationOutsideTLAB",
        "jdk.ObjectAllocationSample",
        "jdk.JavaMonitorEnter",
        "jdk.ThreadPark",
        "profiler.LiveObject",
        "profiler.Malloc",
        "profiler.Free",
        "jdk.ActiveSetting",
    ]
)


def without_secrets(recording: bytes) -> bytes:
    """The recording with all other events blank. Raises ValueError for one that is damaged: it must not be sent."""
    found = bytearray(recording)
    at = 0
    try:
        while at < len(found):
            size = int.from_bytes(found[at + 8 : at + 16], "big")
            if found[at : at + 4] != MAGIC or not HEADER_BYTES <= size <= len(found) - at:
                raise ValueError("a chunk is damaged or was never finished")
            _blank(found, at + HEADER_BYTES, at + size)
            at += size
    except (IndexError, KeyError, RecursionError, UnicodeDecodeError):
        raise ValueError("its description of types is damaged") from None
    return bytes(found)


def _blank(data: bytearray, begin: int, end: int) -> None:
    """One chunk's events, between two positions."""
    events, descriptions, at = [], [], begin
    while at < end:
        size, after = _number(data, at)
        kind, after = _number(data, after)
        if not after - at <= size <= end - at:
            raise ValueError("an event is cut off")
        if kind == METADATA:
            descriptions.append(after)
        elif kind != CONSTANTS:
            events.append((kind, after, at + size))
        at += size
    if not descriptions:
        raise ValueError("the description of its types is missing")
    kept = {kind for kind, name in _types(data, descriptions[-1]).items() if name in KEPT}
    for kind, after, event_end in events:
        if kind not in kept:
            data[after:event_end] = bytes(event_end - after)


def _types(data: bytearray, at: int) -> dict[int, str]:
    """Numbers and names of the types, from a metadata event: a table of strings, then a tree of elements."""
    for _ in range(3):
        _, at = _number(data, at)
    count, at = _number(data, at)
    strings = []
    for _ in range(count):
        string, at = _string(data, at)
        strings.append(string)
    types: dict[int, str] = {}

    def element(at: int) -> int:
        name, at = _number(data, at)
        count, at = _number(data, at)
        attributes = {}
        for _ in range(count):
            key, at = _number(data, at)
            value, at = _number(data, at)
            attributes[strings[key]] = strings[value]
        if strings[name] == "class":
            types[int(attributes["id"])] = attributes["name"]
        count, at = _number(data, at)
        for _ in range(count):
            at = element(at)
        return at

    element(at)
    return types


def _number(data: bytearray, at: int) -> tuple[int, int]:
    """LEB128, of at most nine bytes; the ninth is whole."""
    value = 0
    for shift in range(0, 63, 7):
        byte = data[at]
        at += 1
        if shift == 56 or byte < 0x80:
            return value | byte << shift, at
        value |= (byte & 0x7F) << shift
    raise AssertionError("not reached")


def _string(data: bytearray, at: int) -> tuple[Any, int]:
    kind = data[at]
    at += 1
    if kind <= 1:
        return "", at
    length, at = _number(data, at)
    if kind == 4:
        characters = []
        for _ in range(length):
            character, at = _number(data, at)
            characters.append(chr(character))
        return "".join(characters), at
    if kind not in (3, 5):
        raise ValueError(f"a string of kind {kind}")
    if at + length > len(data):
        raise IndexError
    return data[at : at + length].decode("utf-8" if kind == 3 else "latin-1"), at + length
