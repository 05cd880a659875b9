"""VP9 and AV1 with spatial layers, read by readers of their own, from RFC 9628 and the AV1 RTP specification."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvbtune.load.camera import Camera
from jvbtune.load.media.av1 import Av1Stream
from jvbtune.load.media.codecs import CODECS, stamp_in_payload
from jvbtune.load.media.rtp import (
    AV1,
    STAMP,
    VP9,
    payload_at,
    set_abs_send_time,
    set_transport_sequence,
)
from jvbtune.load.media.svc import SvcStream, layer_rates
from jvbtune.load.media.video import CYCLE_FRAMES
from jvbtune.load.media.vp9 import Vp9Stream
from jvbtune.load.mix import AV1_LAYERS, LAYERS, VP9_LAYERS, Layer, Mix, Video
from jvbtune.protocol import worker as messages
from tests.load.test_media import Rtp, read_rtp

HEIGHTS = (180, 360, 720)
TURNS = [0, 2, 1, 2]  #: temporal layers


@dataclass(frozen=True)
class Frame:
    """One layer's frame, or what a packet says of it. ``references``: indices of the pictures (VP9) or frames (AV1)."""

    number: int
    spatial: int
    temporal: int
    key: bool
    data_bytes: int
    references: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()  #: of AV1: decode targets that it is present in


def read_both(packet: bytes) -> Rtp:
    """RFC 3550 with one-byte or two-byte extensions (RFC 8285, 4.2 and 4.3)."""
    if packet[12:14] == b"\xbe\xde":
        return read_rtp(packet)
    assert packet[12:14] == b"\x10\x00"
    end = 16 + 4 * int.from_bytes(packet[14:16], "big")
    extensions, at = {}, 16
    while at < end:
        if packet[at] == 0:
            at += 1
            continue
        number, length = packet[at], packet[at + 1]
        assert number not in extensions
        assert at + 2 + length <= end
        extensions[number] = packet[at + 2 : at + 2 + length]
        at += 2 + length
    plain = read_rtp(packet[:12] + b"\xbe\xde\x00\x00" + packet[end:])
    return replace(plain, extensions=extensions)


# -- VP9 -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Structure:
    """RFC 9628, 4.2.1."""

    sizes: tuple[tuple[int, int], ...]
    pictures: tuple[tuple[int, bool, tuple[int, ...]], ...]  #: temporal layer, switch up, references


@dataclass(frozen=True)
class Vp9:
    """RFC 9628, 4.2, non-flexible mode."""

    picture: int
    predicted: bool
    begins: bool
    ends: bool
    not_referred: bool
    temporal: int
    switch_up: bool
    spatial: int
    inter_layer: bool
    tl0: int
    structure: Structure | None
    data_bytes: int


def read_vp9(payload: bytes) -> Vp9:
    first = payload[0]
    assert first & 0x80, "picture id"
    assert payload[1] & 0x80, "of 15 bits"
    assert first & 0x20, "layer indices"
    assert not first & 0x10, "non-flexible"
    layer, tl0, at = payload[3], payload[4], 5
    structure = None
    if first & 0x02:
        head, at = payload[at], at + 1
        assert not head & 0x07, "reserved"
        sizes, pictures = [], []
        if head & 0x10:
            for _ in range((head >> 5) + 1):
                width, height = (
                    int.from_bytes(payload[at : at + 2], "big"),
                    int.from_bytes(payload[at + 2 : at + 4], "big"),
                )
                sizes.append((width, height))
                at += 4
        if head & 0x08:
            many, at = payload[at], at + 1
            for _ in range(many):
                one, at = payload[at], at + 1
                ago = tuple(payload[at : at + (one >> 2 & 3)])
                at += len(ago)
                pictures.append((one >> 5, bool(one & 0x10), ago))
        structure = Structure(tuple(sizes), tuple(pictures))
    return Vp9(
        int.from_bytes(payload[1:3], "big") & 0x7FFF, bool(first & 0x40), bool(first & 0x08), bool(first & 0x04),
        bool(first & 0x01), layer >> 5, bool(layer & 0x10), layer >> 1 & 7, bool(layer & 1), tl0, structure,
        len(payload) - at,
    )  # fmt: skip


