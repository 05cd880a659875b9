"""Kubernetes: ``kubectl get nodes -o json``. A node that is not ready is left out; a cordoned one is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jvbtune.inventory.document import Node
from jvbtune.inventory.found import Found, Listing, Options, labelled

_FACTS = {
    "machine_type": ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type"),
    "region": ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
    "zone": ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
}
#: Labels in which clouds and autoscalers name the pool of a node.
POOLS = (
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "alpha.eksctl.io/nodegroup-name",
    "kubernetes.azure.com/agentpool",
    "agentpool",
    "doks.digitalocean.com/node-pool",
    "karpenter.sh/nodepool",
    "hcloud/node-group",
)
#: How ``spec.providerID`` begins, and the label ``cloud``.
CLOUDS = {"gce": "gcp", "aws": "aws", "azure": "azure", "hcloud": "hcloud", "digitalocean": "digitalocean"}
CLOUDS |= {"openstack": "openstack", "oci": "oci"}


def recognises(value: Any) -> bool:
    """A node, or a list of them."""
    return isinstance(value, dict) and "apiVersion" in value and value.get("kind") in ("List", "NodeList", "Node")


def read(documents: Sequence[Node], options: Options) -> Listing:
    """The nodes of all documents. Raises ConfigError."""
    hosts = []
    for document in documents:
        nodes = [document] if document.get("kind").value == "Node" else document.get("items").each()
        hosts += [_node(node, options.take) for node in nodes if node.get("kind").value in (None, "Node")]
    return Listing(tuple(hosts))


def _node(node: Node, take: Sequence[str]) -> Found:
    labels = dict(node.get("metadata").get("labels").items())
    facts = {
        key: text
        for key, names in _FACTS.items()
        for text in [next((labels[name].text() for name in names if name in labels), None)]
        if text is not None
    }
    provider = (node.get("spec").get("providerID").text() or "").partition(":")[0]
    if provider in CLOUDS:
        facts["cloud"] = CLOUDS[provider]
    # Names with a domain are for programs, and every node has dozens of them.
    mine = [(key, value) for key, value in labels.items() if "/" not in key or key in take]
    own = {key: text for key, value in mine if (text := value.text()) is not None}
    groups = sorted({text for name in POOLS if name in labels and (text := labels[name].text()) is not None})
    addresses: dict[str, str] = {}
    for one in node.get("status").get("addresses").each():
        kind = one.get("type").text() or ""
        if kind in ("ExternalIP", "InternalIP") and (address := one.get("address").address()) is not None:
            addresses.setdefault(kind, address)
    ready = [one.get("status").value for one in node.all("status.conditions.*") if one.get("type").value == "Ready"]
    return replace(
        Found(node.get("metadata").get("name").name(), node.path, node.file),
        public_address=addresses.get("ExternalIP"),
        private_address=addresses.get("InternalIP"),
        labels=labelled(facts, own),
        groups=tuple(groups),
        left_out="its node is not ready" if ready and ready != ["True"] else None,
    )
