"""Documents that are broken, huge or made to harm: an error with file and place, no secret in it, nothing run."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from jvbtune.errors import ConfigError, UsageError
from jvbtune.inventory import load_inventory
from jvbtune.inventory.destination import destination_fault
from tests.inventory.test_sources import CASES, SECRET, files

NAMES = [
    "-oProxyCommand=touch owned",
    "-oProxyCommand=reboot",
    "a\nb",
    "a\x1b[31m",
    "a\x00b",
    "two words",
    "a\u202eb",
    "",
    "x" * 300,
]
ADDRESSES = ["$(reboot)", "a;reboot", "`id`", "-oProxyCommand=reboot", "root@-x", "a|b", "a\nb", 'a"b', "@a", "ssh://"]


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_inventory(path)
    said = str(caught.value)
    assert said.startswith(str(path)), said
    assert SECRET not in said
    assert not [c for c in said if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"], repr(said)
    return said


def written(directory: Path, value: Any) -> Path:
    path = directory / "inventory.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


#: One host of each form, whose name is the argument.
FORMS: dict[str, Any] = {
    "hosts": lambda name: [{"name": name, "address": "203.0.113.1"}],
    "terraform-output": lambda name: {"jvbtune_hosts": {"type": "map", "value": {name: "203.0.113.1"}}},
    "terraform-show": lambda name: {
        "format_version": "1.0",
        "values": {
            "root_module": {
                "resources": [{"type": "hcloud_server", "values": {"name": name, "ipv4_address": "203.0.113.1"}}]
            }
        },
    },
    "gce": lambda name: [{"kind": "compute#instance", "name": name, "status": "RUNNING"}],
    "gce-members": lambda name: [
        {"instance": f"https://x/zones/z/instances/{name}", "instanceStatus": "RUNNING", "currentAction": "NONE"}
    ],
    "aws": lambda name: {"Reservations": [{"Instances": [{"InstanceId": name}]}]},
    "kubernetes": lambda name: {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}},
    "ansible": lambda name: {"_meta": {"hostvars": {}}, "jvb": {"hosts": [name]}},
    "ansible-hostvars": lambda name: {"_meta": {"hostvars": {name: {"ansible_host": "203.0.113.1"}}}},
}


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("form", FORMS)
def test_a_name_that_could_harm_is_refused(tmp_path: Path, form: str, name: str) -> None:
    said = refused(written(tmp_path, FORMS[form](name)))
    assert "the name of a host" in said or "is missing" in said or "is not the URL of an instance" in said


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "document",
    [
        lambda address: [{"name": "a", "address": address}],
        lambda address: {"_meta": {"hostvars": {"a": {"ansible_host": address}}}},
        lambda address: {"_meta": {"hostvars": {"a": {"ansible_host": "b", "ansible_user": address}}}},
        lambda address: {"jvbtune_hosts": {"type": "map", "value": {"a": address}}},
    ],
    ids=["hosts", "ansible_host", "ansible_user", "output"],
)
def test_what_openssh_or_a_shell_would_obey_is_refused(tmp_path: Path, document: Any, address: str) -> None:
    if address in ("@a", "ssh://", "root@-x") and "ansible_user" in str(document(address)):
        address += ";"
    refused(written(tmp_path, document(address)))


@pytest.mark.parametrize(
    "text", ["a", "ops@a", "ssh://ops@[2001:db8::1]:22", "fe80::1%eth0", "jvb-1.example.org", "é.org"]
)
def test_what_openssh_takes_passes(text: str) -> None:
    assert destination_fault(text) is None


def test_a_bare_alias_is_checked_too() -> None:
    with pytest.raises(UsageError, match="has the character"):
        load_inventory(Path("/dev/null")).host("a`reboot`")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_truncated_document(tmp_path: Path, case: Path) -> None:
    """At every 97th byte: all of it is there, or there is an error. Never another host than without the cut."""
    for path in files(case):
        whole = path.read_text()
        names = set(load_inventory(path).hosts) | set(load_inventory(path).left_out)
        for cut in range(1, len(whole.rstrip()) - 1, 97):
            target = written(tmp_path, whole[:cut])
            if case.name == "terragrunt":  # a whole document before the cut one is no error of its own
                try:
                    assert set(load_inventory(target).hosts) <= names
                except ConfigError:
                    continue
            else:
                assert "not JSON" in refused(target)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_values_of_another_type(tmp_path: Path, case: Path) -> None:
    """Each value of each document once as each type: what is read of it, or an error with its place."""
    for path in files(case):
        for text in _mutants(path.read_text()):
            target = written(tmp_path, text)
            try:
                inventory = load_inventory(target)
            except ConfigError as error:
                said = str(error)
                assert said.startswith(str(target)), said
                assert SECRET not in said
            else:
                assert all(destination_fault(entry.ssh) is None for entry in inventory.hosts.values() if entry.ssh)


def _mutants(text: str) -> list[str]:
    try:
        document = json.loads(text)
    except ValueError:
        return []
    paths: dict[str, list[Any]] = {}  # the first of each form: the members of a list are alike

    def walk(value: Any, path: list[Any]) -> None:
        paths.setdefault(".".join("*" if isinstance(key, int) else key for key in path), path)
        for key, below in (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        ):
            walk(below, [*path, key])

    walk(document, [])
    mutants = []
    for number, path in enumerate(paths.values()):
        for strange in (None, True, 1.5, "x", [], {}, [[]], {"a": {}})[number % 3 :: 3]:
            copy = at = [json.loads(text)]  # so that the document itself has a place, too
            for key in [0, *path][:-1]:
                at = at[key]
            at[[0, *path][-1]] = strange
            if isinstance(copy[0], dict | list):  # the rest is no JSON to jvbtune
                mutants.append(json.dumps(copy[0]))
    return mutants


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            [{"name": "a", "address": "203.0.113.1"}, {"name": "a", "address": "203.0.113.2"}],
            "[1]: two hosts are called",
        ),
        ('[{"name": "a", "address": "203.0.113.1", "name": "b"}]', "has the key 'name' twice"),
        ([{"name": "a", "adress": "203.0.113.1"}], "[0].adress: unknown key; did you mean address?"),
        ([{"name": "a", "public_address": "203.0.113.999"}], "[0].public_address: is not an IP address"),
        ([{"name": "a", "address": "203.0.113.1", "port": 99999}], "[0].port: is not a port"),
        ([{"name": "a", "address": "203.0.113.1", "port": 22.5}], "[0].port: is not a port"),
        ([{"name": "a", "labels": ["x"]}], "labels"),
        ({"a": 1}, "is not an inventory that jvbtune knows"),
        ("[[[[", "not JSON"),
        ('{"a": {"value": 1e', "not JSON"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        ('[{"name": "a", "port": ' + "9" * 5000 + "}]", "too many digits"),
        ({"version": 4, "lineage": "x", "serial": 1, "resources": [SECRET]}, "terraform show -json"),
        ({"format_version": "1.2", "planned_values": {}, "secret": SECRET}, "is a plan"),
        ({"token": {"sensitive": True, "type": "string", "value": SECRET}}, "Outputs: token."),
        ({"jvbtune_hosts": {"type": "string", "value": None, "sensitive": True}}, "is null, which names no host"),
        ({"jvbtune_hosts": {"type": "x", "value": {"instance_group": SECRET}}}, "names an instance group"),
        ({"jvbtune_hosts": {"type": "x", "value": [{"name": "a", "public_ip": SECRET}]}}, "public_ip: is not an IP"),
    ],
    ids=range(19),
)
def test_an_error_says_where(tmp_path: Path, document: Any, said: str) -> None:
    assert said in refused(written(tmp_path, document))


@pytest.mark.parametrize(
    ("text", "kind"), [("null", "null"), ("true", "true or false"), ("7", "a number"), ('"lineage"', "text")]
)
def test_a_state_that_is_no_object(tmp_path: Path, text: str, kind: str) -> None:
    source = f"[[source]]\ncommand = ['echo', '{text}']\nformat = 'terraform-show'\n"
    (tmp_path / "jvbtune.toml").write_text(source)
    assert f"source.command echo: is {kind}, not an object" in refused(tmp_path / "jvbtune.toml")


def test_a_document_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "inventory.json"
    with path.open("wb") as stream:
        stream.write(b"[")
        stream.truncate(100 << 20)
    assert "larger than 64 MiB" in refused(path)
    (tmp_path / "jvbtune.toml").write_bytes(b"# " + b"x" * (5 << 20))
    assert "larger than 4 MiB" in refused(tmp_path / "jvbtune.toml")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "inventory.json"
    path.write_bytes(b'[\n{"name": "\xff"}]')
    assert f"{path}:2: not UTF-8" in refused(path)


def test_hostile_labels_and_groups_become_one_line_of_text(tmp_path: Path) -> None:
    host = {"name": "a", "address": "203.0.113.1", "labels": {"k": "x\n\x1b[31my" + "z" * 9000}, "groups": ["g\nh"]}
    entry = load_inventory(written(tmp_path, [host])).host("a")
    assert entry.labels["k"].startswith("x [31my")
    assert len(entry.labels["k"]) <= 200
    assert entry.groups == ("g h",)
