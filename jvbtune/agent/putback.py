"""Putting a host back from its journal: by the agent, the guard, or by hand. Safe to begin again at any point.

The order: settings, the configuration, then the bridge: a restart while it is drained, health, and the undrain as the
last act before the journal goes.

- A value is restored only where the one in force is one that jvbtune wrote (compare and swap); what somebody else
  changed in the meantime is reported and left.
- The bridge is restarted only if its process was started under swept values, and only right after a look that found no
  call on it (``calls``). It is never undrained while a swept value is in force.
- What cannot be done leaves the journal, with what is pending in it. Guard and timer try again, ``MAX_TRIES`` times;
  they never repeat a restart that was tried, nor one that calls were in the way of: ``jvbtune revert`` does.
"""

from __future__ import annotations

import time
from typing import Any

from jvbtune.agent import calls, overlay
from jvbtune.agent import sysctl as settings
from jvbtune.agent.control import Bridge
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.journal import Journal, Record
from jvbtune.agent.procfs import now_ticks

#: Of the agent, the guard and the timer together; each waits longer than the one before.
MAX_TRIES = 6
#: A bridge that boots is up after so long, on a slow host (``control.HEALTHY_TIMEOUT_SECONDS``).
BOOT_SECONDS, BOOT_LOOK_SECONDS = 60.0, 0.5
#: Restarts that were begun by a process that was killed in the middle of it.
MAX_BEGUN = 2


def put_back(
    journal: Journal,
    boot_id: str,
    by: str,
    root: str = "/proc/sys",
    *,
    by_hand: bool = False,
    control: dict[str, Any] | None = None,
    remembered: Record | None = None,
) -> Record:
    """Undo everything that the journal tells of; the caller holds the lock. The report; empty: nothing was to be done.

    ``by_hand``: somebody asked for it, so that what was tried in vain is tried again. ``control``: of the inventory,
    in place of the journal's. ``remembered``: for a journal that is gone, and cannot be written again.

    Keys: ``restored`` {name: value}, ``foreign`` {name: {found, ours, baseline}}, ``failed`` [text], ``pending`` (why
    the bridge was not restarted yet, or None), ``restarted``, ``not_restarted`` (why a person's revert went on without
    it), ``undrained``, ``notes``, ``rebooted``, ``by``, ``complete``.
    """
    record = journal.read() or remembered
    if record is None:
        return {}
    report: Record = {
        "run_id": record["run_id"],
        "created_unix": record["created_unix"],
        "owner": record["owner"],
        "by": by,
        "unix": time.time(),
        "restored": {},
        "unchanged": [],
        "foreign": {},
        "failed": [],
        "notes": [],
        "pending": None,
        "restarted": False,
        "not_restarted": None,
        "undrained": False,
        "rebooted": record["boot_id"] != boot_id,
    }
    if not report["rebooted"]:
        # Sysctls, mounts in /run and the bridge's drain mode are gone with the boot that they were made in.
        record["tries"] = int(record.get("tries") or 0) + 1
        _sysctls(record, report, root)
        _overlay(record, report)
        if report["failed"]:
            if record["bridge"] is not None and record.get("drained"):
                report["notes"].append("the bridge stays drained while swept values are in force")
        else:
            if "clean_ticks" not in record:
                record["clean_ticks"] = now_ticks()
                journal.progress(record)
            _bridge(journal, record, report, by_hand, control)
    report["complete"] = not report["failed"] and not report["pending"]
    if report["complete"]:
        try:
            journal.finish(report)
        except OSError as error:
            report["complete"] = False
            report["failed"].append(f"{journal.path} cannot be removed: {error.strerror}")
    else:
        record["failed"], record["pending"] = report["failed"], report["pending"]
        journal.progress(record)
    return report


def given_up(record: Record) -> bool:
    """Whether guard and timer leave this journal to a person."""
    return int(record.get("tries") or 0) >= MAX_TRIES or bool(record.get("pending"))


def _sysctls(record: Record, report: Record, root: str) -> None:
    for name, written in record["written"].items():
        baseline = record["baseline"][name]
        try:
            found = settings.read(name, root)
            if found == baseline:
                report["unchanged"].append(name)
            elif is_ours(found, written, baseline):
                settings.write(name, baseline, root)
                report["restored"][name] = baseline
            else:
                report["foreign"][name] = {"found": found, "ours": written, "baseline": baseline}
        except AgentFault as fault:
            report["failed"].append(fault.message)


def is_ours(found: str, written: list[str], baseline: str) -> bool:
    """Whether a value is one that was written, or one of several numbers that the kernel took in part (udp_mem)."""
    if found in written:
        return True
    numbers = found.split()
    if len(numbers) < 2:
        return False
    known = [value.split() for value in [*written, baseline]]
    return all(number in {value[at] for value in known if at < len(value)} for at, number in enumerate(numbers))


