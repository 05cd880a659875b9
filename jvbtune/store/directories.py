"""What the directories of runs and of fleet runs share: a free name, a manifest, and the lock of the one writer."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from jvbtune.errors import StoreError
from jvbtune.protocol.codec import ProtocolError, without_halves
from jvbtune.store.atomic import PRIVATE_DIRECTORY, PRIVATE_FILE
from jvbtune.text import clean

LOCK = "lock"
NOT_AFFECTED = "The others are not affected."
DAMAGED_HINT = f"Restore it from a copy, delete it, or move it away. {NOT_AFFECTED}"
LAST_MOMENT = 253402300799.0  #: of the year 9999


class Damaged(StoreError):
    """A record whose manifest cannot be read. ``name``: of its directory, which begins with the time of its start."""

    def __init__(self, name: str, error: StoreError) -> None:
        super().__init__(error.message, hint=error.hint or DAMAGED_HINT)
        self.name = name

    @property
    def may_be_latest(self) -> bool:
        """Whether its name has the time of a start: a directory of any other name is nobody's latest."""
        return re.search(r"(^|-)[0-9]{8}-[0-9]{6}-", self.name) is not None


class Record(Protocol):
    @property
    def id(self) -> str: ...


R = TypeVar("R", bound=Record)


def chosen(reference: str, found: Sequence[R], damaged: Iterable[Damaged], what: str) -> R | None:
    """The record that ``reference`` names: ``latest``, an id or the beginning of one. ``found``: newest first. None:
    there is none.

    Raises StoreError if it is the beginning of several, and Damaged for one that cannot be read: also for ``latest``
    if a newer one, by the time in its name, cannot, so that an older one never passes for the latest.
    """
    if reference == "latest":
        for one in damaged:
            if not found or (one.may_be_latest and one.name > found[0].id):
                raise one
        return found[0] if found else None
    matches = {one.id: one for one in found if one.id.startswith(reference)}
    broken = {one.name: one for one in damaged if one.name.startswith(reference)}
    if reference in matches:
        return matches[reference]
    names = sorted({*matches, *broken})
    if len(names) > 1:
        hint = f"One of: {', '.join(names[:8])}"
        raise StoreError(f"{reference!r} is the beginning of {len(names)} {what}", hint=hint)
    for error in broken.values():
        raise error
    return matches[names[0]] if names else None


def new_directory(parent: Path, base: str, what: str) -> Path:
    """A directory of that name, or of a longer one if it is taken. ``what``: for messages. Raises StoreError."""
    for attempt in range(100):
        path = parent / (base if attempt == 0 else f"{base}-{secrets.token_hex(2)}")
        try:
            path.mkdir(mode=PRIVATE_DIRECTORY, parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            hint = "Choose another one: --runs-dir or JVBTUNE_RUNS."
            raise StoreError(f"{path}: cannot be made: {error.strerror}", hint=hint) from error
        return path
    raise StoreError(f"{parent}: no free name for {what}")


def take_lock(directory: Path, refusal: str) -> int:
    """The descriptor that holds the lock of a directory's one writer. Raises StoreError with ``refusal`` if another
    one has it."""
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreError(f"{directory}: {refusal}") from error
    return descriptor


def is_locked(directory: Path) -> bool:
    """Whether a directory's writer is at it."""
    try:
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_manifest(path: Path, version: int) -> dict[str, Any]:
    """A manifest of that schema version, begun by this or another jvbtune. Raises StoreError."""
    manifest = read_json(path)
    found = manifest.get("schema_version")
    if type(found) is not int:
        raise StoreError(f"{path}: damaged: it has no schema_version", hint=DAMAGED_HINT)
    if found != version:
        wrote = clean(str(manifest.get("jvbtune_version", "of unknown version")))
        raise StoreError(
            f"{path}: schema_version {found!r}, but this jvbtune reads {version}",
            hint=f"It was written by jvbtune {wrote}. Read it with that version, or move it away. {NOT_AFFECTED}",
        )
    return manifest


def is_moment(value: Any) -> bool:
    """Whether it is a Unix time that a clock can show."""
    return type(value) in (int, float) and 0 <= value <= LAST_MOMENT


def read_json(path: Path) -> dict[str, Any]:
    """An object. Raises StoreError."""
    try:
        content = path.read_bytes()
        value = without_halves(content, json.loads(content))
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}", hint=DAMAGED_HINT) from error
    except (ValueError, RecursionError, ProtocolError) as error:
        raise StoreError(f"{path}: not JSON: {error}", hint=DAMAGED_HINT) from error
    if not isinstance(value, dict):
        raise StoreError(f"{path}: not a JSON object", hint=DAMAGED_HINT)
    return value
