"""Exact packet rates of a bridge from its queue counters.

Every packet that a bridge receives passes the receiving endpoint's ``rtp_receiver_queue``; every one that it sends
passes ``srtp_send_queue`` (Endpoint.kt, RtpReceiverImpl.kt), for relays ``relay_srtp_send_queue`` and
``relay_endpoint_sender_srtp_send_queue``. RTCP passes them too, as JVB counts it for stress. The counters are exact
and current, where the ``packet_rate_*`` of the stats are windows that lag and, under bursts, mislead.

What comes from relays passes ``rtp_receiver_queue`` like everything else: only its sender can tell how much that is.
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

    in_pps: float  #: from endpoints
    out_pps: float  #: to endpoints
    relay_in_pps: float
    relay_out_pps: float
    dropped_packets: int

    @property
    def relay_pps(self) -> float:
        return self.relay_in_pps + self.relay_out_pps

    @property
    def packet_rate_pps(self) -> float:
        return self.in_pps + self.out_pps + self.relay_pps


def bridge_counts(
    before: Mapping[str, Any], after: Mapping[str, Any], seconds: float, relayed_in: int = 0
) -> BridgeCounts:
    """From two answers of ``/debug/stats/jvb/queue-stats``, ``seconds`` apart. ``relayed_in``: of the packets that came
    in, so many were sent by other bridges; those that nobody knows of count as the endpoints'.

    Raises ValueError where a counter went back (the bridge was restarted in between), is no number, or no time passed.
    """
    if seconds <= 0:
        raise ValueError("no time passed between the two answers")

    def gained(queue: str, counter: str) -> int:
        first, last = (_counter(answer, queue, counter) for answer in (before, after))
        if last < first:
            raise ValueError(f"{queue}.{counter} went back from {first} to {last}: the bridge was restarted")
        return last - first

    queues = [name for name in after if isinstance(after[name], Mapping)]
    came = gained(IN_QUEUE, "added_packets")
    relayed_in = min(relayed_in, came)
    return BridgeCounts(
        in_pps=(came - relayed_in) / seconds,
        out_pps=gained(OUT_QUEUE, "removed_packets") / seconds,
        relay_in_pps=relayed_in / seconds,
        relay_out_pps=sum(gained(queue, "removed_packets") for queue in RELAY_QUEUES) / seconds,
        dropped_packets=sum(gained(queue, "dropped_packets") for queue in queues),
    )


def _counter(answer: Mapping[str, Any], queue: str, counter: str) -> int:
    """0 where the bridge has no such queue yet."""
    found = answer.get(queue) or {}
    value = (found.get(counter) or 0) if isinstance(found, Mapping) else None
    if not isinstance(value, int | float) or not 0 <= value < 1 << 63:
        raise ValueError(f"the bridge's {queue}.{counter} is no number of packets")
    return int(value)
