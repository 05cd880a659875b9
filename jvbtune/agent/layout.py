"""Where an export goes on this host, and what its files become: pure, but for reading them.

- sysctls: ``/etc/sysctl.d/60-jvbtune.conf``;
- a bridge of the Debian package, or started by a command: ``jvbtune.conf`` beside its configuration, which includes it;
- a bridge in a container: a section, between two marks, in the file of the host that the container includes.

What root would load is checked line by line: only assignments of settings that are known, with numbers for values.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass

from jvbtune.agent.errors import AgentFault
from jvbtune.agent.generations import read_file
from jvbtune.agent.overlay import root_brace
from jvbtune.agent.settings import ICE4J_BUFFER, SETTINGS, canonical

DROP_IN = "/etc/sysctl.d/60-jvbtune.conf"
INCLUDED = "jvbtune.conf"
BEGIN_MARK = "# ---- begin: jvbtune ----"
END_MARK = "# ---- end: jvbtune ----"
MAX_TEXT_BYTES = 1 << 16

_NUMBER = r"[0-9]{1,10}"
_HOCON_LINES = re.compile(
    "|".join(
        (
            r"videobridge\.load-management\.load-measurements \{",
            r'  load-measurement = "packet-rate"',
            r"  packet-rate \{",
            rf"    (?:load|recovery)-threshold = {_NUMBER}",
            r"  \}",
            r"\}",
            r"videobridge\.load-management\.average-participant-stress = 0\.[0-9]{1,8}",
            rf"{re.escape(ICE4J_BUFFER)} = {_NUMBER}",
        )
    )
)
#: Where sysctl --system looks (sysctl(8)); of two files of one name the first directory's counts.
SYSCTL_DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")


@dataclass(frozen=True)
class Target:
    """One file, as it is and as it is to be. ``block``: our own lines in a file that belongs to somebody else.

    ``holds``: our settings are in it; otherwise it only includes them.
    """

    path: str
    before: bytes | None
    after: bytes
    mode: int
    owner: tuple[int, int]
    block: str = ""
    holds: bool = True

    @property
    def same_settings(self) -> bool:
        """Whether nothing but comments changes."""
        return self.before is not None and settings_of(self.before) == settings_of(self.after)


def check_texts(drop_in: str, sysctls: dict[str, str], *hocon: str) -> None:
    """Raises AgentFault for a line that is no comment and no assignment of a known setting."""
    found = {}
    for number, line in _lines(drop_in, "the sysctl file"):
        name, separator, value = line.partition(" = ")
        try:
            if not separator or canonical(name, value) != value or name == ICE4J_BUFFER:
                raise ValueError(f"{line[:80]!r} is not NAME = VALUE in canonical form")
        except ValueError as error:
            raise AgentFault("usage", f"the sysctl file, line {number}: {error}") from None
        found[name] = value
    if found != sysctls:
        raise AgentFault("usage", "the sysctl file does not set exactly the values that were named with it")
    for text in hocon:
        for number, line in _lines(text, "the bridge's file"):
            if not _HOCON_LINES.fullmatch(line):
                raise AgentFault("usage", f"the bridge's file, line {number}: {line[:80]!r} is no setting of an export")


def _lines(text: str, what: str) -> list[tuple[int, str]]:
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise AgentFault("usage", f"{what} is larger than {MAX_TEXT_BYTES >> 10} KiB")
    if BEGIN_MARK in text or END_MARK in text or re.search(r"[^\n -~\u00a1-\uffff]", text):
        raise AgentFault("usage", f"{what} has a mark of jvbtune's own or a control character in it")
    return [(at, line) for at, line in enumerate(text.split("\n"), 1) if line and not line.startswith("#")]


def drop_in_target(text: str, sysctls: dict[str, str], path: str = DROP_IN) -> Target | None:
    """None: no sysctl is set, and no file of ours is there."""
    before = read_file(path)
    if not sysctls and before is None:
        return None
    return Target(path, before, text.encode(), 0o644, (0, 0))


def included_targets(config_file: str, text: str) -> list[Target]:
    """``jvbtune.conf`` beside the bridge's configuration, then the configuration that includes it. Of a link, beside
    the link: that is where the bridge looks (Typesafe Config resolves an include beside the path that it was given)."""
    beside, config_file = os.path.dirname(os.path.abspath(config_file)), os.path.realpath(config_file)
    stat = os.stat(config_file)
    mode, owner = stat.st_mode & 0o7777, (stat.st_uid, stat.st_gid)
    included = os.path.join(beside, INCLUDED)
    block = f'{BEGIN_MARK}\ninclude "{INCLUDED}"\n{END_MARK}\n'
    before = _required(config_file)
    after = before if includes(before) else with_block(config_file, before, block)
    return [
        Target(included, read_file(included), text.encode(), mode, owner),
        Target(config_file, before, after, mode, owner, block, holds=False),
    ]


def section_target(path: str, text: str) -> Target:
    """The section in a file that a container includes."""
    path = os.path.realpath(path)
    stat, before = os.stat(path), _required(path)
    block = f"{BEGIN_MARK}\n{text}{END_MARK}\n"
    after = with_block(path, without_blocks(before), block)
    return Target(path, before, after, stat.st_mode & 0o7777, (stat.st_uid, stat.st_gid), block)


def _required(path: str) -> bytes:
    found = read_file(path)
    if found is None:
        raise AgentFault("tuning", f"{path} is not there")
    return found


def includes(content: bytes) -> bool:
    """Whether a configuration includes our file already, by whoever wrote the line."""
    text = re.sub(r"(?m)^\s*(?://|#).*$", "", content.decode("utf-8", "replace"))
    return re.search(rf'(?m)(?:^|[\s{{,])include\s+(?:file\s*\(\s*)?"(?:\./)?{re.escape(INCLUDED)}"', text) is not None


def with_block(path: str, content: bytes, block: str) -> bytes:
    """HOCON with a block at its end, where the last one wins; inside the braces if the root has them.

    Raises AgentFault for a file to which nothing can be added.
    """
    if path.endswith((".json", ".properties")) or b"\0" in content:
        raise AgentFault(
            "tuning",
            f"{path} is not HOCON, so nothing can be included in it",
            "Set the values of `jvbtune export --format jvb-conf` in it by hand.",
        )
    text = content.decode("utf-8", "surrogateescape")
    try:
        end = root_brace(text)
    except ValueError as error:
        raise AgentFault("tuning", f"{path} is not HOCON that a bridge can read: {error}", "Mend the file.") from error
    if end is None:
        added = text + ("" if not text or text.endswith("\n") else "\n") + block
    else:
        head = text[:end]
        added = head + ("" if head.endswith("\n") else "\n") + block + text[end:]
    return added.encode("utf-8", "surrogateescape")


def without_blocks(content: bytes) -> bytes:
    """A file without what jvbtune added to it between its marks."""
    text = content.decode("utf-8", "surrogateescape")
    return re.sub(rf"(?ms)^{re.escape(BEGIN_MARK)}\n.*?^{re.escape(END_MARK)}\n", "", text).encode(
        "utf-8", "surrogateescape"
    )


def overriding(
    names: list[str], own: str = DROP_IN, directories: tuple[str, ...] = SYSCTL_DIRECTORIES
) -> dict[str, str]:
    """Which file sets a sysctl after ours at the next boot: the kernel would then lose our value."""
    files: dict[str, str] = {}
    for directory in directories:
        try:
            for name in os.listdir(directory):
                if name.endswith(".conf"):
                    files.setdefault(name, os.path.join(directory, name))
        except OSError:
            continue
    later = [path for name, path in sorted(files.items()) if name > os.path.basename(own)]
    found = {}
    for path in [*later, "/etc/sysctl.conf"] if own == DROP_IN else later:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read(MAX_TEXT_BYTES)
        except OSError:
            continue
        for name in names:
            dotted = re.escape(name).replace(r"\.", "[./]")
            if name in SETTINGS and re.search(rf"(?m)^\s*-?{dotted}\s*=", text):
                found[name] = path
    return found


def settings_of(content: bytes) -> list[bytes]:
    """The lines that are no comments."""
    return [
        line.strip() for line in content.splitlines() if line.strip() and not line.lstrip().startswith((b"#", b"//"))
    ]


def dumped(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
