"""Changes inputs: bytes, tokens, lines, values of JSON and right-hand sides. A seed determines every change."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from typing import Any

MOST_BYTES = 64 << 10
BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF, 0x0A, 0x0D, 0x20, 0x22, 0x2C, 0x3A, 0x5B, 0x5C, 0x7B)
TOKENS = (
    b"-1", b"0", b"1e999", b"-1e-999", b"NaN", b"Infinity", b"9223372036854775808", b"4294967296", b"9" * 5000,
    b"1_0", b"0x10", b"true", b"null", b"[]", b"{}", b'""', b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\x1b[31m",
    b"\r\n", b"\n\n", b"\t", b"\0", b"\xc2\x85", b"\xe2\x80\xa8", b"\xef\xbc\x91", b"[" * 3000, b'{"a":' * 3000,
    b"(" * 3000, b"../../etc/passwd", b"%s%n", b"A" * 5000, b";", b";;", b'"', b"'", b"#", b"\\",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, -0.0, 1e300, -1e300, float("nan"), float("inf"), 2**31, 2**63, 2**64, 10**400,
    "", "0", "x" * 300, "\x1b[31m", "\ud800", "\0", "a\nb", "../x", [], {}, [[]], [None], {"": None}, [1, 2, 3],
    {"a": {"b": 1}}, ["x"], [{}],
)  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_RIGHT_HAND_SIDE = re.compile(rb"([=:][ \t]*)([^\n]*)")


def mutate(data: bytes, others: Sequence[bytes], tokens: Sequence[bytes], rng: random.Random) -> bytes:
    """``data`` after a few changes, of bounded size; ``others``: of the same corpus, to be spliced in."""
    most = max(MOST_BYTES, len(data))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if rng.random() < 0.5 and (b'{"' in data or data[:1] in (b"{", b"[")):
            data = _in_json(data, rng)
        else:
            data = rng.choice(_CHANGES)(data, others, (*TOKENS, *tokens), rng)
    return data[:most]


def _span(data: bytes, rng: random.Random, most: int = 64) -> tuple[int, int]:
    begin = rng.randint(0, len(data))
    return begin, min(len(data), begin + rng.randint(0, rng.choice((1, 4, 16, most))))


def _flip(data: bytes, others: Sequence[bytes], tokens: Sequence[bytes], rng: random.Random) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(changed))
        changed[at] = rng.choice((changed[at] ^ 1 << rng.randrange(8), rng.choice(BYTES), rng.randrange(256)))
    return bytes(changed)


def _delete(data: bytes, others: Sequence[bytes], tokens: Sequence[bytes], rng: random.Random) -> bytes:
    begin, end = _span(data, rng, 4096)
    return data[:begin] + data[end:]


def _cut(data: bytes, others: Sequence[bytes], tokens: Sequence[bytes], rng: random.Random) -> bytes:
    return data[: rng.randint(0, len(data))]


def _repeat(data: bytes, others: Sequence[bytes], tokens: Sequence[bytes], rng: random.Random) -> bytes:
    begin, end = _span(data, rng)
    return data[:end] + data[begin:end] * rng.choice((1, 2, 16, 1000)) + data[end:]


def _insert(data: bytes, others: Sequence[bytes], tokens: Sequence[bytes], rng: random.Random) -> bytes:
    begin, end = _span(data, rng, 8)
    return data[:begin] + rng.choice(tokens) + data[rng.choice((begin, end)) :]


def _splice(data: bytes, others: Sequence[bytes], tokens: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others) if others else data
    begin, end = _span(other, rng, 4096)
    at = rng.randint(0, len(data))
    return data[:at] + other[begin:end] + data[rng.choice((at, min(len(data), at + end - begin))) :]


def _number(data: bytes, others: Sequence[bytes], tokens: Sequence[bytes], rng: random.Random) -> bytes:
    found = list(_NUMBER.finditer(data[:MOST_BYTES]))
    if not found:
        return data
    match = rng.choice(found)
    return data[: match.start()] + rng.choice(tokens[:11]) + data[match.end() :]


def _lines(data: bytes, others: Sequence[bytes], tokens: Sequence[bytes], rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == 1:
        lines.insert(at, lines[other])
    else:
        del lines[at]
    return b"\n".join(lines)


def _value(data: bytes, others: Sequence[bytes], tokens: Sequence[bytes], rng: random.Random) -> bytes:
    """The right-hand side of an assignment."""
    found = list(_RIGHT_HAND_SIDE.finditer(data[:MOST_BYTES]))
    if not found:
        return data
    match = rng.choice(found)
    new = rng.choice((rng.choice(tokens), _dumped(rng.choice(VALUES)), rng.choice(found)[2]))
    return data[: match.start(2)] + new + data[match.end(2) :]


_CHANGES = (_flip, _flip, _delete, _cut, _repeat, _insert, _splice, _number, _lines, _value)


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _in_json(data: bytes, rng: random.Random) -> bytes:
    """The whole if it is a document, else one of its lines."""
    changed = _json(data, rng)
    if changed is not data:
        return changed
    lines = data.split(b"\n")
    at = rng.choice([number for number, line in enumerate(lines) if line[:1] in (b"{", b"[")] or [0])
    lines[at] = _json(lines[at], rng)
    return b"\n".join(lines)


def _json(data: bytes, rng: random.Random) -> bytes:
    """One value of a document becomes one of another type, goes, or gets a neighbour."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    places: list[tuple[Any, Any]] = []
    waiting: list[Any] = [document] if isinstance(document, dict | list) else []
    while waiting:
        inner = waiting.pop()
        for key in inner if isinstance(inner, dict) else range(len(inner)):
            places.append((inner, key))
            if isinstance(inner[key], dict | list):
                waiting.append(inner[key])
    if not places:
        return _dumped(rng.choice(VALUES))
    inner, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del inner[key]
    elif kind == 1 and isinstance(inner, dict):
        inner[rng.choice(("", "x", "__class__", str(key) + "x"))] = inner[key]
    elif kind == 2:
        source, name = rng.choice(places)
        inner[key] = json.loads(_dumped(source[name])) if source[name] is not inner else None
    else:
        inner[key] = rng.choice(VALUES)
    try:
        return _dumped(document)
    except (ValueError, RecursionError):
        return data
