"""Terraform, OpenTofu and Terragrunt: ``output -json`` and ``show -json``, of one module or of several in a row.

Both print sensitive values in clear. So of an output only those that are named are read, of a resource only the keys of
``RESOURCES``, and no message holds a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from jvbtune.inventory.document import Node, kind_of
from jvbtune.inventory.found import AWS_REGION, GCP_REGION, Found, Listing, Options, Shape, found
from jvbtune.inventory.sources import own
from jvbtune.inventory.sources.gce import instance_id, project_of
from jvbtune.text import clean, did_you_mean

#: Terragrunt's stacks can hold stacks.
MAX_DEPTH = 8

_GOOGLE = Shape(
    cloud="gcp",
    name=("name",),
    machine_type=("machine_type",),
    zone=("zone",),
    zone_region=GCP_REGION,
    public=("network_interface.*.access_config.*.nat_ip", "network_interface.*.ipv6_access_config.*.external_ipv6"),
    private=("network_interface.*.network_ip",),
    tags=("labels",),
    groups=("tags.*",),
    state=("current_status",),
    running=("running",),
)
_AWS = Shape(
    cloud="aws",
    name=("tags.Name", "tags_all.Name", "id"),
    machine_type=("instance_type",),
    zone=("availability_zone",),
    zone_region=AWS_REGION,
    public=("public_ip", "ipv6_addresses.*"),
    private=("private_ip",),
    tags=("tags", "tags_all"),
    ids=("id",),
    state=("instance_state",),
    running=("running",),
)
_AZURE = Shape(
    cloud="azure",
    name=("name",),
    machine_type=("size",),
    region=("location",),
    zone=("zone",),
    public=("public_ip_address",),
    private=("private_ip_address",),
    tags=("tags",),
    groups=("virtual_machine_scale_set_id",),
    ids=("id",),
)
#: type of a resource -> where its values are. Attributes as the providers' documentation names them.
RESOURCES = {
    "google_compute_instance": _GOOGLE,
    "google_compute_instance_from_template": _GOOGLE,
    "aws_instance": _AWS,
    "aws_spot_instance_request": replace(_AWS, ids=("spot_instance_id",), name=("tags.Name", "spot_instance_id", "id")),
    "azurerm_linux_virtual_machine": _AZURE,
    "hcloud_server": Shape(
        cloud="hcloud",
        name=("name",),
        machine_type=("server_type",),
        region=("location",),
        zone=("datacenter",),
        public=("ipv4_address", "ipv6_address"),
        private=("network.*.ip",),
        tags=("labels",),
        ids=("id",),
        state=("status",),
        running=("running",),
    ),
    "oci_core_instance": Shape(
        cloud="oci",
        name=("display_name", "id"),
        machine_type=("shape",),
        region=("region",),
        zone=("availability_domain",),
        public=("public_ip",),
        private=("private_ip",),
        tags=("freeform_tags",),
        ids=("id",),
        state=("state",),
        running=("running",),
    ),
    "digitalocean_droplet": Shape(
        cloud="digitalocean",
        name=("name",),
        machine_type=("size",),
        region=("region",),
        public=("ipv4_address", "ipv6_address"),
        private=("ipv4_address_private",),
        groups=("tags.*",),
        ids=("id",),
        state=("status",),
        running=("active",),
    ),
    "openstack_compute_instance_v2": Shape(
        cloud="openstack",
        name=("name",),
        machine_type=("flavor_name",),
        region=("region",),
        zone=("availability_zone",),
        either=("access_ip_v4", "network.*.fixed_ip_v4"),
        tags=("all_metadata", "metadata"),
        groups=("tags.*",),
        ids=("id",),
        state=("power_state",),
        running=("active",),
    ),
    "linode_instance": Shape(
        cloud="linode",
        name=("label",),
        machine_type=("type",),
        region=("region",),
        public=("ip_address",),
        private=("private_ip_address",),
        groups=("tags.*",),
        ids=("id",),
        state=("status",),
        running=("running",),
    ),
}
#: Resources whose instances are made by the cloud and are not in the state, and what lists them.
GROUPS = {
    "google_compute_instance_group_manager": "gcloud compute instance-groups managed list-instances",
    "google_compute_region_instance_group_manager": "gcloud compute instance-groups managed list-instances",
    "aws_autoscaling_group": "aws autoscaling describe-auto-scaling-groups",
    "azurerm_linux_virtual_machine_scale_set": "az vmss list-instances",
    "oci_core_instance_configuration": "oci compute instance list",
    "oci_core_instance_pool": "oci compute-management instance-pool list-instances",
}


# -- show ------------------------------------------------------------------------------------------------------------


def recognises_show(value: Any) -> bool:
    """A state or plan as ``show -json`` prints it, or the state's own file, which is refused."""
    return isinstance(value, dict) and ("format_version" in value or {"lineage", "serial"} <= value.keys())


