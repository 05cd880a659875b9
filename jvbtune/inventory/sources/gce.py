"""Google Compute Engine: ``gcloud compute instances list`` and ``instance-groups managed list-instances``, as JSON.

The second names the members of a group without their addresses, so it needs the first beside it. Only members that run
and that the group does nothing to are taken. Of an instance's metadata, which holds start-up scripts and keys, only who
created it is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jvbtune.inventory.document import Node
from jvbtune.inventory.found import GCP_REGION, Found, Listing, Member, Options, Shape, found, with_groups

INSTANCE = Shape(
    cloud="gcp",
    name=("name",),
    machine_type=("machineType",),
    zone=("zone",),
    zone_region=GCP_REGION,
    public=("networkInterfaces.*.accessConfigs.*.natIP", "networkInterfaces.*.ipv6AccessConfigs.*.externalIpv6"),
    private=("networkInterfaces.*.networkIP",),
    tags=("labels",),
    groups=("tags.items.*",),
    state=("status",),
    running=("running",),
)


def recognises(value: Any) -> bool:
    """An instance has a machine type and interfaces; a member of a group an action. The REST interface has instances
    in ``items``: a list of one zone, or those of each zone by its name."""
    if isinstance(value, dict) and isinstance(items := value.get("items"), dict | list) and "apiVersion" not in value:
        if isinstance(items, dict):
            return bool(items) and all(key.startswith(("zones/", "regions/")) for key in items)
        return bool(items) and recognises(items)
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and (
        first.get("kind") == "compute#instance"
        or {"machineType", "networkInterfaces"} <= first.keys()
        or {"instance", "currentAction"} <= first.keys()
        or "managedInstances" in first
    )


def read(documents: Sequence[Node], options: Options) -> Listing:
    """The instances and members of all documents. Raises ConfigError."""
    hosts, members = [], []
    for document in documents:
        if isinstance(document.value, dict) and "managedInstances" in document.value:
            document = document.get("managedInstances")
        elif isinstance(document.value, dict) and "items" in document.value:
            document = document.get("items")
            if isinstance(document.value, dict):
                zones = [zone.get("instances") for _, zone in document.items()]
                hosts += [_instance(one) for zone in zones for one in zone.each()]
                continue
        for one in document.each() if isinstance(document.value, list) else [document]:
            if one.get("currentAction").value is not None:
                members.append(_member(one))
            else:
                hosts.append(_instance(one))
    return Listing(tuple(hosts), tuple(members))


def _instance(node: Node) -> Found:
    one = found(node, INSTANCE)
    zone = one.labels.get("zone", "")
    made_by, template = _metadata(node, "created-by"), _metadata(node, "instance-template")
    if made_by and "instanceGroupManagers/" in made_by:
        one = with_groups(one, [made_by.rpartition("/")[2]])
    if template:
        one = replace(one, labels={**one.labels, "instance_template": template.rpartition("/")[2]})
    project = project_of(node.get("selfLink"), node.get("zone"))
    ids = frozenset({instance_id(project, zone, one.name)})
    return replace(one, ids=ids, other_name=f"{one.name}.{zone}" if zone else None)


def instance_id(project: str, zone: str, name: str) -> str:
    """Names are unique in a zone of a project. ``project``: empty where the listing does not have it."""
    return f"gcp:{project}/{zone}/{name}"


def project_of(*links: Node) -> str:
    """Of the first link that has it: ``…/projects/PROJECT/zones/…``."""
    for link in links:
        found = re.search(r"(?:^|/)projects/([^/]+)/", link.value) if isinstance(link.value, str) else None
        if found:
            return found[1]
    return ""


def _metadata(node: Node, key: str) -> str | None:
    for item in node.all("metadata.items.*"):
        if item.get("key").value == key:
            return item.get("value").text()
    return None


def _member(node: Node) -> Member:
    """A managed instance: its URL ends in zones/ZONE/instances/NAME."""
    at = node.get("instance")
    parts = at.value.split("/") if isinstance(at.value, str) else []
    if len(parts) < 4 or parts[-4] != "zones" or parts[-2] != "instances":
        raise at.fail("is not the URL of an instance, which ends in zones/ZONE/instances/NAME")
    name = Node(parts[-1], node.file, at.path).name()
    status, action = node.get("instanceStatus").text(), node.get("currentAction").text()
    left_out = None
    if status != "RUNNING":
        left_out = f"its state is {status or 'unknown'}"
    elif action != "NONE":
        left_out = f"its group is {action} it"
    template = node.get("version").get("instanceTemplate").text()
    labels = {"instance_template": template.rpartition("/")[2]} if template else {}
    return Member(instance_id(project_of(at), parts[-3], name), name, None, left_out, labels)
