"""No character that a terminal obeys reaches it, whichever host, bridge or file it came from."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvbtune.cli import _run as run_in_process
from jvbtune.cli.progress import Progress
from jvbtune.text import clean, counted, printable

CLI = Path(__file__).parents[2] / "jvbtune" / "cli"
FLEET = CLI.parent / "fleet"

#: Title of the window, colours, cursor up, erase, CR over a line, backspaces, C1 CSI, right-to-left override, a bell,
#: a hyperlink, DEC graphics, a zero-width space, a line separator.
HOSTILE = (
    "\x1b]0;owned\x07\x1b[31mred\x1b[2A\x1b[2K over\rwritten\b\b\b\x9b31m \u202eexe.txt\u2066 \x1b]8;;http://evil\x1b\\"
    "\x1b(0 \u200b\u2028 \x7f"
)


def _harmless(text: str) -> bool:
    return all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text)


@given(st.text(st.characters()))
def test_printable_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = printable(text).replace("\r\n", "\n")
    assert _harmless(shown)
    assert printable(shown) == shown
    assert len(printable(text)) == len(text)
    assert _harmless(clean(text))
    assert "\n" not in clean(text)


def test_ordinary_text_stays_as_it_is() -> None:
    text = "46\u202f750 pps, ü – Größe\tx\n日本 🎉 a\r\n"
    assert printable(text) == text


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_commands_print_through_put_and_say_only(path: Path) -> None:
    """``common`` holds both. ``sys.stdout.write`` in ``__init__`` prints the version, in ``demo`` what is made safe."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            forbidden = called in ("print", "click.echo", "click.secho", "click.echo_via_pager", "sys.stderr.write")
            assert not forbidden or path.stem in ("common", "demo"), f"{path.name}:{node.lineno}: {called}"


PLURALS = re.compile(r" (hosts|runs|trials|restarts|rows|slices|frames|conferences|types|files|samples)\b")
#: Of the controller of many hosts.
OTHERS = {"many", "apply"}


@pytest.mark.parametrize("path", sorted([*CLI.glob("*.py"), *FLEET.glob("*.py")]), ids=lambda path: path.stem)
def test_one_host_is_not_called_1_hosts(path: Path) -> None:
    """A number before a plural is put there by ``counted``, unless it is a part: "3 of 4 hosts"."""
    faults = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.JoinedStr) or path.stem in OTHERS:
            continue
        texts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
        for at, (number, text) in enumerate(pairwise(texts)):
            before = texts[at - 1] if at else None
            part = isinstance(before, str) and before.endswith(" of ")
            if number is None and isinstance(text, str) and PLURALS.match(text) and not part:
                faults.append(f"{path.name}:{node.lineno}: …{text}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 hosts"), (1, "1 host"), (2, "2 hosts")], ids=["none", "one", "two"]
)
def test_counted(number: int, text: str) -> None:
    assert counted(number, "host") == text


def _output(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "jvbtune", *arguments], cwd=cwd, capture_output=True, timeout=120, check=False
    )
    text = (done.stdout + done.stderr).decode()
    assert "Traceback" not in text, text
    return text


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose host, experiment, versions and reasons were written by somebody hostile."""
    directory = tmp_path_factory.mktemp("hostile")
    _output("simulate", "--out", "runs", "--blocks", "3", "--seconds", "10", cwd=directory)
    (run,) = (directory / "runs").iterdir()
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["host"] += HOSTILE
    manifest["experiment"]["name"] += HOSTILE
    manifest["jvbtune_version"] += HOSTILE
    manifest["plan"]["bridge_version"] = HOSTILE
    (run / "manifest.json").write_text(json.dumps(manifest))
    lines = []
    for line in (run / "journal.ndjson").read_text().splitlines():
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "trial_finished":
            event["row"].update(valid=False, invalid_because=[HOSTILE])
        lines.append(json.dumps(event))
    (run / "journal.ndjson").write_text("\n".join(lines) + "\n")
    (run / "provenance" / "before.json").write_text(
        json.dumps({"kernel": HOSTILE, "hostname": HOSTILE, "bridge": {"version": HOSTILE, "java": HOSTILE}})
    )
    for derived in run.glob("result.json"):
        derived.unlink()
    return directory


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs",),
        ("runs", "--json"),
        ("runs", "--host", HOSTILE),
        ("show", "-v"),
        ("show", "--json"),
        ("explain",),
        ("fit",),
        ("compare", "latest", "latest"),
        ("export", "--format", "sysctl"),
        ("show", "no-run" + HOSTILE),
        ("sweep", "--host", "no-host" + HOSTILE),
        ("no-command" + HOSTILE,),
        ("show", "--" + HOSTILE),
        ("flame", "view", HOSTILE),
    ],
    ids=lambda arguments: " ".join(arguments).replace(HOSTILE, "~"),
)
def test_a_hostile_run_is_shown_without_its_sequences(hostile_run: Path, arguments: tuple[str, ...]) -> None:
    text = (
        _output(*arguments, "--runs-dir", "runs", cwd=hostile_run)
        if arguments[0] != "sweep"
        else _output(*arguments, cwd=hostile_run)
    )
    assert text
    assert _harmless(text), repr(text)


def test_hostile_files_are_named_without_their_sequences(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"trial,{HOSTILE!s}\n1,2\n", newline="")
    (tmp_path / "b.csv").write_text(f"host,in_pps,out_pps,cpu_cores\n{HOSTILE},{HOSTILE},1,1\n", newline="")
    (tmp_path / "c.collapsed").write_text(f"main;{HOSTILE} x\n", newline="")
    (tmp_path / "jvbtune.toml").write_text('[hosts."a\\u001b[31m"]\nnonsense = "\\u001b]0;x\\u0007"\n')
    for arguments in (
        ("fit", "a.csv"),
        ("fit", "b.csv"),
        ("flame", "view", "c.collapsed", "--no-open"),
        ("sweep", "--host", "a", "--dry-run"),
    ):
        text = _output(*arguments, cwd=tmp_path)
        assert text
        assert _harmless(text), repr(text)


def test_progress_of_a_hostile_host(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    with progress:
        progress("run_started", {"run": HOSTILE, "path": HOSTILE})
        progress("baseline", {"values": {HOSTILE: HOSTILE}})
        progress("step_started", {"block": 0, "name": HOSTILE})
        progress("capture_failed", {"message": HOSTILE})
        progress("stopped", {"block": 1, "because": HOSTILE})
        progress(
            "reverted", {"report": {"restored": {"a": HOSTILE}, "foreign": {"b": {"found": HOSTILE, "baseline": 1}}}}
        )
    said = capsys.readouterr()
    assert said.err.count("\n") >= 7
    assert _harmless(said.out + said.err)


def test_an_error_with_a_hint_from_a_host(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from jvbtune import cli as package
    from jvbtune.errors import BridgeError

    def fails(*_: object, **__: object) -> None:
        raise BridgeError(HOSTILE, hint=HOSTILE)

    monkeypatch.setattr(package.cli, "main", fails)
    assert run_in_process([]) == 1
    assert _harmless(capsys.readouterr().err)
