"""What can go wrong on the host, with the kind by which the controller names it."""

from __future__ import annotations

from typing import Any


class AgentFault(Exception):
    """An operation was refused or failed. ``kind``: usage | bridge | busy | tuning | capture | host."""

    def __init__(self, kind: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "message": self.message, "hint": self.hint}
