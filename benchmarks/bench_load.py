"""What a packet costs the generator, and so how much one worker can send: SRTP and one system call each.

send(2) alone    the floor: an equal datagram, ready made
a sender's way   RTP written, protected, sent: what the worker does
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from pylibsrtp import Policy, Session

from jvbtune.load.generator import MAX_CPU_RATIO
from jvbtune.load.media import OpusSource

PACKETS = 40_000
ROUNDS = 5


def seconds_per_packet(send: Callable[[], object]) -> float:
    """CPU time of this process, the best of some rounds: what others do on the machine makes it only longer."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(PACKETS):
            send()
        best = min(best, (time.process_time() - begun) / PACKETS)
    return best


def main() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        sink.bind(("127.0.0.1", 0))
        out.connect(sink.getsockname())
        policy = Policy(
            key=os.urandom(28), ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM
        )
        session, source = Session(policy), OpusSource(1, stream_pps=50, payload_bytes=80)
        datagram = session.protect(source.packet(0))
        floor = seconds_per_packet(lambda: out.send(datagram))
        whole = seconds_per_packet(lambda: out.send(session.protect(source.packet(time.time_ns()))))
    print(f"send(2) alone        {floor * 1e6:5.1f} µs a packet")
    print(f"a sender's way       {whole * 1e6:5.1f} µs a packet   {whole / floor:.2f} × the floor")
    print(f"one worker at {MAX_CPU_RATIO:.0%}   {MAX_CPU_RATIO / whole:7.0f} packets a second, before what it receives")


if __name__ == "__main__":
    main()
