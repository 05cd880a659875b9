"""RTCP of a client, and what a bridge sends back: bytes in, typed packets out. Pure.

RFC 3550 (SR, RR, SDES), RFC 4585 (NACK, PLI), RFC 5104 (FIR), draft-holmer-rmcat-transport-wide-cc-extensions-01,
draft-alvestrand-rmcat-remb-03.
Feedback goes alone, as reduced-size RTCP (RFC 5506), the way WebRTC sends it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SENDER_REPORT, RECEIVER_REPORT, SOURCE_DESCRIPTION, BYE = 200, 201, 202, 203
TRANSPORT_FEEDBACK, PAYLOAD_FEEDBACK = 205, 206
NACK_FORMAT, TRANSPORT_CC_FORMAT = 1, 15
PLI_FORMAT, FIR_FORMAT, REMB_FORMAT = 1, 4, 15
REMB_MARK, REMB_MANTISSA_BITS = b"REMB", 18

DELTA_NS = 250_000  #: transport-cc: deltas of arrival are in 250 µs,
REFERENCE_NS = 64_000_000  #: the reference time in 64 ms
NOT_RECEIVED, SMALL, LARGE = 0, 1, 2
MAX_RUN, VECTOR_SYMBOLS = 0x1FFF, 7
MAX_STATUSES = 4096  #: in one packet: it stays below the MTU's size even if no two deltas are alike in size
NTP_EPOCH_SECONDS = 2_208_988_800

_U32 = struct.Struct("!I")


@dataclass(frozen=True)
class ReportBlock:
    """What a receiver says of one SSRC (RFC 3550, 6.4.1). ``highest``: the extended sequence number."""

    ssrc: int
    fraction_lost: int
    lost: int
    highest: int
    jitter: int = 0
    last_report: int = 0
    delay: int = 0  #: since that report, in 1/65536 s


@dataclass(frozen=True)
class SenderReport:
    ssrc: int
    ntp: int  #: 64 bits
    rtp_timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True)
class ReceiverReport:
    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True)
class Nack:
    ssrc: int
    media_ssrc: int
    sequences: tuple[int, ...]


@dataclass(frozen=True)
class KeyFrameRequest:
    """PLI, or FIR: for each of these SSRCs."""

    media_ssrcs: tuple[int, ...]
    fir: bool = False


@dataclass(frozen=True)
class Remb:
    """Receiver estimated maximum bitrate, in bits per second."""

    ssrc: int
    bits_per_second: int
    media_ssrcs: tuple[int, ...]


@dataclass(frozen=True)
class TransportFeedback:
    """``received``: transport-wide sequence number (16 bits) -> arrival in ns, to 250 µs; ``count``: with the lost."""

    ssrc: int
    media_ssrc: int
    number: int
    base: int
    count: int
    received: dict[int, int]


@dataclass(frozen=True)
class Other:
    """What a generator has no use for: BYE, SDES."""

    packet_type: int
    format: int


Packet = SenderReport | ReceiverReport | Nack | KeyFrameRequest | TransportFeedback | Remb | Other


def _packet(format_or_count: int, packet_type: int, body: bytes) -> bytes:
    assert len(body) % 4 == 0
    return struct.pack("!BBH", 0x80 | format_or_count, packet_type, len(body) // 4) + body


def ntp_time(wall_ns: int) -> int:
    """64 bits of NTP time (RFC 3550, 4)."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return (seconds + NTP_EPOCH_SECONDS & 0xFFFFFFFF) << 32 | (rest << 32) // 1_000_000_000


def _blocks(blocks: Iterable[ReportBlock]) -> bytes:
    return b"".join(
        struct.pack(
            "!IIIIII",
            b.ssrc, b.fraction_lost << 24 | b.lost & 0xFFFFFF, b.highest & 0xFFFFFFFF, b.jitter, b.last_report, b.delay,
        )
        for b in blocks
    )  # fmt: skip


def sender_report(report: SenderReport) -> bytes:
    """At most 31 blocks."""
    head = struct.pack(
        "!IQIII", report.ssrc, report.ntp, report.rtp_timestamp & 0xFFFFFFFF, report.packets & 0xFFFFFFFF,
        report.octets & 0xFFFFFFFF,
    )  # fmt: skip
    return _packet(len(report.blocks), SENDER_REPORT, head + _blocks(report.blocks))


def receiver_report(ssrc: int, blocks: Sequence[ReportBlock]) -> bytes:
    """At most 31 blocks."""
    return _packet(len(blocks), RECEIVER_REPORT, _U32.pack(ssrc) + _blocks(blocks))


