"""The smallest receive buffer that rides out the stalls that were seen, and what a larger one would cost.

A stall of the receiving thread leaves packets in the socket, each with its truesize (the kernel's charge, not its
length). A buffer larger than the stall needs loses nothing more, and when the bridge is too slow for good it only adds
delay: media that is late is as useless as media that is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from jvbtune.errors import UsageError
from jvbtune.fit.recommendation import Recommendation

#: Kernel 6.18, loopback, payload of at most 160 B (Opus). A NIC's driver may charge more: measure it there.
OPUS_TRUESIZE_BYTES = 832
#: Above it a buffer holds media that nobody wants any more.
MAX_USEFUL_SECONDS = 0.5
#: A sweep is too short to see the rare pauses of collections and of the scheduler, 100 to 300 ms on busy hosts.
MIN_STALL_SECONDS = 0.1


@dataclass(frozen=True)
class BufferSize:
    rcvbuf_bytes: int  #: what sock_diag has to show
    rmem_max_bytes: int  #: half of it: the kernel doubles what is asked for
    packets: int
    holds_seconds: float  #: of stall at the peak packet rate

    def delay_of(self, rmem_max_bytes: int, peak_in_pps: float, truesize_bytes: float) -> float:
        """Seconds of stale media that a full buffer of another size holds at the same packet rate."""
        return 2 * rmem_max_bytes / truesize_bytes / peak_in_pps


def buffer_size(stall_seconds: float, peak_in_pps: float, truesize_bytes: float = OPUS_TRUESIZE_BYTES) -> BufferSize:
    """p99.9 of the stalls × peak packets in × truesize, rounded up to a page; stalls count from 0.1 up to 0.5 s."""
    if min(stall_seconds, peak_in_pps, truesize_bytes) <= 0:
        raise UsageError("a buffer's size needs a stall, a packet rate and a truesize above 0")
    seconds = min(max(stall_seconds, MIN_STALL_SECONDS), MAX_USEFUL_SECONDS)
    packets = -int(-seconds * peak_in_pps // 1)
    return _of_bytes(packets * truesize_bytes, peak_in_pps, truesize_bytes)


def _of_bytes(rcvbuf_bytes: float, peak_in_pps: float, truesize_bytes: float) -> BufferSize:
    asked = -int(-(rcvbuf_bytes / 2) // 4096) * 4096
    packets = int(2 * asked / truesize_bytes)
    return BufferSize(2 * asked, asked, packets, 2 * asked / truesize_bytes / peak_in_pps)


#: RTP header and SRTP tag beside the RTP payload of a stream, in UDP payload bytes.
OVERHEAD_BYTES = 12 + 16
#: A quantile of 0.999 needs about so many values; of fewer, the largest is taken.
ENOUGH = 1000


@dataclass(frozen=True)
class BufferAdvice:
    """The receive buffer that the stalls of a run call for, and what the one found on arrival does beside it."""

    size: BufferSize
    stall_seconds: float
    stall_source: str
    peak_in_pps: float
    truesize_bytes: float
    truesize_source: str
    dropping_rcvbuf_bytes: int | None  #: the largest buffer that dropped packets in a burst of the run
    found_rcvbuf_bytes: int | None
    found_holds_seconds: float | None  #: stale media at most, when it is full

    @property
    def verdict(self) -> str:
        """too small | enough | larger than useful | unknown: of the buffer found on arrival."""
        if self.found_rcvbuf_bytes is None or self.found_holds_seconds is None:
            return "unknown"
        if self.found_rcvbuf_bytes < self.size.rcvbuf_bytes:
            return "too small"
        return "larger than useful" if self.found_holds_seconds > 2 * MAX_USEFUL_SECONDS else "enough"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self.size), **{k: v for k, v in asdict(self).items() if k != "size"}, "verdict": self.verdict}

    def sentence(self) -> str:
        """For people, with each number's source."""
        text = (
            f"a receive buffer of {self.size.rcvbuf_bytes} bytes (net.core.rmem_max {self.size.rmem_max_bytes}) rides "
            f"out {self.size.holds_seconds * 1000:.0f} ms, where {self.stall_seconds * 1000:.0f} ms were seen "
            f"({self.stall_source}), at {self.peak_in_pps:.0f} packets in a "
            f"second of {self.truesize_bytes:.0f} bytes each ({self.truesize_source})"
        )
        if self.stall_seconds < MIN_STALL_SECONDS:
            text += (
                f"; a run this short does not see the rare pauses, so that {MIN_STALL_SECONDS * 1000:.0f} ms are "
                "taken at least"
            )
        if self.dropping_rcvbuf_bytes is not None:
            text += f"; bursts overflowed {self.dropping_rcvbuf_bytes} bytes, so it is larger than that"
        if self.found_holds_seconds is not None:
            text += (
                f"; the one found on arrival, {self.found_rcvbuf_bytes} bytes, is {self.verdict}: full, it holds "
                f"{self.found_holds_seconds * 1000:.0f} ms of stale media"
            )
        return text


