"""STUN against the RFC's vectors, the kernel filter on real sockets, the schedule, DTLS between two real ends."""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter
from dataclasses import MISSING, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvbtune.errors import LoadError
from jvbtune.inventory import BridgeEntry, HostEntry
from jvbtune.load import stun
from jvbtune.load.base import IntendedLoad, Mix
from jvbtune.load.lateness import Lateness
from jvbtune.load.media import OpusSource, sent_ns
from jvbtune.load.schedule import NOMINAL_TICK_SECONDS, Wheel
from jvbtune.load.sockets import SAMPLE_EVERY, Batch, open_socket, rejected_packets
from jvbtune.load.target import media_target
from jvbtune.load.windows import merge_windows
from jvbtune.protocol.worker import LATENESS_EDGES_US, Window

#: RFC 5769, 2.1: the sample request.
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9b1"
    "51263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"


def test_the_rfcs_request_is_read_and_intact() -> None:
    message = stun.decode(REQUEST)
    assert message is not None
    assert message.kind == stun.BINDING_REQUEST
    assert message.attributes[stun.USERNAME] == b"evtj:h6vY"
    assert message.intact(PASSWORD)
    assert not message.intact(b"another password")


@pytest.mark.parametrize("place", [1, 30, 60, 95, 107])
def test_a_changed_byte_is_noticed(place: int) -> None:
    broken = bytearray(REQUEST)
    broken[place] ^= 1
    message = stun.decode(bytes(broken))
    assert message is None or not message.intact(PASSWORD)


def test_a_request_of_ours_is_intact_and_nominates() -> None:
    raw = stun.binding_request(
        b"t" * 12, local_ufrag="mine", remote_ufrag="theirs", remote_password="secret", tie_breaker=7
    )
    message = stun.decode(raw)
    assert message is not None
    assert message.attributes[stun.USERNAME] == b"theirs:mine"
    assert stun.USE_CANDIDATE in message.attributes
    assert message.intact(b"secret")


def test_an_address_is_masked_as_the_rfc_does() -> None:
    """RFC 5769, 2.2: 192.0.2.1 port 32853."""
    assert stun.xor_address(("192.0.2.1", 32853), REQUEST[8:20]) == bytes.fromhex("0001a147e112a643")


@given(st.binary(max_size=200))
def test_garbage_is_never_a_message_with_integrity(data: bytes) -> None:
    message = stun.decode(data)
    assert message is None or not message.intact(b"x")


@given(st.floats(1, 1000), st.integers(1, 100), st.integers(1, 3000))
def test_every_sender_has_one_place_and_steady_ones_are_spread_evenly(pps: float, burst: int, senders: int) -> None:
    wheel = Wheel.of(pps, burst)
    slots = wheel.place(list(range(senders)))
    assert sorted(sender for slot in slots for sender in slot) == list(range(senders))
    assert wheel.pps == pytest.approx(pps)
    assert wheel.tick_seconds == pytest.approx(NOMINAL_TICK_SECONDS, rel=0.5)
    if burst == 1:
        sizes = [len(slot) for slot in slots]
        assert max(sizes) - min(sizes) <= 1
    else:
        assert len(slots[0]) == senders


@given(st.integers(1, 2**31), st.integers(0, 2**63))
def test_a_packet_tells_when_it_was_sent(ssrc: int, now: int) -> None:
    source = OpusSource(ssrc, stream_pps=50, payload_bytes=80)
    source.packet(0)
    assert sent_ns(source.packet(now)) == (ssrc, source.sequence, now)


def test_load_grows_by_whole_conferences() -> None:
    mix = Mix(participants=5, senders=3, stream_pps=50)
    assert (mix.in_pps(), mix.out_pps(), mix.packet_rate_pps()) == (150, 600, 750)
    assert IntendedLoad.for_packet_rate(10000, mix).conferences == 13
    assert IntendedLoad.for_packet_rate(1, mix).packet_rate_pps == 750