def source_description(ssrc: int, cname: str) -> bytes:
    """Compound packets end with one (RFC 3550, 6.1)."""
    item = bytes((1, len(cname))) + cname.encode("ascii")
    item += bytes(4 - len(item) % 4)  # at least one zero ends the list
    return _packet(1, SOURCE_DESCRIPTION, _U32.pack(ssrc) + item)


def pli(ssrc: int, media_ssrc: int) -> bytes:
    return _packet(PLI_FORMAT, PAYLOAD_FEEDBACK, struct.pack("!II", ssrc, media_ssrc))


def nack(ssrc: int, media_ssrc: int, sequences: Iterable[int]) -> bytes:
    """RFC 4585, 6.2.1: a sequence number, and a mask of the sixteen after it."""
    wanted = sorted(set(sequences))
    body = struct.pack("!II", ssrc, media_ssrc)
    while wanted:
        first = wanted[0]
        mask = sum(1 << (s - first - 1) for s in wanted[1:] if s - first <= 16)
        body += struct.pack("!HH", first, mask)
        wanted = [s for s in wanted if s - first > 16]
    return _packet(NACK_FORMAT, TRANSPORT_FEEDBACK, body)


def remb(ssrc: int, bits_per_second: int, media_ssrcs: Sequence[int]) -> bytes:
    """Receiver estimated maximum bitrate, rounded down to 18 bits; of at most 255 SSRCs."""
    exponent = max(0, bits_per_second.bit_length() - REMB_MANTISSA_BITS)
    rate = exponent << REMB_MANTISSA_BITS | bits_per_second >> exponent
    named = bytes((len(media_ssrcs),)) + rate.to_bytes(3, "big") + b"".join(map(_U32.pack, media_ssrcs))
    return _packet(REMB_FORMAT, PAYLOAD_FEEDBACK, _U32.pack(ssrc) + bytes(4) + REMB_MARK + named)


def transport_feedback(ssrc: int, media_ssrc: int, number: int, base: int, arrivals_ns: Sequence[int | None]) -> bytes:
    """Of ``base`` and the sequence numbers after it: when each arrived, None: it did not.

    Time is any clock's: it goes as deltas to a reference in 64 ms. Raises ValueError where none arrived, or there are
    more than ``MAX_STATUSES``.
    """
    first = next((arrived for arrived in arrivals_ns if arrived is not None), None)
    if first is None or len(arrivals_ns) > MAX_STATUSES:
        raise ValueError(f"feedback is of packets that arrived, and of at most {MAX_STATUSES}")
    reference = first // REFERENCE_NS
    last = reference * REFERENCE_NS // DELTA_NS  # in ticks, so that what is rounded away never adds up
    symbols: list[int] = []
    deltas = bytearray()
    for arrived in arrivals_ns:
        if arrived is None:
            symbols.append(NOT_RECEIVED)
            continue
        delta = arrived // DELTA_NS - last
        if 0 <= delta <= 0xFF:
            symbols.append(SMALL)
            deltas.append(delta)
        else:
            delta = max(-0x8000, min(0x7FFF, delta))
            symbols.append(LARGE)
            deltas += struct.pack("!h", delta)
        last += delta
    body = struct.pack("!IIHH", ssrc, media_ssrc, base & 0xFFFF, len(symbols))
    body += (reference & 0xFFFFFF).to_bytes(3, "big") + bytes((number & 0xFF,))
    body += _chunks(symbols) + deltas
    padding = -len(body) % 4
    if not padding:
        return _packet(TRANSPORT_CC_FORMAT, TRANSPORT_FEEDBACK, body)
    packet = bytearray(_packet(TRANSPORT_CC_FORMAT, TRANSPORT_FEEDBACK, body + bytes(padding)))
    packet[0] |= 0x20
    packet[-1] = padding
    return bytes(packet)


def _chunks(symbols: Sequence[int]) -> bytes:
    """Runs where seven and more are alike, else vectors of seven (3.1.3, 3.1.4)."""
    out = bytearray()
    at = 0
    while at < len(symbols):
        symbol, end = symbols[at], at + 1
        while end < len(symbols) and symbols[end] == symbol and end - at < MAX_RUN:
            end += 1
        if end - at >= VECTOR_SYMBOLS:
            out += (symbol << 13 | end - at).to_bytes(2, "big")
            at = end
            continue
        chunk = 0xC000
        for place, one in enumerate(symbols[at : at + VECTOR_SYMBOLS]):
            chunk |= one << (12 - 2 * place)
        out += chunk.to_bytes(2, "big")
        at += VECTOR_SYMBOLS
    return bytes(out)