def vp9_frames(packets: Sequence[Rtp]) -> list[Frame]:
    """Each layer's frame, put together from its packets."""
    frames: list[Frame] = []
    structure: Structure | None = None
    turn, before = 0, -1
    for packet in packets:
        assert packet.payload_type == VP9
        part = read_vp9(packet.payload)
        structure = part.structure or structure
        assert structure is not None
        key = not part.predicted
        if part.picture != before:
            turn = 0 if key else (turn + 1) % len(structure.pictures)
            before = part.picture
        temporal, switch_up, ago = structure.pictures[turn]
        assert (part.temporal, part.switch_up) == (temporal, switch_up)
        if part.begins:
            references = () if key else tuple((part.picture - one) & 0x7FFF for one in ago)
            frames.append(Frame(part.picture, part.spatial, part.temporal, key, 0, references))
        whole = frames[-1]
        assert (whole.number, whole.spatial) == (part.picture, part.spatial)
        frames[-1] = replace(whole, data_bytes=whole.data_bytes + part.data_bytes)
        top = len(structure.sizes) - 1
        assert part.inter_layer == (key and part.spatial > 0)
        assert part.not_referred == (not key or part.spatial == top), "layers refer to each other in key pictures only"
        assert packet.marker == (part.ends and part.spatial == top)
    return frames


# -- AV1 -----------------------------------------------------------------------------------------------------------


class Bits:
    """AV1 bitstream specification, 4.10."""

    def __init__(self, data: bytes) -> None:
        self._text = "".join(f"{byte:08b}" for byte in data)
        self.at = 0

    def f(self, many: int) -> int:
        self.at += many
        assert self.at <= len(self._text)
        return int(self._text[self.at - many : self.at] or "0", 2)

    def ns(self, values: int) -> int:
        width = values.bit_length()
        shorter = (1 << width) - values
        value = self.f(width - 1)
        return value if value < shorter else (value << 1) - shorter + self.f(1)

    def rest(self) -> str:
        return self._text[self.at :]


@dataclass(frozen=True)
class Template:
    spatial: int
    temporal: int
    indications: str
    references: tuple[int, ...]
    chains: tuple[int, ...]


@dataclass(frozen=True)
class Templates:
    """The template dependency structure (A.8.2)."""

    offset: int
    targets: int
    templates: tuple[Template, ...]
    protected_by: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Descriptor:
    """A.8: mandatory fields, and the structure."""

    begins: bool
    ends: bool
    template: int
    frame: int
    structure: Templates | None


def read_descriptor(data: bytes) -> Descriptor:
    bits = Bits(data)
    begins, ends, template, frame = bool(bits.f(1)), bool(bits.f(1)), bits.f(6), bits.f(16)
    structure = None
    if len(data) > 3:
        assert [bits.f(1) for _ in range(5)] == [1, 0, 0, 0, 0]
        structure = read_structure(bits)
        assert len(bits.rest()) < 8
        assert "1" not in bits.rest()
    return Descriptor(begins, ends, template, frame, structure)


def read_structure(bits: Bits) -> Templates:
    offset, targets = bits.f(6), bits.f(5) + 1
    layers = [(0, 0)]
    while (step := bits.f(2)) != 3:
        spatial, temporal = layers[-1]
        layers.append([(spatial, temporal), (spatial, temporal + 1), (spatial + 1, 0)][step])
    indications = ["".join("-DSR"[bits.f(2)] for _ in range(targets)) for _ in layers]
    references = []
    for _ in layers:
        found = []
        while bits.f(1):
            found.append(bits.f(4) + 1)
        references.append(tuple(found))
    chains = bits.ns(targets + 1)
    protected_by = tuple(bits.ns(chains) for _ in range(targets))
    differences = [tuple(bits.f(4) for _ in range(chains)) for _ in layers]
    sizes = tuple((bits.f(16) + 1, bits.f(16) + 1) for _ in range(layers[-1][0] + 1)) if bits.f(1) else ()
    templates = tuple(
        Template(*layer, *more) for layer, *more in zip(layers, indications, references, differences, strict=True)
    )
    return Templates(offset, targets, templates, protected_by, sizes)


def obu_elements(data: bytes, many: int) -> list[bytes]:
    """4.3 and 4.4: each with its length before it but the last."""
    found, at = [], 0
    for _ in range(many - 1):
        length = shift = 0
        while True:
            length |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 0x80:
                break
        found.append(data[at : at + length])
        at += length
    assert at < len(data)
    return [*found, data[at:]]


