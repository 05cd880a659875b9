"""``jvbtune hosts``: what is known of each host, without connecting to any; as a table and as a published document."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from jvbtune.cli import _run as run_cli
from jvbtune.cli.hosts import command, widths_of
from jvbtune.result import result_of
from jvbtune.store import create_run, open_run
from tests.apply.results import simulated
from tests.fleet.terminal import on_terminal

TEXT = """\
[hosts.jvb-eu-1]
ssh = "203.0.113.1"
labels = { machine_type = "c5.xlarge", region = "eu" }
groups = ["jvb"]
[hosts.jvb-eu-2]
ssh = "203.0.113.2"
labels = { machine_type = "c5.xlarge" }
[hosts.jvb-us-1]
ssh = "203.0.113.3"
[hosts.here]
local = true
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """jvb-eu-1 was measured, then measured again without success; jvb-us-1 was begun; a run is damaged."""
    directory = tmp_path_factory.mktemp("hosts")
    runs = directory / "runs"
    run = simulated(runs)
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest |= {"host": "jvb-eu-1", "labels": {"machine_type": "c5.xlarge"}, "created_unix": 1_780_000_000.0}
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    create_run(runs, host="jvb-eu-1", experiment={"name": "e"}, seed=0, plan={})
    create_run(runs, host="jvb-us-1", experiment={"name": "e"}, seed=0, plan={})
    (runs / "broken").mkdir()
    (runs / "broken/manifest.json").write_text("{")
    (directory / "jvbtune.toml").write_text(TEXT)
    return directory


def run(directory: Path, *argv: str) -> Result:
    options = ["--inventory", str(directory / "jvbtune.toml"), "--runs-dir", str(directory / "runs")]
    return CliRunner().invoke(command, [*argv, *options], standalone_mode=False)


def document(directory: Path, *argv: str) -> dict[str, Any]:
    done = run(directory, "--json", *argv)
    assert done.exception is None, done.exception
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_host_is_listed_with_its_newest_figures_and_a_twin_with_those_of_its_type(directory: Path) -> None:
    hosts = {one["name"]: one for one in document(directory)["hosts"]}
    assert list(hosts) == ["jvb-eu-1", "jvb-eu-2", "jvb-us-1", "here"]
    first, twin, other, here = hosts.values()
    newest = first["measured"]
    expected = result_of(open_run(newest["run"], directory / "runs")).recommendation
    assert expected is not None
    assert newest["max_packet_rate_pps"] == expected.max_packet_rate_pps
    assert newest["interval_pps"] == list(expected.interval_pps)
    assert (newest["host"], newest["created_unix"]) == ("jvb-eu-1", 1_780_000_000.0)
    assert first["last_run"] != newest["run"]
    assert first["last_run_status"] == "interrupted"
    assert twin["measured"] is None
    assert twin["measured_of_type"] == newest
    assert (other["measured"], other["measured_of_type"], other["last_run_status"]) == (None, None, "interrupted")
    assert (here["ssh"], here["last_run"], here["reached"]) == (None, None, None)


