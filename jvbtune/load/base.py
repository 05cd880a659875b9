"""The generator's seam: what is asked of it, what it says of what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Mix:
    """The shape of a conference. Load grows by adding conferences of this shape, never by sending faster.

    In packets per second of one conference: in = senders × stream_pps; out = senders × (participants − 1) × stream_pps.
    """

    participants: int = 5
    senders: int = 3
    stream_pps: float = 50.0  #: Opus with 20 ms frames (RFC 7587 section 4.2)
    payload_bytes: int = 80  #: RTP payload; 32 kbit/s Opus
    burst_packets: int = 1  #: > 1: all senders send that many packets back to back, aligned, at the same mean rate

    def __str__(self) -> str:
        """``10 with 6 senders of 50 pps, 80 B``."""
        return f"{self.participants} with {self.senders} senders of {self.stream_pps:g} pps, {self.payload_bytes} B"

    def in_pps(self) -> float:
        return self.senders * self.stream_pps

    def out_pps(self) -> float:
        return self.senders * (self.participants - 1) * self.stream_pps

    def packet_rate_pps(self) -> float:
        """RTP in + out of one conference."""
        return self.in_pps() + self.out_pps()


@dataclass(frozen=True)
class IntendedLoad:
    """What is asked for: whole conferences of one mix, so that the packet rate is a multiple of the mix's."""

    conferences: int
    mix: Mix = field(default_factory=Mix)

    @property
    def packet_rate_pps(self) -> float:
        return self.conferences * self.mix.packet_rate_pps()

    @classmethod
    def for_packet_rate(cls, packet_rate_pps: float, mix: Mix) -> IntendedLoad:
        """The nearest whole number of conferences, at least 1."""
        return cls(max(1, round(packet_rate_pps / mix.packet_rate_pps())), mix)


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
    delay_ms: dict[str, float]  #: keys p50, p90, p95, p99, p999, max; of sampled packets; empty if none was sampled
    delayed_50ms_ratio: float | None  #: share of sampled packets later than 50 ms
    duration_seconds: float
    lateness_p99_ms: float  #: how late the sender was against its own schedule
    cpu_ratio: float  #: of one core, the busiest generator process
    endpoints: int
    generator_limited: bool
    generator_limited_because: tuple[str, ...] = ()
    started_unix: float = 0.0  #: controller's clock; the window is [started_unix, started_unix + duration_seconds]
    extra: dict[str, Any] = field(default_factory=dict)  #: whatever else is worth keeping raw


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

    def close(self) -> None: ...
    def __enter__(self) -> Generator: ...
    def __exit__(self, *exc: Any) -> None: ...
