"""What the commands refuse before they connect to anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from jvbtune.cli import _run
from jvbtune.cli.simulate import command as simulate

NOWHERE = '[hosts.nowhere]\nssh = "nowhere.invalid"\n'


def test_a_simulated_run_is_never_applied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "jvbtune.toml").write_text(NOWHERE)
    options = ["--out", str(tmp_path / "runs"), "--blocks", "4", "--seconds", "5", "--seed", "4"]
    assert CliRunner().invoke(simulate, options).exit_code == 0
    inventory = ["--inventory", str(tmp_path / "jvbtune.toml")]
    status = _run(["apply", "--host", "nowhere", "--runs-dir", str(tmp_path / "runs"), *inventory])
    assert status == 5
    assert "is simulated" in capsys.readouterr().err
