"""What applies have changed on this host: one directory for each, with a manifest and the files as they were.

``/var/lib/jvbtune/deployed/0001/manifest.json`` and ``kept-0``, ``kept-1``…, all of them root's alone (0600): a
configuration holds passwords. The manifest is on disk before the first change and is replaced whole, so that a rollback
finds either the old state or the new one, and the way back. A later apply is a further directory.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import time
from typing import Any

from jvbtune.agent.errors import AgentFault
from jvbtune.agent.journal import sync_directory
from jvbtune.agent.procfs import start_ticks

VERSION = 1
#: Nothing of these is in force any more.
OVER = ("rolled back",)
#: How the name of a file ends that is being written.
TEMPORARY = ".jvbtune-tmp"
#: So many applies can be taken back, one after the other.
MOST = 100
#: The next apply, or a sweep, must not begin before these are finished or rolled back.
UNFINISHED = ("drained", "writing", "written", "releasing", "watching", "restoring")

Manifest = dict[str, Any]
#: Which generation a manifest is of: its number, which is given again when it is gone, and when it was created.
Which = tuple[int, float]

#: What is needed of a manifest.
KINDS: dict[str, Any] = {
    "number": int, "run_id": str, "owner": str, "state": str, "created_unix": (int, float), "agent": dict,
    "bridge": dict, "restart": bool, "drain_found": bool, "files": list, "values": dict,
}  # fmt: skip
DAMAGED = (
    "jvbtune replaces it whole, so somebody else damaged it. The files beside it are those from before: put them back "
    "by hand (docs/apply.md), then delete the directory."
)


class Generations:
    """The directory of all of them."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    @classmethod
    def of(cls, state_directory: str) -> Generations:
        """Those of a host, by the directory of its journal."""
        return cls(os.path.join(state_directory, "deployed"))

    def numbers(self) -> list[int]:
        try:
            return sorted(int(name) for name in os.listdir(self.directory) if name.isdigit())
        except FileNotFoundError:
            return []

    def path(self, number: int, name: str = "") -> str:
        return os.path.join(self.directory, f"{number:04}", name)

    def latest(self) -> Manifest | None:
        """The last one that is in force, or was begun; None: there is none. Raises AgentFault for a damaged one."""
        for number in reversed(self.numbers()):
            manifest = self._read(number)
            if manifest is not None and manifest["state"] not in OVER:
                return manifest
        return None

    def create(self, manifest: Manifest, contents: list[bytes | None]) -> Manifest:
        """Keep the files as they are (``contents``, in the order of ``manifest["files"]``), then the manifest."""
        self._prune()
        number = max(self.numbers(), default=0) + 1
        os.makedirs(self.path(number), mode=0o700)
        for at, content in enumerate(contents):
            if content is not None:
                write_whole(self.path(number, f"kept-{at}"), content, 0o600)
        self.write({**manifest, "version": VERSION, "number": number})
        sync_directory(self.directory)
        return {**manifest, "version": VERSION, "number": number}

    def write(self, manifest: Manifest) -> None:
        """Replace the manifest, flushed to disk. Raises OSError."""
        content = json.dumps(manifest, indent=1).encode()
        write_whole(self.path(int(manifest["number"]), "manifest.json"), content, 0o600)

    def kept(self, manifest: Manifest, at: int) -> bytes:
        """The content of a file as it was. Raises AgentFault if it is not what was kept."""
        path = self.path(int(manifest["number"]), f"kept-{at}")
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError as error:
            raise AgentFault("tuning", f"{path} cannot be read: {error.strerror}") from error
        if digest(content) != manifest["files"][at]["before"]:
            raise AgentFault("tuning", f"{path} is damaged: its SHA-256 is not that of the manifest")
        return content

    def _prune(self) -> None:
        """Delete what is taken back, and the oldest: kept files hold passwords."""
        for number in self.numbers():
            with contextlib.suppress(AgentFault):
                manifest = self._read(number)
                if manifest is None or manifest["state"] in OVER:
                    shutil.rmtree(self.path(number), ignore_errors=True)
        for number in self.numbers()[: -MOST + 1]:
            shutil.rmtree(self.path(number), ignore_errors=True)

    def remove(self, manifest: Manifest) -> None:
        """Delete one of which nothing is in force, and after the last one their directory."""
        shutil.rmtree(self.path(int(manifest["number"])), ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(self.directory)

    def _read(self, number: int) -> Manifest | None:
        path = self.path(number, "manifest.json")
        try:
            with open(path, encoding="utf-8") as file:
                manifest = json.load(file)
        except FileNotFoundError:
            return None  # it ended before its manifest, and so before any change
        except (OSError, ValueError) as error:
            raise AgentFault(
                "tuning",
                f"{path} cannot be read: {error}",
                DAMAGED,
            ) from error
        if not isinstance(manifest, dict) or manifest.get("version") != VERSION:
            raise AgentFault("tuning", f"{path} is of another version of jvbtune")
        wrong = [name for name, kind in KINDS.items() if not isinstance(manifest.get(name), kind)]
        if wrong or manifest["state"] not in (*UNFINISHED, "applied", *OVER):
            raise AgentFault(
                "tuning", f"{path} is damaged: {wrong[0] if wrong else 'state'} is not as jvbtune writes it", DAMAGED
            )
        return manifest


def identity(manifest: Manifest) -> Which:
    return int(manifest["number"]), float(manifest["created_unix"])


def refuse_unfinished(generations: Generations) -> None:
    """Raises AgentFault if an apply or a rollback was interrupted, or goes on."""
    latest = generations.latest()
    if latest is None:
        return
    refuse_under_way(latest)
    if "rollback_drain_found" in latest:
        what = f"a rollback of run {latest['run_id']} was begun and did not end"
        raise AgentFault("tuning", what, "Finish it first: jvbtune rollback --host HOST")
    if latest["state"] in UNFINISHED and latest["state"] != "watching":  # that is in force; only nobody watches it
        raise AgentFault(
            "tuning",
            f"{_who(latest)} was interrupted: its state is {latest['state']}",
            "Take it back first: jvbtune rollback --host HOST",
        )


def refuse_under_way(manifest: Manifest) -> None:
    """Raises AgentFault if the agent of another command is at an apply."""
    owner = manifest["agent"]
    if manifest["state"] not in UNFINISHED or owner["pid"] == os.getpid():
        return
    if start_ticks(int(owner["pid"])) == owner["start_ticks"]:
        hint = "Wait until it ends. Should it hang: jvbtune rollback --host HOST --force"
        raise AgentFault("tuning", f"{_who(manifest)} is under way", hint)


def _who(manifest: Manifest) -> str:
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(manifest["created_unix"]))
    return f"an apply of run {manifest['run_id']} by {manifest['owner']} (since {since})"


def digest(content: bytes | None) -> str | None:
    """SHA-256 in hexadecimal digits; None for a file that is not there."""
    return None if content is None else hashlib.sha256(content).hexdigest()


def read_file(path: str) -> bytes | None:
    """None: there is none. Raises AgentFault."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AgentFault("tuning", f"{path} cannot be read: {error.strerror}") from error


def clear_temporaries(manifest: Manifest) -> None:
    """Delete what a process that was killed while it wrote has left beside the files of a manifest: copies of them,
    with their passwords. The caller holds the lock, so nobody writes."""
    for entry in manifest["files"]:
        for path in glob.glob(f"{glob.escape(str(entry['path']))}.[0-9]*{TEMPORARY}"):
            with contextlib.suppress(OSError):
                os.unlink(path)


def write_whole(path: str, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Replace a file: temporary file, fsync, rename, fsync of the directory. Raises OSError, and leaves nothing but
    where it is killed: ``clear_temporaries``."""
    temporary = f"{path}.{os.getpid()}{TEMPORARY}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, 0o600)
    except FileExistsError:  # of a killed process that had this process's id
        os.unlink(temporary)
        descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(path))
