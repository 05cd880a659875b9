"""Where load may go: to the one address that the host's inventory entry gives and allows."""

from __future__ import annotations

from jvbtune.errors import LoadError
from jvbtune.inventory import HostEntry

#: JVB's ``videobridge.ice.udp.port``.
DEFAULT_MEDIA_PORT = 10000


def media_target(entry: HostEntry) -> tuple[str, int]:
    """Where load may go. Raises LoadError where the inventory does not say, or does not allow it."""
    bridge = entry.bridge
    if bridge.media_address is None:
        raise LoadError(
            f"{entry.name}: it is not said where the bridge takes media",
            hint=f'Add to jvbtune.toml:\n[hosts."{entry.name}".bridge]\nmedia_address = "203.0.113.7"',
        )
    if bridge.media_address not in bridge.allowed_media_addresses:
        raise LoadError(
            f"{entry.name}: bridge.media_address {bridge.media_address} is not among bridge.allowed_media_addresses"
        )
    return bridge.media_address, bridge.media_port or DEFAULT_MEDIA_PORT
