"""Putting a host back from its journal: by the agent, the guard, or by hand. Safe to begin again at any point.

A value is restored only where the one in force is one that jvbtune wrote (compare and swap); what somebody else changed
meanwhile is reported and left. What the kernel refuses is told, the rest goes on, and the journal stays.
"""

from __future__ import annotations

import time
from typing import Any

from jvbtune.agent import overlay
from jvbtune.agent import sysctl as settings
from jvbtune.agent.control import Bridge
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.journal import Journal, Record


def put_back(journal: Journal, boot_id: str, by: str, root: str = "/proc/sys") -> Record:
    """Undo everything that the journal tells of; the caller holds the lock. The report; empty: nothing was to be done.

    Keys: ``restored`` {name: value}, ``foreign`` {name: {found, ours, baseline}}, ``failed`` [text], ``restarted``,
    ``undrained``, ``rebooted``, ``by``, ``complete``.
    """
    record = journal.read()
    if record is None:
        return {}
    report: Record = {
        "run_id": record["run_id"],
        "owner": record["owner"],
        "by": by,
        "unix": time.time(),
        "restored": {},
        "unchanged": [],
        "foreign": {},
        "failed": [],
        "restarted": False,
        "undrained": False,
        "rebooted": record["boot_id"] != boot_id,
    }
    if not report["rebooted"]:
        # Sysctls, mounts in /run and the bridge's drain mode are gone with the boot that they were made in.
        _sysctls(record, report, root)
        _overlay(record, report)
        _bridge(record, report)
    report["complete"] = not report["failed"]
    if report["complete"]:
        journal.finish(report)
    else:
        record["failed"] = report["failed"]
        journal.write(record)
    return report


def _sysctls(record: Record, report: Record, root: str) -> None:
    for name, written in record["written"].items():
        baseline = record["baseline"][name]
        try:
            found = settings.read(name, root)
            if found == baseline:
                report["unchanged"].append(name)
            elif found in written:
                settings.write(name, baseline, root)
                report["restored"][name] = baseline
            else:
                report["foreign"][name] = {"found": found, "ours": written, "baseline": baseline}
        except AgentFault as fault:
            report["failed"].append(fault.message)


def _overlay(record: Record, report: Record) -> None:
    if not record.get("overlay"):
        return
    try:
        if overlay.unmount(record["overlay"], record["run_id"]):
            report["restored"][settings.RECEIVE_BUFFER] = "the configuration file as it was"
    except (AgentFault, OSError) as fault:
        report["failed"].append(f"{record['overlay']}: {fault}")


def _bridge(record: Record, report: Record) -> None:
    """A bridge that took its sockets under our values is restarted under the old ones; then the drain is undone."""
    if record["bridge"] is None:
        return  # the settings of a profile: the bridge was not touched
    bridge = Bridge(record["bridge"])
    found = bool(record.get("drain_found"))
    try:
        if record.get("bridge_restarted"):
            bridge.restart(drained=found)
            report["restarted"] = True
            report["undrained"] = bool(record.get("drained")) and not found
        elif record.get("drained") and not found:
            bridge.drain(False)
            report["undrained"] = True
    except AgentFault as fault:
        report["failed"].append(fault.message)


def summary(record: Record) -> dict[str, Any]:
    """What of a journal is told to people who meet it."""
    keys = ("run_id", "owner", "created_unix", "boot_id", "baseline", "written", "overlay", "drained", "failed")
    return {key: record.get(key) for key in keys}
