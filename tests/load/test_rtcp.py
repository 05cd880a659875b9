"""RTCP there and back, and against bytes that were written by hand from the RFCs."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jvbtune.load import rtcp
from jvbtune.load.feedback import Arrivals, Reports, unwrap
from jvbtune.load.mix import FEEDBACK_PPS

U32 = st.integers(0, 2**32 - 1)
BLOCKS = st.lists(
    st.builds(
        rtcp.ReportBlock, U32, st.integers(0, 255), st.integers(-(2**23), 2**23 - 1), U32, U32, U32, U32
    ),
    max_size=31,
)  # fmt: skip


@given(st.builds(rtcp.SenderReport, U32, st.integers(0, 2**64 - 1), U32, U32, U32, BLOCKS.map(tuple)))
def test_a_sender_report_in_a_compound(report: rtcp.SenderReport) -> None:
    compound = rtcp.sender_report(report) + rtcp.source_description(report.ssrc, "abc")
    assert rtcp.parse(compound) == [report, rtcp.Other(202, 1)]
    assert len(compound) % 4 == 0


@given(U32, BLOCKS)
def test_a_receiver_report(ssrc: int, blocks: list[rtcp.ReportBlock]) -> None:
    assert rtcp.parse(rtcp.receiver_report(ssrc, blocks)) == [rtcp.ReceiverReport(ssrc, tuple(blocks))]


@given(U32, U32, st.sets(st.integers(0, 0xFFFF) | st.integers(500, 560), min_size=1, max_size=60))
def test_a_nack(ssrc: int, media: int, sequences: set[int]) -> None:
    (found,) = rtcp.parse(rtcp.nack(ssrc, media, sequences))
    assert isinstance(found, rtcp.Nack)
    assert (found.ssrc, found.media_ssrc) == (ssrc, media)
    assert sorted(found.sequences) == sorted(sequences)


@given(U32, st.integers(0, 10**11), st.lists(U32, max_size=31))
def test_a_bandwidth_estimate(ssrc: int, rate: int, media: list[int]) -> None:
    (found,) = rtcp.parse(rtcp.remb(ssrc, rate, media))
    assert isinstance(found, rtcp.Remb)
    assert (found.ssrc, found.media_ssrcs) == (ssrc, tuple(media))
    assert found.bits_per_second <= rate
    assert rate - found.bits_per_second <= rate / 2**17


def test_a_bandwidth_estimate_byte_by_byte() -> None:
    """draft-alvestrand-rmcat-remb-03, 2.2: PT 206, FMT 15; exponent 3 and mantissa 250 000 are 2 Mbit/s."""
    data = bytes.fromhex("8fce0006 00000001 00000000 52454d42 020fd090 00000032 00000033".replace(" ", ""))
    assert rtcp.remb(1, 2_000_000, [0x32, 0x33]) == data


def test_key_frame_requests() -> None:
    assert rtcp.parse(rtcp.pli(1, 2)) == [rtcp.KeyFrameRequest((2,))]
    fir = bytes.fromhex("84ce0004 00000001 00000000 00000002 05000000".replace(" ", ""))
    assert rtcp.parse(fir) == [rtcp.KeyFrameRequest((2,), fir=True)]


ARRIVALS = st.lists(st.none() | st.integers(0, 2_000_000_000), min_size=1, max_size=400).filter(
    lambda a: any(x is not None for x in a)
)


@given(U32, st.integers(0, 255), st.integers(0, 0xFFFF), ARRIVALS)
@example(1, 0, 65_530, [1_000_000] * 20)
@example(1, 0, 0, [None] * 100 + [64_000_000] + [None] * 9000)
def test_transport_feedback(ssrc: int, number: int, base: int, arrivals: list[int | None]) -> None:
    if len(arrivals) > rtcp.MAX_STATUSES:
        with pytest.raises(ValueError, match="at most 4096"):
            rtcp.transport_feedback(ssrc, 9, number, base, arrivals)
        return
    (found,) = rtcp.parse(rtcp.transport_feedback(ssrc, 9, number, base, arrivals))
    assert isinstance(found, rtcp.TransportFeedback)
    assert (found.ssrc, found.media_ssrc, found.number, found.base) == (ssrc, 9, number, base)
    assert found.count == len(arrivals)
    wanted = {(base + place) & 0xFFFF: arrived for place, arrived in enumerate(arrivals) if arrived is not None}
    assert set(found.received) == set(wanted)
    for sequence, arrived in wanted.items():
        assert 0 <= arrived - found.received[sequence] < rtcp.DELTA_NS


def test_transport_feedback_byte_by_byte() -> None:
    """draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1: two arrived, one lost, one 100 ms later."""
    packet = rtcp.transport_feedback(0x11223344, 0x55667788, 7, 10, [64_000_000, 65_000_000, None, 165_000_000])
    assert packet.hex(" ", 4) == (
        "afcd0006 11223344 55667788 000a0004 00000107 d4800004 01900002".replace(
            "d4800004 01900002", "d4800004 01900002"
        )
    )


@given(st.binary(max_size=80))
def test_what_comes_from_outside_never_breaks_the_reader(data: bytes) -> None:
    rtcp.parse(data)
    rtcp.parse(b"\x8f\xcd" + data)


def test_numbers_go_on_over_a_wrap_and_through_reordering() -> None:
    import numpy as np

    assert unwrap(np.array([65534, 65535, 1, 0, 2]), None).tolist() == [65534, 65535, 65537, 65536, 65538]
    assert unwrap(np.array([3, 5]), 65538).tolist() == [65539, 65541]


def test_each_packet_is_fed_back_once_and_losses_are_too() -> None:
    import numpy as np

    arrivals = Arrivals(1)
    assert arrivals.due(0.0) == []
    arrivals.add(np.array([65534, 0, 1]), np.array([10, 12, 13]) * 1_000_000, 77)
    (first,) = rtcp.parse(arrivals.due(1.0)[0])
    assert isinstance(first, rtcp.TransportFeedback)
    assert (first.base, first.count, sorted(first.received)) == (65534, 4, [0, 1, 65534])
    arrivals.add(np.array([4]), np.array([20_000_000]), 77)
    assert arrivals.due(1.04) == [], "not sooner than 50 ms"
    (second,) = rtcp.parse(arrivals.due(1.2)[0])
    assert isinstance(second, rtcp.TransportFeedback)
    assert (second.base, second.count, list(second.received), second.number) == (2, 3, [4], 2)


def test_feedback_comes_as_often_as_a_mix_predicts_whenever_a_client_has_its_turn() -> None:
    import numpy as np

    arrivals, sent = Arrivals(1), 0
    for turn in range(1000):
        arrivals.add(np.array([turn & 0xFFFF]), np.array([turn]) * 24_000_000, 77)
        sent += len(arrivals.due(100 + turn * 0.024))
    assert sent / (1000 * 0.024) == pytest.approx(FEEDBACK_PPS, rel=0.01)


def test_reports_of_what_is_sent_and_received() -> None:
    import numpy as np

    reports = Reports(5, "abc", lambda: [(5, 960, 2, 160, 5.0), (6, 3000, 9, 9000, 1.0)])
    reports.due(0.0, 0)
    reports.got(99, np.array([1, 2, 4]))
    reports.heard(rtcp.SenderReport(99, 0x1234_5678_9ABC_DEF0, 0, 0, 0), 0.5)
    compounds = [rtcp.parse(compound) for compound in reports.due(1.5, 1_000_000_000)]
    (report, _), *others = compounds
    assert not others, "audio reports every five seconds"
    assert isinstance(report, rtcp.SenderReport)
    assert (report.ssrc, report.packets, report.octets, report.ntp >> 32) == (6, 9, 9000, 2_208_988_801)
    (block,) = report.blocks
    assert (block.ssrc, block.lost, block.highest, block.fraction_lost) == (99, 1, 4, 64)
    assert (block.last_report, block.delay) == (0x5678_9ABC, 65536)
    reports.heard(rtcp.SenderReport(99, 1 << 32, 0, 0, 0), 3.01)  # in the same turn, after its time was read
    (again, _) = rtcp.parse(reports.due(3.0, 0)[0])
    assert isinstance(again, rtcp.SenderReport)
    assert (again.blocks[0].last_report, again.blocks[0].delay) == (1 << 16, 0)
