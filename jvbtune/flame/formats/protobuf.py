"""As much of Protocol Buffers' wire format as pprof's profile.proto needs.

A message is a run of fields, each a varint ``number << 3 | wire type`` and a value. A codec of a page is kept here
rather than a dependency on the protobuf runtime and on generated code: the message is small and has not changed its
meaning in ten years, and the tests hold this one against ``go tool pprof``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}

Value = int | bytes


def varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends). Raises ValueError where the data end within it, or it is longer than 64 bits."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """(field number, value) of a message: an int, or bytes. Raises ValueError where it is malformed."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = varint(data, at)
            yield number, value
            continue
        if wire == BYTES:
            length, at = varint(data, at)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise ValueError(f"wire type {wire} does not exist")
        if at + length > len(data):
            raise ValueError("a field is cut off")
        yield number, data[at : at + length]
        at += length
        if number == 0:
            raise ValueError("field number 0 does not exist")


def repeated(value: Value) -> list[int]:
    """One occurrence of a repeated integer field: packed, or a single one."""
    if isinstance(value, int):
        return [value]
    numbers = []
    at = 0
    while at < len(value):
        number, at = varint(value, at)
        numbers.append(number)
    return numbers


def signed(value: int) -> int:
    """An int64 from its varint."""
    return value - (1 << 64) if value >> 63 else value


def encoded(value: int) -> bytes:
    """An integer of 0 and above as a varint."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: Value) -> bytes:
    """One field, of an integer of 0 and above or of bytes."""
    if isinstance(value, int):
        return encoded(number << 3 | VARINT) + encoded(value)
    return encoded(number << 3 | BYTES) + encoded(len(value)) + value


def packed(number: int, values: Iterable[int]) -> bytes:
    """A repeated field of integers of 0 and above."""
    return field(number, b"".join(map(encoded, values)))
