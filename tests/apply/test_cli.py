"""What the commands refuse before they connect to anything."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from jvbtune.cli import _run
from jvbtune.cli.simulate import command as simulate
from tests.fleet.terminal import on_terminal

NOWHERE = '[hosts.nowhere]\nssh = "nowhere.invalid"\n'


def test_a_simulated_run_is_never_applied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "jvbtune.toml").write_text(NOWHERE)
    options = ["--out", str(tmp_path / "runs"), "--blocks", "4", "--seconds", "5", "--seed", "4"]
    assert CliRunner().invoke(simulate, options).exit_code == 0
    inventory = ["--inventory", str(tmp_path / "jvbtune.toml")]
    status = _run(["apply", "--host", "nowhere", "--runs-dir", str(tmp_path / "runs"), *inventory])
    assert status == 5
    assert "is simulated" in capsys.readouterr().err


#: The command line with an agent that answers by itself, a plan with a change, and an apply that tells of itself.
STUB = """
import contextlib, sys
from types import SimpleNamespace
import jvbtune.apply, jvbtune.hosts, jvbtune.hosts.agent_client, jvbtune.result, jvbtune.store
from jvbtune.cli import main

class Agent:
    def call(self, operation, request):
        return SimpleNamespace(generation=SimpleNamespace(
            run_id="r", owner="o", state="applied", files=["/etc/x"], foreign={}, values={}))

@contextlib.contextmanager
def agent(host):
    yield Agent()

def changes(*args, **others):
    print("changes begin", flush=True)

jvbtune.hosts.connect = lambda entry: contextlib.nullcontext()
jvbtune.hosts.agent_client.AgentClient = agent
jvbtune.store.open_run = jvbtune.result.result_of = lambda *args: SimpleNamespace(run_id="r")
jvbtune.apply.order = lambda *args, **others: None
jvbtune.apply.plan = lambda *args: SimpleNamespace(
    changes=True, wanted=SimpleNamespace(run_id="r"), files=[], values={}, restart="new values", differences=(),
    planned=SimpleNamespace(latest=None, overridden={}))
jvbtune.apply.apply = jvbtune.apply.roll_back = changes
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", ["apply", "rollback"])
def test_ctrl_c_at_the_question_ends_the_command_before_anything_is_changed(command: str, tmp_path: Path) -> None:
    (tmp_path / "jvbtune.toml").write_text(NOWHERE)
    argv = [sys.executable, "-c", STUB, command, "--host", "nowhere", "--inventory", "jvbtune.toml"]
    with on_terminal(argv, tmp_path) as terminal:
        terminal.until(lambda lines: any("[y/N]:" in line for line in lines))
        begun = time.monotonic()
        terminal.press(b"\x03")
        shown = "\n".join(terminal.ended(5))
        assert time.monotonic() - begun < 2
    assert terminal.process.returncode == 130
    assert "interrupted" in shown
    for never in ("Leaving", "put back", "changes begin", "Traceback"):
        assert never not in shown


def test_nobody_is_asked_where_standard_input_is_closed(tmp_path: Path) -> None:
    (tmp_path / "jvbtune.toml").write_text(NOWHERE)
    argv = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-c", STUB, "apply", "--host", "nowhere"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "standard input is not a terminal" in done.stderr
    assert "Traceback" not in done.stderr
