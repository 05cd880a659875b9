"""Where load may go: to the one address that the host's inventory entry gives and allows."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from jvbtune.errors import LoadError
from jvbtune.inventory import HostEntry
from jvbtune.protocol.worker import ChannelAt

#: JVB's ``videobridge.ice.udp.port``.
DEFAULT_MEDIA_PORT = 10000
RELAY_HINT = (
    "In its jvb.conf, set videobridge.relay.enabled = true, with a relay.relay-id of its own and a relay.region, and "
    "videobridge.websockets with domains; then restart it."
)


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


def refuse_elsewhere(name: str, target: tuple[str, int], candidates: Sequence[tuple[str, int]]) -> None:
    """Raises LoadError where a bridge takes no media at the address that the inventory allows."""
    if target not in candidates:
        offered = ", ".join(f"{ip}:{port}" for ip, port in candidates) or "nothing"
        raise LoadError(
            f"{name}: the bridge offers {offered} for media, load may go to {target[0]}:{target[1]} only",
            hint="Set bridge.media_address and bridge.media_port in jvbtune.toml.",
        )


def refuse_without_relays(name: str, stats: Mapping[str, object]) -> None:
    """Raises LoadError where a bridge's ``/colibri/stats`` tell that it takes no relays: only one that does gives its
    id (VideobridgeStatisticsShim.kt)."""
    if not stats.get("relay_id"):
        raise LoadError(f"{name}: the mix has a relay, and the bridge takes none", hint=RELAY_HINT)


def channel_target(entry: HostEntry, urls: Sequence[str]) -> ChannelAt:
    """The bridge channel of an endpoint at an address that the inventory allows. Raises LoadError."""
    if not urls:
        raise LoadError(
            f"{entry.name}: the bridge offers no channel, and forwards no video without one",
            hint="Set videobridge.websockets.enabled and videobridge.http-servers.public in its jvb.conf. Or measure "
            "without video, which costs a bridge less: --mix audio.",
        )
    offered = []
    for url in urls:
        try:
            parts = urlsplit(url)
            port = parts.port or {"ws": 80, "wss": 443}[parts.scheme]
            if not parts.hostname:
                raise ValueError("it has no host")
            found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except (KeyError, ValueError, OSError) as error:
            offered.append(f"{url.partition('?')[0]} ({error})")
            continue
        for address in [str(one[4][0]) for one in found]:
            if address in entry.bridge.allowed_media_addresses:
                return ChannelAt(url, address, port)
            offered.append(f"{parts.hostname} ({address})")
    raise LoadError(
        f"{entry.name}: the bridge offers its channel at {', '.join(offered)}, which bridge.allowed_media_addresses "
        "does not have",
        hint="If that address belongs to the bridge or to its proxy, add it to allowed_media_addresses. Or measure "
        "without video, which needs no channel and costs a bridge less: --mix audio.",
    )
