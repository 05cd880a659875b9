"""The smallest receive buffer that rides out the stalls that were seen, and what a larger one would cost.

A stall of the receiving thread leaves packets in the socket, each with its truesize (the kernel's charge, not its
length). A buffer larger than the stall needs loses nothing more, and when the bridge is too slow for good it only adds
delay: media that is late is as useless as media that is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from jvbtune.errors import UsageError

#: Kernel 6.18, loopback, payload of at most 160 B (Opus). A NIC's driver may charge more: measure it there.
OPUS_TRUESIZE_BYTES = 832
#: Above it a buffer holds media that nobody wants any more.
MAX_USEFUL_SECONDS = 0.5


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
    """p99.9 of the stalls × peak packets in × truesize, rounded up to a page; stalls count up to 0.5 s."""
    if min(stall_seconds, peak_in_pps, truesize_bytes) <= 0:
        raise UsageError("a buffer's size needs a stall, a packet rate and a truesize above 0")
    seconds = min(stall_seconds, MAX_USEFUL_SECONDS)
    packets = -int(-seconds * peak_in_pps // 1)
    asked = -int(-(packets * truesize_bytes / 2) // 4096) * 4096
    return BufferSize(2 * asked, asked, packets, 2 * asked / truesize_bytes / peak_in_pps)
