"""The hosts of all sources together: documents read, members of groups joined, names made unique."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jvbtune.errors import ConfigError
from jvbtune.inventory.document import Node, decode, looks_like_json, parse_json, read_bounded
from jvbtune.inventory.found import Found, Listing, Member, Options, with_groups
from jvbtune.inventory.sources import ansible, known_forms, read_documents
from jvbtune.inventory.sources.command import run
from jvbtune.text import clean


@dataclass(frozen=True)
class Origin:
    """Where a source's documents come from: a file, or a command with its form.

    ``trusted``: a file that jvbtune.toml names as Ansible's, whose scripts and plugins may run.
    """

    name: str
    file: Path | None = None
    command: tuple[str, ...] = ()
    form: str | None = None
    directory: Path | None = None
    timeout_seconds: float = 60.0
    options: Options = field(default_factory=Options)
    trusted: bool = False


def read_origin(origin: Origin, data: bytes | None = None) -> list[Listing]:
    """What a source has. ``data``: of its file, if that is read already. Raises ConfigError."""
    if origin.file is None:
        text = run(origin.command, origin.name, origin.timeout_seconds, directory=origin.directory)
        return read_documents(parse_json(text, origin.name), origin.form, origin.options)
    if data is None and not origin.file.is_dir():
        data = read_bounded(origin.file)
    text = decode(data, origin.name) if data is not None else ""
    if text.strip() in ("null", "true", "false"):
        raise ConfigError(f"is JSON, but holds {text.strip()} and no hosts", file=origin.name)
    if not looks_like_json(text):
        if origin.form not in (None, "ansible"):
            raise ConfigError(f"is not JSON, and {origin.form} is", file=origin.name)
        if not origin.trusted:
            _refuse_other(text, origin.file)
        text = ansible.list_of(origin.file, static=not origin.trusted, directory=origin.directory)
        return read_documents(parse_json(text, origin.name), "ansible", origin.options)
    return read_documents(parse_json(text, origin.name), origin.form, origin.options)


def _refuse_other(text: str, file: Path) -> None:
    """Raises ConfigError for a program, and for text in which Ansible would look for hosts without finding any."""
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("#!"):
        raise ConfigError(
            "is a program, and jvbtune runs no program that --inventory names",
            file=file,
            hint=f'If it is a dynamic inventory, name it in jvbtune.toml:\n[[source]]\nfile = "{file.absolute()}"\n'
            'format = "ansible"',
        )
    if start.startswith(("<", "%PDF", "%!PS", "{\\rtf", "-----BEGIN")) or "\0" in text:
        raise ConfigError("is in no form of inventory that jvbtune knows", file=file, hint=known_forms())


@dataclass(frozen=True)
class Gathered:
    """``hosts``: (index of the source, host), in order. ``left_out``: name -> why. ``remarks``: if there is none."""

    hosts: tuple[tuple[int, Found], ...]
    left_out: dict[str, str]
    remarks: tuple[str, ...]


def gather(listings: Sequence[Sequence[Listing]]) -> Gathered:
    """The hosts of several sources, each with its listings. Raises ConfigError for two hosts with one name."""
    every = [(index, one) for index, of_source in enumerate(listings) for listing in of_source for one in listing.hosts]
    members = [one for of_source in listings for listing in of_source for one in listing.members]
    every, members = _with_projects(every, members)
    hosts = _unique_names(_completed(_once_each(every), members))
    left_out = {one.name: one.left_out for _, one in hosts if one.left_out is not None}
    described = {identity for _, one in hosts for identity in one.ids}
    for member in members:
        if member.id not in described:
            left_out[member.name] = "its group lists it, and no source has its address: add a listing of the instances"
    remarks = [remark for of_source in listings for listing in of_source for remark in listing.remarks]
    return Gathered(
        tuple((index, one) for index, one in hosts if one.left_out is None), left_out, tuple(dict.fromkeys(remarks))
    )


def _with_projects(
    hosts: list[tuple[int, Found]], members: list[Member]
) -> tuple[list[tuple[int, Found]], list[Member]]:
    """A listing without the project of its instances is of the one that another listing has, if there is only one."""
    named = {identity for _, one in hosts for identity in one.ids} | {member.id for member in members}
    of_zone: dict[str, set[str]] = {}
    for identity in named:
        project, _, rest = identity.removeprefix("gcp:").partition("/")
        if identity.startswith("gcp:") and project:
            of_zone.setdefault(f"gcp:/{rest}", set()).add(identity)

    def known(identity: str) -> str:
        found = of_zone.get(identity, set())
        return next(iter(found)) if len(found) == 1 else identity

    return (
        [(index, replace(one, ids=frozenset(map(known, one.ids)))) for index, one in hosts],
        [replace(member, id=known(member.id)) for member in members],
    )


def _once_each(hosts: Iterable[tuple[int, Found]]) -> list[tuple[int, Found]]:
    """A host that several sources have, by its id in the cloud: what the first leaves open comes from the next."""
    kept: list[tuple[int, Found]] = []
    places: dict[str, int] = {}
    for index, one in hosts:
        place = next((places[identity] for identity in one.ids if identity in places), None)
        if place is None:
            place = len(kept)
            kept.append((index, one))
        else:
            first, before = kept[place]
            kept[place] = (first, _merged(before, one))
        places.update(dict.fromkeys(one.ids, place))
    return kept


def _merged(one: Found, other: Found) -> Found:
    merged = replace(
        one,
        public_address=one.public_address or other.public_address,
        private_address=one.private_address or other.private_address,
        labels={**other.labels, **one.labels},
        ids=one.ids | other.ids,
        left_out=one.left_out or other.left_out,
    )
    return with_groups(merged, other.groups)


def _completed(hosts: Iterable[tuple[int, Found]], members: Sequence[Member]) -> list[tuple[int, Found]]:
    by_id: dict[str, list[Member]] = {}
    for member in members:
        by_id.setdefault(member.id, []).append(member)
    completed = []
    for index, one in hosts:
        for member in (member for identity in one.ids for member in by_id.get(identity, ())):
            one = replace(one, labels={**member.labels, **one.labels}, left_out=one.left_out or member.left_out)
            one = with_groups(one, [member.group] if member.group else [])
        if one.left_out is None and not (one.public_address or one.private_address or one.ssh_host or one.local):
            one = replace(one, left_out="it has no address")
        completed.append((index, one))
    return completed


def _unique_names(hosts: Sequence[tuple[int, Found]]) -> list[tuple[int, Found]]:
    """Hosts that share a name take their other names: an instance id, the address of a resource."""
    counts = Counter(one.name for _, one in hosts)
    named = []
    for index, one in hosts:
        if counts[one.name] > 1 and one.other_name:
            name = Node(one.other_name, one.file, one.where).name()
            one = replace(one, name=name)
        named.append((index, one))
    first: dict[str, Found] = {}
    for _, one in named:
        before = first.setdefault(one.name, one)
        if before is not one:
            raise ConfigError(
                f"two hosts are called {clean(one.name)!r}",
                file=one.file,
                key=one.where or None,
                hint=f"The other one: {before.file}: {before.where}. A host needs a name of its own.",
            )
    return named
