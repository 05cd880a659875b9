"""Hosts by name: entries of jvbtune.toml, OpenSSH aliases, both; every fault with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from jvbtune.errors import ConfigError, UsageError
from jvbtune.inventory import load_inventory

TEXT = """\
[defaults]
ssh_config = "ssh_config"
[defaults.bridge]
http_port = 8081
[defaults.labels]
region = "eu"

[hosts.jvb-eu-1]
ssh = "one.example.org"
[hosts.jvb-eu-1.bridge]
media_address = "203.0.113.7"
http_port = 8080
control = { systemd = "jitsi-videobridge2" }
[hosts.jvb-eu-1.labels]
machine = "c5.xlarge"

[hosts.here]
local = true
[hosts.here.bridge]
media_address = "2001:db8::0007"
allowed_media_addresses = ["2001:DB8::7", "203.0.113.8"]
control = { commands = { restart = ["/usr/local/bin/restart-jvb"] } }
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "jvbtune.toml"
    path.write_text(TEXT)
    return path


def test_an_entry_has_its_own_values_and_the_defaults_for_the_rest(path: Path) -> None:
    entry = load_inventory(path).host("jvb-eu-1")
    assert (entry.name, entry.ssh) == ("jvb-eu-1", "one.example.org")
    assert entry.ssh_config == path.parent / "ssh_config"
    assert entry.labels == {"region": "eu", "machine": "c5.xlarge"}
    assert entry.bridge.http_port == 8080
    assert entry.bridge.allowed_media_addresses == ("203.0.113.7",)  # load goes nowhere else
    assert entry.bridge.control is not None
    assert entry.bridge.control.to_json() == {"systemd": "jitsi-videobridge2"}


def test_a_name_that_has_no_entry_is_an_openssh_alias_with_the_defaults(path: Path) -> None:
    entry = load_inventory(path).host("jvb-us-1")
    assert (entry.ssh, entry.bridge.http_port, entry.labels) == ("jvb-us-1", 8081, {"region": "eu"})
    assert entry.bridge.media_address is None
    assert entry.bridge.allowed_media_addresses == ()


def test_this_machine_needs_no_ssh_and_addresses_have_one_form(path: Path) -> None:
    entry = load_inventory(path).host("here")
    assert entry.ssh is None
    assert entry.bridge.media_address == "2001:db8::7"
    assert entry.bridge.allowed_media_addresses == ("2001:db8::7", "203.0.113.8")


@pytest.mark.parametrize("name", ["", "-oProxyCommand=reboot", "two words"])
def test_what_ssh_could_take_for_an_option_is_no_host(path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        load_inventory(path).host(name)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[hosts.a]\nssh = "x"\n[hosts.a.bridge]\nhttp_port = 99999\n', 4, "http_port"),
        ('[hosts.a.bridge]\nmedia_address = "jvb.example.org"\n', 2, "is not an IP address"),
        ('[hosts.a.bridge]\nmedia_adress = "203.0.113.7"\n', 2, "media_address"),
        ('[hosts.a.bridge]\ncontrol = { systemd = "x", container = "y" }\n', 2, "exactly one of"),
        ('[hosts.a.bridge]\npid_file = "jvb.pid"\n', 2, "absolute path"),
        ('[hosts.a]\nlocal = true\nssh = "b"\n', 1, "exclude each other"),
        ("[hosts.a\n", 1, "not TOML"),
    ],
)
def test_a_fault_is_told_with_file_and_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "jvbtune.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_inventory(path)
    assert str(caught.value).startswith(f"{path}:{line}:"), str(caught.value)
    assert said in str(caught.value)


def test_an_inventory_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such inventory"):
        load_inventory(tmp_path / "nowhere.toml")


LOAD_HOSTS = """
[defaults.generator]
hosts = ["load-1"]
[hosts.load-1.generator]
cpus = [2, 3]
[hosts.jvb-1]
[hosts.jvb-2.generator]
command = ["tool", "--fast"]
[hosts.jvb-3.generator]
hosts = []
"""


def test_hosts_that_make_load_are_entries_of_the_inventory(tmp_path: Path) -> None:
    (tmp_path / "jvbtune.toml").write_text(LOAD_HOSTS)
    found = load_inventory(tmp_path / "jvbtune.toml")
    for name in ("jvb-1", "any-alias"):
        (one,) = found.host(name).load_hosts
        assert (one.name, one.ssh, one.generator.cpus) == ("load-1", "load-1", (2, 3))
    second, third = found.host("jvb-2"), found.host("jvb-3")
    assert (second.generator.command, second.load_hosts) == (("tool", "--fast"), ())
    assert (third.generator.hosts, third.load_hosts) == ((), ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[hosts.a.generator]\nhosts = ["lod-1"]\n[hosts.load-1]', r"jvbtune.toml:2: .*'lod-1'.*did you mean load-1\?"),
        ('[hosts.a.generator]\nhosts = ["b"]\ncommand = ["c"]\n[hosts.b]', "give hosts or command, not both"),
        ('[hosts.a.generator]\ncommand = ["c"]\ngrid = "http://grid"', "give command or grid, not both"),
        ('[hosts.a.generator]\ngrid = "grid:4444"', "generator.grid"),
        ('[hosts.a.generator]\nhosts = ["b", "b"]\n[hosts.b]', "hosts has a host twice"),
        ("[hosts.a.generator]\ncommand = []", "command"),
    ],
)
def test_a_generator_that_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "jvbtune.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_inventory(tmp_path / "jvbtune.toml")
