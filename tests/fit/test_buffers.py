"""The receive buffer that is advised: for production's packets and pauses, stable, never below what is asked for."""

from __future__ import annotations

import polars as pl
import pytest

from jvbtune.errors import UsageError
from jvbtune.fit.buffers import MIB, buffer_advice, clamped, queued_seconds
from jvbtune.fit.reasons import Code

ASKED = 10 * MIB


def trials(in_share: float = 0.1, rcvbuf_bytes: int = 2 * ASKED) -> pl.DataFrame:
    rates = [10_000.0, 30_000.0, 50_000.0]
    return pl.DataFrame(
        {
            "kind": ["steady"] * 3,
            "valid": [True] * 3,
            "step": ["baseline"] * 3,
            "bridge_pps": rates,
            "in_pps": [in_share * rate for rate in rates],
            "socket_drops": [0] * 3,
            "socket_rcvbuf_bytes": [rcvbuf_bytes] * 3,
        }
    )


def burst(rcvbuf_bytes: int, drops: int) -> pl.DataFrame:
    row = trials(rcvbuf_bytes=rcvbuf_bytes).head(1)
    return row.with_columns(kind=pl.lit("burst"), socket_drops=pl.lit(drops).cast(pl.Int64))


def test_a_moderate_host_is_advised_what_the_bridge_asks_for_and_no_run_says_less() -> None:
    sizes = set()
    for threshold in (20_000.0, 36_000.0, 47_000.0, 90_000.0):
        for queued in ([], [0.001] * 2000, [0.1] * 2000):
            advice = buffer_advice(trials(), threshold, queued_seconds=queued, truesizes={"120": 832.0, "1200": 2304.0})
            assert advice is not None
            sizes.add(advice.rmem_max_bytes)
            assert advice.truesize_bytes == 2304
    assert sizes == {ASKED}


def test_a_host_with_many_packets_in_is_advised_what_its_stalls_need_in_a_power_of_two() -> None:
    advice = buffer_advice(trials(in_share=0.5), 120_000, queued_seconds=[0.4] * 2000)
    assert advice is not None
    assert advice.needed_bytes == pytest.approx(0.4 * 60_000 * 2304 / 2, rel=0.01)
    assert advice.rmem_max_bytes == 32 * MIB
    assert advice.rcvbuf_bytes == 2 * advice.rmem_max_bytes
    assert advice.holds_seconds == pytest.approx(64 * MIB / 2304 / 60_000)
    assert f"{advice.holds_seconds * 1000:.0f} ms of video" in advice.sentence()
    endless = buffer_advice(trials(in_share=0.5), 120_000, queued_seconds=[30.0] * 2000)
    assert endless is not None
    assert endless.stall_seconds == 0.5


def test_what_the_bridge_is_configured_to_ask_for_is_the_least() -> None:
    advice = buffer_advice(trials(), 40_000, asked_bytes=104_857_600)
    assert advice is not None
    assert advice.rmem_max_bytes == 104_857_600
    with pytest.raises(UsageError):
        buffer_advice(trials(), 0.0)


def test_a_buffer_is_never_advised_that_bursts_overflowed() -> None:
    swept = pl.concat([trials(), burst(2 * ASKED, 9), burst(4 * ASKED, 0)])
    advice = buffer_advice(swept, 40_000)
    assert advice is not None
    assert advice.dropping_rcvbuf_bytes == 2 * ASKED
    assert advice.rcvbuf_bytes >= 4 * ASKED
    untried = buffer_advice(swept.head(4), 40_000)
    assert untried is not None
    assert untried.rcvbuf_bytes > 2 * ASKED


@pytest.mark.parametrize("found", [425_984, 8_388_608, 2 * ASKED, 209_715_200])
def test_it_never_advises_a_size_and_calls_a_larger_one_wrong(found: int) -> None:
    advice = buffer_advice(trials(rcvbuf_bytes=found), 40_000)
    assert advice is not None
    assert advice.enough is (found >= 2 * ASKED)
    assert ("has less" in advice.sentence()) is (found < 2 * ASKED)
    assert "than useful" not in advice.sentence() + advice.why()


def test_a_bridge_that_got_less_than_it_asked_for_is_pointed_out() -> None:
    reason = clamped(trials(rcvbuf_bytes=425_984), ASKED)
    assert reason is not None
    assert reason.code == Code.BUFFER_CLAMPED
    assert "asks for a receive buffer of 10 MiB and gets 0.2 MiB" in reason.text
    assert "10485760" in reason.advice
    assert clamped(trials(), ASKED) is None


def test_a_queue_is_so_many_seconds_behind() -> None:
    samples = pl.DataFrame({"sockets.7.rmem_bytes": [0, 832_000], "sockets.8.rmem_bytes": [0, 0]})
    assert queued_seconds(samples, 10_000, 832) == [0.0, 0.1]
