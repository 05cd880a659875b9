"""What a queued UDP packet is charged for (skb truesize), by trying it: socket(7) SO_MEMINFO of packets left unread.

Over the loopback: a NIC's driver may charge more, by up to a page a packet.
"""

from __future__ import annotations

import socket
import struct

SO_MEMINFO = 55  #: asm-generic/socket.h; nine u32, the first is what the receive queue holds
#: UDP payloads from an Opus frame in SRTP to a full video packet.
PAYLOADS = (120, 400, 700, 1200)
PACKETS = 16


def truesizes() -> dict[str, float]:
    """UDP payload in bytes -> bytes charged a packet; empty where the kernel does not tell."""
    found: dict[str, float] = {}
    for payload in PAYLOADS:
        try:
            found[str(payload)] = _truesize(payload)
        except OSError:
            return {}
    return found


def _truesize(payload_bytes: int) -> float:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(PACKETS):
                sender.sendto(b"\0" * payload_bytes, receiver.getsockname())
        memory = receiver.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36)
        return float(struct.unpack("=9I", memory)[0]) / PACKETS
