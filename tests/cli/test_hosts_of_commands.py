"""How commands come by their hosts: the inventory is read once, and options that exclude each other say so."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from jvbtune.cli.common import find_hosts, inventory_of
from jvbtune.cli.many import rules_of
from jvbtune.cli.sweep import command as sweep
from jvbtune.inventory import Selection

SOURCE = """\
import json, pathlib
seen = pathlib.Path("seen")
seen.write_text(seen.read_text() + "." if seen.exists() else ".")
print(json.dumps([{"name": "jvb-1", "address": "203.0.113.1", "labels": {"region": "eu"}}]))
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """With a source that notes each run of it."""
    (tmp_path / "list.py").write_text(SOURCE)
    file = tmp_path / "jvbtune.toml"
    file.write_text(f'[[source]]\ncommand = ["{sys.executable}", "list.py"]\nformat = "hosts"\n')
    return file


def test_the_commands_of_an_inventory_run_once_for_each_command(inventory: Path) -> None:
    """Its hosts, its prices and the neighbours of ``--per`` are of one moment."""
    seen, selection = inventory.parent / "seen", Selection(hosts=("jvb-1",), inventories=(inventory,))
    with click.Context(sweep) as context:
        context.params.update({"per": "region", "jobs": 1, "max_unavailable": 1})
        for name in context.params:
            context.set_parameter_source(name, click.core.ParameterSource.COMMANDLINE)
        entries = find_hosts(selection)
        assert [entry.name for entry in rules_of(context, entries, selection, None).neighbours] == ["jvb-1"]
        assert inventory_of((inventory,)).prices == {}
    assert seen.read_text() == "."
    with click.Context(sweep):
        find_hosts(selection)
    assert seen.read_text() == ".."


def test_the_run_of_one_host_is_not_begun_again_because_of_json_lines(inventory: Path, tmp_path: Path) -> None:
    options = ["--host", "jvb-1", "--inventory", str(inventory), "--runs-dir", str(tmp_path)]
    done = CliRunner().invoke(sweep, [*options, "--resume", "latest", "--json-lines"])
    assert done.exit_code == 2
    assert "--resume takes the run of one host or --json-lines, not both" in done.output
