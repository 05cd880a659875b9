"""Lines of JSON to frozen dataclasses and back. What comes in is foreign: bounded, and checked field by field.

Fields may have these types: int, float, str, bool, None, Any, Optional, Union of such, Literal, list, tuple, dict with
text as keys, and further dataclasses. A field with a default may be missing; one that nobody declared is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import types
import typing
from typing import Any, Callable, Optional, Type, TypeVar, Union

#: The longest lines are the delays of a window (a number for each microsecond that occurred) and profiles by 1 MiB.
MAX_LINE_BYTES = 64 << 20
#: Messages are at most 8 deep; the JSON parser itself would give up at some hundred.
MAX_DEPTH = 32
#: No counter of a host has more, and no table of numbers holds more.
LEAST_INT, MOST_INT = -(1 << 63), (1 << 63) - 1

#: Escaped, as UTF-8 of one (which the JSON parser takes), or in a text of UTF-16 or UTF-32.
_MAY_HAVE_HALVES = re.compile(rb"\\u[dD]|\xed|\0")

T = TypeVar("T")
Check = Callable[[Any, str], Any]


class ProtocolError(Exception):
    """A line is not a message. ``field`` is where, dotted; empty: the line as a whole."""

    def __init__(self, problem: str, field: str = "") -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.problem = problem
        self.field = field


def encode(message: Any) -> bytes:
    """One line, with its newline. Raises ProtocolError for what JSON cannot say (a NaN, an object, a long line)."""
    try:
        line = json.dumps(message, default=_plain, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"cannot be sent: {error}") from error
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"cannot be sent: the line has {len(line)} bytes, and {MAX_LINE_BYTES} are the limit")
    return line


def parse(line: bytes) -> dict[str, Any]:
    """The JSON object of a line. Raises ProtocolError."""
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"the line has {len(line)} bytes, and {MAX_LINE_BYTES} are the limit")
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except RecursionError:
        raise ProtocolError(f"the line is nested more than {MAX_DEPTH} deep") from None
    except ValueError:  # UnicodeDecodeError and JSONDecodeError are such
        raise ProtocolError(f"the line is not JSON: {shown(line)}") from None
    if not isinstance(value, dict):
        raise ProtocolError(f"an object is expected, not {_what(value)}: {shown(line)}")
    _check_depth(line, value)
    return typing.cast(typing.Dict[str, Any], without_halves(line, value))


def without_halves(text: bytes, value: Any) -> Any:
    """``value``, which was parsed from ``text``, with ``?`` for halves of characters (``\\ud800``): JSON can say them,
    and no file, table or terminal takes them."""
    if not _MAY_HAVE_HALVES.search(text):
        return value
    try:
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise ProtocolError("the text is nested too deeply") from None


def shown(line: bytes) -> str:
    """The start of a line, safe to print."""
    text = line[:80].decode("utf-8", "replace").rstrip("\r\n")
    return repr(text) + (" …" if len(line) > 80 else "")


def build(kind: Type[T], value: Any, field: str = "") -> T:
    """A dataclass (or any other of the types above) from plain JSON. Raises ProtocolError, which names the field."""
    return typing.cast(T, _check(typing.cast(Any, kind))(value, field))


def to_json(message: Any) -> Any:
    """Dataclasses as plain dicts, all the way down."""
    if dataclasses.is_dataclass(message) and not isinstance(message, type):
        return {name: to_json(value) for name, value in vars(message).items()}
    if isinstance(message, dict):
        return {name: to_json(value) for name, value in message.items()}
    if isinstance(message, (list, tuple)):
        return [to_json(value) for value in message]
    return message


class Splitter:
    """Bytes that arrive in pieces, taken out by lines; the unfinished line is bounded."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole now, without their newlines. Raises ProtocolError where one has no end."""
        if b"\n" not in data:
            self._pending += data
            lines: list[bytes] = []
        else:
            first, *rest = data.split(b"\n")
            lines = [bytes(self._pending) + first, *rest[:-1]]
            self._pending = bytearray(rest[-1])
        if len(self._pending) > MAX_LINE_BYTES:
            raise ProtocolError(f"no end of line within {MAX_LINE_BYTES} bytes")
        return lines

    def rest(self) -> bytes:
        """What came after the last end of line; taken out, too."""
        rest, self._pending = bytes(self._pending), bytearray()
        return rest


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return vars(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are not JSON, though Python reads them


def _check_depth(line: bytes, value: Any) -> None:
    if line.count(b"{") + line.count(b"[") <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = [one for one in level if isinstance(one, (dict, list))]
        if not inner:
            return
        level = [part for one in inner for part in (one.values() if isinstance(one, dict) else one)]
    raise ProtocolError(f"the line is nested more than {MAX_DEPTH} deep")


# -- checks, one for each type, made once ---------------------------------------------------------------------------


@functools.cache
def _check(kind: Any) -> Check:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return lambda value, field: value
    if kind in _SCALARS:
        return _scalar(kind)
    if origin is Union or origin is _NEW_UNION:
        return _union(arguments)
    if origin is typing.Literal:
        return _literal(arguments)
    if origin is list or (origin is tuple and arguments[1:] == (Ellipsis,)):
        return _items(origin, arguments[0])
    if origin is dict and arguments[0] is str:
        return _mapping(arguments[1])
    if dataclasses.is_dataclass(kind):
        return _fields(kind)
    raise TypeError(f"{kind!r} cannot be a field of a message")


_NEW_UNION = getattr(types, "UnionType", Union)  #: ``X | Y``, from Python 3.10 on
_SCALARS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}


