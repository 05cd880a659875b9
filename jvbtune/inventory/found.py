"""What a source says of a host, in one form for all sources."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from jvbtune.inventory.destination import is_private
from jvbtune.inventory.document import Node


@dataclass(frozen=True)
class Found:
    """A host of a source. ``where``: the key path, for messages."""

    name: str
    where: str = ""
    file: str = ""
    other_name: str | None = None  #: its name if another host has the first one
    ids: frozenset[str] = frozenset()  #: what a cloud calls it: joins documents of several commands
    public_address: str | None = None
    private_address: str | None = None
    media_address: str | None = None  #: if the source names one for media
    ssh_host: str | None = None  #: what the source says to connect to, a name or an address
    user: str | None = None
    port: int | None = None
    local: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    left_out: str | None = None  #: why it cannot be measured: it does not run, ...


@dataclass(frozen=True)
class Member:
    """An instance that an autoscaled group lists: without an address, so it only completes a ``Found``."""

    id: str
    name: str
    group: str | None
    left_out: str | None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """What a source has."""

    hosts: tuple[Found, ...] = ()
    members: tuple[Member, ...] = ()
    remarks: tuple[str, ...] = ()  #: for the user, if there is no host


@dataclass(frozen=True)
class Options:
    """Of a source. ``outputs``: names of Terraform's to read. ``take``: further keys that become labels."""

    outputs: tuple[str, ...] = ("jvbtune_hosts",)
    take: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shape:
    """Where one kind of object keeps what is asked for: dotted paths, the first that has a value counts.

    ``public`` and ``private``: addresses. ``either``: addresses that are one or the other by their range. ``tags``: an
    object, or AWS's list of Key and Value: they become labels. ``groups``: texts or lists of texts.
    """

    cloud: str | None
    name: tuple[str, ...]
    machine_type: tuple[str, ...] = ()
    region: tuple[str, ...] = ()
    zone: tuple[str, ...] = ()
    public: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    zone_region: re.Pattern[str] | None = None  #: the region is this part of the zone


#: europe-west1 of europe-west1-b; eu-central-1 of eu-central-1a and us-east-1 of us-east-1-bos-1a.
GCP_REGION = re.compile(r"^([a-z]+-[a-z]+\d+)-[a-z]$")
AWS_REGION = re.compile(r"^([a-z]{2,3}(?:-[a-z]+)+-\d+)[a-z-]")

#: Tags in which clouds say what made an instance: they are groups.
GROUP_TAGS = ("aws:autoscaling:groupName", "eks:nodegroup-name", "karpenter.sh/nodepool", "goog-k8s-node-pool-name")


def found(node: Node, shape: Shape, *, name: str | None = None) -> Found:
    """The host that an object describes. ``name``: instead of the object's own. Raises ConfigError."""
    own_name = _first(node, shape.name) or node.get(shape.name[-1])
    public, private = (_addresses(node, paths) for paths in (shape.public, shape.private))
    for address in _addresses(node, shape.either):
        (private if is_private(address) else public).append(address)
    tags = _tags(node, shape.tags)
    zone = _last(_text(node, shape.zone))
    region = _text(node, shape.region)
    if region is None and zone is not None and shape.zone_region and (match := shape.zone_region.match(zone)):
        region = match[1]
    facts = {
        "cloud": shape.cloud,
        "machine_type": _last(_text(node, shape.machine_type)),
        "region": _last(region),
        "zone": zone,
    }
    groups = [tags.pop(tag) for tag in GROUP_TAGS if tag in tags]
    groups += [_short(text) for path in shape.groups for text in _texts(node, path)]
    state = _text(node, shape.state)
    stopped = state is not None and shape.running and state.lower() not in shape.running
    return Found(
        name=name or own_name.name(),
        where=node.path,
        file=node.file,
        ids=frozenset(f"{shape.cloud}:{one}" for path in shape.ids for one in _texts(node, path)),
        public_address=next(iter(public), None),
        private_address=next(iter(private), None),
        labels=labelled(facts, tags),
        groups=tuple(sorted(set(groups))),
        left_out=f"its state is {state}" if stopped else None,
    )


def labelled(facts: Mapping[str, str | None], tags: Mapping[str, str]) -> dict[str, str]:
    """Labels: what is known of the machine first, and stronger than a tag of the same name."""
    known = {key: value for key, value in facts.items() if value is not None}
    return {**known, **{key: value for key, value in tags.items() if key not in known}}


def with_groups(one: Found, groups: Iterable[str]) -> Found:
    """The same host in more groups."""
    return replace(one, groups=tuple(sorted({*one.groups, *groups})))


def _first(node: Node, paths: Iterable[str]) -> Node | None:
    return next((one for path in paths for one in node.all(path) if one.value != ""), None)


def _text(node: Node, paths: Iterable[str]) -> str | None:
    first = _first(node, paths)
    return first.text() if first is not None else None


def _texts(node: Node, path: str) -> list[str]:
    return [text for one in node.all(path) if (text := one.text()) is not None]


def _addresses(node: Node, paths: Iterable[str]) -> list[str]:
    return [address for path in paths for one in node.all(path) if (address := one.address()) is not None]


def _tags(node: Node, paths: Iterable[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for path in paths:
        for at in node.all(path):
            if isinstance(at.value, list):
                pairs = [(one.get("Key").text(), one.get("Value")) for one in at.each()]
            else:
                pairs = [*at.items()]
            for key, value in pairs:
                if key and not isinstance(value.value, dict | list) and (text := value.text()) is not None:
                    tags.setdefault(key, text)
    return tags


def _short(group: str) -> str:
    """The last part of a cloud's path or URL; anything else as it is."""
    return group.rstrip("/").rpartition("/")[2] if group.startswith(("/", "https://")) else group


def _last(text: str | None) -> str | None:
    """``n2-standard-4`` of a URL that ends in it."""
    return text.rstrip("/").rpartition("/")[2] if text else None
