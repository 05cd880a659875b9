"""jvbtune's own form: a list of objects, for a program or an output that is made for jvbtune.

[{"name": "jvb-eu-1", "address": "203.0.113.7", "machine_type": "n2-standard-4", "region": "europe-west1",
  "groups": ["jvb"], "labels": {"shard": "eu1"}}]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jvbtune.inventory.destination import is_address
from jvbtune.inventory.document import Node, kind_of
from jvbtune.inventory.found import Found, Listing, Options, Shape, found
from jvbtune.text import did_you_mean

#: Every key of an object, with what it means: for the documentation, too.
KEYS = {
    "name": "Name of the host. Required.",
    "address": "IP address or name that ssh connects to. Default: one of the next two, then the name.",
    "public_address": "Public IP address.",
    "private_address": "IP address inside the network.",
    "media_address": "IP address at which the bridge takes media. Default: one of the three above.",
    "user": "User for ssh. Default: that of your OpenSSH configuration.",
    "port": "Port for ssh. Default: that of your OpenSSH configuration.",
    "groups": "List of groups.",
    "labels": "Object of labels.",
    "machine_type": "Label.",
    "region": "Label.",
    "zone": "Label.",
    "cloud": "Label.",
}
#: What others call the same, in Terraform's resources, in their outputs, in Ansible's variables.
ALIASES = Shape(
    cloud=None,
    name=("name", "hostname", "display_name"),
    machine_type=("machine_type", "instance_type", "server_type", "shape", "flavor_name", "machineType"),
    region=("region", "placement.region"),
    zone=("zone", "availability_zone", "placement.availability_zone"),
    public=("public_address", "public_ip", "public_ip_address", "nat_ip", "ipv4_address", "jitsi_meet_nat_public_ip"),
    private=("private_address", "private_ip", "private_ip_address", "ipv4_address_private", "network_ip"),
)


def recognises(value: Any) -> bool:
    """A list of objects with names."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "name" in value[0]


def read(documents: Sequence[Node], options: Options) -> Listing:
    """The hosts of all documents. Raises ConfigError, also for an unknown key."""
    hosts = []
    for document in documents:
        for one in document.each():
            for key, at in one.items():
                if key not in KEYS and key not in options.take:
                    raise at.fail(f"unknown key{did_you_mean(key, KEYS)}", f"Known here: {', '.join(KEYS)}.")
            hosts.append(host(one, take=options.take))
    return Listing(tuple(hosts))


def host(node: Node, name: str | None = None, take: Sequence[str] = ()) -> Found:
    """The host that an object describes in jvbtune's words or in the usual ones of others. Raises ConfigError."""
    if not isinstance(node.value, dict):
        raise node.fail(f"is {kind_of(node.value)}, not an object")
    shape = replace(ALIASES, cloud=node.get("cloud").text(), tags=("labels",), groups=("groups.*",))
    if name is None and not any(node.get(key).value for key in ALIASES.name):
        raise node.get("name").fail("is missing")
    one = found(node, shape, name=name)
    at = next((found_at for key in ("address", "ip", "ip_address") if (found_at := node.get(key)).value), None)
    return replace(
        one,
        ssh_host=at.name() if at is not None else None,
        media_address=node.get("media_address").address(),
        user=node.get("user").text(),
        port=port(node.get("port")),
        labels={**one.labels, **taken(node, take)},
    )


def taken(node: Node, take: Sequence[str]) -> dict[str, str]:
    """Further keys of an object that become labels, as far as they are there. Raises ConfigError."""
    return {key: text for key in take if (text := node.get(key).text()) is not None}


def hosts(node: Node, name: str, take: Sequence[str]) -> list[Found]:
    """The hosts of a value that others made: texts, lists and objects of them. ``name``: what the value is called.

    A text is an address or a name; an object whose values are texts or objects maps names to them, and one whose values
    are lists has the hosts in these, such as those of each region.
    """
    if isinstance(node.value, str):
        return [_text(node, name if is_address(node.value) else node.value)]
    if isinstance(node.value, list):
        found_hosts = []
        for one in node.each():
            found_hosts.append(_text(one, None) if isinstance(one.value, str) else host(one, take=take))
        return found_hosts
    if not isinstance(node.value, dict):
        raise node.fail(f"is {kind_of(node.value)}, which names no host")
    if any(key in node.value for key in (*ALIASES.name, *ALIASES.public, *ALIASES.private, "address", "ip")):
        return [host(node, None if node.get("name").value else name, take)]
    if "instance_group" in node.value:
        raise node.fail(
            "names an instance group, not its members",
            "List the members: gcloud compute instance-groups managed list-instances NAME --format json, and gcloud "
            "compute instances list --format json. docs/inventory.md shows how to join them.",
        )
    found_hosts = []
    for key, one in node.items():
        if isinstance(one.value, list):
            found_hosts += hosts(one, key, take)
            continue
        called = Node(key, one.file, one.path).name()
        found_hosts.append(_text(one, called) if isinstance(one.value, str) else host(one, called, take))
    return found_hosts


def _text(node: Node, name: str | None) -> Found:
    text = node.name()
    return Found(Node(name, node.file, node.path).name() if name else text, node.path, node.file, ssh_host=text)


def port(node: Node) -> int | None:
    """A port, as a number or as text. Raises ConfigError."""
    text = node.text()
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
        raise node.fail("is not a port, 1 to 65535")
    return int(text)
