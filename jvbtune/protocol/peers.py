"""The asking end and the answering end of a line; who moves the bytes is left to others."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Generic, Iterable, Mapping, Optional, Type, TypeVar, Union

from jvbtune.protocol.codec import ProtocolError, build, encode
from jvbtune.protocol.messages import (
    Event,
    Fault,
    Operation,
    Refusal,
    Refused,
    Reply,
    Request,
    arguments_of,
    id_of,
    read_answer,
    read_request,
)

A = TypeVar("A")
R = TypeVar("R")


class Gone(Exception):
    """The other side ended, or said what is not of the protocol. The text says which."""


class Caller:
    """The asking end. Thread-safe: several requests may be under way, and their answers come in any order.

    ``write`` sends bytes. Whoever reads the other side's lines gives each to ``take``, and calls ``end`` after the
    last. ``events``: the names and types that the other side may report; each goes to ``on_event``. ``receive`` waits
    for an item of a queue, as ``Queue.get`` with its time-out.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        events: Optional[Mapping[str, Type[Any]]] = None,
        on_event: Callable[[Any], None] = lambda event: None,
        receive: Callable[[queue.Queue[Any], Optional[float]], Any] = lambda items, seconds: items.get(timeout=seconds),
    ) -> None:
        self._write = write
        self._receive = receive
        self._events = events or {}
        self._on_event = on_event
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.Queue[Union[Reply, Refusal, None]]] = {}
        self._lock = threading.Lock()
        self._gone: Optional[str] = None

    @property
    def gone(self) -> Optional[str]:
        """Why no answer comes any more; None: the other side is there."""
        with self._lock:
            return self._gone

    def call(self, operation: Operation[A, R], arguments: A, timeout_seconds: Optional[float]) -> R:
        """Ask, and wait for the answer. Raises Refused, Gone, TimeoutError, ProtocolError, and what ``write`` does."""
        number = next(self._numbers)
        answers: queue.Queue[Union[Reply, Refusal, None]] = queue.Queue(1)
        line = encode(Request(number, operation.name, vars(arguments)))
        with self._lock:
            if self._gone is not None:
                raise Gone(self._gone)
            self._waiting[number] = answers
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        try:
            self._write(line)
            answer = self._receive(answers, None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError(f"{operation.name} was not answered within {timeout_seconds:g} s") from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if answer is None:
            raise Gone(self.gone or "")
        if isinstance(answer, Refusal):
            raise Refused(answer.error)
        return build(operation.result, answer.result, f"{operation.name} result")

    def tell(self, operation: Operation[A, R], arguments: A) -> None:
        """Ask without waiting for an answer. Raises what ``write`` does."""
        self._write(encode(Request(next(self._numbers), operation.name, vars(arguments))))

    def take(self, line: bytes) -> None:
        """One line of the other side's. Raises ProtocolError: nothing that it says can be relied upon then."""
        message = read_answer(line, self._events)
        if isinstance(message, Event):
            self._on_event(message.data)
            return
        if message.id is None:
            assert isinstance(message, Refusal)
            raise ProtocolError(f"the other side could not read a request: {message.error.message}")
        with self._lock:
            waiting = self._waiting.get(message.id)
        if waiting is not None:  # else its asker gave up
            _put(waiting, message)

    def end(self, why: str) -> None:
        """The other side is gone: whoever waits is woken. The first reason is kept."""
        with self._lock:
            self._gone = self._gone or why
            waiting = list(self._waiting.values())
        for answers in waiting:
            _put(answers, None)


def _put(answers: queue.Queue[Union[Reply, Refusal, None]], answer: Union[Reply, Refusal, None]) -> None:
    try:
        answers.put_nowait(answer)
    except queue.Full:
        pass  # an answer came already


@dataclass(frozen=True)
class Served(Generic[A, R]):
    """An operation with what performs it; ``perform`` takes the server's own context and the arguments."""

    operation: Operation[A, R]
    perform: Callable[[Any, A], R]


@dataclass(frozen=True)
class Asked:
    """A request that was read, with what performs it."""

    id: int
    served: Served[Any, Any]
    arguments: Any


def table(served: Iterable[Served[Any, Any]]) -> dict[str, Served[Any, Any]]:
    """By name."""
    return {one.operation.name: one for one in served}


def read_asked(line: bytes, operations: Mapping[str, Served[Any, Any]]) -> Union[Asked, Refusal]:
    """The answering end: a request of ``operations``, or the refusal to be sent for a line that is none."""
    number: Optional[int] = None
    try:
        request = read_request(line)
        number = request.id
        served = operations.get(request.op)
        if served is None:
            raise ProtocolError(f"{request.op!r} is no operation that is known", "op")
        return Asked(number, served, arguments_of(request, served.operation))
    except ProtocolError as error:
        return Refusal(id_of(line) if number is None else number, Fault("usage", str(error)))
