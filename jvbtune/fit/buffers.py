"""The receive buffer that a host needs in production, and whether the bridge got the one that it asks for.

A stall of the receiving thread leaves packets in the socket, each with its truesize (the kernel's charge, not its
length). The advice does not rest on the packets of the trials, nor on the stalls that a run of minutes happens to see:
production carries video, and the rare pauses of collections and of the scheduler, and storms of joins, take 100 to 300
ms. It is never below what the bridge asks for by itself, and comes in powers of two, so that two runs say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from jvbtune.errors import UsageError
from jvbtune.fit.reasons import Code, Reason

#: Kernel 6.18, loopback, payload of 700 to 1400 B (video). A NIC's driver may charge more: measure it there.
VIDEO_TRUESIZE_BYTES = 2304
VIDEO_PAYLOAD_BYTES = 1200
#: Payload of at most 160 B (Opus), likewise.
OPUS_TRUESIZE_BYTES = 832
#: Above it a buffer holds media that nobody wants any more.
MAX_USEFUL_SECONDS = 0.5
#: What production's pauses and join storms take at least, whatever a short run saw.
MIN_STALL_SECONDS = 0.25
#: What a bridge asks for unless it is configured otherwise (JVB's application.conf).
DEFAULT_ASKED_BYTES = 10_485_760
MIB = 2**20


@dataclass(frozen=True)
class BufferAdvice:
    """``rmem_max_bytes`` is to be set, and asked for by the bridge if that is more than its default.

    The kernel grants twice what is asked for. ``holds_seconds``: of video at the load threshold, by the whole buffer.
    """

    rmem_max_bytes: int
    rcvbuf_bytes: int  #: what sock_diag has to show: twice that
    holds_seconds: float
    stall_seconds: float  #: that is to be ridden out
    stall_source: str
    needed_bytes: int  #: of rmem_max, for that stall alone
    peak_in_pps: float
    truesize_bytes: float
    truesize_source: str
    asked_bytes: int
    dropping_rcvbuf_bytes: int | None  #: the largest buffer that dropped packets in a burst of the run
    found_rcvbuf_bytes: int | None

    @property
    def enough(self) -> bool | None:
        """Whether the buffer found on arrival does; None if nobody saw it."""
        return None if self.found_rcvbuf_bytes is None else self.found_rcvbuf_bytes >= self.rcvbuf_bytes

    def sentence(self) -> str:
        """The answer first, then why."""
        size = f"net.core.rmem_max = {self.rmem_max_bytes} ({self.rmem_max_bytes / MIB:g} MiB)"
        has = {None: "", True: "; this host has it already", False: "; this host has less"}[self.enough]
        return f"{size} holds {self.holds_seconds * 1000:.0f} ms of video at the load threshold{has}"

    def why(self) -> str:
        """What the size rests on."""
        parts = [
            f"{self.stall_seconds * 1000:.0f} ms ({self.stall_source}) of {self.peak_in_pps:.0f} packets in a second, "
            f"{self.truesize_bytes:.0f} bytes each ({self.truesize_source}), need {self.needed_bytes / MIB:.1f} MiB"
        ]
        if self.rmem_max_bytes == self.asked_bytes:
            parts.append(f"the bridge asks for {self.asked_bytes / MIB:g} MiB")
        if self.dropping_rcvbuf_bytes is not None:
            parts.append(f"bursts overflowed a buffer of {self.dropping_rcvbuf_bytes / MIB:.2f} MiB")
        return "; ".join(parts)


def buffer_advice(
    trials: pl.DataFrame,
    load_threshold_pps: float,
    *,
    queued_seconds: Sequence[float] = (),
    truesizes: Mapping[str, float] | None = None,
    asked_bytes: int = DEFAULT_ASKED_BYTES,
) -> BufferAdvice | None:
    """Of one host's trials; None where no packet rate in is known.

    ``queued_seconds``: how long the receiving thread was behind, at each look at the socket's queue. ``truesizes``: UDP
    payload -> bytes charged, as measured on the host. ``asked_bytes``: what the bridge asks for.
    """
    if load_threshold_pps <= 0 or asked_bytes <= 0:
        raise UsageError("a receive buffer's size needs a packet rate and a size asked for above 0")
    rows = trials.filter(pl.col("valid") & (pl.col("kind") == "steady") & (pl.col("bridge_pps") > 0))
    share = (rows["in_pps"] / rows["bridge_pps"]).drop_nulls().max() if rows.height else None
    if share is None:
        return None
    peak = load_threshold_pps * float(share)  # type: ignore[arg-type]
    truesize, truesize_source = _truesize(truesizes or {})
    stall, stall_source = _stall(queued_seconds)
    needed = stall * peak * truesize / 2  # of rmem_max: the kernel doubles it
    dropping, keeping = _overflown(trials.filter(pl.col("valid")))
    size = max(asked_bytes, _power_of_two(needed))
    if dropping is not None and 2 * size <= dropping:
        size = max(size, _power_of_two((keeping or 2 * dropping) / 2))
    found = rows.filter(pl.col("step") == "baseline")["socket_rcvbuf_bytes"].drop_nulls()
    return BufferAdvice(
        rmem_max_bytes=size,
        rcvbuf_bytes=2 * size,
        holds_seconds=2 * size / truesize / peak,
        stall_seconds=stall,
        stall_source=stall_source,
        needed_bytes=round(needed),
        peak_in_pps=peak,
        truesize_bytes=truesize,
        truesize_source=truesize_source,
        asked_bytes=asked_bytes,
        dropping_rcvbuf_bytes=dropping,
        found_rcvbuf_bytes=int(found[0]) if len(found) else None,
    )


def clamped(trials: pl.DataFrame, asked_bytes: int) -> Reason | None:
    """A finding of every run: at the baseline the bridge asks for a buffer, and the kernel grants less."""
    rows = trials.filter(pl.col("step") == "baseline")["socket_rcvbuf_bytes"].drop_nulls()
    if not len(rows) or int(rows[0]) >= 2 * asked_bytes:
        return None
    return Reason(
        Code.BUFFER_CLAMPED,
        f"The bridge asks for a receive buffer of {asked_bytes / MIB:g} MiB and gets {int(rows[0]) / 2 / MIB:.2g} MiB: "
        "net.core.rmem_max is smaller",
        f"Set net.core.rmem_max to {asked_bytes} or more.",
    )


def _power_of_two(size: float) -> int:
    return 1 << max(12, int(np.ceil(np.log2(max(size, 1.0)))))


def _stall(queued_seconds: Sequence[float]) -> tuple[float, str]:
    """p99.9 of what was seen, from ``MIN_STALL_SECONDS`` to ``MAX_USEFUL_SECONDS``."""
    seen = float(np.quantile(np.asarray(queued_seconds), 0.999)) if len(queued_seconds) else 0.0
    if seen > MIN_STALL_SECONDS:
        return min(seen, MAX_USEFUL_SECONDS), "seen in the socket's queue"
    return MIN_STALL_SECONDS, "pauses and join storms of production"


def _overflown(trials: pl.DataFrame) -> tuple[int | None, int | None]:
    """Of the bursts: the largest buffer that dropped packets, and the smallest above it that was tried and kept all."""
    bursts = trials.filter((pl.col("kind") == "burst") & pl.col("socket_rcvbuf_bytes").is_not_null())
    dropped = bursts.filter(pl.col("socket_drops") > 0)["socket_rcvbuf_bytes"]
    if not len(dropped):
        return None, None
    largest = int(dropped.max())  # type: ignore[arg-type]
    above = bursts.filter(pl.col("socket_rcvbuf_bytes") > largest)["socket_rcvbuf_bytes"]
    return largest, int(above.min()) if len(above) else None  # type: ignore[arg-type]


def _truesize(measured: Mapping[str, float]) -> tuple[float, str]:
    """Of the least payload that was tried and is no smaller than a video packet's."""
    for payload, charged in sorted((int(size), value) for size, value in measured.items()):
        if payload >= VIDEO_PAYLOAD_BYTES:
            return float(charged), f"video, measured on the host's loopback with {payload} bytes of payload"
    return VIDEO_TRUESIZE_BYTES, "video, as on kernel 6.18"


def queued_seconds(samples: pl.DataFrame, in_pps: float, truesize_bytes: float) -> list[float]:
    """Of each 1 Hz sample: how long the receiving thread was behind, by the bytes in the sockets' queues."""
    names = [name for name in samples.columns if name.startswith("sockets.") and name.endswith(".rmem_bytes")]
    if not names or in_pps <= 0:
        return []
    held = samples.select(pl.max_horizontal(*names)).to_series().cast(pl.Float64).drop_nulls()
    return [value / truesize_bytes / in_pps for value in held.to_list()]
