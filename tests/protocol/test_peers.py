"""Asking and answering: over a real pipe, with an answering end that says what it should not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from jvbtune.protocol.codec import ProtocolError, encode
from jvbtune.protocol.messages import Fault, Nothing, Operation, Refusal, Refused, refusal, reply
from jvbtune.protocol.peers import Asked, Caller, Gone, Served, read_asked, table


@dataclass(frozen=True)
class Add:
    one: int
    other: int = 0


@dataclass(frozen=True)
class Sum:
    sum: int


ADD = Operation("add", Add, Sum)
FAIL = Operation("fail", Nothing, Nothing)


def _add(context: None, arguments: Add) -> Sum:
    return Sum(arguments.one + arguments.other)


OPERATIONS = table((Served(ADD, _add), Served(FAIL, lambda _, nothing: nothing)))


class Peer:
    """The answering end in this process: each line is answered by ``answer`` in a thread of its own."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.caller = Caller(self.write, events={"sum": Sum}, on_event=self.events.append)
        self.threads: list[threading.Thread] = []
        self.delay = 0.0

    def write(self, line: bytes) -> None:
        self.threads.append(threading.Thread(target=self.answer, args=(line,)))
        self.threads[-1].start()

    def answer(self, line: bytes) -> None:
        time.sleep(self.delay)
        asked = read_asked(line, OPERATIONS)
        if isinstance(asked, Refusal):
            self.caller.take(encode(asked))
        elif asked.served.operation is FAIL:
            self.caller.take(refusal(asked.id, Fault("busy", "somebody is there", "Wait.")))
        else:
            self.caller.take(reply(asked.id, asked.served.perform(None, asked.arguments)))


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    for thread in made.threads:
        thread.join(5)


def test_each_asker_has_its_own_answer(peer: Peer) -> None:
    found: dict[int, int] = {}

    def ask(number: int) -> None:
        found[number] = peer.caller.call(ADD, Add(number, 100), 10).sum

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: number + 100 for number in range(20)}


def test_a_refusal_is_what_the_other_side_said(peer: Peer) -> None:
    with pytest.raises(Refused, match="somebody is there") as error:
        peer.caller.call(FAIL, Nothing(), 10)
    assert error.value.fault == Fault("busy", "somebody is there", "Wait.")


def test_arguments_of_the_wrong_type_are_refused_by_the_other_side_with_the_field(peer: Peer) -> None:
    with pytest.raises(Refused, match=r'^add\.one: a whole number is expected, not "x"$'):
        peer.caller.call(ADD, Add("x"), 10)  # type: ignore[arg-type]
    assert peer.caller.call(ADD, Add(1, 2), 10) == Sum(3)


def test_no_answer_in_time(peer: Peer) -> None:
    peer.delay = 0.3
    with pytest.raises(TimeoutError, match=r"add was not answered within 0\.05 s"):
        peer.caller.call(ADD, Add(1), 0.05)
    peer.delay = 0.0
    assert peer.caller.call(ADD, Add(1), 10) == Sum(1)


def test_whoever_waits_is_woken_when_the_other_side_ends(peer: Peer) -> None:
    peer.delay = 1.0
    threading.Timer(0.1, peer.caller.end, ("it was killed",)).start()
    begun = time.monotonic()
    with pytest.raises(Gone, match="it was killed"):
        peer.caller.call(ADD, Add(1), 10)
    assert time.monotonic() - begun < 0.9
    with pytest.raises(Gone, match="it was killed"):
        peer.caller.call(ADD, Add(1), 10)


def test_a_result_of_another_type_names_its_field() -> None:
    caller = Caller(lambda line: caller.take(b'{"id": 1, "result": {"sum": "three"}}'))
    with pytest.raises(ProtocolError, match=r'^add result\.sum: a whole number is expected, not "three"$'):
        caller.call(ADD, Add(1), 5)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"7", "an object is expected, not 7"),
        (b'{"id": [1], "result": {}}', "id: a whole number is expected, not a list"),
        (b'{"id": 1}', "result: is missing"),
        (b'{"id": 1, "result": {}, "ok": true}', "ok: is no field that is known"),
        (b'{"id": 1, "error": "no"}', 'error: an object is expected, not "no"'),
        (b'{"id": 1, "error": {"kind": "odd", "message": "x"}}', "error.kind: one of"),
        (b'{"event": "sum", "data": {"sum": null}}', "sum.sum: a whole number is expected, not null"),
        (b'{"event": "sum"}', "data: is missing"),
        (b'{"event": "other", "data": {}}', "event: 'other' is no event that is known"),
        (b'{"event": ["sum"], "data": {}}', "event: text is expected, not a list"),
        (b'{"id": null, "error": {"kind": "usage", "message": "bad line"}}', "the other side could not read a request"),
    ],
)
def test_what_is_not_of_the_protocol_is_an_error_with_the_field(peer: Peer, line: bytes, said: str) -> None:
    with pytest.raises(ProtocolError) as error:
        peer.caller.take(line)
    assert said in str(error.value)


def test_events_are_typed_and_stray_or_repeated_answers_do_no_harm(peer: Peer) -> None:
    peer.caller.take(b'{"event": "sum", "data": {"sum": 4}}')
    assert peer.events == [Sum(4)]
    for _ in range(3):
        peer.caller.take(b'{"id": 99, "result": {}}')

    def twice(line: bytes) -> None:
        number = json.loads(line)["id"]
        for _ in range(3):
            caller.take(reply(number, Sum(1)))

    caller = Caller(twice)
    assert caller.call(ADD, Add(1), 5) == Sum(1)


@pytest.mark.parametrize(
    ("line", "number", "said"),
    [
        (b"garbage", None, "the line is not JSON: 'garbage'"),
        (b"[]", None, "an object is expected, not a list"),
        (b"{}", None, "id: is missing"),
        (b'{"id": "1", "op": "add", "args": {}}', None, 'id: a whole number is expected, not "1"'),
        (b'{"id": 3, "op": "add"}', 3, "args: is missing"),
        (b'{"id": 3, "op": "add", "args": {}, "x": 1}', 3, "x: is no field that is known"),
        (b'{"id": 3, "op": 4, "args": {}}', 3, "op: text is expected, not 4"),
        (b'{"id": 3, "op": "subtract", "args": {}}', 3, "op: 'subtract' is no operation that is known"),
        (b'{"id": 3, "op": "add", "args": {}}', 3, "add.one: is missing"),
        (b'{"id": 3, "op": "add", "args": {"one": 1, "third": 2}}', 3, "add.third: is no field that is known"),
    ],
)
def test_a_request_that_is_none_is_refused_under_its_number(line: bytes, number: int | None, said: str) -> None:
    found = read_asked(line, OPERATIONS)
    assert isinstance(found, Refusal)
    assert (found.id, found.error.kind) == (number, "usage")
    assert found.error.message.startswith(said)


def test_a_request_that_is_one_is_read() -> None:
    found = read_asked(b'{"id": 3, "op": "add", "args": {"one": 1}}', OPERATIONS)
    assert isinstance(found, Asked)
    assert (found.id, found.arguments) == (3, Add(1))
