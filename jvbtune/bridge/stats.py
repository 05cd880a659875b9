"""One vocabulary for a bridge's stats, whatever interface they came by.

The same quantity has another name in ``/colibri/stats`` and in ``/metrics`` (VideobridgePeriodicMetrics.kt);
the names below are jvbtune's. Rates are windows of the bridge's (5 s, refreshed every 5 s), not exact counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class BridgeStats:
    """What a bridge says of itself; rates in packets per second, None where the interface has no such key."""

    source: str
    stress: float | None
    participants: int | None
    conferences: int | None
    endpoints: int | None
    in_pps: float | None
    out_pps: float | None
    relay_in_pps: float | None
    relay_out_pps: float | None
    drain: bool | None
    healthy: bool | None
    version: str | None
    gc_count: int | None
    gc_milliseconds: int | None
    queue_dropped_packets: int | None

    @property
    def packet_rate_pps(self) -> float | None:
        """In + out, relays included: what JVB divides by the load threshold (PacketRateMeasurement)."""
        parts = [self.in_pps, self.out_pps, self.relay_in_pps, self.relay_out_pps]
        known = [part for part in parts if part is not None]
        return sum(known) if self.in_pps is not None and self.out_pps is not None else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"packet_rate_pps": self.packet_rate_pps}


#: field -> key of /colibri/stats, key of /metrics (JSON form, without the ``jitsi_jvb_`` prefix)
KEYS: dict[str, tuple[str | None, str | None]] = {
    "stress": ("stress_level", "stress"),
    "participants": ("participants", "current_endpoints"),
    "conferences": ("conferences", "conferences"),
    "endpoints": ("local_endpoints", "local_endpoints"),
    "in_pps": ("packet_rate_download", "incoming_packet_rate"),
    "out_pps": ("packet_rate_upload", "outgoing_packet_rate"),
    "relay_in_pps": ("octo_receive_packet_rate", "relay_incoming_packet_rate"),
    "relay_out_pps": ("octo_send_packet_rate", "relay_outgoing_packet_rate"),
    "drain": ("drain", "drain_mode"),
    "healthy": ("healthy", "healthy"),
    "version": ("version", None),
    "gc_count": (None, "jvm_gc_count"),
    "gc_milliseconds": (None, "jvm_gc_time"),
    "queue_dropped_packets": (None, "queue_dropped_packets_total"),
}


def stats_from_colibri(answer: Mapping[str, Any]) -> BridgeStats:
    """From the JSON object of ``/colibri/stats``."""
    return BridgeStats(source="colibri", **{f: answer.get(k) if k else None for f, (k, _) in KEYS.items()})


def stats_from_metrics(answer: Mapping[str, Any]) -> BridgeStats:
    """From the JSON object of ``/metrics`` (``Accept: application/json``)."""
    return BridgeStats(source="metrics", **{f: answer.get(k) if k else None for f, (_, k) in KEYS.items()})
