"""Files that are whole or not there, and stay after a power cut."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

#: What a run or a capture holds is its owner's: statistics of calls, a host's configuration.
PRIVATE_DIRECTORY, PRIVATE_FILE = 0o700, 0o600


def write_bytes(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace ``path`` by ``content``: written beside it, flushed to disk, renamed, the directory flushed.

    ``mode``: the new file's, less the umask.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def write_json(path: Path, value: Any, *, mode: int = 0o666) -> None:
    """Like ``write_bytes``, of ``value`` as readable JSON."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=False, default=str) + "\n").encode(), mode=mode)


def sync_directory(path: Path) -> None:
    """Flush a directory's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