def read_show(documents: Sequence[Node], options: Options) -> Listing:
    """The instances of every module of every document. Raises ConfigError."""
    hosts: list[Found] = []
    remarks: dict[str, None] = {}
    for document in documents:
        if not isinstance(document.value, dict):
            raise document.fail(f"is {kind_of(document.value)}, not an object")
        if "lineage" in document.value:
            raise document.fail(
                "is the file of a Terraform state, whose form changes between versions",
                "Print it by terraform show -json.",
            )
        if "planned_values" in document.value:
            raise document.fail("is a plan, whose hosts are not there yet", "Print the state: terraform show -json.")
        for resource in _resources(document.get("values").get("root_module")):
            kind = resource.get("type").value
            if isinstance(kind, str) and kind in RESOURCES:
                hosts.append(_instance(resource, RESOURCES[kind]))
            elif isinstance(kind, str) and kind in GROUPS:
                address = clean(str(resource.get("address").value))
                remarks[f"{address} makes instances that are not in the state: list them by {GROUPS[kind]}"] = None
    return Listing(tuple(hosts), remarks=tuple(remarks))


def _resources(root: Node) -> Iterator[Node]:
    modules = [root]
    while modules:
        module = modules.pop(0)
        yield from module.get("resources").each()
        modules += module.get("child_modules").each()


def _instance(resource: Node, shape: Shape) -> Found:
    one = found(resource.get("values"), shape)
    address = resource.get("address").text()
    ids = one.ids
    if shape.cloud == "gcp":
        values = resource.get("values")
        project = project_of(values.get("self_link"), values.get("id"))
        ids = frozenset({instance_id(project, one.labels.get("zone", ""), one.name)})
    return replace(one, ids=ids, other_name=address)


# -- output ----------------------------------------------------------------------------------------------------------


def recognises_output(value: Any) -> bool:
    """Outputs by name, each with its value; or Terragrunt's of a stack, whose units hold bare values."""
    if not isinstance(value, dict):
        return False
    return all(isinstance(one, dict) for one in value.values()) and not any(
        key in value for key in ("_meta", "all", "apiVersion")
    )


def read_output(documents: Sequence[Node], options: Options) -> Listing:
    """The hosts in the outputs of those names. Raises ConfigError if no document has one of them."""
    hosts: list[Found] = []
    known: dict[str, None] = {}
    missing = dict.fromkeys(options.outputs)
    for document in documents:
        for name, value in _outputs(document):
            known[name] = None
            if name in options.outputs:
                missing.pop(name, None)
                hosts += own.hosts(value, name, options.take)
    if missing and documents:
        name = next(iter(missing))
        listed = ", ".join(clean(one) for one in known) or "none"
        raise documents[0].fail(
            f"no output is called {clean(name)!r}{did_you_mean(name, known)}",
            f'Outputs: {listed}. Name the one that has the hosts in jvbtune.toml: outputs = ["NAME"] of a [[source]].',
        )
    return Listing(tuple(hosts))


def _outputs(document: Node) -> Iterator[tuple[str, Node]]:
    """(name, value) of every output, of units and their stacks too."""
    waiting: list[tuple[int, str, Node]] = [(0, key, node) for key, node in document.items()]
    while waiting:
        depth, name, node = waiting.pop(0)
        if isinstance(node.value, dict) and "value" in node.value and "type" in node.value:
            yield name, node.get("value")
            continue
        if depth > 0:
            yield name, node
        if isinstance(node.value, dict) and depth < MAX_DEPTH:
            waiting += [(depth + 1, key, below) for key, below in node.items()]