def _scalar(kind: type) -> Check:
    def check(value: Any, field: str) -> Any:
        found = type(value)
        if found is int and kind in (int, float):
            if not LEAST_INT <= value <= MOST_INT:
                raise ProtocolError("a number of at most 63 bits is expected", field)
            return value
        if found is kind:
            return value
        raise _unlike(_SCALARS[kind], value, field)

    return check


def _union(kinds: tuple[Any, ...]) -> Check:
    several = [_check(kind) for kind in kinds if kind is not type(None)]
    optional = len(several) < len(kinds)

    def check(value: Any, field: str) -> Any:
        if value is None and optional:
            return None
        for one in several[:-1]:
            try:
                return one(value, field)
            except ProtocolError:
                continue
        return several[-1](value, field)

    return check


def _literal(values: tuple[Any, ...]) -> Check:
    def check(value: Any, field: str) -> Any:
        if value in values and not isinstance(value, bool):
            return value
        raise _unlike("one of " + ", ".join(str(one) for one in values), value, field)

    return check


def _items(container: Any, kind: Any) -> Check:
    one = _check(kind)

    def check(value: Any, field: str) -> Any:
        if not isinstance(value, list):
            raise _unlike("a list", value, field)
        if kind is int and all(type(item) is int for item in value):  # hundred thousands of delays
            if value and not LEAST_INT <= min(value) <= max(value) <= MOST_INT:
                raise ProtocolError("numbers of at most 63 bits are expected", field)
            return value if container is list else tuple(value)
        return container(one(item, f"{field}[{index}]") for index, item in enumerate(value))

    return check


def _mapping(kind: Any) -> Check:
    one = _check(kind)

    def check(value: Any, field: str) -> Any:
        if not isinstance(value, dict):
            raise _unlike("an object", value, field)
        return {name: one(item, _dotted(field, name)) for name, item in value.items()}

    return check


def _fields(kind: Any) -> Check:
    hints = typing.get_type_hints(kind)
    checks = {field.name: _check(hints[field.name]) for field in dataclasses.fields(kind)}
    required = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]

    def check(value: Any, field: str) -> Any:
        if not isinstance(value, dict):
            raise _unlike("an object", value, field)
        for name in value:
            if name not in checks:
                raise ProtocolError("is no field that is known", _dotted(field, name))
        for name in required:
            if name not in value:
                raise ProtocolError("is missing", _dotted(field, name))
        return kind(**{name: checks[name](item, _dotted(field, name)) for name, item in value.items()})

    return check


def _dotted(field: str, name: str) -> str:
    name = name if len(name) <= 60 else name[:60] + "…"
    return f"{field}.{name}" if field else name


def _unlike(expected: str, value: Any, field: str) -> ProtocolError:
    return ProtocolError(f"{expected} is expected, not {_what(value)}", field)


def _what(value: Any) -> str:
    """A value as an error names it."""
    names: dict[Any, str] = {dict: "an object", list: "a list", type(None): "null"}
    name: Optional[str] = names.get(type(value))
    if name is not None:
        return name
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:60] + "…"
