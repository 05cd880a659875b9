"""What clients send, read by readers of their own, written from the RFCs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvbtune.load.media.rtp import (
    MAX_PAYLOAD_BYTES,
    OPUS,
    RTX,
    VP8,
    set_abs_send_time,
    set_transport_sequence,
)
from jvbtune.load.media.speech import DTX_SECONDS, TURN_SECONDS, Floor, Speech
from jvbtune.load.media.vp8 import CYCLE_FRAMES, Vp8Layer, key_frame_ratio, packets_per_second
from jvbtune.load.mix import VP8_LAYERS, Mix, Video
from jvbtune.load.mixfile import load_mix, shipped_mixes


@dataclass(frozen=True)
class Rtp:
    """RFC 3550, 5.1, and RFC 8285, 4.2."""

    marker: bool
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    extensions: dict[int, bytes]
    payload: bytes


def read_rtp(packet: bytes) -> Rtp:
    assert packet[0] >> 6 == 2
    assert not packet[0] & 0x2F, "no padding, no contributing sources"
    assert packet[0] & 0x10
    assert packet[12:14] == b"\xbe\xde"
    end = 16 + 4 * int.from_bytes(packet[14:16], "big")
    extensions, at = {}, 16
    while at < end:
        if packet[at] == 0:
            at += 1
            continue
        number, length = packet[at] >> 4, (packet[at] & 15) + 1
        assert at + 1 + length <= end
        assert number not in extensions
        extensions[number] = packet[at + 1 : at + 1 + length]
        at += 1 + length
    return Rtp(
        bool(packet[1] & 0x80),
        packet[1] & 0x7F,
        int.from_bytes(packet[2:4], "big"),
        int.from_bytes(packet[4:8], "big"),
        int.from_bytes(packet[8:12], "big"),
        extensions,
        packet[end:],
    )


@dataclass(frozen=True)
class Vp8:
    """RFC 7741, 4.2 and 4.3."""

    discardable: bool
    start: bool
    picture: int
    tl0: int
    tid: int
    key: bool
    size: tuple[int, int] | None
    data: bytes


def read_vp8(payload: bytes) -> Vp8:
    first, at = payload[0], 1
    assert first & 0x80, "extended"
    assert not first & 0x07, "first partition"
    fields, at = payload[at], at + 1
    assert fields & 0xF0 == 0xE0, "picture id, TL0PICIDX and TID; no KEYIDX"
    assert payload[at] & 0x80, "15 bits"
    picture = int.from_bytes(payload[at : at + 2], "big") & 0x7FFF
    tl0, tid = payload[at + 2], payload[at + 3] >> 6
    assert payload[at + 3] & 0x20, "Y: it refers to no frame but a base frame"
    data = payload[at + 4 :]
    start = bool(first & 0x10)
    key = start and not data[0] & 1
    size = None
    if key:
        assert data[3:6] == b"\x9d\x01\x2a"  # RFC 6386, 9.1
        size = (int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF)
    return Vp8(bool(first & 0x20), start, picture, tl0, tid, key, size, data)


def layer(**more: Any) -> Vp8Layer:
    asked = {"height": 720, "bits_per_second": 1_500_000.0, "frames_per_second": 30.0, "seed": 1} | more
    return Vp8Layer(4000, 5000, **asked)


def test_a_layer_is_vp8_as_rfc_7741_has_it() -> None:
    source = layer()
    frames = [[read_rtp(bytes(packet)) for packet in source.frame(number / 30)] for number in range(40)]
    packets = [packet for frame in frames for packet in frame]
    assert [packet.sequence for packet in packets] == list(range(4001, 4001 + len(packets)))
    assert {(packet.payload_type, packet.ssrc) for packet in packets} == {(VP8, 4000)}
    before, base = None, None
    for number, frame in enumerate(frames):
        parts = [read_vp8(packet.payload) for packet in frame]
        assert [packet.marker for packet in frame] == [False] * (len(frame) - 1) + [True]
        assert {packet.timestamp for packet in frame} == {number * 3000}
        assert [part.start for part in parts] == [True] + [False] * (len(parts) - 1)
        assert len({(part.picture, part.tl0, part.tid, part.discardable) for part in parts}) == 1
        part = parts[0]
        assert before is None or part.picture == before + 1
        assert (part.tid, part.discardable) == ((0, False) if number % 2 == 0 else (1, True))
        assert base is None or part.tl0 == (base + (part.tid == 0)) & 0xFF
        assert (part.key, part.size) == ((True, (1280, 720)) if number == 0 else (False, None))
        before, base = part.picture, part.tl0
    assert max(len(packet.payload) for packet in packets) <= MAX_PAYLOAD_BYTES
    assert all(len({len(packet.payload) for packet in frame}) <= 2 for frame in frames), "evenly split"


@given(
    bits=st.floats(60_000, 4_000_000),
    fps=st.sampled_from([5.0, 15.0, 24.0, 30.0]),
    seed=st.integers(0, 2**31),
    asked=st.sets(st.integers(1, 600), max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_its_rate_is_exact_whatever_the_seed_and_the_key_frames(
    bits: float, fps: float, seed: int, asked: set[int]
) -> None:
    source = layer(bits_per_second=bits, frames_per_second=fps, seed=seed)
    sizes = []
    for number in range(4 * CYCLE_FRAMES):
        if number in asked:
            source.request_key_frame()
        sizes.append(sum(len(read_vp8(read_rtp(bytes(p)).payload).data) for p in source.frame(number / fps)))
    mean = round(bits / 8 / fps)
    assert sum(sizes) - source.debt_bytes == 4 * CYCLE_FRAMES * mean
    assert source.debt_bytes == 0
    assert source.key_frames == 1 + len(asked)
    assert sizes[0] >= round(key_frame_ratio(fps) * mean)
    usual = sorted(sizes)[len(sizes) // 2]
    assert usual == pytest.approx(mean, rel=0.1)


def test_a_key_frame_is_as_large_as_libwebrtc_allows() -> None:
    """libvpx_vp8_encoder.cc, MaxIntraTarget: 600 ms x 0.5 x frames a second / 10 per cent, at least 300."""
    assert [key_frame_ratio(fps) for fps in (5, 10, 15, 30, 60)] == pytest.approx([3, 3, 4.5, 9, 18])


def test_packets_a_second_are_those_of_a_cycle() -> None:
    source = layer()
    for number in range(CYCLE_FRAMES):
        source.frame(number / 30)  # the key frame is paid back in it
    before = source.packets
    for number in range(CYCLE_FRAMES):
        source.frame(number / 30)
    assert (source.packets - before) / CYCLE_FRAMES * 30 == pytest.approx(packets_per_second(1_500_000, 30, 720))


def test_a_retransmission_is_the_packet_under_its_own_number() -> None:
    source = layer()
    sent = [read_rtp(bytes(packet)) for number in range(30) for packet in source.frame(number / 30)]
    for number, wanted in enumerate(sent[-20:]):
        again = source.retransmission(wanted.sequence)
        assert again is not None
        (packet,) = again.packets()
        found = read_rtp(bytes(packet))
        assert (found.payload_type, found.ssrc, found.sequence) == (RTX, 5000, 5001 + number)
        assert found.timestamp == wanted.timestamp
        assert found.payload == wanted.sequence.to_bytes(2, "big") + wanted.payload
    assert source.retransmission(3999) is None


def test_header_extensions_are_those_that_jicofo_offers() -> None:
    packet = layer().frame(0.0)[0]
    set_transport_sequence(packet, 0x12345)
    set_abs_send_time(packet, 64_000_000_000 + 1_500_000_000)
    assert read_rtp(bytes(packet)).extensions == {5: b"\x23\x45", 3: (3 << 17).to_bytes(3, "big")}
    untagged = layer().frame(0.0)[0]
    assert read_rtp(bytes(untagged)).extensions == {}


def test_one_speaks_at_a_time_and_speakers_change() -> None:
    floor = Floor(7, 4)
    speech = [Speech(100 + n, number=n, floor=floor, stream_pps=50, payload_bytes=80) for n in range(4)]
    turns: list[int] = []
    spoken = 0
    for tick in range(50 * 300):
        packets = [read_rtp(bytes(one.packet(tick / 50) or b"")) for one in speech]
        assert {packet.payload_type for packet in packets} == {OPUS}
        assert {len(packet.payload) for packet in packets} == {80}
        assert {packet.timestamp for packet in packets} == {tick * 960}, "48 kHz (RFC 7587, 4.1)"
        voices = [n for n, packet in enumerate(packets) if packet.extensions[1][0] & 0x80]
        assert len(voices) <= 1
        assert all(packet.extensions[1][0] & 0x7F < 127 for packet in packets), "127 is muted: not forwarded"
        spoken += len(voices)
        if voices and (not turns or turns[-1] != voices[0]):
            turns.append(voices[0])
    assert set(turns) == {0, 1, 2, 3}
    assert 0.3 * 300 / TURN_SECONDS < len(turns) < 1.5 * 300 / TURN_SECONDS
    assert spoken / (50 * 300) == pytest.approx(1.004 / (1.004 + 1.587), abs=0.1)  # ITU-T P.59
    assert [packet.sequence for packet in packets] == [100 + n + 50 * 300 for n in range(4)]


def test_dtx_sends_one_packet_in_400_ms_of_silence() -> None:
    silent = Speech(1, number=9, floor=Floor(1, 2), stream_pps=50, payload_bytes=80, dtx=True)
    sent = [tick / 50 for tick in range(50 * 40) if silent.packet(tick / 50) is not None]
    assert len(sent) == pytest.approx(40 / DTX_SECONDS, abs=2)
    assert silent.sequence == 1 + len(sent), "no number is skipped"


@pytest.mark.parametrize("name", shipped_mixes())
def test_a_shipped_mix_says_where_its_figures_are_from(name: str) -> None:
    section = load_mix(name)
    assert (section.name, bool(section.description), bool(section.sources)) == (name, True, True)
    mix = section.mix()
    assert mix.packet_rate_pps() > 0
    assert mix.meeting == (name != "audio")


def test_what_a_meeting_is_predicted_to_cause() -> None:
    """By hand: five with cameras that all show all others small; then only two of them; then nobody."""

    def small(**more: Any) -> Mix:
        return Mix(5, 5, video=Video(5, VP8_LAYERS, **more), transport_cc=False, rtcp=False)

    low = packets_per_second(200_000, 30, 180)
    assert 30 <= low < 32
    assert small(grid_height=180).in_pps() == pytest.approx(5 * 50 + 5 * low)
    assert small(grid_height=180).out_pps() == pytest.approx(5 * 4 * 50 + 5 * 4 * low)
    assert small(grid_height=180, visible=2).out_pps() == pytest.approx(5 * 4 * 50 + 5 * 2 * low)
    nobody = small(grid_height=0)
    assert (nobody.in_pps(), nobody.out_pps()) == (250, 1000)
    high = packets_per_second(1_500_000, 30, 720)
    stage = small(stage_views=5)
    assert stage.out_pps() == pytest.approx(5 * 4 * 50 + 5 * (high + 3 * low))


def test_what_can_be_asked_for_again_is_a_second_of_packets() -> None:
    """In bytes a client's history is most of it: a lowest layer's 256 packets were eight seconds."""
    source = layer()
    first = source.frame(0.0)
    for number in range(1, 31):
        source.frame(number / 30)
    wanted = read_rtp(bytes(first[0])).sequence
    assert source.retransmission(wanted) is not None
    source.frame(31 / 30)
    assert source.retransmission(wanted) is None
    assert source.retransmission(source.sequence) is not None
