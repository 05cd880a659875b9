"""Who is on the bridge: jvbtune's own endpoints, told apart by name, and everybody else's calls.

What cannot be known counts as calls. Two sources, in this order:

- ``GET /debug`` lists each conference with its ``meeting_id`` and endpoints as they are at this moment (Debug.java,
  Conference.getDebugState in SHORT mode). Jicofo's meeting ids are random UUIDs, the generator's begin with ``OURS``.
- ``GET /colibri/stats`` has counts of participants and conferences, refreshed every 5 s, and no names. It is asked only
  if ``/debug`` does not answer (``videobridge.rest.debug.enabled = false``); then everybody counts as somebody else.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

from jvbtune.agent.errors import AgentFault

#: What meeting ids of the generator's conferences begin with, and the stats-id of its endpoints.
OURS, OUR_STATS_ID = "jvbtune-", "jvbtune"
#: A bridge refreshes its stats every 5 s (``videobridge.stats.interval``).
REFRESH_SECONDS = 5.5


class Asked(Protocol):
    def check_answering(self) -> None: ...
    def ask_json(self, path: str) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Calls:
    """``foreign``: other people's participants, at least 1 for each of their conferences; None: not known."""

    foreign: int | None
    ours: int = 0
    conferences: int = 0  #: other people's
    by_name: bool = False  #: by ``/debug``: exact, and of this moment
    why_unknown: str = ""

    @property
    def free(self) -> bool:
        return self.foreign == 0

    def text(self) -> str:
        """For people: what is in the way."""
        if self.foreign is None:
            return f"it is not known whether calls are on the bridge: {self.why_unknown}"
        several = "s are" if self.foreign != 1 else " is"
        return f"{self.foreign} participant{several} on the bridge"

    def to_json(self) -> dict[str, Any]:
        return {"foreign": self.foreign, "ours": self.ours, "by_name": self.by_name, "text": self.text()}


def look(bridge: Asked) -> Calls:
    """Who is on the bridge as far as it says now. Never raises: a bridge that does not answer is not known, and neither
    is one in whose place something else answers."""
    try:
        bridge.check_answering()
    except AgentFault as fault:
        return Calls(None, why_unknown=f"{fault.message}. {fault.hint}" if fault.hint else fault.message)
    try:
        found = _by_name(bridge.ask_json("/debug"))
        if found is not None:
            return found
    except AgentFault:
        pass
    try:
        return _by_count(bridge.ask_json("/colibri/stats"))
    except AgentFault as fault:
        return Calls(None, why_unknown=fault.message)


def look_after_refresh(bridge: Asked) -> Calls:
    """As ``look``; counts are waited for until they are of after the call of this function."""
    found = look(bridge)
    if found.by_name:
        return found
    time.sleep(REFRESH_SECONDS)
    return look(bridge)


def refuse_calls(bridge: Asked, hint: str) -> None:
    """Raises AgentFault of kind ``busy`` unless it is known that nobody else is on the bridge."""
    found = look_after_refresh(bridge)
    if not found.free:
        raise AgentFault("busy", f"{found.text()}: jvbtune never touches live calls", hint)


def _by_name(answer: dict[str, Any]) -> Calls | None:
    """From ``/debug``; None where it is not of the known form."""
    conferences = answer.get("conferences")
    if not isinstance(conferences, dict):
        return None
    ours = foreign = others = 0
    for conference in conferences.values():
        if not isinstance(conference, dict) or not isinstance(conference.get("endpoints", {}), dict):
            return None
        endpoints = conference.get("endpoints", {})
        if _is_ours(conference, endpoints):
            ours += len(endpoints)
        else:
            others += 1
            foreign += max(1, len(endpoints))
    return Calls(foreign, ours, others, by_name=True)


def _is_ours(conference: dict[str, Any], endpoints: dict[str, Any]) -> bool:
    named = str(conference.get("meeting_id") or "").startswith(OURS)
    stats_ids = [value for value in endpoints.values() if isinstance(value, str)]
    return named and all(value == OUR_STATS_ID for value in stats_ids)


def _by_count(answer: dict[str, Any]) -> Calls:
    counts = {}
    for key in ("participants", "conferences"):
        value = answer.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            return Calls(None, why_unknown=f"its /colibri/stats have no number of {key}")
        counts[key] = value
    foreign = max(counts["participants"], 1 if counts["conferences"] else 0)
    return Calls(foreign, conferences=counts["conferences"])
