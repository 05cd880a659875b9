"""The binary format of JFR recordings, as the JVM (version 2.1) and async-profiler (2.0) write it.

A recording is a run of chunks, each complete in itself: a header of 68 bytes, then events, each its size, its type and
its fields. Event 0 describes all types; events 1 hold constants (threads, stacks, methods, …), by type and number,
to which fields refer. Numbers are LEB128, of at most nine bytes. There is no specification but the JVM's sources
(jdk.jfr.internal.consumer); the tests hold this reader against the JDK's ``jfr`` and against jfr-converter.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

MAGIC = b"FLR\0"
_HEADER = struct.Struct(">4sHHQQQQQQQI")
_METADATA, _CONSTANTS = 0, 1
_COMPRESSED = 1  # of the header's features: numbers are LEB128

Read = Callable[[bytes, int], tuple[Any, int]]


@dataclass
class Type:
    """A type: its name, its fields in order (name, type's number, refers to a constant, is a list)."""

    name: str
    fields: list[tuple[str, int, bool, bool]] = field(default_factory=list)

    def index(self, name: str) -> int | None:
        return next((i for i, one in enumerate(self.fields) if one[0] == name), None)


def number(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    for shift in range(7, 56, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    return value | data[at] << 56, at + 1


def numbers(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    """``count`` numbers: most of a recording is these."""
    values: list[int] = []
    add = values.append
    for _ in range(count):
        value = data[at]
        at += 1
        if value >= 0x80:
            value, at = number(data, at - 1)
        add(value)
    return values, at


def text(data: bytes, at: int) -> tuple[Any, int]:
    """A string; None for null; an int where it is the number of a constant."""
    kind = data[at]
    at += 1
    if kind <= 1:
        return (None, "")[kind], at
    if kind == 2:
        return number(data, at)
    length, at = number(data, at)
    if kind == 4:
        characters, at = numbers(data, at, length)
        return "".join(map(chr, characters)), at
    if kind not in (3, 5) or at + length > len(data):
        raise ValueError(f"a string of kind {kind}")
    return data[at : at + length].decode("utf-8" if kind == 3 else "latin-1", "backslashreplace"), at + length


def _fixed(size: int) -> Read:
    return lambda data, at: (data[at : at + size], at + size)


_PRIMITIVES: dict[str, Read] = {
    **dict.fromkeys(("boolean", "byte"), lambda data, at: (data[at], at + 1)),
    **dict.fromkeys(("char", "short", "int", "long"), number),
    "float": _fixed(4),
    "double": _fixed(8),
    "java.lang.String": text,
}


class Chunk:
    """One chunk: its types, constants, and where its events are.

    Raises ValueError, IndexError or KeyError if it is damaged.
    """

    def __init__(self, data: bytes) -> None:
        _, major, _, _, _, _, start_ns, length_ns, ticks, ticks_per_second, features = _HEADER.unpack_from(data)
        if major != 2:
            raise ValueError(f"version {major} of the format, and only version 2 is known")
        if not features & _COMPRESSED:
            raise ValueError("numbers are not compressed")
        self.start_ns: int = start_ns  # since 1970
        self.length_ns: int = length_ns  # 0: not known
        self.start_unix: float = start_ns * 1e-9
        self.start_ticks: int = ticks
        self.ticks_per_second: int = ticks_per_second or 1_000_000_000
        self._data = data
        self.types: dict[int, Type] = {}
        self.constants: dict[str, dict[int, Any]] = {}  # by name of type
        self.events: dict[str, list[int]] = {}  # by name of type: where the fields of each begin
        self._readers: dict[int, Read] = {}
        found: dict[int, list[int]] = {}
        at = _HEADER.size
        while at < len(data):
            size, fields_at = number(data, at)
            kind, fields_at = number(data, fields_at)
            if size <= 0 or at + size > len(data):
                raise ValueError("an event is cut off")
            found.setdefault(kind, []).append(fields_at)
            at += size
        if _METADATA not in found:
            raise ValueError("the description of its types is missing")
        self._describe(found[_METADATA][-1])
        for at in found.get(_CONSTANTS, []):
            self._take_constants(at)
        for kind, places in found.items():
            if kind in self.types:
                self.events.setdefault(self.types[kind].name, []).extend(places)

    def unix(self, ticks: int) -> float:
        seconds = (ticks - self.start_ticks) / self.ticks_per_second
        return self.start_unix + seconds

    def read(self, name: str) -> Iterator[dict[str, Any]]:
        """The events of a type: their fields by name, references as numbers."""
        for key, kind in self.types.items():
            if kind.name == name:
                read = self._reader(key)
                names = [one[0] for one in kind.fields]
                for at in self.events.get(name, []):
                    yield dict(zip(names, read(self._data, at)[0], strict=True))
                return

    def constant(self, kind: str, key: int) -> dict[str, Any]:
        """The fields of a constant; {} if there is none of this number."""
        value = self.constants.get(kind, {}).get(key)
        if value is None:
            return {}
        if not isinstance(value, list | tuple):
            raise ValueError(f"a constant of {kind} is no structure")
        return dict(zip(self._fields_of(kind), value, strict=True))

    def _fields_of(self, kind: str) -> list[str]:
        return next(([one[0] for one in known.fields] for known in self.types.values() if known.name == kind), [])

    def _describe(self, at: int) -> None:
        data = self._data
        _, at = numbers(data, at, 3)  # start, duration, number of the description
        count, at = number(data, at)
        strings: list[str] = []
        for _ in range(count):
            string, at = text(data, at)
            strings.append(str(string))

        def element(at: int, owner: Type | None) -> int:
            name, at = number(data, at)
            count, at = number(data, at)
            pairs, at = numbers(data, at, 2 * count)
            attributes = {strings[key]: strings[value] for key, value in zip(pairs[::2], pairs[1::2], strict=True)}
            inside = None
            if strings[name] == "class":
                inside = self.types[int(attributes["id"])] = Type(attributes["name"])
            elif strings[name] == "field" and owner is not None:
                refers = attributes.get("constantPool") == "true"
                listed = attributes.get("dimension", "0") != "0"
                owner.fields.append((attributes["name"], int(attributes["class"]), refers, listed))
            count, at = number(data, at)
            for _ in range(count):
                at = element(at, inside)
            return at

        element(at, None)

    def _reader(self, key: int) -> Read:
        """A function that reads a value of a type: a primitive, or the list of its fields' values."""
        reader = self._readers.get(key)
        if reader is None:
            reader = self._readers[key] = self._made(self.types[key])
        return reader

    def _made(self, kind: Type) -> Read:
        if kind.name in _PRIMITIVES:
            return _PRIMITIVES[kind.name]
        readers = [self._field_reader(*one[1:]) for one in kind.fields]
        if all(one is number for one in readers):
            count = len(readers)
            return lambda data, at: numbers(data, at, count)

        def structure(data: bytes, at: int) -> tuple[list[Any], int]:
            values = []
            for read in readers:
                value, at = read(data, at)
                values.append(value)
            return values, at

        return structure

    def _field_reader(self, key: int, refers: bool, listed: bool) -> Read:
        kind = self.types[key]
        if not listed:
            return number if refers else self._reader(key)
        width = 1 if refers else len(kind.fields)
        if refers or (width and all(self._field_reader(*one[1:]) is number for one in kind.fields)):

            def flat(data: bytes, at: int) -> tuple[list[int], int]:
                count, at = number(data, at)
                return numbers(data, at, count * width)

            return flat
        read = self._reader(key)

        def listing(data: bytes, at: int) -> tuple[list[Any], int]:
            count, at = number(data, at)
            if count > len(data):
                raise ValueError("a list is longer than the recording")
            values = []
            for _ in range(count):
                value, at = read(data, at)
                values.append(value)
            return values, at

        return listing

    def _take_constants(self, at: int) -> None:
        data = self._data
        _, at = numbers(data, at, 3)  # start, duration, where the ones before it are
        at += 1  # what kind of checkpoint it is
        pools, at = number(data, at)
        for _ in range(pools):
            (key, count), at = numbers(data, at, 2)
            read = self._reader(key)
            pool = self.constants.setdefault(self.types[key].name, {})
            for _ in range(count):
                constant, at = number(data, at)
                pool[constant], at = read(data, at)


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a recording. Raises ValueError, IndexError or KeyError if it is damaged or was cut."""
    at = 0
    while at < len(data):
        if not data.startswith(MAGIC, at) or len(data) - at < _HEADER.size:
            raise ValueError("the header of a chunk is missing")
        size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < _HEADER.size:
            raise ValueError("its last chunk was never finished: the JVM was killed, or still writes it")
        if at + size > len(data):
            raise ValueError("it was cut")
        yield Chunk(data[at : at + size])
        at += size
