"""What a receiver reports: transport-wide feedback of each packet's arrival, or the bandwidth that it estimates; sender
and receiver reports."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from jvbtune.load import rtcp

Ints = npt.NDArray[np.int64]

#: libwebrtc, remote_estimator_proxy.cc: as often as 68 bytes are 5 % of the client's own target rate, but 50 to 250 ms:
#: 50 ms from 218 kbit/s on, which every camera and every new connection (300 kbit/s) has.
FEEDBACK_SECONDS = 0.05
REPORT_SECONDS = 1.0
#: libwebrtc, remb_throttler.cc (kRembSendInterval); aimd_rate_control.cc: the first estimate is what arrives after 5 s,
#: it grows by 8 % a second, up to 1.5 times what arrives and 10 kbit/s.
REMB_SECONDS, REMB_BEGINS_SECONDS = 0.2, 5.0
REMB_GROWTH, REMB_MOST_RATIO, REMB_MORE_BPS = 1.08, 1.5, 10_000.0
#: Over so long: what has come is booked about once a second.
ARRIVING_SECONDS = 3.0
#: Of a packet of video in this engine's mixes; the socket's filter cuts off what would tell.
REMB_PACKET_BITS = 8 * 950.0
MAX_BLOCKS = 31


def unwrap(numbers: Ints, last: int | None) -> Ints:
    """16-bit numbers in order of arrival as numbers that go on from ``last``: each is the nearest to the one before."""
    if not len(numbers):
        return numbers
    first = int(numbers[0]) if last is None else last
    steps = np.diff(numbers, prepend=first & 0xFFFF)
    return first + np.cumsum(((steps + 0x8000) & 0xFFFF) - 0x8000)


def _next_due(due: float, now: float, seconds: float) -> float:
    """After that which was ``due``: a client has its turn each 24 ms only."""
    following = due + seconds
    return following if following > now else now + seconds


class Arrivals:
    """Of one client: what arrived since its last transport-wide feedback."""

    def __init__(self, ssrc: int) -> None:
        self._ssrc, self._media_ssrc = ssrc, 0
        self._numbers: list[Ints] = []
        self._times: list[Ints] = []
        self._last: int | None = None
        self._next: int | None = None
        self._number = 0
        self._due = 0.0

    @property
    def next_due(self) -> float:
        """Of ``due``; infinite where nothing arrived."""
        return self._due if self._numbers else math.inf

    def add(self, numbers: Ints, arrivals_ns: Ints, media_ssrc: int) -> None:
        """In the order of arrival."""
        self._media_ssrc = media_ssrc
        extended = unwrap(numbers, self._last)
        self._last = int(extended[-1])
        self._numbers.append(extended)
        self._times.append(arrivals_ns)

    def due(self, now: float) -> list[bytes]:
        """Feedback, where it is time and something arrived."""
        if now < self._due or not self._numbers:
            return []
        self._due = _next_due(self._due, now, FEEDBACK_SECONDS)
        numbers, times = np.concatenate(self._numbers), np.concatenate(self._times)
        self._numbers, self._times = [], []
        base = int(numbers.min()) if self._next is None else min(self._next, int(numbers.min()))
        end = int(numbers.max()) + 1
        base = max(base, end - rtcp.MAX_STATUSES)
        self._next = max(end, self._next or end)
        arrived: list[int | None] = [None] * (end - base)
        for number, time_ns in zip(numbers.tolist(), times.tolist(), strict=True):
            if number >= base:
                arrived[number - base] = time_ns
        self._number += 1
        return [rtcp.transport_feedback(self._ssrc, self._media_ssrc, self._number, base, arrived)]


class Bandwidth:
    """Of one client without transport-cc: the bandwidth that it estimates, as libwebrtc does on a link that is never
    full. What arrives is known by packets, not by bytes."""

    def __init__(self, ssrc: int) -> None:
        self._ssrc = ssrc
        self._streams: dict[int, None] = {}
        self._packets = 0
        self._since: float | None = None
        self._begins = 0.0
        self._arriving_bps = 0.0
        self.bits_per_second = 0.0  #: the estimate; 0: there is none yet
        self._due = 0.0

    def got(self, ssrc: int, packets: int) -> None:
        """So many more of a stream of video."""
        self._streams[ssrc] = None
        self._packets += packets

    def due(self, now: float) -> list[bytes]:
        """A REMB, where it is time and the estimate has begun."""
        if self._since is None:
            if self._packets:
                self._since, self._begins, self._packets = now, now + REMB_BEGINS_SECONDS, 0
            return []
        lasted = now - self._since
        if lasted >= ARRIVING_SECONDS:
            self._arriving_bps = self._packets * REMB_PACKET_BITS / lasted
            self._since, self._packets = now, 0
            self._estimate(now, lasted)
        if now < self._due or not self.bits_per_second:
            return []
        self._due = _next_due(self._due, now, REMB_SECONDS)
        return [rtcp.remb(self._ssrc, int(self.bits_per_second), list(self._streams)[-MAX_BLOCKS:])]

    def _estimate(self, now: float, seconds: float) -> None:
        if not self.bits_per_second:
            self.bits_per_second = self._arriving_bps if now >= self._begins else 0.0
            return
        most = REMB_MOST_RATIO * self._arriving_bps + REMB_MORE_BPS
        if self.bits_per_second < most:
            self.bits_per_second = min(most, self.bits_per_second * REMB_GROWTH**seconds)


class Reports:
    """Sender reports of what a client sends, receiver reports of what it gets: compound, with its name.

    ``apart``: the blocks go in receiver reports of ``ssrc`` only, as a bridge sends them, which is no source itself.
    """

    def __init__(
        self, ssrc: int, name: str, sends: Callable[[], list[tuple[int, int, int, int, float]]], *, apart: bool = False
    ) -> None:
        self._ssrc, self._name, self._sends, self._apart = ssrc, name, sends, apart
        self.next_due = 0.0
        self._sent: dict[int, float] = {}
        self._heard: dict[int, tuple[int, float]] = {}
        self._streams: dict[int, tuple[int, int, int]] = {}  # ssrc -> base, highest, received
        self._before: dict[int, tuple[int, int]] = {}  # expected and received at the last report

    def heard(self, report: rtcp.SenderReport, at: float) -> None:
        """The bridge's report on what it forwards, and when it arrived: the bridge measures its round trip by it."""
        self._heard[report.ssrc] = (report.ntp >> 16 & 0xFFFFFFFF, at)

    def got(self, ssrc: int, sequences: Ints) -> None:
        """Packets of a stream, in the order of arrival."""
        known = self._streams.get(ssrc)
        extended = unwrap(sequences, known[1] if known else None)
        highest = int(extended.max())
        if known is None:
            self._streams[ssrc] = (int(extended[0]), highest, len(extended))
        else:
            self._streams[ssrc] = (known[0], max(known[1], highest), known[2] + len(extended))

    def due(self, now: float, wall_ns: int) -> list[bytes]:
        if now < self.next_due:
            return []
        self.next_due = now + REPORT_SECONDS
        blocks = [self._block(ssrc, now) for ssrc in list(self._streams)[-MAX_BLOCKS:]]
        compounds = []
        for ssrc, timestamp, packets, octets, interval in self._sends():
            if now - self._sent.get(ssrc, -1e9) >= interval - 0.01:
                self._sent[ssrc] = now
                own, blocks = ([], blocks) if self._apart else (blocks, [])
                report = rtcp.SenderReport(ssrc, rtcp.ntp_time(wall_ns), timestamp, packets, octets, tuple(own))
                compounds.append(rtcp.sender_report(report) + rtcp.source_description(ssrc, self._name))
        if blocks:
            compounds.append(rtcp.receiver_report(self._ssrc, blocks) + rtcp.source_description(self._ssrc, self._name))
        return compounds

    def _block(self, ssrc: int, now: float) -> rtcp.ReportBlock:
        base, highest, received = self._streams[ssrc]
        expected = highest - base + 1
        expected_before, received_before = self._before.get(ssrc, (0, 0))
        self._before[ssrc] = (expected, received)
        since = expected - expected_before
        lost = max(0, since - (received - received_before))
        ntp, at = self._heard.get(ssrc, (0, 0.0))
        delay = max(0, int((now - at) * 65536)) if ntp else 0  # it may have come since ``now`` was read
        fraction = min(255, lost * 256 // since) if since > 0 else 0
        return rtcp.ReportBlock(
            ssrc, fraction, max(-0x800000, min(0x7FFFFF, expected - received)), highest & 0xFFFFFFFF, 0, ntp, delay
        )
