"""How many hosts may be out of service at once, and what the whole command's exit code is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from jvbtune.cli import cli
from jvbtune.errors import StoreError
from jvbtune.fleet.budget import Budget
from jvbtune.fleet.outcome import Outcome, State, exit_code
from jvbtune.fleet.store import FleetWriter, create_fleet, list_fleets, open_fleet
from jvbtune.inventory import HostEntry

CELL = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("most", "host", "at_work", "out", "why"),
    [
        (1, "a", (), {}, None),
        (1, "a", ("b",), {}, "b is at work"),
        (2, "a", ("b",), {}, None),
        (2, "a", ("b", "c"), {}, "b and c are at work"),
        (1, "a", (), {"b": "drained"}, "b is drained"),
        (2, "a", ("b",), {"c": "not reachable"}, "c is not reachable"),
        (2, "a", (), {"b": "drained", "c": "not reachable"}, "b is drained; c is not reachable"),
        (3, "a", ("b",), {"c": "not reachable"}, None),
        # one that is out already costs nothing more, but only so many are worked on
        (1, "a", (), {"a": "drained", "b": "drained"}, None),
        (1, "a", ("b",), {"a": "drained"}, "b is at work"),
        # work on a host that was out already is counted once
        (2, "a", ("b",), {"b": "drained"}, None),
        # hosts of other cells are no concern
        (1, "a", ("x",), {"y": "drained"}, None),
    ],
)
def test_whether_a_host_may_be_taken_out(
    most: int, host: str, at_work: Sequence[str], out: Mapping[str, str], why: str | None
) -> None:
    assert Budget(most, "region").refusal(host, CELL, at_work, out) == why


def test_the_value_of_the_label_decides_who_shares_a_budget() -> None:
    entry = HostEntry("a", "a", labels={"region": "eu"})
    assert Budget(1, "region").cell(entry) == "eu"
    assert Budget(1).cell(entry) == Budget(1).cell(HostEntry("b", "b"))


def _of(state: State, code: int) -> Outcome:
    return Outcome("h", state, code)


DONE, FAILED = _of(State.DONE, 0), _of(State.FAILED, 1)
NONE, LATER = _of(State.NO_RECOMMENDATION, 5), _of(State.NOT_STARTED, 1)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([DONE, DONE], 0),
        ([DONE, FAILED], 4),
        ([DONE, NONE], 4),
        ([FAILED, FAILED], 1),
        ([NONE, NONE], 5),
        ([NONE, FAILED], 4),
        ([FAILED, LATER, LATER], 1),
        ([_of(State.FAILED, 2), LATER], 2),
        ([_of(State.HELD_BACK, 1)], 1),
        ([DONE, _of(State.HELD_BACK, 1)], 4),
        ([DONE, _of(State.INTERRUPTED, 130), LATER], 130),
    ],
)
def test_the_exit_code(outcomes: list[Outcome], code: int) -> None:
    assert exit_code(outcomes) == code


ENTRIES = [HostEntry("a", "a", labels={"region": "eu"}, groups=("edge",)), HostEntry("b", "b"), HostEntry("c", "c")]


def test_a_record_says_how_far_each_host_came(tmp_path: Path) -> None:
    made = create_fleet(tmp_path, "sweep", ENTRIES, {"experiment": {"name": "x"}})
    with FleetWriter(made) as writer:
        with pytest.raises(StoreError, match="another jvbtune works on this fleet"):
            FleetWriter(made)
        writer.append("host_started", host="a")
        writer.append("host_run", host="a", run="run-a")
        writer.append("host_finished", host="a", state="failed", exit_code=1, reason="why", run="run-a")
        writer.append("host_started", host="b")
        writer.append("host_run", host="b", run="run-b")
    with (made.path / "journal.ndjson").open("a") as file:
        file.write('{"event": "host_fin')  # a controller that was killed in the middle of a line
    read = open_fleet("latest", tmp_path)
    assert read == open_fleet(made.id[:20], tmp_path) == open_fleet(str(made.path)) == list_fleets(tmp_path, [])[0]
    found = read.outcomes()
    assert (found["a"].state, found["a"].reason, found["a"].run) == (State.FAILED, "why", "run-a")
    assert (found["b"].state, found["b"].run) == (State.INTERRUPTED, "run-b")
    assert found["c"].state is State.NOT_STARTED
    assert read.manifest["hosts"][0] == {"name": "a", "labels": {"region": "eu"}, "groups": ["edge"]}
    assert read.work == {"experiment": {"name": "x"}}


def test_a_host_that_was_not_begun_again_keeps_the_run_that_it_has(tmp_path: Path) -> None:
    made = create_fleet(tmp_path, "sweep", ENTRIES, {})
    with FleetWriter(made) as writer:
        writer.append("host_run", host="a", run="run-a")
        writer.append("host_finished", host="a", state="interrupted", exit_code=130, reason="why", run="run-a")
        writer.append("host_finished", host="a", state="held back", exit_code=1, reason="b is drained", run=None)
    found = made.outcomes()["a"]
    assert (found.state, found.run) == (State.HELD_BACK, "run-a")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"schema_version": 9}', "schema_version 9"),
        ('{"schema_version": 1, "id": "x", "command": "sweep", "created_unix": 1, "hosts": [{}]}', "hosts is missing"),
    ],
)
def test_a_damaged_record_is_an_error_with_its_file(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "fleet-x").mkdir()
    (tmp_path / "fleet-x" / "fleet.json").write_text(text)
    with pytest.raises(StoreError, match=says) as caught:
        open_fleet("latest", tmp_path)
    assert "fleet.json" in str(caught.value)


def test_a_damaged_record_costs_the_others_nothing(tmp_path: Path) -> None:
    made = create_fleet(tmp_path, "sweep", [], {})
    older = tmp_path / "fleet-20200101-000000-sweep"
    older.mkdir()
    (older / "fleet.json").write_text("{")
    assert open_fleet("latest", tmp_path) == open_fleet(made.id[:20], tmp_path) == made
    done = CliRunner().invoke(cli, ["fleet", "runs", "--runs-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert done.output.count(str(older)) == 1
    assert f"{made.id}  0 hosts" in done.output
    older.rename(tmp_path / "fleet-29991231-000000-sweep")
    with pytest.raises(StoreError, match="not JSON"):
        open_fleet("latest", tmp_path, "sweep")
    assert open_fleet(made.id, tmp_path) == made
    with pytest.raises(StoreError, match="not JSON"):
        open_fleet("fleet-2999", tmp_path)


def test_a_record_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no fleet run of jvbtune apply"):
        open_fleet("latest", tmp_path, "apply")
