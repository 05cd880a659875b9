"""Which hosts are meant: names and groups add up, labels narrow them, so many members of a group."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from jvbtune.cli.common import find_hosts, hosts_options, put
from jvbtune.errors import UsageError
from jvbtune.inventory import Inventory, Selection, load_inventory, parse_labels, select

TEXT = """\
[defaults]
labels = { cloud = "gcp" }
groups = ["bridges"]
[hosts.jvb-eu-2]
labels = { region = "eu", zone = "eu-b" }
groups = ["mig-eu"]
[hosts.jvb-eu-1]
labels = { region = "eu", zone = "eu-b" }
groups = ["mig-eu"]
[hosts.jvb-eu-3]
labels = { region = "eu", zone = "eu-c" }
groups = ["mig-eu", "spare"]
[hosts.jvb-us-1]
labels = { region = "us", cloud = "aws" }
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "jvbtune.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def inventory(path: Path) -> Inventory:
    return load_inventory(path)


@pytest.mark.parametrize(
    ("hosts", "groups", "labels", "chosen"),
    [
        ([], [], [], ["jvb-eu-2", "jvb-eu-1", "jvb-eu-3", "jvb-us-1"]),
        (["jvb-us-1", "jvb-eu-1", "jvb-us-1"], [], [], ["jvb-eu-1", "jvb-us-1"]),
        ([], ["spare"], [], ["jvb-eu-3"]),
        (["jvb-us-1"], ["mig-eu", "spare"], [], ["jvb-eu-2", "jvb-eu-1", "jvb-eu-3", "jvb-us-1"]),
        ([], ["all"], [], ["jvb-eu-2", "jvb-eu-1", "jvb-eu-3", "jvb-us-1"]),
        ([], ["bridges"], ["cloud=aws"], ["jvb-us-1"]),
        ([], [], ["region=eu", "region=us"], ["jvb-eu-2", "jvb-eu-1", "jvb-eu-3", "jvb-us-1"]),
        ([], [], ["region=eu", "zone=eu-c"], ["jvb-eu-3"]),
        (["jvb-us-1"], ["mig-eu"], ["region=us"], ["jvb-us-1"]),
    ],
)
def test_names_and_groups_add_up_and_labels_narrow_them(
    inventory: Inventory, hosts: list[str], groups: list[str], labels: list[str], chosen: list[str]
) -> None:
    assert [entry.name for entry in select(inventory, hosts, groups, parse_labels(labels))] == chosen


@pytest.mark.parametrize(
    ("hosts", "groups", "labels", "said"),
    [
        (["jvb-eu-11"], [], [], "no host 'jvb-eu-11'; did you mean jvb-eu-1?"),
        ([], ["mig-eus"], [], "no group 'mig-eus'; did you mean mig-eu?"),
        ([], [], ["regoin=eu"], "no label 'regoin'; did you mean region?"),
        ([], [], ["zone=eu-d"], "no value of the label zone 'eu-d'; did you mean eu-"),
        ([], ["mig-eu"], ["region=us"], "none has all of --group mig-eu --label region=us"),
        ([], [], ["region"], "'region' is not a label"),
        ([], [], ["=eu"], "'=eu' is not a label"),
    ],
)
def test_what_nobody_knows_is_refused_with_the_nearest(
    inventory: Inventory, hosts: list[str], groups: list[str], labels: list[str], said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        select(inventory, hosts, groups, parse_labels(labels))
    assert said in str(refused.value)


def test_members_are_spread_over_the_zones_and_are_always_the_same(inventory: Inventory) -> None:
    def chosen(members: int, **labels: tuple[str, ...]) -> list[str]:
        return [entry.name for entry in select(inventory, [], ["mig-eu"], labels, members)]

    assert chosen(1) == ["jvb-eu-1"]
    assert chosen(2) == ["jvb-eu-1", "jvb-eu-3"]
    assert chosen(3) == ["jvb-eu-2", "jvb-eu-1", "jvb-eu-3"]
    assert chosen(1, zone=("eu-c",)) == ["jvb-eu-3"]
    with pytest.raises(UsageError, match="has 3 hosts that fit, and 4 are asked for"):
        chosen(4)
    with pytest.raises(UsageError, match="--members is of a group"):
        select(inventory, members=1)


@click.command()
@hosts_options
@click.option("--other", default="x")
def _command(selection: Selection, other: str) -> None:
    for entry in find_hosts(selection):
        put(f"{entry.name} {other}")


def test_the_options_of_a_command(path: Path) -> None:
    def run(*argv: str) -> str:
        answer = CliRunner().invoke(_command, [*argv, "--inventory", str(path)], catch_exceptions=False)
        return answer.output

    assert run("--group", "mig-eu", "--label", "zone=eu-b", "--host", "jvb-us-1", "--other", "y") == (
        "jvb-eu-2 y\njvb-eu-1 y\n"
    )
    assert run("--host", "localhost", "--host", "jvb-us-1") == "jvb-us-1 x\nlocalhost x\n"
    assert run("--group", "mig-eu", "--members", "1") == "Chosen from mig-eu: jvb-eu-1\njvb-eu-1 x\n"
    assert "Name the hosts" in run()
