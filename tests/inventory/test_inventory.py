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
