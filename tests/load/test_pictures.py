"""What cameras send is real video: Chromium's decoders take each frame, of any layers that a bridge may choose.

Packets are put together by the readers of these tests, and decoded by WebCodecs: libvpx and dav1d, without a network.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Page

from jvbtune.load.camera import Camera
from jvbtune.load.media.codecs import stamp_in_payload
from jvbtune.load.media.picture import vp8 as vp8_picture
from jvbtune.load.media.picture.blocks import SPLIT, partitions
from jvbtune.load.media.rtp import STAMP, payload_at
from jvbtune.load.media.video import width_of
from jvbtune.load.mix import LAYERS, Layer
from jvbtune.protocol import worker as messages
from tests.load.test_media import read_rtp, read_vp8
from tests.load.test_svc import obu_elements, read_both, read_descriptor, read_vp9

PICTURES = 26
KEYS = (0, 16)  #: pictures that are key pictures
CODECS = {"vp8": "vp8", "vp9": "vp09.00.31.08", "av1": "av01.0.13M.08"}
DECODE = """
async ({ codec, frames }) => {
  const seen = [];
  const decoder = new VideoDecoder({
    output: (frame) => { seen.push([frame.displayWidth, frame.displayHeight, frame.timestamp]); kept.push(frame); },
    error: (error) => seen.push(String(error)),
  });
  const kept = [];
  decoder.configure({ codec, hardwareAcceleration: 'prefer-software', optimizeForLatency: true });
  for (const [index, { key, data }] of frames.entries()) {
    const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
    decoder.decode(new EncodedVideoChunk({ type: key ? 'key' : 'delta', timestamp: index, data: bytes }));
  }
  try { await decoder.flush(); } catch (error) { seen.push(String(error)); }
  const levels = new Set();
  for (const frame of kept) {
    const all = new Uint8Array(frame.allocationSize());
    const [luma] = await frame.copyTo(all);
    for (let row = 0; row < frame.codedHeight; row += 7) {
      for (let column = 0; column < frame.codedWidth; column += 5) {
        levels.add(all[luma.offset + row * luma.stride + column]);
      }
    }
    frame.close();
  }
  return { seen, levels: [...levels] };
}
"""


@dataclass(frozen=True)
class Frame:
    """A layer's frame as a decoder gets it."""

    key: bool
    spatial: int
    temporal: int
    data: bytes


def filmed(codec: str, layers: Sequence[Layer], fps: float = 30.0) -> list[list[list[bytes]]]:
    """The packets of each picture by SSRC, lowest first; key pictures are asked for. Stamped, as they leave."""
    asked = [
        messages.Layer(10 + at, 20 + at, one.height, int(one.bitrate_kbps * 1000)) for at, one in enumerate(layers)
    ]
    camera = Camera(messages.Camera("x-v0", 7, fps, asked, codec=codec))
    found = []
    for number in range(PICTURES):
        if number in KEYS:
            camera.request_key_frame()
        packets = [packet for _, frame in camera.frame(number / fps) for packet in frame.packets()]
        for packet in packets:
            stamp = stamp_in_payload(packet)
            if stamp is not None:
                STAMP.pack_into(packet, payload_at(packet) + stamp, 0xFFEEDDCCBBAACA81)
        ssrcs = [one.ssrc for one in camera.sending()]
        found.append([[bytes(p) for p in packets if read_both(bytes(p)).ssrc == ssrc] for ssrc in ssrcs])
    return found


def vp8_frames(packets: Sequence[bytes]) -> Iterator[Frame]:
    parts = [read_vp8(read_rtp(packet).payload) for packet in packets]
    yield Frame(parts[0].key, 0, parts[0].tid, b"".join(part.data for part in parts))


def vp9_frames(packets: Sequence[bytes]) -> Iterator[Frame]:
    data = b""
    for packet in packets:
        payload = read_both(packet).payload
        part = read_vp9(payload)
        data = (b"" if part.begins else data) + payload[len(payload) - part.data_bytes :]
        if part.ends:
            yield Frame(not part.predicted and part.spatial == 0, part.spatial, part.temporal, data)


def av1_frames(packets: Sequence[bytes]) -> Iterator[Frame]:
    """With sizes, as decoders want them (5.3.1)."""
    obus: list[bytes] = []
    for packet in packets:
        rtp = read_both(packet)
        descriptor = read_descriptor(rtp.extensions[11])
        elements = obu_elements(rtp.payload[1:], rtp.payload[0] >> 4 & 3)
        obus = elements if descriptor.begins else [*obus[:-1], obus[-1] + elements[0]]
        if descriptor.ends:
            sized = b"".join(bytes((one[0] | 0x02,)) + one[1:2] + leb128(len(one) - 2) + one[2:] for one in obus)
            yield Frame(obus[0][0] >> 3 == 1, obus[0][1] >> 3 & 3, obus[0][1] >> 5, sized)


def leb128(value: int) -> bytes:
    return bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80,)) + leb128(value >> 7)