def parse(data: bytes) -> list[Packet]:
    """The packets of a compound one. What is cut off or malformed ends it: it came from outside."""
    packets: list[Packet] = []
    at = 0
    while at + 8 <= len(data) and data[at] >> 6 == 2:
        length = 4 * (int.from_bytes(data[at + 2 : at + 4], "big") + 1)
        whole = data[at : at + length]
        if len(whole) < length:
            break
        body = whole[4:]
        if whole[0] & 0x20:
            if not 0 < body[-1] <= len(body) - 4:
                break
            body = body[: -body[-1]]
        try:
            packets.append(_parse_one(whole[0] & 0x1F, whole[1], body))
        except (struct.error, IndexError):
            break
        at += length
    return packets


def _parse_one(count: int, packet_type: int, body: bytes) -> Packet:
    if packet_type == SENDER_REPORT:
        ssrc, ntp, timestamp, packets, octets = struct.unpack_from("!IQIII", body)
        return SenderReport(ssrc, ntp, timestamp, packets, octets, _parse_blocks(count, body, 24))
    if packet_type == RECEIVER_REPORT:
        return ReceiverReport(_U32.unpack_from(body)[0], _parse_blocks(count, body, 4))
    if packet_type == PAYLOAD_FEEDBACK and count == PLI_FORMAT:
        return KeyFrameRequest((_U32.unpack_from(body, 4)[0],))
    if packet_type == PAYLOAD_FEEDBACK and count == FIR_FORMAT:
        return KeyFrameRequest(tuple(_U32.unpack_from(body, at)[0] for at in range(8, len(body) - 7, 8)), fir=True)
    if packet_type == PAYLOAD_FEEDBACK and count == REMB_FORMAT and body[8:12] == REMB_MARK:
        return _parse_remb(body)
    if packet_type == TRANSPORT_FEEDBACK and count == NACK_FORMAT:
        return _parse_nack(body)
    if packet_type == TRANSPORT_FEEDBACK and count == TRANSPORT_CC_FORMAT:
        return _parse_transport(body)
    return Other(packet_type, count)


def _parse_blocks(count: int, body: bytes, at: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for number in range(count):
        ssrc, lost, highest, jitter, last, delay = struct.unpack_from("!IIIIII", body, at + 24 * number)
        signed = lost & 0xFFFFFF
        signed -= (signed & 0x800000) << 1
        blocks.append(ReportBlock(ssrc, lost >> 24, signed, highest, jitter, last, delay))
    return tuple(blocks)


def _parse_remb(body: bytes) -> Remb:
    rate = int.from_bytes(body[13:16], "big")
    ssrcs = tuple(_U32.unpack_from(body, 16 + 4 * number)[0] for number in range(body[12]))
    mantissa = rate & (1 << REMB_MANTISSA_BITS) - 1
    return Remb(_U32.unpack_from(body)[0], mantissa << (rate >> REMB_MANTISSA_BITS), ssrcs)


def _parse_nack(body: bytes) -> Nack:
    ssrc, media = struct.unpack_from("!II", body)
    sequences = []
    for at in range(8, len(body) - 3, 4):
        first, mask = struct.unpack_from("!HH", body, at)
        sequences.append(first)
        sequences += [(first + 1 + bit) & 0xFFFF for bit in range(16) if mask >> bit & 1]
    return Nack(ssrc, media, tuple(sequences))


def _parse_transport(body: bytes) -> TransportFeedback:
    ssrc, media, base, count = struct.unpack_from("!IIHH", body)
    reference, number = int.from_bytes(body[12:15], "big"), body[15]
    symbols: list[int] = []
    at = 16
    while len(symbols) < count:
        (chunk,) = struct.unpack_from("!H", body, at)
        at += 2
        if not chunk & 0x8000:
            symbols += [chunk >> 13 & 3] * min(chunk & MAX_RUN, count - len(symbols))
        elif chunk & 0x4000:
            symbols += [chunk >> (12 - 2 * place) & 3 for place in range(7)]
        else:
            symbols += [chunk >> (13 - place) & 1 for place in range(14)]
    clock = reference * REFERENCE_NS
    received = {}
    for place, symbol in enumerate(symbols[:count]):
        if symbol == SMALL:
            delta, at = body[at], at + 1
        elif symbol == LARGE:
            (delta,) = struct.unpack_from("!h", body, at)
            at += 2
        else:
            continue
        clock += delta * DELTA_NS
        received[(base + place) & 0xFFFF] = clock
    return TransportFeedback(ssrc, media, number, base, count, received)
