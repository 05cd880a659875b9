"""Every form of inventory, recognised by its content: hosts, how they are reached, labels, groups, who is left out.

The documents are written by hand after the public documentation of each format, with secrets where real ones have them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jvbtune.errors import ConfigError
from jvbtune.inventory import Inventory, load_inventory

CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())
SECRET = "hunter2-do-not-print"


def files(case: Path) -> list[Path]:
    return sorted(path for path in case.glob("*.json") if path.name != "expected.json")


def found(inventory: Inventory) -> dict[str, object]:
    return {
        "hosts": {
            name: {
                "ssh": entry.ssh,
                "labels": entry.labels,
                "groups": list(entry.groups),
                "media_address": entry.bridge.media_address,
            }
            for name, entry in inventory.hosts.items()
        },
        "left_out": inventory.left_out,
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_form(case: Path) -> None:
    inventory = load_inventory(files(case))
    expected = json.loads((case / "expected.json").read_text())
    assert found(inventory) == expected
    assert list(inventory.hosts) == list(expected["hosts"])
    assert SECRET not in repr(inventory)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_load_goes_to_the_host_itself_only(case: Path) -> None:
    for entry in load_inventory(files(case)).hosts.values():
        media = entry.bridge.media_address
        assert entry.bridge.allowed_media_addresses == ((media,) if media else ())


def _instance(address: str, **more: str) -> dict[str, object]:
    access = {"accessConfigs": [{"natIP": address}], "networkIP": "10.0.0.2"}
    kind = "compute#instance"
    return {"kind": kind, "name": "jvb-1", "status": "RUNNING", "networkInterfaces": [access], **more}


def _gce(project: str, address: str) -> dict[str, object]:
    where = f"https://www.googleapis.com/compute/v1/projects/{project}/zones/europe-west1-b"
    return _instance(address, id=address, zone=where, selfLink=f"{where}/instances/jvb-1")


def test_instances_of_two_projects_with_one_name_are_two(tmp_path: Path) -> None:
    """As those of one Terraform module for prod and stage are. None vanishes: their names are refused."""
    (tmp_path / "all.json").write_text(json.dumps([_gce("prod", "34.1.1.1"), _gce("stage", "34.2.2.2")]))
    with pytest.raises(ConfigError, match=r"two hosts are called 'jvb-1\.europe-west1-b'"):
        load_inventory(tmp_path / "all.json")


def test_a_listing_without_projects_is_of_the_one_that_is_known(tmp_path: Path) -> None:
    (tmp_path / "full.json").write_text(json.dumps([_gce("prod", "34.1.1.1")]))
    short = [_instance("34.1.1.1", id="1", zone="europe-west1-b", machineType="n2-standard-4")]
    (tmp_path / "short.json").write_text(json.dumps(short))
    inventory = load_inventory([tmp_path / "full.json", tmp_path / "short.json"])
    assert list(inventory.hosts) == ["jvb-1"]
    assert inventory.host("jvb-1").labels["machine_type"] == "n2-standard-4"


@pytest.mark.parametrize("text", ["null", "true\n"])
def test_json_without_hosts_is_no_host(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(ConfigError, match="is JSON, but holds"):
        load_inventory(tmp_path / "x")
