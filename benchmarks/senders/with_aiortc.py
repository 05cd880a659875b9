"""What a sent packet costs in aiortc's RTP stack: its VP8 packetizer, packets with extensions, SRTP, asyncio's send.

``python with_aiortc.py PORT PACKETS FRAME_BYTES``, where aiortc is installed: prints nanoseconds of CPU a packet. Its
encoder, its pacing and its congestion control are left out.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from aiortc.codecs.vpx import Vp8Encoder
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap, RtpPacket
from pylibsrtp import Policy, Session


async def main(port: int, wanted: int, frame_bytes: int) -> None:
    known = HeaderExtensionsMap()
    known.configure(
        RTCRtpParameters(
            headerExtensions=[
                RTCRtpHeaderExtensionParameters(id=3, uri="http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time")
            ]
        )
    )
    profile = Policy.SRTP_PROFILE_AEAD_AES_128_GCM
    session = Session(Policy(key=os.urandom(28), ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile))
    out, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port)
    )
    frame, sequence, sent = bytes(frame_bytes), 0, 0
    begun = time.process_time()
    while sent < wanted:
        payloads = Vp8Encoder._packetize(frame, sent & 0x7FFF)
        for number, payload in enumerate(payloads):
            sequence = (sequence + 1) & 0xFFFF
            packet = RtpPacket(100, int(number == len(payloads) - 1), sequence, sent & 0xFFFFFFFF, 3, payload)
            packet.extensions.abs_send_time = time.time_ns() * (1 << 18) // 10**9 & 0xFFFFFF
            out.sendto(session.protect(packet.serialize(known)))
        sent += len(payloads)
        await asyncio.sleep(0)
    print((time.process_time() - begun) / sent * 1e9)


asyncio.run(main(*map(int, sys.argv[1:])))