def av1_frames(packets: Sequence[Rtp]) -> list[Frame]:
    """Each layer's frame, put together from its packets."""
    frames: list[Frame] = []
    structure: Templates | None = None
    open_obu = False
    newest: dict[int, int] = {}  # chain -> frame
    for packet in packets:
        assert packet.payload_type == AV1
        descriptor = read_descriptor(packet.extensions[11])
        structure = descriptor.structure or structure
        assert structure is not None
        template = structure.templates[(descriptor.template - structure.offset) % 64]
        aggregation, data = packet.payload[0], packet.payload[1:]
        assert not aggregation & 0x07, "reserved"
        assert bool(aggregation & 0x80) == open_obu == (not descriptor.begins)
        obus = obu_elements(data, aggregation >> 4 & 3)
        open_obu = bool(aggregation & 0x40)
        assert open_obu == (not descriptor.ends)
        assert len(obus) == 1 or descriptor.begins
        assert not descriptor.ends or data[-1] == 0x80, "the trailing bit of the padding"
        assert bool(aggregation & 0x08) == (descriptor.structure is not None), "a coded video sequence begins"
        key = all(ago <= template.spatial for ago in template.references)
        if descriptor.begins:
            sequence = [1] if descriptor.structure is not None else []
            assert [obu[0] >> 3 for obu in obus] == [*sequence, 6, 15], "the frame, and its padding"
            for obu in obus:
                assert obu[0] & 0x87 == 0x04, "with layers, without its size"
                assert (obu[1] >> 5, obu[1] >> 3 & 3) == (template.temporal, template.spatial)
            references = tuple((descriptor.frame - ago) & 0xFFFF for ago in template.references)
            present = tuple(at for at, one in enumerate(template.indications) if one != "-")
            for chain, ago in enumerate(template.chains):
                assert ago == 0 or newest[chain] == (descriptor.frame - ago) & 0xFFFF
            frames.append(Frame(descriptor.frame, template.spatial, template.temporal, key, 0, references, present))
            for chain in range(len(template.chains)):
                if template.temporal == 0 and (template.spatial == chain or (key and template.spatial < chain)):
                    newest[chain] = descriptor.frame
        whole = frames[-1]
        assert whole.number == descriptor.frame
        frames[-1] = replace(whole, data_bytes=whole.data_bytes + len(data))
        assert packet.marker == (descriptor.ends and template.spatial == len(structure.sizes) - 1)
    return frames


READERS: dict[str, Callable[[Sequence[Rtp]], list[Frame]]] = {"vp9": vp9_frames, "av1": av1_frames}
STREAMS: dict[str, Callable[..., SvcStream]] = {"vp9": Vp9Stream, "av1": Av1Stream}
of_both = pytest.mark.parametrize("codec", ["vp9", "av1"])


def stream(codec: str, **more: Any) -> SvcStream:
    layers = LAYERS[codec]
    asked = {
        "heights": HEIGHTS,
        "bits_per_second": [layer.bitrate_kbps * 1000 for layer in layers],
        "frames_per_second": 30.0,
        "seed": 1,
    } | more
    return STREAMS[codec](4000, 5000, **asked)


def pictures(source: SvcStream, many: int, begin: int = 0) -> list[list[Rtp]]:
    return [[read_both(bytes(packet)) for packet in source.frame(number / 30)] for number in range(begin, begin + many)]


# -- both ----------------------------------------------------------------------------------------------------------


@of_both
def test_a_picture_has_all_layers_under_one_ssrc(codec: str) -> None:
    made = pictures(stream(codec), 40)
    packets = [packet for picture in made for packet in picture]
    assert [packet.sequence for packet in packets] == list(range(4001, 4001 + len(packets)))
    assert {packet.ssrc for packet in packets} == {4000}
    assert [{packet.timestamp for packet in picture} for picture in made] == [{3000 * n} for n in range(40)]
    assert all([p.marker for p in picture] == [False] * (len(picture) - 1) + [True] for picture in made)
    frames = READERS[codec](packets)
    assert [frame.spatial for frame in frames] == [0, 1, 2] * 40
    assert [frame.temporal for frame in frames[::3]] == TURNS * 10
    assert [frame.key for frame in frames] == [True] * 3 + [False] * 117


