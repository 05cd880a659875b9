"""Which hosts of an inventory are meant: by name, by group, by label, and so many members of a group."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jvbtune.errors import UsageError
from jvbtune.inventory.destination import is_address, is_loopback, is_private
from jvbtune.inventory.entries import HostEntry
from jvbtune.inventory.load import Inventory
from jvbtune.text import clean, did_you_mean

ALL = "all"  #: the group that every host of the inventory is in
MAX_LISTED = 20


@dataclass(frozen=True)
class Selection:
    """What ``--host``, ``--group``, ``--label``, ``--members`` and ``--inventory`` say."""

    hosts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    members: int | None = None
    inventories: tuple[Path, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether no host is named in any way."""
        return not (self.hosts or self.groups or self.labels)


def parse_labels(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """``["region=eu", "region=us"]`` as ``{"region": ("eu", "us")}``. Raises UsageError for what is no KEY=VALUE."""
    labels: dict[str, tuple[str, ...]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise UsageError(f"{clean(text)!r} is not a label", hint="Write it as KEY=VALUE, such as region=eu.")
        labels[key] = (*labels.get(key, ()), value)
    return labels


def select(
    inventory: Inventory,
    hosts: Iterable[str] = (),
    groups: Iterable[str] = (),
    labels: Mapping[str, Sequence[str]] | None = None,
    members: int | None = None,
) -> list[HostEntry]:
    """The hosts that are named or are in one of the groups (all, if neither is given), and have all the labels.

    A host has a label if it has one of the values that are given for the key. ``members``: so many of each group. In
    the inventory's order, each host once. Raises UsageError for a host, group, label or value that the inventory does
    not have, and if no host is left.
    """
    hosts, groups, labels = list(hosts), list(dict.fromkeys(groups)), labels or {}
    _refuse_unknown(inventory, hosts, groups, labels)
    if members is not None and not groups:
        raise UsageError("--members is of a group", hint="Name the group: --group NAME --members N.")
    named = {name for name in hosts if _has(inventory.hosts[name], labels)}
    for group in groups:
        found = [entry for entry in inventory.hosts.values() if _is_in(entry, group) and _has(entry, labels)]
        named |= {entry.name for entry in (found if members is None else pick(found, members, group))}
    if not (hosts or groups):
        named = {entry.name for entry in inventory.hosts.values() if _has(entry, labels)}
    chosen = [entry for name, entry in inventory.hosts.items() if name in named]
    if not chosen:
        raise UsageError(f"no host is left: {_asked(hosts, groups, labels)}", hint=_hint(inventory))
    return chosen


def pick(found: Sequence[HostEntry], members: int, group: str) -> list[HostEntry]:
    """So many members of a group, spread over its zones: the first by name of each zone, then the second of each.

    The same inventory gives the same members. Raises UsageError if the group has fewer.
    """
    if members > len(found):
        raise UsageError(
            f"the group {clean(group)!r} has {len(found)} hosts that fit, and {members} are asked for",
            hint=f"Ask for fewer: --members {len(found)}." if found else None,
        )
    places: dict[str, list[HostEntry]] = {}
    for entry in sorted(found, key=lambda one: one.name):
        places.setdefault(entry.labels.get("zone", ""), []).append(entry)
    ranked = [(rank, place, entry) for place, of_place in places.items() for rank, entry in enumerate(of_place)]
    return [entry for _, _, entry in sorted(ranked, key=lambda one: one[:2])[:members]]


def _is_in(entry: HostEntry, group: str) -> bool:
    return group in entry.groups or group == ALL


def _has(entry: HostEntry, labels: Mapping[str, Sequence[str]]) -> bool:
    return all(entry.labels.get(key) in values for key, values in labels.items())


def _refuse_unknown(
    inventory: Inventory, hosts: Iterable[str], groups: Iterable[str], labels: Mapping[str, Sequence[str]]
) -> None:
    for name in hosts:
        if name not in inventory.hosts:
            if name in inventory.left_out:
                raise UsageError(f"{clean(name)} is left out: {inventory.left_out[name]}")
            raise _unknown("host", name, inventory.hosts, inventory)
    all_groups = {group for entry in inventory.hosts.values() for group in entry.groups}
    for group in groups:
        if group not in all_groups and group != ALL:
            raise _unknown("group", group, all_groups, inventory)
    values: dict[str, set[str]] = {}
    for entry in inventory.hosts.values():
        for key, value in entry.labels.items():
            values.setdefault(key, set()).add(value)
    for key, wanted in labels.items():
        if key not in values:
            raise _unknown("label", key, values, inventory)
        for value in wanted:
            if value not in values[key]:
                raise _unknown(f"value of the label {clean(key)}", value, values[key], inventory)


def _unknown(what: str, name: str, known: Iterable[str], inventory: Inventory) -> UsageError:
    known = sorted(known)
    shown = ", ".join(clean(one) for one in known[:MAX_LISTED]) + (", …" if len(known) > MAX_LISTED else "")
    kind = what.partition(" ")[0]
    return UsageError(
        f"the inventory has no {what} {clean(name)!r}{did_you_mean(name, known)}",
        hint=f"Known {kind}s: {shown}." if known else _hint(inventory),
    )


def _asked(hosts: Iterable[str], groups: Iterable[str], labels: Mapping[str, Sequence[str]]) -> str:
    parts = [f"--host {clean(name)}" for name in hosts] + [f"--group {clean(name)}" for name in groups]
    parts += [f"--label {clean(key)}={clean(value)}" for key, values in labels.items() for value in values]
    return f"none has all of {' '.join(parts)}" if parts else "the inventory has none"


def _hint(inventory: Inventory) -> str:
    if inventory.path is None:
        return "There is no jvbtune.toml here or in ~/.config/jvbtune. Name an inventory: --inventory FILE."
    lines = [f"Left out: {name}: {why}." for name, why in sorted(inventory.left_out.items())[:MAX_LISTED]]
    if not inventory.hosts:
        lines += [f"{remark}." for remark in inventory.remarks]
    return "\n".join(clean(line, 400) for line in lines) or "See what it has: jvbtune hosts."


def refuse_same_machine(entries: Iterable[HostEntry]) -> None:
    """Raises UsageError if two entries are one machine by their ssh: they would disturb each other."""
    first: dict[Hashable, HostEntry] = {}
    for entry in entries:
        before = first.setdefault(_ssh_key(entry), entry)
        if before is not entry:
            where = f"at {clean(entry.ssh)}" if entry.ssh is not None else "this machine"
            raise UsageError(
                f"{clean(before.name)} and {clean(entry.name)} are one machine: both are {where}",
                hint=f"Select one of them. They come from {before.source} and {entry.source}.",
            )


def same_bridges(entries: Iterable[HostEntry]) -> list[str]:
    """Of each two names of one bridge a sentence that has both: figures of one would count as figures of two hosts.

    One bridge: the same ssh host, or the same media address if that is no private one, and the same port of its REST.
    """
    first: dict[Hashable, HostEntry] = {}
    found: dict[str, None] = {}
    for entry in entries:
        media = entry.bridge.media_address
        keys = [(_ssh_key(entry), entry.bridge.http_port)]
        if media is not None and is_address(media) and not (is_private(media) or is_loopback(media)):
            keys.append((media, entry.bridge.http_port))
        for key in keys:
            before = first.setdefault(key, entry)
            if before is not entry:
                text = (
                    f"{clean(before.name)} (of {clean(before.source)}) and {clean(entry.name)} (of "
                    f"{clean(entry.source)}) are one machine and bridge, and count as two hosts. Keep one of them"
                )
                found.setdefault(text)
    return list(found)


def _ssh_key(entry: HostEntry) -> Hashable:
    """Where ssh goes: host and port, whoever logs in; this machine: None."""
    if entry.ssh is None:
        return None
    return entry.ssh.removeprefix("ssh://").rpartition("@")[2].lower(), entry.ssh_config
