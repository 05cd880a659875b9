"""A run that cannot be read: each command that reads runs names it with what to do, or goes on without it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jvbtune.cli import _run
from jvbtune.observe.capacity import Capacities
from tests.apply.results import simulated

Damage = Callable[[Path], None]


def _manifest(text: str) -> Damage:
    return lambda run: (run / "manifest.json").write_text(text) and None


def _changed(**keys: object) -> Damage:
    def change(run: Path) -> None:
        file = run / "manifest.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))

    return change


def _appended(line: str) -> Damage:
    def append(run: Path) -> None:
        with (run / "journal.ndjson").open("a") as file:
            file.write(line + "\n")

    return append


def _provenance(run: Path) -> None:
    (run / "provenance" / "before.json").write_text("{")


MANIFESTS = {
    "no object": _manifest("[]"),
    "empty": _manifest("{}"),
    "cut": _manifest('{"schema_version": 1, "id'),
    "no text": _manifest("\0"),
    "truth as version": _changed(schema_version=True),
    "later version": _changed(schema_version=99, jvbtune_version="9.0\x1b[2J"),
    "no experiment": _changed(experiment=None),
    "labels": _changed(labels=[1]),
}
OTHERS = {
    "journal": _appended("garbage"),
    "no status": _appended('{"event": "run_finished"}'),
    "no row": _appended('{"event": "trial_finished"}'),
    "provenance": _provenance,
    "limits": _changed(experiment={"name": "e", "limits": {"no_such": 1}}),
    "limits of text": _changed(experiment={"name": "e", "limits": "none"}),
    "settings": _changed(experiment={"name": "e", "settings": 5}),
}
ALL = MANIFESTS | OTHERS


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of the machine type t: the newer one, of the host b, will be damaged."""
    directory = tmp_path_factory.mktemp("whole")
    for host in "ab":
        run = simulated(directory, "--name", host).path
        name = f"2026010{'ab'.index(host) + 1}-000000-{host}-simulated"
        _changed(id=name, host=host, labels={"machine_type": "t"}, created_unix=1.7e9 + ord(host))(run)
        run.rename(directory / name)
    return directory


@pytest.fixture(params=ALL, ids=list(ALL))
def damaged(request: pytest.FixtureRequest, whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("*-b-simulated")
    (path / "result.json").unlink(missing_ok=True)
    ALL[request.param](path)
    return path


def _says_what_to_do(text: str, path: Path) -> bool:
    return str(path) in text and ("move it away" in text or "move the run away" in text)


@pytest.mark.parametrize(
    "words", ["show", "explain", "report", "fit", "export --format sysctl", "compare", "export --format json"]
)
@pytest.mark.parametrize("reference", ["latest", "its name", "its path"])
def test_a_command_of_one_run_names_the_damaged_one_and_the_way_out(
    words: str, reference: str, damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = words.split()
    run = {"latest": "latest", "its name": damaged.name, "its path": str(damaged)}[reference]
    status = _run([name, run, *options, "--runs-dir", str(damaged.parent)])
    said = capsys.readouterr().err
    assert status == 1, said
    assert _says_what_to_do(said, damaged), said
    assert "schema_version None" not in said


@pytest.mark.parametrize("words", ["runs", "hosts", "export --group t --format jvb-conf", "fleet report", "fleet runs"])
def test_a_command_of_many_runs_goes_on_with_the_others_and_says_so(
    words: str, damaged: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jvbtune.toml").write_text('[hosts.a]\nlabels = { machine_type = "t" }\n[hosts.b]\n')
    assert _run([*words.split(), "--runs-dir", str(damaged.parent)]) == 0, capsys.readouterr().err
    read = capsys.readouterr()
    if words == "fleet runs":
        return
    if words == "runs":  # what is damaged beside the manifest is another command's concern
        assert _says_what_to_do(read.err, damaged) or damaged.name in read.out or "b" in read.out
    else:
        assert _says_what_to_do(read.err, damaged), read.err
    assert "schema_version None" not in read.err


def test_observe_goes_on_without_the_damaged_one(damaged: Path) -> None:
    said: list[str] = []
    capacities = Capacities(damaged.parent, {}, said.append)
    for _ in range(2):
        found = capacities.look({"a": {"machine_type": "t"}, "b": {}})
        assert "a" in found
        assert "b" not in found
    assert len(said) == 1
    assert str(damaged) in said[0]


def test_a_directory_that_is_no_run_does_not_pass_for_the_latest(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "runs")
    (tmp_path / "runs" / "website").mkdir()
    (tmp_path / "runs" / "website" / "manifest.json").write_text("{}")
    assert _run(["show", "latest", "--runs-dir", str(tmp_path / "runs")]) == 0


@pytest.mark.parametrize("event", ['{"event": "host_finished", "host": "a"}', '{"event": "host_run", "host": "a"}'])
def test_a_damaged_record_of_a_fleet_is_named(event: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from jvbtune.fleet.store import create_fleet
    from jvbtune.inventory import HostEntry

    fleet = create_fleet(tmp_path, "sweep", [HostEntry("a", None)], {})
    _appended(event)(fleet.path)
    assert _run(["fleet", "runs", "--runs-dir", str(tmp_path)]) == 0
    assert _says_what_to_do(capsys.readouterr().err, fleet.path)
    assert _run(["fleet", "report", "latest", "--runs-dir", str(tmp_path)]) == 1
    assert _says_what_to_do(capsys.readouterr().err, fleet.path)


@pytest.mark.parametrize(("made_by", "command"), [("sweep", "capacity"), ("capacity", "sweep")])
def test_a_fleet_run_of_another_command_is_refused_by_its_path_too(
    made_by: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jvbtune.fleet.store import create_fleet
    from jvbtune.inventory import HostEntry

    fleet = create_fleet(tmp_path, made_by, [HostEntry("a", None)], {})
    assert _run([command, "--resume", str(fleet.path), "--runs-dir", str(tmp_path)]) == 1
    assert f"fleet run {fleet.id} is of jvbtune {made_by}, not of jvbtune {command}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "work", [{}, {"wanted": {"limits": {}, "mix": {"participants": 5, "senders": 3, "no_such_key": 1}}}]
)
def test_a_search_of_a_fleet_run_that_cannot_be_read_is_named(
    work: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jvbtune.fleet.store import create_fleet
    from jvbtune.inventory import HostEntry

    monkeypatch.chdir(tmp_path)
    (tmp_path / "jvbtune.toml").write_text("[hosts.a]\n")
    fleet = create_fleet(tmp_path, "capacity", [HostEntry("a", None)], work)
    assert _run(["capacity", "--resume", str(fleet.path), "--runs-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"the search of {fleet.id} is not one that this jvbtune reads" in said
    assert "no_such_key" in said or not work
