"""Writing a capture's directory (docs/architecture.md, A capture on disk). ``capture.json`` comes last."""

from __future__ import annotations

import gzip
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jvbtune import __version__
from jvbtune.errors import StoreError
from jvbtune.store.atomic import write_bytes, write_json

SCHEMA_VERSION = 1
DOCUMENT = "capture.json"


def captures_directory(explicit: Path | None = None) -> Path:
    """Where captures without a run are kept.

    ``--captures-dir``, else ``$JVBTUNE_CAPTURES``, else ``flamegraphs`` of a checkout, else XDG's data directory.
    """
    if explicit is not None:
        return explicit
    if from_environment := os.environ.get("JVBTUNE_CAPTURES"):
        return Path(from_environment)
    if Path("flamegraphs").is_dir():
        return Path("flamegraphs")
    data_home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(data_home) / "jvbtune" / "flamegraphs"


def write_capture(
    directory: Path, document: Mapping[str, Any], stacks: Sequence[bytes], further: Mapping[str, bytes] | None = None
) -> Path:
    """Store a capture below ``directory``; its path. ``stacks`` are the slices' collapsed files, in order.

    ``document`` lacks ``schema_version``, ``id``, ``jvbtune_version`` and the slices' ``file``: they are added.
    """
    name = "-".join(
        re.sub(r"[^A-Za-z0-9._-]+", "-", str(document[key])).strip("-.") for key in ("host", "engine", "event")
    )
    base = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(document['created_unix']))}-{name}"
    path = directory / base
    for _ in range(100):
        try:
            path.mkdir(parents=True)
            break
        except FileExistsError:
            path = directory / f"{base}-{secrets.token_hex(2)}"
        except OSError as error:
            raise StoreError(f"{path}: cannot be made: {error.strerror}") from error
    else:
        raise StoreError(f"{directory}: no free name for a capture")
    slices = []
    for index, (content, one) in enumerate(zip(stacks, document["slices"], strict=True)):
        file = f"slice-{index:02}.collapsed.gz"
        write_bytes(path / file, gzip.compress(content, 9, mtime=0))
        slices.append({"file": file, **one})
    for file, content in (further or {}).items():
        write_bytes(path / file, content)
    whole = {
        "schema_version": SCHEMA_VERSION,
        "id": path.name,
        "jvbtune_version": __version__,
        **document,
        "slices": slices,
    }
    write_json(path / DOCUMENT, whole)
    return path
