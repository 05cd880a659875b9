"""The way back from an apply: its files and values as they were, by the manifest. Safe to begin again at any point.

As for a sweep's put-back: compare and swap (what somebody else changed in the meantime is reported and left), a restart
only if the bridge's process was started under the new files or values and right after a look that found no call, and
the undrain as the last act.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from jvbtune.agent import calls, layout
from jvbtune.agent import sysctl as settings
from jvbtune.agent.control import Bridge
from jvbtune.agent.deployplan import Places
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.generations import Manifest, clear_temporaries, digest, read_file, write_whole
from jvbtune.agent.procfs import now_ticks
from jvbtune.protocol import deploy as messages

BUSY_HINT = "Wait until they have left, or run the command again with a longer --drain-timeout."


def roll_back(places: Places, manifest: Manifest, bridge: Bridge) -> messages.Restored:
    """Safe to begin again at any point; the caller holds the lock."""
    refuse_damaged(places, manifest)
    due = restart_due(manifest, bridge)
    if due and not bridge.gone(manifest["arrival"]):
        empty(bridge)
    if manifest["state"] != "restoring":
        set_state(places, manifest, "restoring")
    clear_temporaries(manifest)
    foreign: list[str] = []
    files = [
        text for at, entry in enumerate(manifest["files"]) for text in _restore(places, manifest, at, entry, foreign)
    ]
    values = _restore_values(places, manifest, foreign)
    if "restored_ticks" not in manifest:
        manifest["restored_ticks"] = now_ticks()
        places.generations.write(manifest)
    restarted = False
    if restart_due(manifest, bridge):
        if not bridge.gone(manifest["arrival"]):
            empty(bridge)
        bridge.restart()
        bridge.wait_until_healthy()
        restarted = True
    undrained = undrain(manifest, bridge)
    set_state(places, manifest, "rolled back")
    places.generations.remove(manifest)
    return messages.Restored(str(manifest["run_id"]), files, values, foreign, restarted, undrained)


def empty(bridge: Bridge) -> None:
    """Before each restart: drained, again if somebody undid that, and then known to have no calls. Raises AgentFault,
    with kind ``busy``."""
    if not bridge.draining():
        bridge.drain(True)
    calls.refuse_calls(bridge, BUSY_HINT)


def restart_due(manifest: Manifest, bridge: Bridge) -> bool:
    """Whether the bridge's process was started while the new files or values were there."""
    if not manifest["restart"] or manifest["state"] == "drained":
        return False
    now = bridge.identity()
    if now is None:
        return True
    if list(now) == list(manifest["arrival"] or ()):
        return False
    clean = manifest.get("restored_ticks")
    return clean is None or now[1] <= int(clean)


def _restore(places: Places, manifest: Manifest, at: int, entry: dict[str, Any], foreign: list[str]) -> Iterator[str]:
    """One file as it was; what somebody edited since then is kept, less our own lines."""
    path, found = entry["path"], read_file(entry["path"])
    if digest(found) == entry["before"]:
        return
    if digest(found) == entry["after"]:
        if entry["before"] is None:
            os.unlink(path)
        else:
            put(entry, _before(places, manifest, at, found), tuple(entry["owner"]), entry["mode"])
        yield path
        return
    if _has_our_block(entry, found):
        assert found is not None
        stat = os.stat(path)
        owner, mode = (stat.st_uid, stat.st_gid), stat.st_mode & 0o7777
        put(entry, layout.without_blocks(found), owner, mode)
    foreign.append(_edited(entry, found))


def _before(places: Places, manifest: Manifest, at: int, found: bytes | None) -> bytes:
    """What a file was. Where the kept copy is damaged: what it is now, less our lines, if it has any."""
    entry = manifest["files"][at]
    try:
        return places.generations.kept(manifest, at)
    except AgentFault as damaged:
        if _has_our_block(entry, found):
            assert found is not None
            return layout.without_blocks(found)
        raise AgentFault(
            "tuning",
            f"{entry['path']} cannot be restored: {damaged.message}. Nothing was taken back",
            f"Put {entry['path']} right by hand, then run the command again: what was edited is left as it is.",
        ) from damaged


def refuse_damaged(places: Places, manifest: Manifest) -> None:
    """Raises AgentFault for a file that cannot be restored, before anything is drained or changed."""
    for at, entry in enumerate(manifest["files"]):
        found = read_file(entry["path"])
        if entry["before"] is not None and digest(found) == entry["after"]:
            _before(places, manifest, at, found)


def _has_our_block(entry: dict[str, Any], found: bytes | None) -> bool:
    block = str(entry["block"]).encode()
    return found is not None and bool(block) and block in found


def _edited(entry: dict[str, Any], found: bytes | None) -> str:
    if _has_our_block(entry, found):
        return f"{entry['path']} was edited after the apply: the edit is kept, and jvbtune's lines are removed"
    return f"{entry['path']} was edited after the apply, so it is left as it is"


def changed_since(places: Places, manifest: Manifest) -> dict[str, str]:
    """Files and settings that somebody else changed after the apply -> what a rollback does about each."""
    changed = {}
    for at, entry in enumerate(manifest["files"]):
        found = read_file(entry["path"])
        if digest(found) not in (entry["before"], entry["after"]):
            changed[str(entry["path"])] = _edited(entry, found)
        elif entry["before"] is not None and digest(found) == entry["after"]:
            try:
                _before(places, manifest, at, found)
            except AgentFault as damaged:
                changed[str(entry["path"])] = f"{damaged.message}. {damaged.hint}"
    for name, (before, after) in manifest["values"].items():
        value = settings.read(name, places.sysctl_root)
        if value not in (before, after):
            changed[name] = _foreign_value(name, value)
    return changed


def _foreign_value(name: str, found: str) -> str:
    return f"{name} is {found}: somebody else changed it, so it is left as it is"


def _restore_values(places: Places, manifest: Manifest, foreign: list[str]) -> dict[str, str]:
    restored = {}
    for name, (before, after) in manifest["values"].items():
        found = settings.read(name, places.sysctl_root)
        if found == after and found != before:
            settings.write(name, before, places.sysctl_root)
            restored[name] = before
        elif found != before:
            foreign.append(_foreign_value(name, found))
    return restored


def put(entry: dict[str, Any], content: bytes, owner: Any, mode: int) -> None:
    try:
        before = os.stat(entry["path"]) if entry.get("quiet") else None
        write_whole(entry["path"], content, mode, owner)
        if before is not None:  # only comments change: the bridge need not be restarted for them
            os.utime(entry["path"], ns=(before.st_atime_ns, before.st_mtime_ns))
    except OSError as error:
        raise AgentFault("tuning", f"{entry['path']} cannot be written: {error.strerror}") from error


def undrain(manifest: Manifest, bridge: Bridge | None = None) -> bool:
    """The drain mode as the rollback found it, or else the apply. Whether the bridge takes conferences by that now."""
    bridge = bridge or Bridge(manifest["bridge"])
    if bridge.gone(manifest["arrival"]):
        return False
    found = bool(manifest.get("rollback_drain_found", manifest["drain_found"]))
    if bridge.draining() != found:
        bridge.drain(found)
        return not found
    return False


def set_state(places: Places, manifest: Manifest, state: str) -> None:
    manifest["state"] = state
    try:
        places.generations.write(manifest)
    except OSError as error:
        raise AgentFault("tuning", f"the manifest cannot be written: {error.strerror}") from error
