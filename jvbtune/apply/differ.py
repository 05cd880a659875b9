"""What an apply would change, as text and as JSON. Pure."""

from __future__ import annotations

import difflib
from typing import Any

from jvbtune.apply.run import Applied, Plan
from jvbtune.protocol.codec import to_json


def diff(path: str, before: str, after: str) -> str:
    """Unified, indented."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"before: {path}", f"after: {path}", n=2
    )
    return "".join("    " + (line if line.endswith("\n") else line + "\n") for line in lines)


def plan_text(plan: Plan) -> str:
    """In one line, with what tells that the figures may not hold for this host."""
    differs = f". The figures may not hold here: {'; '.join(plan.differences)}" if plan.differences else ""
    if not plan.changes:
        return f"everything is in force{differs}"
    files = len(plan.files)
    parts = [f"{files} {'file' if files == 1 else 'files'}"] if files else []
    parts += [f"{name} {value.found} -> {value.wanted}" for name, value in plan.values.items()]
    parts += ["a restart of the drained bridge"] if plan.restart else []
    return f"to change: {', '.join(parts)}{differs}"


def plan_json(host: str, plan: Plan) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "host": host,
        "run": plan.wanted.run_id,
        "changes": plan.changes,
        "files": [
            {"path": one.path, "new": one.before is None, "diff": diff(one.path, one.before or "", one.after or "")}
            for one in plan.files
        ],
        "values": {name: to_json(value) for name, value in plan.values.items()},
        "restart": plan.restart,
        "overridden": plan.planned.overridden,
        "differences": list(plan.differences),
    }


def applied_json(done: Applied) -> dict[str, Any]:
    return {
        "restarted": done.restarted,
        "generation": done.generation,
        "worse": done.worse,
        "watched_seconds": done.watched_seconds,
        "restored": None if done.restored is None else to_json(done.restored),
    }
