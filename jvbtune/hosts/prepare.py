"""What an administrator puts on a host, so that a login needs one right only: to start jvbtune's agent as root.

    python3 -m jvbtune.hosts.prepare DIRECTORY USER

writes the agent's archive and the sudoers file into a directory; ``playbooks/prepare.yml`` puts them in their places.
The archive's name has its hash, and it lies where only root can write, so the line permits exactly this agent. What
the agent does as root is bounded by its operations, not by sudo: docs/threats.md.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from jvbtune.errors import UsageError
from jvbtune.hosts.agent_client import ROOT_DIRECTORIES, agent_argv
from jvbtune.hosts.archive import agent_archive
from jvbtune.store.atomic import write_bytes

#: A name as useradd(8) takes it; sudoers(5) has a meaning for much else.
_USER = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3", "/bin/python3")


def sudoers(user: str) -> str:
    """The lines that permit a login to start this version's agent, and nothing else. Raises UsageError."""
    if not _USER.fullmatch(user) or user == "root":
        raise UsageError(f"{user!r} is not the name of a login that needs sudo")
    path = f"{ROOT_DIRECTORIES[0]}/{agent_archive().name}"
    lines = [
        "# jvbtune: one login may start jvbtune's agent as root, and run nothing else.",
        f"Defaults:{user} !requiretty",
        *(f"{user} ALL=(root) NOPASSWD: {' '.join((python, *agent_argv(path)[1:]))}" for python in PYTHONS),
    ]
    return "\n".join(lines) + "\n"


def write(directory: Path, user: str) -> None:
    """The archive under its name, and ``sudoers``."""
    archive, text = agent_archive(), sudoers(user)
    directory.mkdir(parents=True, exist_ok=True)
    write_bytes(directory / archive.name, archive.content)
    write_bytes(directory / "sudoers", text.encode())


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2])
