"""The settings that a host can be asked for, and the kernel's side of them: read, write, canonical form.

A value's canonical form is text: decimal numbers joined by one blank (the kernel prints ``a\\tb\\tc``).
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from typing import Any

INT_MAX = 2**31 - 1
#: What kernel and Python read alike: 020000 is octal for the kernel; only Python reads 1_0000 and full-width digits.
_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
ICE4J_BUFFER = "ice4j.harvest.udp.receive-buffer-size"
#: ice4j's older name for it, which wins wherever it is set (HarvestConfig.kt).
LEGACY_ICE4J_BUFFER = "org.ice4j.ice.harvest.AbstractUdpListener.SO_RCVBUF"
RMEM_MAX, UDP_MEM = "net.core.rmem_max", "net.ipv4.udp_mem"


@dataclass(frozen=True)
class HostSetting:
    """What a host has to know of a setting. ``initial_only``: the kernel offers it in the initial namespace alone."""

    name: str
    count: int = 1  #: numbers in the value
    initial_only: bool = True
    minimum: int = 0
    at_socket_creation: bool = False  #: a running bridge keeps what it got when it opened its sockets


#: In the order in which they are written; the kernel holds none of them against another.
SETTINGS: dict[str, HostSetting] = {
    setting.name: setting
    for setting in (
        HostSetting(RMEM_MAX, at_socket_creation=True),
        HostSetting("net.core.rmem_default", at_socket_creation=True),
        HostSetting("net.core.wmem_max", at_socket_creation=True),
        HostSetting("net.core.wmem_default", at_socket_creation=True),
        HostSetting("net.core.netdev_max_backlog"),
        HostSetting("net.core.netdev_budget"),
        HostSetting(UDP_MEM, count=3),
        HostSetting("net.ipv4.udp_rmem_min", initial_only=False),
        HostSetting(ICE4J_BUFFER, initial_only=False, at_socket_creation=True),
        HostSetting("kernel.perf_event_paranoid", initial_only=False, minimum=-1),
        HostSetting("kernel.kptr_restrict", initial_only=False),
    )
}


def canonical(name: str, value: Any) -> str:
    """The canonical text of a value. Raises ValueError where it is not that setting's kind of value."""
    setting = SETTINGS.get(name)
    if setting is None:
        raise ValueError(f"unknown setting {name!r}; known are {', '.join(SETTINGS)}")
    parts = [str(part) for part in value] if isinstance(value, (list, tuple)) else str(value).split()
    wanted = "one integer" if setting.count == 1 else f"{setting.count} integers"
    if isinstance(value, bool) or len(parts) != setting.count:
        raise ValueError(f"{name}: {value!r} is not {wanted}")
    if not all(_DECIMAL.fullmatch(part) for part in parts):
        raise ValueError(f"{name}: {value!r} is not {wanted} in decimal digits")
    numbers = [int(part) for part in parts]
    if any(number < setting.minimum for number in numbers):
        raise ValueError(f"{name}: {value!r} is " + (f"below {setting.minimum}" if setting.minimum else "negative"))
    return " ".join(str(number) for number in numbers)


class Sysctls:
    """The tree of /proc/sys. ``/proc/sys/net`` shows the namespace of the thread that looks."""

    def __init__(self, root: str = "/proc/sys") -> None:
        self.root = root

    def path(self, name: str) -> str:
        return os.path.join(self.root, *name.split("."))

    def read(self, name: str) -> str:
        """The value in canonical form. Raises OSError."""
        with open(self.path(name), encoding="ascii") as file:
            return " ".join(file.read().split())

    def write(self, name: str, value: str) -> None:
        """One write(2) of the whole value, as the kernel wants it. Raises OSError."""
        descriptor = os.open(self.path(name), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode() + b"\n")
        finally:
            os.close(descriptor)

    def why_not_writable(self, name: str) -> str | None:
        """None where the setting can be written; else the reason, in words."""
        try:
            os.close(os.open(self.path(name), os.O_WRONLY | os.O_CLOEXEC))
        except OSError as error:
            return explain(name, error)
        return None


def explain(name: str, error: OSError) -> str:
    """What a refused setting means."""
    limited = SETTINGS[name].initial_only and name.startswith("net.")
    if limited and error.errno in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS):
        where = "does not exist" if error.errno == errno.ENOENT else "is read-only"
        return (
            f"{name} {where} here: the kernel offers it only in the initial network namespace. "
            "The agent must run on the host itself, not in a container or a network namespace"
        )
    if error.errno == errno.EINVAL:
        return f"the kernel refuses this value of {name}"
    return f"{name}: {os.strerror(error.errno or 0)}"
