"""The agent as one archive: the same bytes from the same sources, named by their hash."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib import resources

#: So that the bytes depend on the sources alone (zip's earliest date).
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_MAIN = "import sys\n\nfrom jvbtune.agent.main import main\n\nsys.exit(main())\n"


@dataclass(frozen=True)
class Archive:
    content: bytes
    sha256: str

    @property
    def name(self) -> str:
        return f"agent-{self.sha256[:16]}.pyz"


@cache
def agent_archive() -> Archive:
    """A zip that ``python3`` runs: ``jvbtune/agent`` and an empty ``jvbtune`` around it."""
    files = {"__main__.py": _MAIN.encode(), "jvbtune/__init__.py": b""}
    for entry in resources.files("jvbtune.agent").iterdir():
        if entry.name.endswith(".py"):
            files[f"jvbtune/agent/{entry.name}"] = entry.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _TIMESTAMP)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, files[name])
    content = buffer.getvalue()
    return Archive(content, hashlib.sha256(content).hexdigest())
