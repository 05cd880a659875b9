"""Lines to dataclasses and back: what comes in is bounded, and a wrong field is named."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvbtune.protocol import agent, capture, codec, inside, tuning, worker
from jvbtune.protocol.codec import MAX_DEPTH, ProtocolError, Splitter, build, encode, parse, to_json
from jvbtune.protocol.messages import Operation


@dataclass(frozen=True)
class Inner:
    port: int
    share: float = 0.0


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner | None = None
    many: list[Inner] = field(default_factory=list)
    named: dict[str, float] = field(default_factory=dict)
    kind: Literal["a", "b"] = "a"
    value: int | str = 0
    whatever: Any = None


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({}, "name: is missing"),
        ({"name": 5}, "name: text is expected, not 5"),
        ({"name": None}, "name: text is expected, not null"),
        ({"name": "x", "inner": {}}, "inner.port: is missing"),
        ({"name": "x", "inner": []}, "inner: an object is expected, not a list"),
        ({"name": "x", "inner": {"port": True}}, "inner.port: a whole number is expected, not true"),
        ({"name": "x", "inner": {"port": 1.5}}, "inner.port: a whole number is expected, not 1.5"),
        ({"name": "x", "inner": {"port": 1, "share": "1"}}, 'inner.share: a number is expected, not "1"'),
        ({"name": "x", "inner": {"port": 1, "prot": 2}}, "inner.prot: is no field that is known"),
        ({"name": "x", "many": [{"port": 1}, 7]}, "many[1]: an object is expected, not 7"),
        ({"name": "x", "named": {"a": "b"}}, 'named.a: a number is expected, not "b"'),
        ({"name": "x", "kind": "c"}, 'kind: one of a, b is expected, not "c"'),
        ({"name": "x", "value": 1.5}, "value: text is expected, not 1.5"),
        ({"name": "x", "y" * 500: 1}, "y" * 60 + "…: is no field that is known"),
        ({"name": ["x"] * 100}, "name: text is expected, not a list"),
        ({"name": "x", "kind": "z" * 500}, 'kind: one of a, b is expected, not "' + "z" * 59 + "…"),
    ],
)
def test_a_wrong_field_is_named(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ProtocolError) as error:
        build(Outer, raw)
    assert str(error.value) == said


def test_what_is_right_is_built_and_comes_back_as_it_was() -> None:
    raw = {"name": "x", "inner": {"port": 1, "share": 2}, "many": [{"port": 3}], "named": {"a": 1.5}, "value": "8M"}
    found = build(Outer, raw)
    assert found == Outer("x", Inner(1, 2.0), [Inner(3)], {"a": 1.5}, value="8M")
    assert build(Outer, to_json(found)) == found
    assert build(Outer, parse(encode(found))) == found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "the line is not JSON: ''"),
        (b"Last login: yesterday\n", "the line is not JSON: 'Last login: yesterday'"),
        (b"\xff\xfe{}", "the line is not JSON"),
        (b"5", "an object is expected, not 5: '5'"),
        (b"null", "an object is expected, not null: 'null'"),
        (b'["a"]\n', "an object is expected, not a list"),
        (b'"text"', 'an object is expected, not "text"'),
        (b'{"a": NaN}', "the line is not JSON"),
        (b'{"a": -Infinity}', "the line is not JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "the line is not JSON"),
        (b'{"a":' * 100_000, "the line is"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, f"the line is nested more than {MAX_DEPTH} deep"),
        (b'{"a":' + b"[" * 90_000 + b"]" * 90_000 + b"}", f"the line is nested more than {MAX_DEPTH} deep"),
    ],
)
def test_a_line_that_is_no_object_is_refused(line: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=r"^") as error:
        parse(line)
    assert str(error.value).startswith(said)
    assert len(str(error.value)) < 500


def test_depth_is_counted_by_nesting_not_by_the_number_of_objects() -> None:
    many = {"a": [{"b": [{"c": index}]} for index in range(1000)]}
    assert parse(json.dumps(many).encode()) == many
    deep: Any = 1
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert parse(json.dumps({"a": deep}).encode()) == {"a": deep}
    with pytest.raises(ProtocolError, match="nested"):
        parse(json.dumps({"a": [deep]}).encode())


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_anything_but_a_protocol_error(line: bytes) -> None:
    try:
        assert isinstance(parse(line), dict)
    except ProtocolError:
        pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def operations() -> list[Operation[Any, Any]]:
    modules = (agent, tuning, capture, inside, worker)
    return [value for module in modules for value in vars(module).values() if isinstance(value, Operation)]


@settings(deadline=None)  # other things run on a machine, too
@given(st.sampled_from(operations()), JSON, st.data())
def test_no_json_makes_anything_but_a_message_or_a_protocol_error(
    operation: Operation[Any, Any], value: Any, data: st.DataObject
) -> None:
    for kind in (operation.arguments, operation.result):
        names = list(kind.__dataclass_fields__) or ["x"]
        for raw in (value, {data.draw(st.sampled_from(names)): value}):
            try:
                found, where = build(kind, raw, operation.name), operation.name
            except ProtocolError as error:
                found, where = None, error.field
            assert found is None or isinstance(found, kind)
            assert where.startswith(operation.name)


def test_every_operation_and_event_can_be_checked_and_has_a_name_of_its_own() -> None:
    of_worker = {one.name for one in operations() if one in vars(worker).values()}
    of_inside = {one.name for one in operations() if one in vars(inside).values()}
    of_agent = [one.name for one in operations() if one.name not in of_worker | of_inside]
    assert len(of_agent) == len(set(of_agent)) > 15
    for operation in operations():
        for kind in (operation.arguments, operation.result):
            with pytest.raises(ProtocolError, match="an object is expected, not 5"):
                build(kind, 5)
    for event in agent.EVENTS.values():
        with pytest.raises(ProtocolError, match="an object is expected"):
            build(event, 5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object()])
def test_what_json_cannot_say_is_not_sent(value: Any) -> None:
    with pytest.raises(ProtocolError, match="cannot be sent"):
        encode({"a": value})


def test_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_LINE_BYTES", 1000)
    with pytest.raises(ProtocolError, match="1000 are the limit"):
        parse(b'{"a": "' + b"x" * 1000 + b'"}')
    with pytest.raises(ProtocolError, match="1000 are the limit"):
        encode({"a": "x" * 1000})
    splitter = Splitter()
    assert splitter.feed(b"x" * 900) == []
    with pytest.raises(ProtocolError, match="no end of line within 1000 bytes"):
        splitter.feed(b"x" * 900)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.data())
def test_lines_come_out_as_they_went_in_whatever_the_pieces(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    splitter = Splitter()
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += splitter.feed(whole[begin:end])
    assert found == lines
    assert splitter.rest() == b""
