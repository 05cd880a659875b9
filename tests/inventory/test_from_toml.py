"""``[[source]]`` of jvbtune.toml: files and commands, what it sets for their hosts, and what the file overrides."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from jvbtune.errors import ConfigError, UsageError
from jvbtune.inventory import Inventory, load_inventory, select
from jvbtune.inventory.select import refuse_same_machine

HOSTS = [
    {"name": "jvb-1", "public_address": "203.0.113.1", "private_address": "10.0.0.1", "labels": {"Role": "jvb"}},
    {"name": "jvb-2", "public_address": "203.0.113.2", "private_address": "10.0.0.2", "labels": {"Role": "jvb"}},
    {"name": "web-1", "public_address": "203.0.113.3", "private_address": "10.0.0.3", "labels": {"Role": "web"}},
]


def load(directory: Path, text: str, hosts: object = HOSTS) -> Inventory:
    (directory / "hosts.json").write_text(json.dumps(hosts))
    (directory / "jvbtune.toml").write_text(text)
    return load_inventory(directory / "jvbtune.toml")


def test_the_source_gives_its_hosts_what_the_document_cannot(tmp_path: Path) -> None:
    text = """\
    [defaults]
    labels = { team = "media", environment = "test" }
    [defaults.bridge]
    http_port = 8081
    media_port = 10001
    [[source]]
    file = "hosts.json"
    ssh = "ops@{name}.{environment}.example.org"
    ssh_config = "ssh_config"
    media_address = "private"
    only = { role = ["jvb", "spare"] }
    rename = { Role = "role" }
    labels = { environment = "prod" }
    groups = ["terraform"]
    [source.bridge]
    http_port = 8082
    control = { systemd = "jitsi-videobridge2" }
    """
    inventory = load(tmp_path, text)
    assert list(inventory.hosts) == ["jvb-1", "jvb-2"]
    entry = inventory.host("jvb-1")
    assert entry.ssh == "ops@jvb-1.prod.example.org"
    assert entry.ssh_config == tmp_path / "ssh_config"
    assert entry.labels == {"team": "media", "environment": "prod", "role": "jvb"}
    assert entry.groups == ("terraform",)
    assert (entry.bridge.media_address, entry.bridge.allowed_media_addresses) == ("10.0.0.1", ("10.0.0.1",))
    assert (entry.bridge.http_port, entry.bridge.media_port) == (8082, 10001)
    assert entry.bridge.control is not None
    assert entry.bridge.control.systemd == "jitsi-videobridge2"
    assert entry.source == str(tmp_path / "hosts.json")


@pytest.mark.parametrize(
    ("keys", "ssh", "media"),
    [
        ("", "203.0.113.1", "203.0.113.1"),
        ('ssh_address = "private"', "10.0.0.1", "203.0.113.1"),
        ('media_address = "private"', "203.0.113.1", "10.0.0.1"),
        ('media_address = "none"', "203.0.113.1", None),
        ('ssh = "{name}"', "jvb-1", "203.0.113.1"),
        ('ssh = "{private_address}"', "10.0.0.1", "203.0.113.1"),
    ],
)
def test_which_address_is_used(tmp_path: Path, keys: str, ssh: str, media: str | None) -> None:
    entry = load(tmp_path, f'[[source]]\nfile = "hosts.json"\n{keys}\n').host("jvb-1")
    assert (entry.ssh, entry.bridge.media_address) == (ssh, media)


def test_a_table_of_a_host_overrides_its_source_and_stands_first(tmp_path: Path) -> None:
    text = """\
    [[source]]
    file = "hosts.json"
    [hosts.jvb-2]
    ssh = "by-alias"
    labels = { Role = "spare" }
    groups = ["mine"]
    [hosts.jvb-2.bridge]
    media_address = "198.51.100.2"
    [hosts.fixed]
    """
    inventory = load(tmp_path, text)
    assert list(inventory.hosts) == ["jvb-2", "fixed", "jvb-1", "web-1"]
    entry = inventory.host("jvb-2")
    assert (entry.ssh, entry.labels, entry.groups) == ("by-alias", {"Role": "spare"}, ("mine",))
    assert entry.bridge.allowed_media_addresses == ("198.51.100.2",)


def test_several_files_are_one_inventory_and_a_host_of_two_is_one_host(tmp_path: Path) -> None:
    """Terraform's state and AWS's listing know the same instance by its id."""
    cases = Path(__file__).parent / "cases"
    state = json.loads((cases / "terraform-show/show.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(state).replace('"i-01"', '"i-0a1b2c3d4e5f60002"'))
    (tmp_path / "jvbtune.toml").write_text("[defaults.bridge]\nhttp_port = 8081\n")
    paths = [
        tmp_path / "state.json",
        cases / "aws/instances.json",
        cases / "aws/groups.json",
        tmp_path / "jvbtune.toml",
    ]
    inventory = load_inventory(paths)
    entry = inventory.host("jvb-aws")
    assert entry.groups == ("jvb-eu",)
    assert entry.bridge.http_port == 8081
    assert "i-0a1b2c3d4e5f60002" not in inventory.hosts
    with pytest.raises(ConfigError, match=r"second jvbtune\.toml"):
        load_inventory([tmp_path / "jvbtune.toml", paths[0], tmp_path / "jvbtune.toml", _other(tmp_path)])


def _other(directory: Path) -> Path:
    (directory / "other.toml").write_text("")
    return directory / "other.toml"


def test_an_inventory_can_come_through_a_pipe(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, json.dumps(HOSTS).encode())
    os.close(write)
    try:
        assert list(load_inventory(Path(f"/dev/fd/{read}")).hosts) == ["jvb-1", "jvb-2", "web-1"]
    finally:
        os.close(read)


@pytest.mark.parametrize("text", ["[hosts.a]\n", "[[source]]\nfile = 'hosts.json'\n", "# nothing\n", ""])
def test_a_jvbtune_toml_of_another_name_is_known_by_its_content(tmp_path: Path, text: str) -> None:
    (tmp_path / "hosts.json").write_text(json.dumps(HOSTS))
    (tmp_path / "inventory").write_text(text)
    load_inventory(tmp_path / "inventory")


def test_further_keys_become_labels(tmp_path: Path) -> None:
    hosts = [{"name": "a", "address": "203.0.113.1", "rack": 7}]
    assert load(tmp_path, '[[source]]\nfile = "hosts.json"\ntake = ["rack"]\n', hosts).host("a").labels == {"rack": "7"}
    cases = Path(__file__).parent / "cases"
    text = f'[[source]]\nfile = "{cases}/ansible/list.json"\ntake = ["shard"]\n[[source]]\nfile = '
    text += f'"{cases}/kubernetes/nodes.json"\ntake = ["kubernetes.io/hostname"]\n'
    inventory = load(tmp_path, text)
    assert inventory.host("jvb1").labels["shard"] == "eu1"
    assert inventory.host("gke-meet-jvb-1").labels["kubernetes.io/hostname"] == "gke-meet-jvb-1"


# -- commands --------------------------------------------------------------------------------------------------------


def command(program: str, keys: str = "") -> str:
    argv = json.dumps([sys.executable, "-c", program])
    return f'[[source]]\ncommand = {argv}\nformat = "hosts"\n{keys}\n'


def test_what_a_command_prints_is_an_inventory_and_no_shell_reads_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "infra").mkdir()
    program = "import os, sys, json; print(json.dumps([{'name': os.path.basename(os.getcwd()), 'address': '::1'}]))"
    inventory = load(tmp_path, command(program, 'directory = "infra"'))
    assert list(inventory.hosts) == ["infra"]
    text = f'[[source]]\ncommand = ["/bin/echo", "[]", "; touch {tmp_path}/owned"]\nformat = "hosts"\n'
    with pytest.raises(ConfigError, match="not JSON"):
        load(tmp_path, text)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("program", "keys", "said"),
    [
        (
            "import sys; sys.exit('\\x1b[31mno credentials')",
            "",
            "failed with exit status 1: it says: [31mno credentials",
        ),
        ("import os; os.kill(os.getpid(), 9)", "", "failed with signal 9"),
        ("import time; time.sleep(60)", "timeout_seconds = 0.5", "did not end within 0.5 s"),
        ("import os, time; os.close(1); os.close(2); time.sleep(60)", "timeout_seconds = 0.5", "did not end within"),
        ("while True: print('x' * 65536)", "", "prints more than 64 MiB"),
        ("print('[')", "", "not JSON"),
        ("print('{}' if False else '[1]')", "", "[0]: is a number, not an object"),
    ],
)
def test_a_command_that_fails_hangs_or_floods(tmp_path: Path, program: str, keys: str, said: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, command(program, keys))
    assert said in str(caught.value)
    assert f"{tmp_path}/jvbtune.toml: source.command" in str(caught.value)
    assert time.monotonic() - begun < 20


def test_a_command_that_is_ended_takes_its_children_along(tmp_path: Path) -> None:
    child = "import time, pathlib, sys; time.sleep(3); pathlib.Path(sys.argv[1]).touch()"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}, {str(tmp_path / 'mark')!r}])"
    with pytest.raises(ConfigError, match="did not end"):
        load(tmp_path, command(program, "timeout_seconds = 1"))
    time.sleep(3)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[[source]]\n", 1, "exactly one of file and command"),
        ('[[source]]\nfile = "hosts.json"\ncommand = ["x"]\n', 1, "exactly one of file and command"),
        ('[[source]]\ncommand = ["x"]\n', 1, "command needs format"),
        ('[[source]]\ncommand = "terraform output"\nformat = "hosts"\n', 2, "source[0].command"),
        ('[[source]]\nfile = "hosts.json"\nformat = "terrafrom"\n', 3, "source[0].format"),
        ('[[source]]\nfile = "hosts.json"\nlables = {}\n', 3, "did you mean labels?"),
        ('[[source]]\nfile = "hosts.json"\n[source.bridge]\nmedia_address = "203.0.113.1"\n', 1, "is one host's"),
        ('[hosts.a]\nssh = "-oProxyCommand=x"\n', 2, "begins with a dash"),
        ('[hosts.a]\nssh = "root@-oProxyCommand=x"\n', 2, "begins with a dash"),
        ('[hosts.a]\nssh = "a$(reboot)"\n', 2, "has the character $"),
        ('[hosts."-oProxyCommand=x"]\nssh = "a"\n', 1, "begins with a dash"),
        ('[hosts."a\\u001b[31m"]\nssh = "a"\n', None, "control character"),
        ('[hosts."a;reboot"]\n', 1, "has the character ;"),
    ],
)
def test_a_fault_in_the_file_has_its_line(tmp_path: Path, text: str, line: int | None, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    at = f"{tmp_path}/jvbtune.toml:" + (f"{line}:" if line is not None else "")
    assert str(caught.value).startswith(at)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[source]]\nfile = "nowhere.json"\n', "there is no such file"),
        ('[[source]]\ncommand = ["/nowhere/x"]\nformat = "hosts"\n', "cannot be started: No such file"),
        ('[[source]]\nfile = "hosts.json"\nssh = "{shard}"\n', "asks for shard, which it does not have"),
        ('[[source]]\nfile = "hosts.json"\nssh = "-{name}"\n', "begins with a dash"),
        ('[[source]]\nfile = "hosts.json"\nformat = "aws"\n', "[0].InstanceId"),
    ],
)
def test_a_source_that_does_not_fit(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert said in str(caught.value)


def test_one_machine_under_two_names_is_not_taken_twice(tmp_path: Path) -> None:
    hosts = [{"name": "a", "address": "203.0.113.1"}, {"name": "b", "address": "203.0.113.1"}, {"name": "c"}]
    inventory = load(
        tmp_path, '[[source]]\nfile = "hosts.json"\n', [*hosts[:2], {"name": "c", "address": "c.example.org"}]
    )
    refuse_same_machine(select(inventory, ["a", "c"]))
    with pytest.raises(UsageError, match=r"a and b are one machine: both are at 203\.0\.113\.1"):
        refuse_same_machine(select(inventory))


def test_why_a_host_is_missing(tmp_path: Path) -> None:
    inventory = load_inventory([Path(__file__).parent / "cases/aws/instances.json"])
    for name in ("old",):
        with pytest.raises(UsageError, match="old is left out: its state is stopped"):
            inventory.host(name)
        with pytest.raises(UsageError, match="old is left out: its state is stopped"):
            select(inventory, [name])
    state = json.loads((Path(__file__).parent / "cases/terraform-show/show.json").read_text())
    root = state["values"]["root_module"]
    root["resources"] = [one for one in root["resources"] if "group_manager" in one["type"]]
    del root["child_modules"]
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(UsageError, match="makes instances that are not in the state: list them by gcloud"):
        select(load_inventory(tmp_path / "state.json"))