@of_both
def test_no_packet_is_longer_than_webrtc_s(codec: str) -> None:
    source = stream(codec, bits_per_second=[500_000.0, 2_000_000.0, 8_000_000.0])
    sent = [packet for number in range(60) for packet in source.frame(number / 30)]
    assert 1190 <= max(map(len, sent)) <= 1200 - 2, "with room for RTX's two bytes"
    again = [source.retransmission(read_both(bytes(packet)).sequence) for packet in sent[-100:]]
    assert max(max(frame.sizes) for frame in again if frame is not None) <= 1200


@of_both
@given(
    total=st.floats(300_000, 4_000_000),
    fps=st.sampled_from([5.0, 15.0, 30.0]),
    seed=st.integers(0, 2**31),
    asked=st.sets(st.integers(1, 600), max_size=4),
    many=st.integers(1, 3),
)
@settings(max_examples=25, deadline=None)
def test_the_rate_of_each_layer_is_exact(
    codec: str, total: float, fps: float, seed: int, asked: set[int], many: int
) -> None:
    rates = [total / 4, total / 2, total][:many]
    source = stream(codec, heights=HEIGHTS[:many], bits_per_second=rates, frames_per_second=fps, seed=seed)
    sent: list[Rtp] = []
    for number in range(4 * CYCLE_FRAMES):
        if number in asked:
            source.request_key_frame()
        sent += [read_both(bytes(packet)) for packet in source.frame(number / fps)]
    frames = READERS[codec](sent)
    assert source.debt_bytes == 0
    for spatial, rate in enumerate(layer_rates(HEIGHTS[:many], rates[-1])):
        of = [frame.data_bytes for frame in frames if frame.spatial == spatial]
        assert sum(of) == 4 * CYCLE_FRAMES * round(rate / 8 / fps)
    assert source.key_frames == 1 + len(asked)
    assert source.packets == len(sent)


@of_both
def test_packets_a_second_are_those_of_a_cycle(codec: str) -> None:
    source = stream(codec)
    pictures(source, CYCLE_FRAMES)  # the key picture is paid back in it
    before = source.packets
    pictures(source, CYCLE_FRAMES, CYCLE_FRAMES)
    layers = layer_rates(HEIGHTS, LAYERS[codec][-1].bitrate_kbps * 1000)
    predicted = sum(CODECS[codec].packets_per_second(rate, 30.0, at) for rate, at in zip(layers, HEIGHTS, strict=True))
    assert (source.packets - before) / CYCLE_FRAMES * 30 == pytest.approx(predicted)


@of_both
def test_a_receiver_of_any_layers_has_all_that_they_refer_to(codec: str) -> None:
    """Of each spatial and temporal layer that a bridge may choose, also after a key picture at any place."""
    source = stream(codec)
    made = pictures(source, 6)
    source.request_key_frame()
    packets = [packet for picture in made + pictures(source, 13, 6) for packet in picture]
    frames = READERS[codec](packets)
    for spatial in range(3):
        for temporal in range(3):
            if codec == "av1":
                target = 3 * spatial + temporal
                chosen = [frame for frame in frames if target in frame.targets]
                assert {frame.spatial for frame in chosen if not frame.key} == {spatial}
                assert max(frame.temporal for frame in chosen) == temporal
                there = {frame.number for frame in chosen}
            else:
                chosen = [f for f in frames if f.temporal <= temporal and (f.spatial == spatial or f.key)]
                there = {frame.number for frame in chosen if frame.spatial == spatial}
            assert all(set(frame.references) <= there for frame in chosen)


@of_both
def test_a_key_picture_comes_on_request(codec: str) -> None:
    source = stream(codec)
    made = pictures(source, 7)
    source.request_key_frame()
    made += pictures(source, 3, 7)
    frames = READERS[codec]([packet for picture in made for packet in picture])
    assert [frame.key for frame in frames[::3]] == [True] + [False] * 6 + [True, False, False]
    assert [frame.temporal for frame in frames[21::3]] == [0, 2, 1], "the group of pictures begins again"
    ratio = 9 if codec == "vp9" else 3
    assert frames[0].data_bytes == pytest.approx(ratio * LAYERS[codec][2].bitrate_kbps * 1000 / 240 * 0.15, rel=0.3)


