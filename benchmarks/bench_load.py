"""What a packet costs the generator, and so how much one worker can send: SRTP and one system call each.

send(2) alone    the floor: an equal datagram, ready made
a sender's way   RTP written, protected, sent: what the worker does
a camera's way   the same for a packet of VP8 of up to 1200 bytes: frames built, extensions and time filled in
received         headers of small packets read in batches of 200, from real sockets, feedback made of their arrivals
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Callable

from pylibsrtp import Policy, Session

from jvbtune.load.feedback import Arrivals
from jvbtune.load.generator import MAX_CPU_RATIO
from jvbtune.load.media import OpusSource
from jvbtune.load.media.codecs import stamp_in_payload
from jvbtune.load.media.rtp import STAMP, VP8, header, payload_at, set_abs_send_time, set_transport_sequence
from jvbtune.load.media.vp8 import Vp8Layer
from jvbtune.load.received import Receiver
from jvbtune.load.sockets import open_socket

PACKETS = 40_000
ROUNDS = 5
BATCH = 200


def seconds_per_packet(send: Callable[[], object]) -> float:
    """CPU time of this process, the best of some rounds: what others do on the machine makes it only longer."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(PACKETS):
            send()
        best = min(best, (time.process_time() - begun) / PACKETS)
    return best


def seconds_received() -> float:
    """CPU of a packet that arrives at a meeting's client: read, and answered for in transport-wide feedback."""
    receiver, arrivals, best = Receiver(), Arrivals(1), float("inf")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        with open_socket("127.0.0.1", far.getsockname(), headers=True) as near:
            far.connect(near.getsockname())
            for round_ in range(100):
                for number in range(BATCH):
                    packet = header(VP8, False, 1 + 32 * number & 0xFFFF, 0, 1)
                    set_transport_sequence(packet, round_ * BATCH + number)
                    far.send(bytes(packet) + bytes(900))
                begun = time.process_time()
                receiver.take(near.fileno(), 0)
                media = receiver.read(lambda *_: None, lambda *_: None)
                arrivals.add(media.transport, media.arrival_ns, 1)
                arrivals.due(float(round_))
                best = min(best, (time.process_time() - begun) / len(media.owner))
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
        layer = Vp8Layer(3, 4, height=720, bits_per_second=1.5e6, frames_per_second=30, seed=1)
        frames = (layer.frame(number / 30) for number in itertools.count())
        packets = (packet for frame in frames for packet in frame)

        def film() -> None:
            packet = next(packets)
            now = time.time_ns()
            stamp = stamp_in_payload(packet)
            if stamp is not None:
                STAMP.pack_into(packet, payload_at(packet) + stamp, now)
            set_abs_send_time(packet, now)
            set_transport_sequence(packet, layer.packets)
            out.send(session.protect(bytes(packet)))

        camera = seconds_per_packet(film)
        heard = seconds_received()
    print(f"send(2) alone        {floor * 1e6:5.1f} µs a packet")
    print(f"a sender's way       {whole * 1e6:5.1f} µs a packet   {whole / floor:.2f} × the floor")
    print(f"a camera's way       {camera * 1e6:5.1f} µs a packet   {camera / whole:.2f} × a sender's")
    print(f"received             {heard * 1e6:5.1f} µs a packet")
    print(f"one worker at {MAX_CPU_RATIO:.0%}   {MAX_CPU_RATIO / whole:7.0f} packets a second, before what it receives")


if __name__ == "__main__":
    main()
