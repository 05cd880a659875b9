"""Writing a capture's directory (docs/architecture.md, A capture on disk). ``capture.json`` comes last."""

from __future__ import annotations

import gzip
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jvbtune import __version__
from jvbtune.errors import StoreError
from jvbtune.store.atomic import PRIVATE_DIRECTORY, PRIVATE_FILE, write_bytes, write_json
from jvbtune.store.places import kept_in

SCHEMA_VERSION = 1
DOCUMENT = "capture.json"


def captures_directory(explicit: Path | None = None) -> Path:
    """Where captures without a run are kept.

    ``--captures-dir``, else ``$JVBTUNE_CAPTURES``, else ``flamegraphs`` of a checkout, else XDG's data directory.
    """
    return kept_in(explicit, "JVBTUNE_CAPTURES", "flamegraphs", "flamegraphs")


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
            path.mkdir(mode=PRIVATE_DIRECTORY, parents=True)
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
        write_bytes(path / file, gzip.compress(content, 9, mtime=0), mode=PRIVATE_FILE)
        slices.append({"file": file, **one})
    for file, content in (further or {}).items():
        write_bytes(path / file, content, mode=PRIVATE_FILE)
    whole = {
        "schema_version": SCHEMA_VERSION,
        "id": path.name,
        "jvbtune_version": __version__,
        **document,
        "slices": slices,
    }
    write_json(path / DOCUMENT, whole, mode=PRIVATE_FILE)
    return path


def capture_documents(directory: Path) -> list[dict[str, Any]]:
    """The documents of a run directory's captures, in the order in which they were taken; each with its ``path``."""
    found = [_document(path) for path in sorted((directory / "captures").glob("*/capture.json"))]
    return sorted(found, key=lambda one: float(one["created_unix"]))


def _document(path: Path) -> dict[str, Any]:
    """Raises StoreError for what is no capture's document."""
    try:
        document = json.loads(path.read_bytes())
        return {**document, "path": str(path.parent), "created_unix": float(document["created_unix"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{path}: not the document of a capture: {error or type(error).__name__}") from error
