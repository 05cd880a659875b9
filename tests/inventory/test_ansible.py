"""Ansible's own files, read by the real ansible-inventory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jvbtune.errors import ConfigError
from jvbtune.inventory import load_inventory
from jvbtune.inventory.sources import ansible

INI = """\
[jvb]
jvb[1:2].example.org region=eu
jvb3 ansible_host=203.0.113.3 ansible_user=root

[meet:children]
jvb

[meet:vars]
ansible_port=2222
vault_password=hunter2
"""
YAML = """\
all:
  children:
    jvb:
      vars: {ansible_user: ops, machine_type: c5.xlarge}
      hosts:
        jvb1: {ansible_host: 203.0.113.1}
        jvb2: {ansible_host: 203.0.113.2, region: us}
"""


def test_an_ini_inventory_with_a_range_children_and_group_vars_beside_it(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(INI)
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/jvb.yml").write_text("ansible_user: ops\nmachine_type: n2-standard-4\n")
    inventory = load_inventory(tmp_path / "hosts")
    assert {name: entry.ssh for name, entry in inventory.hosts.items()} == {
        "jvb1.example.org": "ssh://ops@jvb1.example.org:2222",
        "jvb2.example.org": "ssh://ops@jvb2.example.org:2222",
        "jvb3": "ssh://root@203.0.113.3:2222",
    }
    first = inventory.host("jvb1.example.org")
    assert first.labels == {"machine_type": "n2-standard-4", "region": "eu"}
    assert first.groups == ("jvb", "meet")
    assert "hunter2" not in repr(inventory)


def test_a_yaml_inventory(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(YAML)
    inventory = load_inventory(tmp_path / "hosts.yml")
    assert [entry.ssh for entry in inventory.hosts.values()] == ["ops@203.0.113.1", "ops@203.0.113.2"]
    assert inventory.host("jvb2").labels == {"machine_type": "c5.xlarge", "region": "us"}
    assert inventory.host("jvb2").bridge.media_address == "203.0.113.2"


def test_a_script_runs_only_if_jvbtune_toml_names_it(tmp_path: Path) -> None:
    script = tmp_path / "dynamic"
    script.write_text(
        f"#!/bin/sh\ntouch {tmp_path}/ran\n"
        """echo '{"jvb": {"hosts": ["a"]}, "_meta": {"hostvars": {"a": {"ansible_host": "203.0.113.9"}}}}'\n"""
    )
    script.chmod(0o755)
    with pytest.raises(ConfigError, match="is a program, and jvbtune runs no program"):
        load_inventory(script)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "jvbtune.toml").write_text('[[source]]\nfile = "dynamic"\nformat = "ansible"\n')
    assert load_inventory(tmp_path / "jvbtune.toml").host("a").ssh == "203.0.113.9"
    assert (tmp_path / "ran").exists()


def test_a_plugin_is_named_and_refused(tmp_path: Path) -> None:
    (tmp_path / "gcp.yml").write_text("plugin: ansible.builtin.constructed\nkeyed_groups: []\n")
    with pytest.raises(ConfigError, match="configuration of an inventory plugin") as refused:
        load_inventory(tmp_path / "gcp.yml")
    assert 'format = "ansible"' in str(refused.value)


def test_what_it_cannot_read_is_an_error_without_the_lines_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("[jvb]\na ansible_password=hunter2 hunter3\n")
    with pytest.raises(ConfigError) as refused:
        load_inventory(tmp_path / "hosts")
    assert str(refused.value).startswith(f"{tmp_path}/hosts: ansible-inventory failed with exit status")
    assert "Expected key=value host variable assignment" in str(refused.value)
    assert "hunter" not in str(refused.value)


def test_without_ansible_there_is_a_way_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hosts").write_text(INI)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert ansible.PROGRAM == "ansible-inventory"
    with pytest.raises(ConfigError, match="ansible-inventory -i FILE --list"):
        load_inventory(tmp_path / "hosts")
