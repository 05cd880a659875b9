"""Forms in which people have the same inventories: what other options of the same commands and interfaces print."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from jvbtune.errors import ConfigError
from jvbtune.inventory import load_inventory


def _aws(number: int) -> dict[str, Any]:
    return {
        "InstanceId": f"i-0{number}",
        "InstanceType": "c5.xlarge",
        "Placement": {"AvailabilityZone": "eu-central-1a"},
        "PublicIpAddress": f"203.0.113.{number}",
        "State": {"Name": "running"},
        "Tags": [{"Key": "Name", "Value": f"jvb-{number}"}],
    }


def _gce(number: int, zone: str = "europe-west3-a") -> dict[str, Any]:
    link = f"https://www.googleapis.com/compute/v1/projects/p/zones/{zone}"
    return {
        "kind": "compute#instance",
        "name": f"jvb-{number}",
        "machineType": f"{link}/machineTypes/n2-standard-4",
        "zone": link,
        "selfLink": f"{link}/instances/jvb-{number}",
        "status": "RUNNING",
        "networkInterfaces": [{"accessConfigs": [{"natIP": f"203.0.113.{number}"}]}],
    }


def _output(value: object) -> dict[str, Any]:
    return {"jvbtune_hosts": {"sensitive": False, "type": "dynamic", "value": value}}


FORMS = {
    "Reservations[].Instances[]": [_aws(1), _aws(2)],
    "Reservations[*].Instances[*]": [[_aws(1)], [], [_aws(2)]],
    "REST, aggregated": {
        "kind": "compute#instanceAggregatedList",
        "items": {
            "zones/europe-west3-a": {"instances": [_gce(1)]},
            "zones/europe-west3-b": {"warning": {"code": "NO_RESULTS_ON_PAGE"}},
            "zones/europe-west3-c": {"instances": [_gce(2, "europe-west3-c")]},
        },
    },
    "REST, of a zone": {"kind": "compute#instanceList", "items": [_gce(1), _gce(2)]},
    "REST, without kind": {"items": [_gce(1), _gce(2)]},
    "output by region": _output(
        {
            "eu-central-1": [{"name": "jvb-1", "public_ip": "203.0.113.1"}],
            "us-east-1": [{"name": "jvb-2", "public_ip": "203.0.113.2"}],
        }
    ),
}


@pytest.mark.parametrize("document", FORMS.values(), ids=list(FORMS))
def test_a_form_is_read(document: Any, tmp_path: Path) -> None:
    file = tmp_path / "inventory.json"
    file.write_text(json.dumps(document))
    found = load_inventory(file).hosts
    assert {name: entry.ssh for name, entry in found.items()} == {"jvb-1": "203.0.113.1", "jvb-2": "203.0.113.2"}


def test_addresses_by_region_are_hosts(tmp_path: Path) -> None:
    file = tmp_path / "inventory.json"
    file.write_text(json.dumps(_output({"eu": ["203.0.113.1", "203.0.113.2"], "us": ["203.0.113.3"]})))
    assert list(load_inventory(file).hosts) == ["203.0.113.1", "203.0.113.2", "203.0.113.3"]


@pytest.mark.parametrize(
    "text", ["<!doctype html>\n<html><body>hosts</body></html>\n", "%PDF-1.7\n1 0 obj\n", "jvb-1\n\0\0\n"]
)
def test_what_is_no_inventory_at_all_is_called_that(text: str, tmp_path: Path) -> None:
    file = tmp_path / "inventory"
    file.write_text(text)
    with pytest.raises(ConfigError, match="is in no form of inventory that jvbtune knows") as refused:
        load_inventory(file)
    assert "INI and YAML of Ansible" in str(refused.value.hint)
    assert "aws ec2 describe-instances" in str(refused.value.hint)


@pytest.mark.parametrize("text", ["#!/bin/sh\necho '{}'\n", "#!/usr/bin/env python3\nprint('{}')\n"])
def test_a_program_is_not_run_and_the_entry_that_would_run_it_is_shown(text: str, tmp_path: Path) -> None:
    file = tmp_path / "inventory"
    file.write_text(text)
    file.chmod(0o755)
    with pytest.raises(ConfigError, match="is a program") as refused:
        load_inventory(file)
    entry = str(refused.value.hint).partition("\n")[2]
    assert tomllib.loads(entry)["source"] == [{"file": str(file), "format": "ansible"}]