@of_both
def test_layers_that_nobody_wants_are_dropped_and_their_bits_with_them(codec: str) -> None:
    source = stream(codec)
    pictures(source, 5)
    assert source.send_layers(2)
    packets = [packet for picture in pictures(source, 2 * CYCLE_FRAMES, 5) for packet in picture]
    frames = READERS[codec](packets)
    assert [frame.spatial for frame in frames] == [0, 1] * 2 * CYCLE_FRAMES
    assert [frame.key for frame in frames[:4]] == [True, True, False, False]
    total = sum(frame.data_bytes for frame in frames)
    assert total * 8 / (2 * CYCLE_FRAMES / 30) == pytest.approx(300_000, rel=0.01)
    assert not source.send_layers(2)
    assert source.send_layers(3)
    assert [frame.spatial for frame in READERS[codec](pictures(source, 1, 700)[0])] == [0, 1, 2]


@of_both
def test_a_retransmission_is_the_packet_under_its_own_number(codec: str) -> None:
    source = stream(codec)
    sent = [packet for picture in pictures(source, 20) for packet in picture]
    for wanted in (sent[0], sent[-7], sent[-1]):
        again, same = source.retransmission(wanted.sequence), source.repetition(wanted.sequence)
        assert again is not None
        assert same is not None
        found = read_both(bytes(*again.packets()))
        assert (found.payload_type, found.ssrc) == (CODECS[codec].rtx_type, 5000)
        assert found.payload == wanted.sequence.to_bytes(2, "big") + wanted.payload
        assert found.extensions == wanted.extensions, "a bridge needs AV1's descriptor of this packet too"
        assert read_both(bytes(*same.packets())) == wanted
    assert source.retransmission(3999) is None


@of_both
def test_extensions_and_the_time_of_sending_have_room_in_each_packet(codec: str) -> None:
    for packet in [packet for number in range(3) for packet in stream(codec).frame(number / 30)]:
        before = read_both(bytes(packet))
        set_transport_sequence(packet, 0x12345)
        set_abs_send_time(packet, 64_000_000_000 + 1_500_000_000)
        stamp = stamp_in_payload(packet)
        if stamp is None:
            assert codec == "vp9", "where the last tile of a key picture is longer"
            assert packet[24] & 0x44 == 0x04, "the last packet of a layer's key frame"
            continue
        at = payload_at(packet) + stamp
        assert at + STAMP.size <= len(packet)
        assert not any(packet[at : at + STAMP.size]), "filler"
        after = read_both(bytes(packet))
        assert after.extensions == before.extensions | {5: b"\x23\x45", 3: (3 << 17).to_bytes(3, "big")}
        assert after.payload == before.payload


