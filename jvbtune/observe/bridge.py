"""What a bridge reports of itself: its windowed figures, and the exact counts of its queues. Reading only.

Each answer becomes ``{name of a quantity: value in its unit}``; what the bridge does not report is left out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import IN_QUEUE, OUT_QUEUE, RELAY_QUEUES
from jvbtune.bridge.stats import LARGEST
from jvbtune.errors import BridgeError
from jvbtune.observe.columns import REPORTED

Values = dict[str, float]

COLIBRI, METRICS = "/colibri/stats", "/metrics"
QUEUES, TRANSIT = "/debug/stats/jvb/queue-stats", "/debug/stats/jvb/transit-stats"
#: A bridge that takes longer is in trouble, and the next sample is due.
TIMEOUT_SECONDS = 5.0
PACKET_RATE = "packet_rate_download"
#: JVB's buckets, in ms (PacketTransitStats.kt): the counts are of packets that took longer.
SLOW_MS = (5, 50, 500)


class BridgeReader:
    """Asks one bridge. What it does not have (404) is not asked for again."""

    def __init__(self, client: BridgeClient) -> None:
        self._client = client
        self._absent: set[str] = set()
        self.counted_mono = 0.0  #: this machine's monotonic clock when the bridge counted last

    def read(self) -> Values:
        """Everything that the bridge reports now. Raises BridgeError if it does not answer."""
        reported = self._object(COLIBRI)
        found = {} if reported is None else from_colibri(reported)
        if PACKET_RATE not in found:
            other = self._object(METRICS)
            found = {**({} if other is None else from_metrics(other)), **found}
        if not found:
            raise BridgeError(
                f"{self._client.host.name}: the bridge gives neither {COLIBRI} nor {METRICS}",
                hint="Set videobridge.apis.rest.enabled = true in jvb.conf.",
            )
        asked = time.monotonic()
        found |= from_queues(self._object(QUEUES) or {})
        self.counted_mono = (asked + time.monotonic()) / 2  # a loaded bridge may take a second
        found |= from_transit(self._object(TRANSIT) or {})
        return found

    def _object(self, path: str) -> Mapping[str, Any] | None:
        """The JSON object at a path; None if the bridge has none there."""
        if path in self._absent:
            return None
        status, answer = self._client.raw("GET", path)
        if status == 404:
            self._absent.add(path)
        if status >= 400:
            return None
        try:
            parsed = json.loads(answer)
        except (ValueError, RecursionError):
            return None
        return parsed if isinstance(parsed, Mapping) else None


def from_colibri(answer: Mapping[str, Any]) -> Values:
    """Of ``/colibri/stats``."""
    return _known((q.name, answer.get(q.name), 1.0) for q in REPORTED)


def from_metrics(answer: Mapping[str, Any]) -> Values:
    """Of ``/metrics`` as JSON."""
    return _known((q.name, answer.get(q.metrics_key), q.metrics_scale) for q in REPORTED)


def from_queues(answer: Mapping[str, Any]) -> Values:
    """Of the queues' statistics: ``bridge.counts`` says which queue counts what."""

    def count(queue: str, counter: str) -> Any:
        found = answer.get(queue)
        return found.get(counter) if isinstance(found, Mapping) else None

    values = _known([("in_packets", count(IN_QUEUE, "added_packets"), 1.0)])
    values |= _known([("out_packets", count(OUT_QUEUE, "removed_packets"), 1.0)])
    if not answer:
        return values
    # A bridge without relays reports such a queue without a count.
    relays = _known((queue, count(queue, "removed_packets") or 0, 1.0) for queue in RELAY_QUEUES)
    drops = _known((queue, count(queue, "dropped_packets"), 1.0) for queue in answer)
    return values | {"relay_packets": sum(relays.values()), "queue_dropped_packets": sum(drops.values())}


def from_transit(answer: Mapping[str, Any]) -> Values:
    """Of the transit times: RTP only."""
    delays = answer.get("e2e_packet_delay")
    rtp = delays.get("rtp") if isinstance(delays, Mapping) else None
    buckets = rtp.get("buckets") if isinstance(rtp, Mapping) else None
    if not isinstance(rtp, Mapping) or not isinstance(buckets, Mapping):
        return {}
    slow = [(f"transit_over_{ms}_ms", buckets.get(f"{ms}_to_max_ms"), 1.0) for ms in SLOW_MS]
    return _known(
        [("transit_packets", rtp.get("total_count"), 1.0), ("transit_ms", rtp.get("total_value"), 1.0), *slow]
    )


def _known(values: Iterable[tuple[str, Any, float]]) -> Values:
    """Numbers and truths; nothing that is missing, of another kind, or not finite."""
    return {
        name: float(value) * scale
        for name, value, scale in values
        if isinstance(value, bool | int | float) and abs(value) <= LARGEST
    }
