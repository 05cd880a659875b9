"""What microphones send is real Opus: Chromium's decoder (libopus, by WebCodecs) takes each packet, as silence.

So a person who joins a conference under load hears nothing, and no noise.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import pytest
from playwright.sync_api import Page

from jvbtune.load.media import OpusSource, sent_ns
from jvbtune.load.media.codecs import stamp_in_payload
from jvbtune.load.media.rtp import RED, STAMP, payload_at
from jvbtune.load.media.speech import Floor, Speech
from tests.load.test_media import read_rtp
from tests.load.test_red import read_red

PACKETS = 100
SILENT = 1e-9  #: of samples between -1 and 1; a decoder's filters leave a trace of what they began with
#: As a time of sending, with which a payload must not begin: no byte of it is one that decoders take for silence.
STAMPED = 0x18D5A1C37E42B966
DECODE = """
async (packets) => {
  const seen = { errors: [], lengths: [], loudest: 0 };
  const decoder = new AudioDecoder({
    output: (data) => {
      const samples = new Float32Array(data.allocationSize({ planeIndex: 0, format: 'f32-planar' }) / 4);
      data.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
      seen.lengths.push(data.numberOfFrames * 1000 / data.sampleRate);
      seen.loudest = samples.reduce((most, one) => Math.max(most, Math.abs(one)), seen.loudest);
      data.close();
    },
    error: (error) => seen.errors.push(String(error)),
  });
  decoder.configure({ codec: 'opus', sampleRate: 48000, numberOfChannels: 1 });
  for (const [index, packet] of packets.entries()) {
    const data = Uint8Array.from(atob(packet), (one) => one.charCodeAt(0));
    decoder.decode(new EncodedAudioChunk({ type: 'key', timestamp: index * 20000, data }));
  }
  try { await decoder.flush(); } catch (error) { seen.errors.push(String(error)); }
  return seen;
}
"""


def decoded(page: Page, payloads: Sequence[bytes]) -> list[float]:
    """Milliseconds of each packet, all of them silence."""
    found: dict[str, Any] = page.evaluate(DECODE, [base64.b64encode(one).decode() for one in payloads])
    assert not found["errors"]
    assert found["loudest"] < SILENT
    lengths: list[float] = found["lengths"]
    return lengths


def microphone(payload_bytes: int = 80, stream_pps: float = 50, redundant: bool = False) -> list[bytearray]:
    """Its packets as they leave, with the time of sending."""
    source = Speech(
        7, number=0, floor=Floor(1, 2), stream_pps=stream_pps, payload_bytes=payload_bytes, redundant=redundant
    )
    packets = [packet for at in range(PACKETS) if (packet := source.packet(at / stream_pps)) is not None]
    for packet in packets:
        STAMP.pack_into(packet, payload_at(packet) + (stamp_in_payload(packet) or 0), STAMPED)
    return packets


@pytest.mark.browser
@pytest.mark.parametrize("payload_bytes", [16, 80, 900, 1168])
def test_packets_of_any_size_are_silence_of_20_ms(page: Page, payload_bytes: int) -> None:
    payloads = [read_rtp(bytes(packet)).payload for packet in microphone(payload_bytes)]
    assert {len(one) for one in payloads} == {payload_bytes}
    assert decoded(page, payloads) == [20] * PACKETS


@pytest.mark.browser
@pytest.mark.parametrize(("stream_pps", "milliseconds"), [(100, 10), (200, 5), (400, 2.5), (25, 20)])
def test_a_frame_lasts_as_long_as_its_packet(page: Page, stream_pps: float, milliseconds: float) -> None:
    """Or as long as CELT's longest."""
    payloads = [read_rtp(bytes(packet)).payload for packet in microphone(stream_pps=stream_pps)]
    assert decoded(page, payloads) == [milliseconds] * PACKETS


@pytest.mark.browser
def test_both_blocks_of_redundant_audio_are_silence(page: Page) -> None:
    payloads = []
    for packet in microphone(redundant=True):
        rtp = read_rtp(bytes(packet))
        assert rtp.payload_type == RED
        blocks = [length for _, _, length in read_red(rtp.payload)]
        payloads += [rtp.payload[len(rtp.payload) - sum(blocks[at:]) :][:length] for at, length in enumerate(blocks)]
    assert len(payloads) == 2 * PACKETS - 1
    assert decoded(page, payloads) == [20] * len(payloads)


@pytest.mark.browser
def test_audio_without_a_channel_is_silence_too(page: Page) -> None:
    source = OpusSource(7, stream_pps=50, payload_bytes=80)
    packets = [source.packet(STAMPED) for _ in range(PACKETS)]
    assert sent_ns(packets[-1]) == (7, source.sequence, STAMPED)
    payloads = [read_rtp(packet).payload for packet in packets]
    assert {len(one) for one in payloads} == {80}
    assert decoded(page, payloads) == [20] * PACKETS


@pytest.mark.browser
def test_a_decoder_hears_what_is_no_silence(page: Page) -> None:
    """So that the tests above can fail: a packet that begins with the time of sending is noise, or none of Opus."""
    noise = [STAMP.pack(STAMPED) + bytes(72)] * PACKETS
    found: dict[str, Any] = page.evaluate(DECODE, [base64.b64encode(one).decode() for one in noise])
    assert found["errors"] or found["loudest"] > SILENT or found["lengths"] != [20] * PACKETS
