"""A name that nobody knows is refused with the nearest one, before anything is connected to."""

import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jvbtune.cli import cli
from jvbtune.cli.common import find_host, find_hosts
from jvbtune.errors import ConfigError, HostError, UsageError
from jvbtune.inventory import Selection, load_inventory, refuse_unknown
from jvbtune.inventory.lookup import ssh_aliases
from jvbtune.store import create_run

SSH = """\
Include {directory}/more
Host bastion jvb-lon-1 *.example.org !not
  HostName 203.0.113.9
Host behind
  ProxyJump bastion
"""


@pytest.fixture(autouse=True)
def dns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that knows this machine, and no other name."""
    real = socket.getaddrinfo

    def lookup(name: str, *arguments: Any, **options: Any) -> Any:
        if name != "localhost" and not name[-1].isdigit():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(name, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    (tmp_path / "ssh_config").write_text(SSH.format(directory=tmp_path))
    (tmp_path / "more").write_text('host = "jvb-par-1"\n  Hostname 203.0.113.10\n')
    path = tmp_path / "jvbtune.toml"
    path.write_text('[defaults]\nssh_config = "ssh_config"\n[hosts.jvb-eu-1]\n[hosts.jvb-eu-2]\nssh = "x.invalid"\n')
    return path


@pytest.mark.parametrize(
    "name", ["jvb-eu-1", "jvb-eu-2", "jvb-lon-1", "jvb-par-1", "behind", "203.0.113.1", "localhost", "::1"]
)
def test_names_that_somebody_knows(inventory: Path, name: str) -> None:
    loaded = load_inventory(inventory)
    refuse_unknown(loaded.host(name), loaded)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("jvb-eu-11", "jvb-eu-1"),
        ("jvb-lon-l", "jvb-lon-1"),
        ("lab22", "lab2"),
        ("quite-different", ""),
    ],
)
def test_a_name_that_nobody_knows_is_refused_with_the_nearest(inventory: Path, name: str, nearest: str) -> None:
    loaded = load_inventory(inventory)
    with pytest.raises(UsageError) as refused:
        refuse_unknown(loaded.host(name), loaded, ["lab2"])
    said = str(refused.value)
    assert (f"did you mean {nearest}?" in said) == bool(nearest)
    assert "Known hosts: bastion, jvb-eu-1, jvb-eu-2, jvb-lon-1, jvb-par-1, lab2" in said.replace("behind, ", "")
    assert str(inventory) in said


def test_aliases_are_those_without_wildcards(inventory: Path) -> None:
    assert set(ssh_aliases(inventory.parent / "ssh_config")) == {"bastion", "jvb-lon-1", "behind", "jvb-par-1"}
    assert ssh_aliases(inventory.parent / "nowhere") == []


@pytest.mark.parametrize(
    "argv",
    [
        ["sweep", "--dry-run"],
        ["sweep"],
        ["capacity"],
        ["load", "--packet-rate", "1000", "--duration", "1"],
        ["history", "-o", "x.csv"],
        ["profile"],
        ["revert"],
    ],
    ids=lambda argv: " ".join(argv[:2]),
)
def test_every_command_that_takes_a_host_refuses_it(inventory: Path, argv: list[str]) -> None:
    options = ["--host", "jvb-eu-3x", "--inventory", str(inventory)]
    answer = CliRunner().invoke(cli, [*argv, *options])
    assert isinstance(answer.exception, UsageError), answer.output
    assert "did you mean jvb-eu-" in str(answer.exception)
    assert answer.stdout == ""


def test_runs_of_a_host_without_any_name_the_nearest(tmp_path: Path) -> None:
    create_run(tmp_path, host="jvb-eu-1", experiment={"name": "e"}, seed=0, plan={})
    answer = CliRunner().invoke(cli, ["runs", "--host", "jvb-eu-11", "--runs-dir", str(tmp_path)])
    assert "There is no run of jvb-eu-11; did you mean jvb-eu-1? Hosts with runs: jvb-eu-1" in answer.stderr
    assert answer.stdout == ""


FAILING = """\
[defaults]
ssh_config = "ssh_config"
[hosts.jvb-eu-1]
[hosts.jvb-eu-2]
ssh = "x.invalid"
[hosts.only-here]
[hosts.here]
local = true
[[source]]
command = ["false"]
format = "hosts"
"""


@pytest.mark.parametrize(
    ("name", "known"),
    [("jvb-eu-2", True), ("here", True), ("jvb-lon-1", True), ("only-here", False), ("not-in-any", False)],
)
def test_a_host_is_put_back_although_a_source_cannot_be_read(inventory: Path, name: str, known: bool) -> None:
    """If its address is known without the source, which may be the one that has it."""
    inventory.write_text(FAILING)
    selection = Selection(hosts=(name,), inventories=(inventory,))
    for find in (
        lambda: find_host(name, (inventory,), to_put_back=True),
        lambda: find_hosts(selection, to_put_back=True)[0],
    ):
        if known:
            assert find().name == name
        else:
            with pytest.raises(ConfigError, match="false failed with exit status 1"):
                find()
    with pytest.raises(ConfigError, match="false failed"):
        find_host(name, (inventory,))


def test_who_belongs_to_a_group_or_shares_a_budget_is_not_guessed(inventory: Path) -> None:
    groups = '[hosts.here]\ngroups = ["ours"]'
    inventory.write_text(FAILING.replace("[hosts.here]", groups) + '\n[defaults.labels]\nregion = "eu"\n')
    for selection in ({"groups": ("ours",)}, {"labels": {"region": ("eu",)}}):
        with pytest.raises(ConfigError, match="false failed"):
            find_hosts(Selection(**selection, inventories=(inventory,)), to_put_back=True)
    options = ["--host", "jvb-eu-2", "--inventory", str(inventory), "--check"]
    several = ["--host", "jvb-lon-1", "--per", "region"]
    for argv, error in (
        (["revert"], HostError),
        (["rollback"], HostError),
        (["rollback", *several], ConfigError),
    ):
        done = CliRunner().invoke(cli, [*argv, *options])
        assert isinstance(done.exception, error), done.output
        assert "Going on without a source of the inventory" in done.output