def test_the_document_fits_its_published_schema(directory: Path) -> None:
    schema = json.loads(run(directory, "--schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document(directory), schema)


def test_the_table(directory: Path) -> None:
    done = run(directory)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["HOST", "SSH", "MAX", "PACKET", "RATE", "MEASURED", "GROUPS", "LABELS", "SOURCE"]
    assert "203.0.113.1" in lines[1]
    assert " pps (" in lines[1]
    assert "2026-05-28" in lines[1]
    assert "machine_type=c5.xlarge region=eu" in lines[1]
    assert "same machine type" in lines[2]
    assert "interrupted: " in lines[3]
    assert "this machine" in lines[4]
    assert "Passed over: " in done.stderr
    assert "broken" in done.stderr


def test_it_connects_only_if_asked(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it connects")

    with monkeypatch.context() as patch:
        patch.setattr("jvbtune.hosts.connect", refuse)
        assert run(directory).exit_code == 0
    (directory / "ssh_config").write_text("Host *\n  ProxyCommand false\n")
    (directory / "two.toml").write_text('[hosts.here]\nlocal = true\n[hosts.gone]\nssh_config = "ssh_config"\n')
    done = CliRunner().invoke(
        command, ["--connect", "--json", "--inventory", str(directory / "two.toml")], standalone_mode=False
    )
    assert done.return_value == 4
    here, gone = json.loads(done.stdout)["hosts"]
    assert here["reached"] == {"ok": True, "problem": None}
    assert gone["reached"]["ok"] is False
    assert "gone" in gone["reached"]["problem"]


def test_what_is_no_host_name_is_a_host_that_is_not_reached(tmp_path: Path) -> None:
    (tmp_path / "jvbtune.toml").write_text('[hosts.here]\nlocal = true\n[hosts.gone]\nssh = "jvb-1..example.org"\n')
    done = run(tmp_path, "--connect")
    assert done.return_value == 4
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["HOST", "here", "gone"]
    here, gone = json.loads(run(tmp_path, "--connect", "--json").stdout)["hosts"]
    assert (here["reached"]["ok"], gone["reached"]["ok"]) == (True, False)
    assert "jvb-1..example.org is no host name" in gone["reached"]["problem"]


def test_a_selection_narrows_the_list(directory: Path) -> None:
    assert [one["name"] for one in document(directory, "--label", "region=eu")["hosts"]] == ["jvb-eu-1"]
    assert [one["name"] for one in document(directory, "--group", "jvb", "--host", "here")["hosts"]] == [
        "jvb-eu-1",
        "here",
    ]


@pytest.mark.parametrize("columns", [60, 80, 100, 120])
def test_the_table_fits_a_terminal_and_never_cuts_a_name(columns: int, directory: Path, tmp_path: Path) -> None:
    long = "jvb-eu-central-1-of-a-large-region"
    (tmp_path / "jvbtune.toml").write_text(TEXT + f"[hosts.{long}]\nlocal = true\n")
    argv = [sys.executable, "-m", "jvbtune", "hosts", "--inventory", str(tmp_path / "jvbtune.toml")]
    with on_terminal([*argv, "--runs-dir", str(directory / "runs")], tmp_path, columns=columns, rows=40) as terminal:
        screen = terminal.ended()
    table = screen[next(at for at, line in enumerate(screen) if line.startswith("HOST")) :]
    names = ["jvb-eu-1", "jvb-eu-2", "jvb-us-1", "here", long]
    assert [line.split()[0] for line in table[1:6]] == names, "a line for each host, and none is wrapped"
    if columns < 80:
        assert table[6].startswith("On a wider terminal also: ")
    else:
        assert " pps (" in table[1]


def test_what_fits_or_goes_into_a_file_is_whole(directory: Path) -> None:
    rows = [("HOST", "SSH", "MAX PACKET RATE", "SOURCE"), ("a" * 30, "b" * 20, "46 750 pps", "c" * 40)]
    assert widths_of(rows, None) == widths_of(rows, 200) == {0: 30, 1: 20, 2: 15, 3: 40}
    assert widths_of(rows, 90) == {0: 30, 1: 20, 2: 15, 3: 19}
    assert widths_of(rows, 70) == {0: 30, 1: 20, 2: 15}
    assert widths_of(rows, 10) == {0: 30}
    assert "…" not in run(directory).stdout


SAME = """\
[hosts.a]
ssh = "203.0.113.1"
labels = { machine_type = "t" }
[hosts.b]
ssh = "ubuntu@203.0.113.1"
labels = { machine_type = "t" }
[hosts.c]
ssh = "203.0.113.1"
bridge = { http_port = 8081 }
[hosts.d]
ssh = "alias-d"
bridge = { media_address = "203.0.113.9" }
[hosts.e]
ssh = "203.0.113.7"
bridge = { media_address = "203.0.113.9" }
[hosts.f]
ssh = "203.0.113.8"
bridge = { media_address = "10.0.0.4" }
[hosts.g]
ssh = "203.0.113.5"
bridge = { media_address = "10.0.0.4" }
"""


def test_one_machine_under_two_names_is_named_wherever_hosts_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two bridges of one machine, and one private address in two networks, are no fault."""
    (tmp_path / "jvbtune.toml").write_text(SAME)
    monkeypatch.chdir(tmp_path)
    runs = ["--runs-dir", str(tmp_path / "runs")]

    def warnings(*argv: str) -> list[list[str]]:
        assert run_cli([*argv, *runs]) == 0, capsys.readouterr().err
        lines = capsys.readouterr().err.splitlines()
        named = [line for line in lines if "are one machine and bridge" in line]
        return [[word for word in line.split() if word in "abcdefg"] for line in named]

    assert warnings("hosts") == [["a", "b"], ["d", "e"]]
    assert warnings("hosts", "--host", "a", "--host", "c") == []
    for host in "ab":
        path = simulated(tmp_path / "runs", "--name", host).path
        manifest = json.loads((path / "manifest.json").read_text()) | {"host": host, "labels": {"machine_type": "t"}}
        (path / "manifest.json").write_text(json.dumps(manifest))
    assert warnings("fleet", "report", "-o", str(tmp_path / "fleet.html")) == [["a", "b"]]
    assert warnings("export", "--group", "t", "--format", "jvb-conf") == [["a", "b"]]
    (tmp_path / "jvbtune.toml").write_text("[hosts")
    assert warnings("export", "--group", "t", "--format", "jvb-conf") == []