def test_the_kernel_counts_what_the_filter_rejects() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        with open_socket("127.0.0.1", sender.getsockname()) as receiver:
            target = receiver.getsockname()
            before = rejected_packets(receiver)
            for sequence in range(320):
                sender.sendto(struct.pack("!BBHII", 0x80, 111, sequence, 0, 1) + bytes(80), target)
            sender.sendto(struct.pack("!BB", 0x80, 200) + bytes(26), target)  # RTCP
            sender.sendto(REQUEST, target)
            sender.sendto(bytes([22, 254, 253]) + bytes(20), target)  # DTLS
            kinds = []
            while True:
                try:
                    kinds.append(receiver.recv(2048)[1])
                except BlockingIOError:
                    break
            assert rejected_packets(receiver) - before == 320 - 320 // SAMPLE_EVERY
    assert kinds == [111] * (320 // SAMPLE_EVERY) + [200, REQUEST[1], 254]


def test_a_batch_leaves_in_order() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(2)
        with open_socket("127.0.0.1", receiver.getsockname()) as sender:
            assert Batch(sender, [bytes([n]) * 10 for n in range(50)]).send() == 50
            assert [receiver.recv(100)[0] for _ in range(50)] == list(range(50))


def test_load_goes_only_where_the_inventory_allows() -> None:
    with pytest.raises(LoadError, match="media_address"):
        media_target(HostEntry("h", "h"))
    entry = HostEntry(
        "h", "h", bridge=BridgeEntry(media_address="203.0.113.7", allowed_media_addresses=("203.0.113.8",))
    )
    with pytest.raises(LoadError, match="not among"):
        media_target(entry)
    allowed = BridgeEntry(media_address="203.0.113.7", allowed_media_addresses=("203.0.113.7",), media_port=1)
    assert media_target(HostEntry("h", "h", bridge=allowed)) == ("203.0.113.7", 1)


def test_a_clock_of_ticks_keeps_its_mean_rate() -> None:
    wheel = Wheel.of(50, 1)
    assert (wheel.ticks, wheel.pps) == (20, 50)
    assert Wheel.of(50, 16).ticks == 320
    assert time.get_clock_info("monotonic").resolution < NOMINAL_TICK_SECONDS


@pytest.mark.parametrize("pps", [30, 150, 300, 333.3, 700, 1000])
def test_a_rate_that_is_no_whole_number_of_milliseconds_is_kept(pps: float) -> None:
    wheel = Wheel.of(pps, 1)
    assert wheel.packets / (wheel.ticks * wheel.tick_seconds) == pytest.approx(pps, rel=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.9999])
def test_a_quantile_of_lateness_is_near_the_true_one(share: float) -> None:
    """Not the edge of a bin: of 20 000 packets that are up to 7 ms late, more of them little than much."""
    late_ms = [7 * (number / 20_000) ** 2 for number in range(1, 20_001)]
    lateness = Lateness()
    for one in late_ms:
        lateness.add(one / 1000)
    assert lateness.quantile_ms(share) == pytest.approx(late_ms[int(share * 20_000) - 1], rel=0.02)
    assert (sum(lateness.counts), lateness.latest_us) == (20_000, pytest.approx(7000))


def test_lateness_beyond_the_last_bin_is_no_more_than_the_latest() -> None:
    lateness = Lateness()
    assert lateness.quantile_ms(0.99) == 0.0
    lateness.add(0.00002, packets=97)
    lateness.add(3.0, packets=3)
    assert lateness.quantile_ms(0.5) < 0.05
    assert LATENESS_EDGES_US[-1] / 1000 < lateness.quantile_ms(0.99) <= 3000


def test_windows_of_several_workers_are_one() -> None:
    def window(started: float, **more: Any) -> Window:
        whole = {f.name: 1 for f in fields(Window) if f.default is MISSING and f.default_factory is MISSING}
        delays = Counter(more.pop("delays_us", ()))
        whole |= {"delays_us": sorted(delays), "delay_counts": [delays[delay] for delay in sorted(delays)]}
        return Window(**(whole | {"started_unix": started, "duration_seconds": 2.0} | more))

    slow = list(range(1000, 100_000, 1000))
    merged = merge_windows(
        [
            window(100.0, sent_packets=30, lateness_p99_ms=2.0, cpu_ratio=0.2, delays_us=slow),
            window(100.002, sent_packets=12, lateness_p99_ms=7.0, cpu_ratio=0.9, delays_us=[100_000]),
        ]
    )
    assert merged.sent_packets == 42
    assert merged.received_packets == 2
    assert (merged.lateness_p99_ms, merged.cpu_ratio, merged.overflows) == (7.0, 0.9, 1)
    assert (merged.started_unix, merged.duration_seconds) == (100.0, 2.0)
    assert merged.workers_apart_ms == pytest.approx(2.0)
    assert merged.delay_ms["p50"] == 51.0
    assert merged.delay_ms["max"] == 100.0
    assert merged.delayed_50ms_ratio == 0.5
    assert merged.delay_ms["p9999"] == 100.0
    assert sum(merged.delay_us.values()) == merged.sampled_packets == 100
    assert all(int(edge) >= 1000 for edge in merged.delay_us), "no delay is below a millisecond"
    three = [window(100.0, overflows=number) for number in (1, 2, 4)]
    assert merge_windows(three, ["load-1", "load-1", "load-2"]).overflows == 2 + 4
    same = merge_windows([window(100.0, delays_us=[2000, 7000, 2000]), window(100.0, delays_us=[2000])])
    assert (same.sampled_packets, same.delay_ms["p50"], same.delay_ms["max"]) == (4, 2.0, 7.0)
    for counts in ([1], [1, -1]):
        with pytest.raises(LoadError, match="do not match"):
            merge_windows([window(100.0, delays_us=[2000, 7000], delay_counts=counts)])
    empty = merge_windows([window(100.0)])
    assert (empty.delay_ms, empty.delayed_50ms_ratio) == ({}, None)
