"""Redundant audio, read by a reader of its own, written from RFC 2198, and by tshark's dissector."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from jvbtune.errors import ConfigError
from jvbtune.load.colibri import medias
from jvbtune.load.media.codecs import stamp_in_payload
from jvbtune.load.media.rtp import OPUS, RED, STAMP, payload_at
from jvbtune.load.media.speech import DTX_SECONDS, Floor, Speech
from jvbtune.load.mixfile import load_mix
from tests.load.test_media import read_rtp

#: Opus of 20 ms: its first byte, and a frame that begins as silence does.
SILENCE = b"\xf8\xff\xff"

Block = tuple[int, int, int]  #: payload type, ticks before the packet's time stamp, bytes


def read_red(payload: bytes) -> list[Block]:
    """RFC 2198, 3: the redundant blocks and the primary one."""
    found, at, primary = [], 0, 0
    while payload[at] & 0x80:
        head = int.from_bytes(payload[at : at + 4], "big")
        found.append((head >> 24 & 0x7F, head >> 10 & 0x3FFF, head & 0x3FF))
        at += 4
    primary, at = payload[at], at + 1
    left = len(payload) - at - sum(length for _, _, length in found)
    assert left > 0
    return [*found, (primary, 0, left)]


def speech(*, dtx: bool = False, number: int = 0) -> Speech:
    return Speech(7, number=number, floor=Floor(1, 2), stream_pps=50, payload_bytes=80, dtx=dtx, redundant=True)


def test_each_packet_has_the_one_before_it_too() -> None:
    source = speech()
    sent = [read_rtp(bytes(source.packet(tick / 50) or b"")) for tick in range(100)]
    assert {packet.payload_type for packet in sent} == {RED}
    assert [packet.sequence for packet in sent] == list(range(8, 108))
    assert read_red(sent[0].payload) == [(OPUS, 0, 80)], "there is none before it"
    assert {tuple(read_red(packet.payload)) for packet in sent[1:]} == {((OPUS, 960, 80), (OPUS, 0, 80))}
    assert all(1 in packet.extensions for packet in sent), "audio levels"
    assert source.octets == 81 + 99 * 165


def test_what_is_too_old_for_the_header_is_left_out() -> None:
    """400 ms of silence are 19200 ticks, of which 14 bits hold 16383."""
    silent = speech(dtx=True, number=9)
    sent = [packet for tick in range(200) if (packet := silent.packet(tick / 50)) is not None]
    assert DTX_SECONDS * 48_000 > (1 << 14) - 1
    assert {tuple(read_red(read_rtp(bytes(packet)).payload)) for packet in sent} == {((OPUS, 0, 80),)}


def test_the_time_of_sending_is_in_the_primary_block() -> None:
    source = speech()
    for tick in range(3):
        packet = source.packet(tick / 50)
        assert packet is not None
        at = payload_at(packet) + (stamp_in_payload(packet) or 0)
        STAMP.pack_into(packet, at, 77)
        redundant = len(read_red(read_rtp(bytes(packet)).payload)) - 1
        primary = len(packet) - 80
        assert at == primary + 3, "behind what says that the packet is silence"
        assert bytes(packet[at : at + 8]) == STAMP.pack(77)
        if redundant:
            block = bytes(packet[payload_at(packet) + 5 : primary])
            assert block == SILENCE + bytes(77), "no time of sending"


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is missing: make system")
def test_tshark_reads_the_same(tmp_path: Path) -> None:
    source = speech()
    packets = [bytes(source.packet(tick / 50) or b"") for tick in range(3)]
    path = tmp_path / "red.pcap"
    with path.open("wb") as file:
        file.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))  # raw IP
        for packet in packets:
            udp = struct.pack("!HHHH", 4000, 4002, 8 + len(packet), 0) + packet
            ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), bytes(4)) + udp
            file.write(struct.pack("=IIII", 0, 0, len(ip), len(ip)) + ip)
    fields = ("rtp.timestamp-offset", "rtp.block-length", "rtp.ssrc")
    argv = ["tshark", "-n", "-r", str(path), "-d", "udp.port==4002,rtp", "-d", f"rtp.pt=={RED},rtp_rfc2198"]
    argv += ["-T", "fields", *(part for field in fields for part in ("-e", field))]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["", "", "0x00000007"],
        ["960", "80", "0x00000007"],
        ["960", "80", "0x00000007"],
    ]


def test_a_mix_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("red = true\n[video]\nsenders = 2\n")
    mix = load_mix(str(path)).mix()
    plain = replace(mix, red=False)
    assert str(mix).endswith("2 cameras, RED")
    assert mix.packet_rate_pps() == plain.packet_rate_pps()
    assert mix.in_bps() - plain.in_bps() == pytest.approx(3 * 50 * 8 * 85)
    offered = medias(video=True, transport_cc=True, red=True)[0]["payload-types"]
    assert [(one["name"], one["id"]) for one in offered] == [("red", "112"), ("opus", "111")], "before Opus, as Jicofo"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("red = true\n", "red needs the table [video] or [remote]"),
        ("red = true\npayload_bytes = 900\n[video]\nsenders = 2\n", "payload_bytes = 900 is too long for red: 585 fit"),
    ],
)
def test_a_mix_that_cannot_have_it_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_mix(str(path))
    assert said in refused.value.message
