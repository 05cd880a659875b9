"""Exact packet rates of a bridge from its queue counters.

Every packet that a bridge receives passes the receiving endpoint's ``rtp_receiver_queue``; every one that it sends
passes ``srtp_send_queue`` (Endpoint.kt, RtpReceiverImpl.kt), for relays ``relay_srtp_send_queue`` and
``relay_endpoint_sender_srtp_send_queue``. RTCP passes them too, as JVB counts it for stress. The counters are exact
and current, where the ``packet_rate_*`` of the stats are windows that lag and, under bursts, mislead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IN_QUEUE = "rtp_receiver_queue"
OUT_QUEUE = "srtp_send_queue"
RELAY_QUEUES = ("relay_srtp_send_queue", "relay_endpoint_sender_srtp_send_queue")


@dataclass(frozen=True)
class BridgeCounts:
    """Packet rates over an interval, and what the bridge's own queues dropped in it."""

    in_pps: float
    out_pps: float
    relay_pps: float
    dropped_packets: int

    @property
    def packet_rate_pps(self) -> float:
        return self.in_pps + self.out_pps + self.relay_pps


def bridge_counts(before: Mapping[str, Any], after: Mapping[str, Any], seconds: float) -> BridgeCounts:
    """From two answers of ``/debug/stats/jvb/queue-stats``, ``seconds`` apart.

    Raises ValueError where a counter went back (the bridge was restarted in between) or no time passed.
    """
    if seconds <= 0:
        raise ValueError("no time passed between the two answers")

    def gained(queue: str, counter: str) -> int:
        first = int((before.get(queue) or {}).get(counter) or 0)
        last = int((after.get(queue) or {}).get(counter) or 0)
        if last < first:
            raise ValueError(f"{queue}.{counter} went back from {first} to {last}: the bridge was restarted")
        return last - first

    queues = [name for name in after if isinstance(after[name], Mapping)]
    return BridgeCounts(
        in_pps=gained(IN_QUEUE, "added_packets") / seconds,
        out_pps=gained(OUT_QUEUE, "removed_packets") / seconds,
        relay_pps=sum(gained(queue, "removed_packets") for queue in RELAY_QUEUES) / seconds,
        dropped_packets=sum(gained(queue, "dropped_packets") for queue in queues),
    )
