"""What can go wrong on the host, with the kind by which the controller names it."""

from __future__ import annotations

from jvbtune.protocol.messages import Fault, Kind


class AgentFault(Exception):
    """An operation was refused or failed."""

    def __init__(self, kind: Kind, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.hint = hint

    def fault(self) -> Fault:
        return Fault(self.kind, self.message, self.hint)


class NotRunning(AgentFault):
    """It is known that the bridge does not run, where others say only that it was not found."""
