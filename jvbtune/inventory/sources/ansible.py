"""Ansible: what ``ansible-inventory --list`` prints, from its own run or from a file; a script's document is the same.

INI, YAML and directories are read by ansible-inventory itself, so that ranges, patterns, group_vars and precedence are
Ansible's own. ``--inventory FILE`` lets it use its two static parsers only, so that an inventory file cannot run a
program here; a script or a plugin runs if jvbtune.toml names it as a source with ``format = "ansible"``.

Variables can be secrets. Those that are read: how to connect, and what ``own`` knows as labels.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jvbtune.errors import ConfigError
from jvbtune.inventory.destination import is_address
from jvbtune.inventory.document import Node
from jvbtune.inventory.found import Found, Listing, Options, found
from jvbtune.inventory.sources import own
from jvbtune.inventory.sources.command import run
from jvbtune.text import clean

PROGRAM = "ansible-inventory"
TIMEOUT_SECONDS = 120.0
#: Every host is in these.
NO_GROUPS = frozenset({"all", "ungrouped"})
STATIC = {"ANSIBLE_INVENTORY_ENABLED": "ini,yaml"}
#: A source that it cannot parse is a warning for Ansible, which then finds no host.
STRICT = {
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    "ANSIBLE_LOCALHOST_WARNING": "false",
    "ANSIBLE_DEPRECATION_WARNINGS": "false",
    "ANSIBLE_NOCOLOR": "true",
    "ANSIBLE_FORCE_COLOR": "false",
}


def recognises(value: Any) -> bool:
    """Groups with their hosts, children and variables."""
    if not isinstance(value, dict) or not value:
        return False
    if "_meta" in value:
        return True
    return all(
        isinstance(group, list) or (isinstance(group, dict) and group.keys() <= {"hosts", "children", "vars"})
        for group in value.values()
    )


def list_of(path: Path, *, static: bool, directory: Path | None = None) -> str:
    """What ansible-inventory prints of an inventory. ``static``: only INI and YAML. Raises ConfigError."""
    program = shutil.which(PROGRAM) or shutil.which(PROGRAM, path=str(Path(sys.executable).parent))
    if program is None:
        raise ConfigError(
            "this is no JSON and no jvbtune.toml; for an inventory of Ansible, jvbtune needs ansible-inventory",
            file=path,
            hint="Install ansible-core. Or print the inventory elsewhere, and give its output: "
            "ansible-inventory -i FILE --list",
        )
    environment = {**os.environ, **STRICT, **(STATIC if static else {})}
    argv = (program, "--inventory", str(path.absolute()), "--list")
    return run(argv, str(path), TIMEOUT_SECONDS, directory=directory, environment=environment, explain=_explain)


def _explain(errors: str) -> tuple[str, str | None]:
    """Ansible's own message without the lines of the file that it quotes, which may hold a password."""
    if "Plugin configuration YAML file" in errors:
        return (
            "is the configuration of an inventory plugin, which runs code",
            'Name it in jvbtune.toml: [[source]] with file = "FILE" and format = "ansible".',
        )
    reasons = [
        re.sub(r"(, got| got|: got).*", "", line)
        for line in re.findall(r"plugin: (?:Failed to parse inventory: )?(.+)", errors)
    ]
    fatal = re.findall(r"\[ERROR\]: (.+)|ERROR! (.+)", errors)
    said = [one or other for one, other in fatal][-1:] + reasons[:2]
    return "ansible-inventory cannot read it: " + clean("; ".join(said) or "it gives no reason", 400), None


def read(documents: Sequence[Node], options: Options) -> Listing:
    """The hosts of all documents. Raises ConfigError."""
    hosts: list[Found] = []
    for document in documents:
        hosts += _hosts(document, options.take)
    return Listing(tuple(hosts))


def _hosts(document: Node, take: Sequence[str]) -> list[Found]:
    groups = {name: node for name, node in document.items() if name != "_meta"}
    members: dict[str, list[str]] = {}  # host -> groups, in the document's order
    children: dict[str, list[str]] = {}
    for name, node in groups.items():
        if isinstance(node.value, list):  # the form before _meta: bare names
            direct, below = node, Node(None, node.file)
        else:
            direct, below = node.get("hosts"), node.get("children")
        for one in direct.each():
            members.setdefault(one.name(), []).append(name)
        children[name] = [text for one in below.each() if (text := one.text()) is not None]
    variables = dict(document.get("_meta").get("hostvars").items())
    for name, node in variables.items():
        members.setdefault(Node(name, node.file, node.path).name(), [])
    parents: dict[str, list[str]] = {}
    for name, below_it in children.items():
        for child in below_it:
            parents.setdefault(child, []).append(name)
    hosts = []
    for name, direct_groups in members.items():
        around = _around(direct_groups, parents)
        own_variables = variables.get(name, Node(None, document.file, name))
        hosts.append(_host(name, own_variables, [groups[one] for one in around if one in groups], around, take))
    return hosts


def _around(direct: Sequence[str], parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Groups of a host, the outermost first: the order in which their variables are taken over."""
    found_groups: list[str] = []
    waiting = sorted(direct)
    while waiting:
        group = waiting.pop(0)
        if group in found_groups:
            continue
        found_groups.append(group)
        waiting += sorted(parents.get(group, ()))
    return [*(["all"] if "all" not in found_groups else []), *reversed(found_groups)]


def _host(name: str, variables: Node, groups: Sequence[Node], around: Sequence[str], take: Sequence[str]) -> Found:
    merged: dict[str, Any] = {}
    for group in groups:
        if isinstance(group.value, dict):
            merged.update(group.get("vars").items())
    merged.update(variables.items())
    # The nodes keep their own paths; only what is read of them matters.
    values = {key: node.value for key, node in merged.items() if key not in ("name", "hostname", "display_name")}
    node = Node(values, variables.file, variables.path)
    readable = Node({key: value for key, value in values.items() if not _is_template(value)}, node.file, node.path)
    one = found(replace(readable, value=_flat(readable.value)), own.ALIASES, name=name)
    host = merged.get("ansible_host") or merged.get("ansible_ssh_host") or Node(None, node.file, node.path)
    if _is_template(host.value):
        return replace(one, left_out="its ansible_host is a template, which only Ansible fills in")
    user = merged.get("ansible_user") or merged.get("ansible_ssh_user")
    port = merged.get("ansible_port") or merged.get("ansible_ssh_port")
    ssh_host = host.name() if host.value is not None else name
    address = ssh_host if is_address(ssh_host) else None
    return replace(
        one,
        ssh_host=ssh_host,
        media_address=one.public_address or address,
        user=None if user is None or _is_template(user.value) else user.text(),
        port=None if port is None or _is_template(port.value) else own.port(port),
        local="ansible_connection" in merged and merged["ansible_connection"].value == "local",
        labels={**one.labels, **own.taken(Node(readable.value, node.file, node.path), take)},
        groups=tuple(sorted(set(around) - NO_GROUPS)),
    )


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of those names with values of another form are somebody else's."""
    return {key: value for key, value in values.items() if not isinstance(value, dict | list) or key == "placement"}
