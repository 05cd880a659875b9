"""Sysctls with faults in words: read, write with read-back, whether one can be written here."""

from __future__ import annotations

from jvbtune.agent.errors import AgentFault
from jvbtune.agent.settings import ICE4J_BUFFER, SETTINGS, Sysctls, explain

RECEIVE_BUFFER = ICE4J_BUFFER
HOCON = (ICE4J_BUFFER,)
SYSCTLS = tuple(name for name in SETTINGS if name not in HOCON)


def normalised(value: object) -> str:
    parts = value if isinstance(value, (list, tuple)) else str(value).split()
    return " ".join(str(part) for part in parts)


def read(name: str, root: str = "/proc/sys") -> str:
    """The value in force. Raises AgentFault where the kernel has no such setting here."""
    try:
        return Sysctls(root).read(name)
    except OSError as error:
        raise AgentFault("tuning", explain(name, error)) from error


def writable(name: str, root: str = "/proc/sys") -> str | None:
    """None, or why the setting cannot be written here."""
    return Sysctls(root).why_not_writable(name)


def write(name: str, value: str, root: str = "/proc/sys") -> None:
    """Write, and read back. Raises AgentFault where the kernel refuses, or keeps another value."""
    try:
        Sysctls(root).write(name, value)
    except OSError as error:
        raise AgentFault("tuning", f"{name} = {value}: {explain(name, error)}") from error
    found = read(name, root)
    if found != value:
        raise AgentFault("tuning", f"{name} = {value} was written, but {found} is in force")
