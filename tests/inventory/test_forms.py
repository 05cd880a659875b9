"""Forms in which people have the same inventories: what other options of the same commands and interfaces print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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