def _overlay(record: Record, report: Record) -> None:
    if not record.get("overlay"):
        return
    try:
        if overlay.unmount(record["overlay"], record["run_id"]):
            report["restored"][settings.RECEIVE_BUFFER] = "the configuration file as it was"
        for path in overlay.edits(record["run_id"]):
            report["notes"].append(
                f"{record['overlay']} was edited during the sweep; the file is as it was before, the edit is in {path}"
            )
    except (AgentFault, OSError) as fault:
        report["failed"].append(f"{record['overlay']}: {fault}")


def _bridge(journal: Journal, record: Record, report: Record, by_hand: bool, control: dict[str, Any] | None) -> None:
    """Restart the bridge where it took its sockets under swept values, and undo the drain; the settings are back."""
    if record["bridge"] is None:
        return  # the settings of a profile: the bridge was not touched
    bridge = Bridge({**record["bridge"], "control": control or record["bridge"].get("control")})
    if restart_due(record, bridge) and not _restart(journal, record, report, bridge, by_hand):
        return
    _undrain(record, report, bridge, by_hand)


def restart_due(record: Record, bridge: Bridge) -> bool:
    """Whether the bridge's process was started under swept values. The process itself tells: the one found on arrival
    was not, nor is one that was started while the baseline was in force, or after all settings were back."""
    if not record.get("written") and not record.get("overlay"):
        return False  # nothing was changed
    if not record.get("arrival"):
        return bool(record.get("bridge_restarted"))  # a journal of an earlier version
    now = bridge.identity()
    if now is None:
        return True
    if list(now) in (record["arrival"], record.get("clean_bridge")):
        return False
    clean = record.get("clean_ticks")
    return clean is None or now[1] <= int(clean)


def _restart(journal: Journal, record: Record, report: Record, bridge: Bridge, by_hand: bool) -> bool:
    """Whether the bridge may be undrained now. Never restarts under calls, and by itself never twice."""
    if not by_hand:
        begun = int(record.get("put_back_begun") or 0)
        reason = record.get("pending") or ("its restart was interrupted twice" if begun >= MAX_BEGUN else None)
        if reason:
            report["pending"] = reason
            return False
    if not _gone(record, bridge):
        _drain(record, bridge)
        found = calls.look_after_refresh(bridge)
        if not found.free:
            report["pending"] = f"{found.text()}, and it is to be restarted for its own settings"
            return False
    record["put_back_begun"] = int(record.get("put_back_begun") or 0) + 1
    journal.progress(record)
    try:
        bridge.restart()
    except AgentFault as fault:
        why = f"the bridge could not be restarted: {fault.message}"
        if not by_hand:
            report["pending"] = why
            return False
        report["not_restarted"] = f"{why}. Its sockets keep the swept buffer until you restart it"
        return True  # it takes calls again all the same: a person decided so
    report["restarted"] = True
    return True


def _drain(record: Record, bridge: Bridge) -> None:
    """No new conference from here on: somebody may have undone the drain, or started it again. One that was started by
    somebody else may still boot; once it is up it takes calls under swept values, so its answer is waited for. What
    does not answer in the end is left to the look, which then knows of no one."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        if bridge.keep_drained():
            return
        now = bridge.identity()
        seen = [list(one) for one in (record.get("arrival"), record.get("last_bridge")) if one]
        known = now is not None and list(now) in seen
        if known or time.monotonic() >= deadline:  # one that has answered before hangs, and does not boot
            return
        time.sleep(BOOT_LOOK_SECONDS)


def _gone(record: Record, bridge: Bridge) -> bool:
    return bridge.gone(record.get("arrival"), record.get("last_bridge"))


def _undrain(record: Record, report: Record, bridge: Bridge, by_hand: bool) -> None:
    """The last act. A bridge that is not healthy stays drained, unless somebody asks for it."""
    try:
        if record.get("drain_found"):
            if not bridge.draining():
                bridge.drain(True)  # a bridge that was restarted comes back undrained
            return
        if not record.get("drained"):
            return
        if record.get("put_back_begun"):
            try:
                bridge.wait_until_healthy()
            except AgentFault as fault:
                if not by_hand:
                    raise
                report["notes"].append(fault.message)
        bridge.drain(False)
        report["undrained"] = True
    except AgentFault as fault:
        if _gone(record, bridge):
            report["notes"].append("the bridge is not running: its drain mode went with its process")
        else:
            report["failed"].append(fault.message)


def summary(record: Record) -> dict[str, Any]:
    """What of a journal is told to people who meet it."""
    keys = ("run_id", "owner", "created_unix", "boot_id", "baseline", "written", "overlay", "drained", "failed")
    return {key: record.get(key) for key in (*keys, "pending", "tries")}