def buffer_advice(
    found: Recommendation,
    trials: pl.DataFrame,
    *,
    queued_seconds: Sequence[float] = (),
    truesizes: Mapping[str, float] | None = None,
    payload_bytes: int = 80,
) -> BufferAdvice | None:
    """None where there is no recommendation, or neither delays nor queues were seen.

    The stall is the larger of two: p99.9 of what the socket's queue held at each sample (``queued_seconds``: its bytes
    over truesize × packets in a second), and the spread of delay from its median to its 99.9th percentile in trials up
    to the load threshold, which is an upper bound: the bridge's own queues are in it. ``truesizes``: UDP payload ->
    bytes charged, as measured on the host.
    """
    threshold = found.export_pps
    if threshold is None:
        return None
    frame = trials if "delay_p999_ms" in trials.columns else trials.with_columns(delay_p999_ms=None, delay_p50_ms=None)
    rows = frame.filter(
        (pl.col("host") == found.host)
        & pl.col("valid")
        & (pl.col("kind") == "steady")
        & (pl.col("bridge_pps") <= threshold)
    )
    spreads = (rows["delay_p999_ms"].cast(pl.Float64) - rows["delay_p50_ms"].cast(pl.Float64)).drop_nulls().to_numpy()
    stalls: list[tuple[float, str]] = []
    if spreads.size:
        stalls.append((float(np.median(spreads)) / 1000, "delay from its median to p99.9, the whole path's"))
    queued = np.asarray(queued_seconds, dtype=np.float64)
    if queued.size:
        many = queued.size >= ENOUGH
        worst = float(np.quantile(queued, 0.999)) if many else float(queued.max())
        stalls.append((worst, f"{'p99.9' if many else 'the largest'} of {queued.size} looks at the socket's queue"))
    incoming = (rows["in_pps"] / rows["bridge_pps"]).drop_nulls().max() if rows.height else None
    stall, source = max(stalls, default=(0.0, ""))
    if stall <= 0 or incoming is None:
        return None
    peak = threshold * float(incoming)  # type: ignore[arg-type]
    truesize, truesize_source = _truesize(truesizes or {}, payload_bytes + OVERHEAD_BYTES)
    arrival = rows.filter(pl.col("step") == "baseline")["socket_rcvbuf_bytes"].drop_nulls()
    buffer = int(arrival[0]) if len(arrival) else None
    holds = None if buffer is None else buffer / truesize / peak
    size = buffer_size(stall, peak, truesize)
    dropping, keeping = _overflown(frame.filter((pl.col("host") == found.host) & pl.col("valid")))
    if dropping is not None and size.rcvbuf_bytes <= dropping:
        size = _of_bytes(keeping or 2 * dropping, peak, truesize)
    return BufferAdvice(size, stall, source, peak, truesize, truesize_source, dropping, buffer, holds)


def _overflown(trials: pl.DataFrame) -> tuple[int | None, int | None]:
    """Of the bursts: the largest buffer that dropped packets, and the smallest above it that was tried and kept all."""
    bursts = trials.filter((pl.col("kind") == "burst") & pl.col("socket_rcvbuf_bytes").is_not_null())
    dropped = bursts.filter(pl.col("socket_drops") > 0)["socket_rcvbuf_bytes"]
    if not len(dropped):
        return None, None
    largest = int(dropped.max())  # type: ignore[arg-type]
    above = bursts.filter(pl.col("socket_rcvbuf_bytes") > largest)["socket_rcvbuf_bytes"]
    return largest, int(above.min()) if len(above) else None  # type: ignore[arg-type]


def _truesize(measured: Mapping[str, float], payload_bytes: int) -> tuple[float, str]:
    """Of the least payload that was tried and is no smaller."""
    for payload, charged in sorted((int(size), value) for size, value in measured.items()):
        if payload >= payload_bytes:
            return charged, f"measured on the host's loopback, {payload} bytes of payload"
    return OPUS_TRUESIZE_BYTES, "assumed: kernel 6.18, Opus"


def queued_seconds(samples: pl.DataFrame, in_pps: float, truesize_bytes: float) -> list[float]:
    """Of each 1 Hz sample: how long the receiving thread was behind, by the bytes in the sockets' queues."""
    names = [name for name in samples.columns if name.startswith("sockets.") and name.endswith(".rmem_bytes")]
    if not names or in_pps <= 0:
        return []
    held = samples.select(pl.max_horizontal(*names)).to_series().cast(pl.Float64).drop_nulls()
    return [value / truesize_bytes / in_pps for value in held.to_list()]