FRAMES = {"vp8": vp8_frames, "vp9": vp9_frames, "av1": av1_frames}
BEFORE = {"vp8": b"", "vp9": b"", "av1": b"\x12\x00"}  #: a picture; of AV1 a temporal delimiter


def pictures(codec: str, made: list[list[list[bytes]]], stream: int = 0) -> list[list[Frame]]:
    return [list(FRAMES[codec](picture[stream])) for picture in made]


def chosen(made: list[list[Frame]], spatial: int, temporal: int) -> list[list[Frame]]:
    """What a bridge forwards of scalable video: between key pictures one spatial layer only."""
    found = []
    for picture in made:
        key = picture[0].key
        kept = [one for one in picture if one.temporal <= temporal]
        kept = [one for one in kept if one.spatial == spatial or (key and one.spatial < spatial)]
        if kept:
            found.append(kept)
    return found


def decoded(page: Page, codec: str, made: list[list[Frame]]) -> list[tuple[int, int]]:
    """The sizes of the pictures that come out; there is one of each that goes in, and all of them are grey."""
    frames: list[dict[str, Any]] = []
    for picture in made:
        data = BEFORE[codec] + b"".join(one.data for one in picture)
        frames.append({"key": picture[0].key, "data": base64.b64encode(data).decode()})
    found = page.evaluate(DECODE, {"codec": CODECS[codec], "frames": frames})
    assert not [one for one in found["seen"] if isinstance(one, str)]
    assert [one[2] for one in found["seen"]] == list(range(len(made)))
    assert found["levels"] == [128]
    return [(one[0], one[1]) for one in found["seen"]]


@pytest.mark.browser
@pytest.mark.parametrize("temporal", [0, 1])
def test_each_layer_of_vp8_decodes_with_any_temporal_layers(page: Page, temporal: int) -> None:
    made = filmed("vp8", LAYERS["vp8"])
    for stream, layer in enumerate(LAYERS["vp8"]):
        sent = [picture for picture in pictures("vp8", made, stream) if picture[0].temporal <= temporal]
        sizes = decoded(page, "vp8", sent)
        assert sizes == [(width_of(layer.height), layer.height)] * len(sent)
        assert len(sent) == (PICTURES if temporal else PICTURES // 2)


@pytest.mark.browser
@pytest.mark.parametrize("codec", ["vp9", "av1"])
@pytest.mark.parametrize("spatial", [0, 1, 2])
@pytest.mark.parametrize("temporal", [0, 1, 2])
def test_any_layers_of_scalable_video_decode(page: Page, codec: str, spatial: int, temporal: int) -> None:
    made = pictures(codec, filmed(codec, LAYERS[codec]))
    assert [at for at, picture in enumerate(made) if picture[0].key] == list(KEYS)
    height = LAYERS[codec][spatial].height
    sent = chosen(made, spatial, temporal)
    assert len(sent) > PICTURES / 5
    assert decoded(page, codec, sent) == [(width_of(height), height)] * len(sent)


@pytest.mark.browser
@pytest.mark.parametrize("codec", ["vp9", "av1"])
def test_a_bridge_that_forwards_all_layers_shows_the_highest(page: Page, codec: str) -> None:
    made = pictures(codec, filmed(codec, LAYERS[codec]))
    assert decoded(page, codec, made) == [(1280, 720)] * PICTURES


@pytest.mark.browser
@pytest.mark.parametrize("codec", list(CODECS))
@pytest.mark.parametrize("height", [90, 144, 240, 480, 540, 1080])
def test_pictures_of_any_height_decode(page: Page, codec: str, height: int) -> None:
    """Among them such as end within a block, and such as have less than one row of blocks for each row of tiles."""
    made = pictures(codec, filmed(codec, [Layer(height, 1500.0)]))
    assert decoded(page, codec, made) == [(width_of(height), height)] * PICTURES


def test_a_stamp_is_in_all_packets_but_those_that_a_picture_needs() -> None:
    for codec in CODECS:
        packets = [packet for picture in filmed(codec, LAYERS[codec]) for stream in picture for packet in stream]
        without = [packet for packet in packets if stamp_in_payload(packet) is None]
        assert len(without) <= 2 * len(KEYS), codec


def test_blocks_cover_the_picture_once() -> None:
    for width, height in ((1280, 720), (640, 360), (30, 50), (107, 61), (1, 1)):
        seen: set[tuple[int, int]] = set()
        for one in partitions(width, height):
            if one.kind == SPLIT:
                continue
            cells = {(x, y) for x in range(one.x, one.x + one.width, 8) for y in range(one.y, one.y + one.height, 8)}
            assert not cells & seen
            seen |= cells
        assert {(x // 8 * 8, y // 8 * 8) for x in range(width) for y in range(height)} <= seen


def test_a_key_frame_of_vp8_has_its_size() -> None:
    frame = vp8_picture.key_frame(854, 480)
    assert (frame[0] & 1, frame[3:6]) == (0, b"\x9d\x01\x2a")
    assert (int.from_bytes(frame[6:8], "little"), int.from_bytes(frame[8:10], "little")) == (854, 480)
