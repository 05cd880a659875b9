"""One vocabulary for a bridge's stats, whatever interface they came by.

The same quantity has another name in ``/colibri/stats`` and in ``/metrics`` (VideobridgePeriodicMetrics.kt);
the names below are jvbtune's. Rates are windows of the bridge's (5 s, refreshed every 5 s), not exact counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

COLIBRI, METRICS = "colibri", "metrics"
LARGEST = 1e18  #: no figure of a bridge is larger; an integer of JSON may be too large for a float


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
    in_bps: float | None = None  #: media of endpoints, bits per second; relays' are apart
    out_bps: float | None = None
    audio_senders: int | None = None
    video_senders: int | None = None
    relay_endpoints: int | None = None  #: behind relays

    @property
    def packet_rate_pps(self) -> float | None:
        """In + out, relays included: what JVB divides by the load threshold (PacketRateMeasurement)."""
        parts = [self.in_pps, self.out_pps, self.relay_in_pps, self.relay_out_pps]
        known = [part for part in parts if part is not None]
        return sum(known) if self.in_pps is not None and self.out_pps is not None else None

    def missing_keys(self, *fields: str) -> list[str]:
        """The keys, as this interface names them, of the fields that its answer did not have as numbers."""
        interface = 0 if self.source == COLIBRI else 1
        return [KEYS[field][interface] or field for field in fields if getattr(self, field) is None]

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
    "in_bps": ("bit_rate_download", "incoming_bitrate"),
    "out_bps": ("bit_rate_upload", "outgoing_bitrate"),
    "audio_senders": ("endpoints_sending_audio", "endpoints_sending_audio"),
    "video_senders": ("endpoints_sending_video", "endpoints_sending_video"),
    "relay_endpoints": ("octo_endpoints", "endpoints_relayed"),
}
#: ``/colibri/stats`` has kbit/s where ``/metrics`` has bit/s (VideobridgeStatisticsShim.kt).
_KILO = ("in_bps", "out_bps")


def stats_from_colibri(answer: Mapping[str, Any], keys: Mapping[str, str] | None = None) -> BridgeStats:
    """From the JSON object of ``/colibri/stats``. ``keys``: field -> key, for those that are named otherwise."""
    return _stats(COLIBRI, 0, answer, keys or {})


def stats_from_metrics(answer: Mapping[str, Any], keys: Mapping[str, str] | None = None) -> BridgeStats:
    """From the JSON object of ``/metrics`` (``Accept: application/json``), likewise."""
    return _stats(METRICS, 1, answer, keys or {})


def _stats(source: str, interface: int, answer: Mapping[str, Any], keys: Mapping[str, str]) -> BridgeStats:
    values = {field: _typed(field, answer, keys.get(field, names[interface])) for field, names in KEYS.items()}
    if source == COLIBRI:
        values |= {field: 1000 * values[field] for field in _KILO if values[field] is not None}
    return BridgeStats(source=source, **values)


_TRUTHS, _TEXTS = ("drain", "healthy"), ("version",)


def _typed(field: str, answer: Mapping[str, Any], key: str | None) -> Any:
    """The value if it is of the field's kind; None for what is missing or of another kind."""
    value = None if key is None else answer.get(key)
    if field in _TEXTS:
        return value if isinstance(value, str) else None
    if field in _TRUTHS:
        return bool(value) if isinstance(value, bool | int) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        return None
    return value
