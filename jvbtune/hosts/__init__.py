"""Reaching a host: one narrow seam (``base.Host``), this machine and ssh behind it."""

from __future__ import annotations

from jvbtune.hosts.base import Completed, Host, Stream
from jvbtune.inventory.entries import HostEntry

__all__ = ["Completed", "Host", "Stream", "connect"]


def connect(entry: HostEntry) -> Host:
    """Reach the host of an inventory entry. Raises HostError, HostKeyError."""
    if entry.ssh is None:
        from jvbtune.hosts.local import LocalHost

        return LocalHost(entry.name)
    from jvbtune.hosts.ssh import SshHost

    return SshHost.connect(entry.name, entry.ssh, config=entry.ssh_config)
