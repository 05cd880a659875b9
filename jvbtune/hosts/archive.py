"""Code for a host as one archive: the same bytes from the same sources. The agent's is named by its hash."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

#: So that the bytes depend on the sources alone (zip's earliest date).
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
#: All that is sent to a host: the agent imports nothing else of jvbtune.
PACKAGES = ("agent", "protocol")
#: Words of an agent that a too old Python ends with; the controller knows them.
TOO_OLD = "jvbtune needs 3.9 or newer"
#: Any Python parses it: the version is looked at before a module is imported that an old one does not parse.
_MAIN = f"""import sys

if sys.version_info < (3, 9):
    sys.stderr.write("python3 on the host is %d.%d, and {TOO_OLD}\\n" % tuple(sys.version_info[:2]))
    sys.exit(3)

from jvbtune.agent.main import main

sys.exit(main())
"""

#: Starts the archive that comes first on standard input, of $1 bytes, from memory: nothing is written on the host.
FROM_MEMORY = f"""\
import os, runpy, sys
sys.path[:] = [one for one in sys.path if one]  # not what happens to lie in the directory
if not hasattr(os, "memfd_create"):
    sys.stderr.write("python3 on the host is %d.%d, and {TOO_OLD}\\n" % tuple(sys.version_info[:2]))
    sys.exit(3)
left, fd = int(sys.argv[1]), os.memfd_create("jvbtune")
while left:
    data = os.read(0, min(left, 65536))
    if not data:
        sys.exit(0)
    left -= os.write(fd, data)
sys.argv = ["/proc/self/fd/%d" % fd, *sys.argv[2:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Archive:
    content: bytes
    sha256: str

    @property
    def name(self) -> str:
        return f"agent-{self.sha256[:16]}.pyz"


@cache
def agent_archive() -> Archive:
    """A zip that ``python3`` runs: the packages of ``PACKAGES`` and an empty ``jvbtune`` around them."""
    files = {"__main__.py": _MAIN.encode(), "jvbtune/__init__.py": b""}
    for package in PACKAGES:
        files.update(sources_of(package))
    content = zipped(files)
    return Archive(content, hashlib.sha256(content).hexdigest())


def sources_of(package: str) -> dict[str, bytes]:
    """The Python files of a package of jvbtune, by their names in an archive."""
    return _sources(resources.files(f"jvbtune.{package}"), f"jvbtune/{package}")


def zipped(files: Mapping[str, bytes]) -> bytes:
    """The same bytes from the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _TIMESTAMP)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, files[name])
    return buffer.getvalue()


def _sources(package: Traversable, prefix: str) -> dict[str, bytes]:
    """Every Python file of a package and of the packages in it, by its name in the archive."""
    found: dict[str, bytes] = {}
    for entry in package.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            found.update(_sources(entry, f"{prefix}/{entry.name}"))
        elif entry.name.endswith(".py"):
            found[f"{prefix}/{entry.name}"] = entry.read_bytes()
    return found