def test_vp9_numbers_pictures_and_describes_them() -> None:
    made = pictures(stream("vp9"), 9)
    parts = [[read_vp9(packet.payload) for packet in picture] for picture in made]
    assert [{part.picture for part in picture} for picture in parts] == [{4001 + n} for n in range(9)]
    base = 4000 & 0xFF
    assert [{part.tl0 for part in picture} for picture in parts] == [{(base + 1 + n // 4) & 0xFF} for n in range(9)]
    structures = [part.structure for picture in parts for part in picture]
    assert structures[1:] == [None] * (len(structures) - 1), "in the first packet of a key picture only"
    assert structures[0] == Structure(
        ((320, 180), (640, 360), (1280, 720)),
        ((0, True, (4,)), (2, True, (1,)), (1, True, (2,)), (2, True, (1,))),  # vp9_globals.h, kTemporalStructureMode3
    )


def test_av1_describes_its_layers_as_chrome_does() -> None:
    """The structure is that of Chrome's L3T3_KEY to the byte: jitsi-videobridge has a descriptor of Chrome in its
    Av1DependencyDescriptorHeaderExtensionTest (longForMid2, from its fourth byte on)."""
    packets = [packet for picture in pictures(stream("av1"), 3) for packet in picture]
    descriptors = [packet.extensions[11] for packet in packets]
    assert {len(descriptor) for descriptor in descriptors[1:]} == {3}
    of_chrome = "92f70412ec1e28253c95f6e204424dcf559e64cc58afcf82e5e6e278d891c687"
    assert hashlib.sha256(descriptors[0][3:]).hexdigest() == of_chrome
    structure = read_descriptor(descriptors[0]).structure
    assert structure is not None
    assert (structure.targets, structure.sizes) == (9, ((320, 180), (640, 360), (1280, 720)))
    assert structure.protected_by == (0, 0, 0, 1, 1, 1, 2, 2, 2)


def test_av1_s_templates_have_other_ids_when_they_change() -> None:
    source = stream("av1")
    found = []
    for many in (3, 3, 2, 3, 1, 3):
        source.send_layers(many)
        source.request_key_frame()
        structure = read_descriptor(pictures(source, 1)[0][0].extensions[11]).structure
        assert structure is not None
        found.append((structure.offset, len(structure.templates)))
    assert found == [(0, 15), (0, 15), (15, 10), (25, 15), (40, 5), (45, 15)]


def test_bits_are_divided_as_libwebrtc_does() -> None:
    """svc_rate_allocator.cc: 0.55 of each layer for the one below; 142 and 418 kbit/s at most for 180 and 360 lines."""
    assert layer_rates((180, 360, 720), 1_200_000) == pytest.approx([142_160, 409_641, 648_199], abs=500)
    assert layer_rates((180, 360), 300_000) == pytest.approx([106_452, 193_548], abs=1)
    assert layer_rates((180,), 100_000) == [100_000]
    assert layer_rates((720,), 2_500_000) == [2_500_000]
    assert sum(layer_rates((180, 360, 720), 9e6)) == pytest.approx(9e6)


# -- cameras and mixes ---------------------------------------------------------------------------------------------


def camera(codec: str) -> Camera:
    layers = [messages.Layer(9, 10, layer.height, layer.bitrate_kbps * 1000) for layer in LAYERS[codec]]
    return Camera(messages.Camera("x-v0", 1, 30.0, layers, codec=codec))


@of_both
def test_a_camera_obeys_the_bridge_layer_by_layer(codec: str) -> None:
    made = camera(codec)

    def heights(max_height: int, at: float) -> tuple[list[bool], set[int], bool]:
        made.constrain(max_height)
        packets = [read_both(bytes(packet)) for _, frame in made.frame(at) for packet in frame.packets()]
        frames = READERS[codec](packets) if packets else []
        return list(made.active), {frame.spatial for frame in frames}, bool(frames) and frames[0].key

    assert heights(-1, 0.0) == ([True] * 3, {0, 1, 2}, True)
    assert heights(360, 1.0) == ([True, True, False], {0, 1}, True)
    assert heights(90, 2.0) == ([True, False, False], {0}, True)
    assert heights(0, 3.0) == ([False] * 3, set(), False)
    assert heights(90, 4.0) == ([True, False, False], {0}, True), "a camera that starts again begins with a key frame"
    assert heights(720, 5.0) == ([True] * 3, {0, 1, 2}, True)
    assert [one.ssrc for one in made.sending()] == [9]
    assert made.layer_of(9) is made.layers[0]


@of_both
def test_a_camera_is_paced_at_its_rate_and_makes_no_more_key_frames_than_a_browser(codec: str) -> None:
    made = camera(codec)
    leaves = []
    for number in range(40):
        made.request_key_frame()
        leaves += [(number / 30 + delay) for delay, _ in made.frame(number / 30)]
    assert leaves == sorted(leaves)
    assert made.layers[0].key_frames == 5  # at 0, 0.3, 0.6, 0.9 and 1.2 s


def test_what_a_mix_is_predicted_to_cause() -> None:
    """By hand: all see all others small; then two of five see one large, whose layers are then larger too."""
    pps = CODECS["vp9"].packets_per_second

    def small(**more: Any) -> Mix:
        return Mix(5, 5, video=Video(5, VP9_LAYERS, codec="vp9", **more), transport_cc=False, rtcp=False)

    grid = small(grid_height=360)
    low, middle = layer_rates((180, 360), 300_000)
    assert grid.in_pps() == pytest.approx(5 * 50 + 5 * (pps(low, 30, 180) + pps(middle, 30, 360)))
    assert grid.out_pps() == pytest.approx(5 * 4 * 50 + 5 * 4 * pps(middle, 30, 360))
    low, middle, high = layer_rates((180, 360, 720), 1_200_000)
    stage = small(stage_views=5, thumbnail_height=0)
    assert stage.in_pps() == pytest.approx(
        5 * 50 + 2 * sum(pps(rate, 30, at) for rate, at in zip((low, middle, high), HEIGHTS, strict=True))
    )
    assert stage.out_pps() == pytest.approx(5 * 4 * 50 + 5 * pps(high, 30, 720))
    assert "5 cameras of VP9" in str(stage)
    assert Video(1, AV1_LAYERS, codec="av1").streams == 1
    assert Video(1, (Layer(360, 1.0), Layer(720, 2.0))).streams == 2
