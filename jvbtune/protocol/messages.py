"""The four shapes of a line: request, reply, refusal, event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, Mapping, Optional, Type, TypeVar, Union

from jvbtune.protocol.codec import ProtocolError, build, encode, parse

Kind = Literal["usage", "bridge", "busy", "tuning", "capture", "queue", "load", "host"]

A = TypeVar("A")
R = TypeVar("R")


@dataclass(frozen=True)
class Nothing:
    """The arguments, or the result, of an operation that has none."""


@dataclass(frozen=True)
class Operation(Generic[A, R]):
    """What can be asked: its name in a line, the type of its arguments, the type of its result."""

    name: str
    arguments: Type[A]
    result: Type[R]


@dataclass(frozen=True)
class Fault:
    """Why an operation was refused, or failed. ``trace``: only where it was a mistake of jvbtune's own."""

    kind: Kind
    message: str
    hint: Optional[str] = None
    trace: Optional[str] = None


class Refused(Exception):
    """The other side refused an operation, or failed in it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(frozen=True)
class Request:
    """``arguments`` are checked by ``arguments_of``, so that a wrong one is refused under the request's number."""

    id: int
    op: str
    args: Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """``result`` is checked by the operation that was asked for."""

    id: int
    result: Any


@dataclass(frozen=True)
class Refusal:
    """``id`` is None where the request's own could not be read."""

    id: Optional[int]
    error: Fault


@dataclass(frozen=True)
class Event:
    """Something that the other side reports by itself; ``data`` is one of the types of ``EVENTS``."""

    event: str
    data: Any


@dataclass(frozen=True)
class _RequestLine:
    id: int
    op: str
    args: dict[str, Any]


def read_request(line: bytes) -> Request:
    """Raises ProtocolError."""
    found = build(_RequestLine, parse(line))
    return Request(found.id, found.op, found.args)


def id_of(line: bytes) -> Optional[int]:
    """The number of a request that cannot be read in full; None where not even that can be."""
    try:
        number = parse(line).get("id")
    except ProtocolError:
        return None
    return number if type(number) is int else None


def arguments_of(request: Request, operation: Operation[A, R]) -> A:
    """Raises ProtocolError with the field as in ``queue.start.seconds``."""
    return build(operation.arguments, dict(request.args), operation.name)


def read_answer(line: bytes, events: Mapping[str, Type[Any]]) -> Union[Reply, Refusal, Event]:
    """What the side that was asked says: ``events`` are those that it may report. Raises ProtocolError."""
    found = parse(line)
    if "event" in found:
        event = build(_EventLine, found)
        if event.event not in events:
            raise ProtocolError(f"{event.event!r} is no event that is known", "event")
        return Event(event.event, build(events[event.event], event.data, event.event))
    if "error" in found:
        return build(Refusal, found)
    return build(Reply, found)


@dataclass(frozen=True)
class _EventLine:
    event: str
    data: dict[str, Any]


def refusal(number: Optional[int], fault: Fault) -> bytes:
    return encode(Refusal(number, fault))


def reply(number: int, result: Any) -> bytes:
    """Raises ProtocolError for a result that cannot be sent."""
    return encode(Reply(number, result))
