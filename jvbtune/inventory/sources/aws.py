"""AWS: ``aws ec2 describe-instances``, ``describe-auto-scaling-groups`` and ``describe-auto-scaling-instances``.

All instances of an autoscaling group have one Name as a rule: then the instance id is the host's name. Members that are
not in service are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jvbtune.inventory.destination import name_fault
from jvbtune.inventory.document import Node
from jvbtune.inventory.found import AWS_REGION, Found, Listing, Member, Options, Shape, found

INSTANCE = Shape(
    cloud="aws",
    name=("InstanceId",),
    machine_type=("InstanceType",),
    zone=("Placement.AvailabilityZone",),
    zone_region=AWS_REGION,
    public=(
        "PublicIpAddress",
        "NetworkInterfaces.*.Association.PublicIp",
        "NetworkInterfaces.*.Ipv6Addresses.*.Ipv6Address",
    ),
    private=("PrivateIpAddress",),
    tags=("Tags",),
    ids=("InstanceId",),
    state=("State.Name",),
    running=("running",),
)
IN_SERVICE = "InService"


def recognises(value: Any) -> bool:
    """By the names of AWS's lists; a bare list is what ``--query 'Reservations[].Instances[]'`` leaves, and a list of
    lists what ``Reservations[*].Instances[*]`` does."""
    if isinstance(value, dict):
        return bool(value.keys() & {"Reservations", "AutoScalingGroups", "AutoScalingInstances", "InstanceId"})
    if not isinstance(value, list):
        return False
    first = next((one for part in value for one in (part if isinstance(part, list) else [part])), None)
    return isinstance(first, dict) and "InstanceId" in first


def read(documents: Sequence[Node], options: Options) -> Listing:
    """The instances and members of all documents. Raises ConfigError."""
    hosts: list[Found] = []
    members: list[Member] = []
    for document in documents:
        if isinstance(document.value, list):
            for part in document.each():
                hosts += [_instance(one) for one in (part.each() if isinstance(part.value, list) else [part])]
            continue
        if document.get("InstanceId").value is not None:
            hosts.append(_instance(document))
        hosts += [_instance(one) for one in document.all("Reservations.*.Instances.*")]
        for group in document.all("AutoScalingGroups.*"):
            name = group.get("AutoScalingGroupName").text()
            members += [_member(one, name) for one in group.get("Instances").each()]
        for one in document.all("AutoScalingInstances.*"):
            members.append(_member(one, one.get("AutoScalingGroupName").text()))
    return Listing(tuple(hosts), tuple(members))


def _instance(node: Node) -> Found:
    """Called by its Name, if that is a word; else by its id."""
    one = found(node, INSTANCE)
    name = one.labels.get("Name", "")
    if name_fault(name) is not None:
        return one
    return replace(one, name=name, other_name=one.name)


def _member(node: Node, group: str | None) -> Member:
    name = node.get("InstanceId").name()
    state = node.get("LifecycleState").text()
    left_out = None if state == IN_SERVICE else f"its group has it as {state or 'unknown'}"
    return Member(f"aws:{name}", name, group, left_out)
