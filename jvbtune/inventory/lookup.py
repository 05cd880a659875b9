"""Whether a name is a host at all: an entry of the inventory, an alias that OpenSSH knows, or a name that resolves."""

from __future__ import annotations

import glob
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

from jvbtune.errors import UsageError
from jvbtune.inventory.entries import HostEntry
from jvbtune.inventory.file import FILE_NAME
from jvbtune.inventory.load import Inventory
from jvbtune.text import clean, did_you_mean

MAX_LISTED = 20


def refuse_unknown(entry: HostEntry, inventory: Inventory, labs: Iterable[str] = ()) -> None:
    """Raises UsageError for a bare name that nothing knows, with the nearest one. Entries of the inventory pass.

    Where a source could not be read, it may be the one that has the address: an entry without one is a bare name, and
    the source's error is raised."""
    addressed = entry.ssh is None or (entry.name in inventory.hosts and not (inventory.failed and entry.is_bare))
    if addressed or _known_to_ssh(entry):
        return
    if inventory.failed:
        raise inventory.failed[0]
    known = sorted({*inventory.hosts, *labs, *ssh_aliases(entry.ssh_config)})
    shown = ", ".join(clean(name) for name in known[:MAX_LISTED]) + (", …" if len(known) > MAX_LISTED else "")
    raise UsageError(
        f"{clean(entry.name)!r} is not a host that jvbtune knows: no inventory, lab, OpenSSH configuration or DNS has "
        f"this name{did_you_mean(entry.name, known)}",
        hint=(f"Known hosts: {shown}. " if known else "")
        + f"To add one, give it an entry in {inventory.path or FILE_NAME}, or name another file by --inventory.",
    )


def _known_to_ssh(entry: HostEntry) -> bool:
    """By ``ssh -G``: a name that the configuration changes or reaches by a proxy; else one that resolves."""
    from jvbtune.hosts.openssh import resolve

    found = resolve(entry.ssh or entry.name, entry.ssh_config)
    if found.proxy_command is not None or found.hostname.lower() != found.alias.rpartition("@")[2].lower():
        return True
    try:
        socket.getaddrinfo(found.hostname, found.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return True


def ssh_aliases(config: Path | None = None) -> list[str]:
    """Names without wildcards behind ``Host`` in the user's OpenSSH configuration, and in what it includes."""
    aliases: dict[str, None] = {}
    waiting, seen = [config or Path(os.path.expanduser("~/.ssh/config"))], set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        try:
            text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
        except OSError:
            continue
        for keyword, rest in re.findall(r"(?im)^\s*(host|include)\s*[=\s]\s*(.+)$", text):
            words = rest.replace('"', " ").split()
            if keyword.lower() == "include":
                found = [Path(os.path.expanduser("~/.ssh"), os.path.expanduser(word)) for word in words]
                waiting += [Path(name) for pattern in found for name in sorted(glob.glob(str(pattern)))]
            else:
                aliases.update(dict.fromkeys(word for word in words if not re.search(r"[*?!]", word)))
    return list(aliases)
