"""The generator's seam: what is asked of it, what it says of what it did."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from jvbtune.errors import JvbtuneError, LoadError
from jvbtune.load.mix import Mix

__all__ = ["Edge", "Generator", "IntendedLoad", "Mix", "Offered"]


@dataclass(frozen=True)
class IntendedLoad:
    """What is asked for: whole conferences of one mix, so that the packet rate is a multiple of the mix's."""

    conferences: int
    mix: Mix = field(default_factory=Mix)
    seen_pps: float | None = None  #: what one conference was seen to cause, where a mix can only predict it

    @property
    def packet_rate_pps(self) -> float:
        return self.conferences * (self.seen_pps or self.mix.packet_rate_pps())

    def refuse_above(self, max_pps: float) -> None:
        """Raises LoadError for more than a run allows."""
        if self.packet_rate_pps > max_pps:
            raise LoadError(f"{self.packet_rate_pps:.0f} pps is more than the {max_pps:.0f} pps that this run allows")

    @classmethod
    def for_packet_rate(cls, packet_rate_pps: float, mix: Mix, at_most_pps: float = math.inf) -> IntendedLoad:
        """The nearest whole number of conferences that does not exceed ``at_most_pps``, at least 1."""
        nearest = round(packet_rate_pps / mix.packet_rate_pps())
        most = at_most_pps / mix.packet_rate_pps()
        return cls(max(1, nearest if nearest <= most else math.floor(most)), mix)


@dataclass(frozen=True)
class Offered:
    """What the generator did and saw in the measured window (set-up and settling excluded).

    ``offered_pps`` counts what was really handed to the kernel plus what the bridge should have sent for it
    (sent × receivers): the packet rate that the bridge would show if nothing were lost. ``loss_ratio`` is end to end:
    1 − received / expected at the receivers, over packets sent in the window.
    """

    intended_pps: float
    offered_pps: float
    sent_packets: int
    expected_packets: int
    received_packets: int
    loss_ratio: float
    reordered_packets: int
    #: Keys p50, p90, p95, p99, p999, p9999, max; of sampled packets; empty if none was sampled. Of fewer than 1,000 or
    #: 10,000 of them, p999 and p9999 are the largest.
    delay_ms: dict[str, float]
    delayed_50ms_ratio: float | None  #: share of sampled packets later than 50 ms
    duration_seconds: float
    lateness_p99_ms: float  #: how late the sender was against its own schedule
    cpu_ratio: float  #: of one core, the busiest generator process
    endpoints: int
    generator_limited: bool
    generator_limited_because: tuple[str, ...] = ()
    started_unix: float = 0.0  #: controller's clock; the window is [started_unix, started_unix + duration_seconds]
    extra: dict[str, Any] = field(default_factory=dict)  #: whatever else is worth keeping raw

    @property
    def relayed_in(self) -> int:
        """Packets that came to the bridge by relays, RTCP included."""
        return int((self.extra.get("meetings") or {}).get("relayed_in", 0))


#: See ``Generator.offer``.
Edge = Callable[[], Any]


class Generator(Protocol):
    """Makes load on one bridge. A context manager: leaving it expires its conferences and stops its processes."""

    def offer(
        self, load: IntendedLoad, duration_seconds: float, *, settle_seconds: float = 2.0, edge: Edge | None = None
    ) -> Offered:
        """Bring the conferences up to ``load`` (adding or expiring whole ones), settle, hold it, measure.

        ``edge`` is called just before and just after the window, while nothing is sent or in flight: what it returns
        (the bridge's counters, say) goes into ``Offered.extra["edges"]``.

        Returns when the window has ended; the conferences stay up, sending, until the next offer or ``stop``.
        """

    @property
    def prefix(self) -> str:
        """Of the names of its conferences: whoever cleans up after it finds them by that."""

    @property
    def worker_pid(self) -> int | None:
        """The process of this machine that makes the media, for a profiler; None: there is none yet, or not here."""

    @property
    def endpoints(self) -> int:
        """How many of its endpoints are on the bridge now."""

    def stop(self) -> None:
        """Expire all conferences and stop sending (before a restart of the bridge; ``offer`` may follow)."""

    def keep_alive(self, seconds: float) -> None:
        """It may make load for so long from now, and stops by itself when nobody says so again. Any thread."""

    def abort(self, error: JvbtuneError) -> None:
        """Stop all load at once; what is under way, and each later offer, raises ``error``. Any thread."""

    def close(self) -> None: ...
    def __enter__(self) -> Generator: ...
    def __exit__(self, *exc: Any) -> None: ...
