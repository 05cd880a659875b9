"""What JVB and Jicofo are told, and the size of a buffer, by hand."""

import json

import polars as pl
import pytest
from jsonschema import Draft202012Validator, ValidationError

from jvbtune.errors import UsageError
from jvbtune.fit import Limits, recommend
from jvbtune.fit.buffers import buffer_advice, buffer_size, queued_seconds
from jvbtune.fit.schema import SCHEMA
from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost, simulate
from jvbtune.fit.thresholds import complete, thresholds

QUIET = Disturbance(restart_sd=0.01, noise_sd=0.005)


def trials(top: float) -> pl.DataFrame:
    rates = tuple(top * share for share in (0.2, 0.4, 0.6, 0.8, 1.0))
    return simulate(SimulatedHost(), Design(rates, 5), QUIET, seed=1).with_columns(
        endpoints=(pl.col("bridge_pps") / 250).round().cast(pl.Int64)
    )


def test_the_threshold_is_not_derated_twice() -> None:
    (found,) = recommend(trials(60_000.0))
    told = thresholds(found)
    assert told is not None
    assert told.load_measurement == "packet-rate"
    assert found.max_packet_rate_pps is not None
    # what 19 of 20 restarts carry, and nothing taken off that for Jicofo's own 0.8
    assert 0.93 * found.max_packet_rate_pps < told.load_threshold_pps <= found.max_packet_rate_pps
    assert told.recovery_threshold_pps == pytest.approx(0.8 * told.load_threshold_pps)
    assert told.cpu_at_threshold == pytest.approx(0.78, abs=0.02)
    assert told.cpu_at_overloaded is not None
    assert 0.6 < told.cpu_at_overloaded < 0.75  # concave: 80 % of the load costs more than 80 % of the CPU
    assert told.average_participant_stress == pytest.approx(250 / told.load_threshold_pps, rel=0.02)


def test_the_cpu_threshold_is_what_the_bridges_own_measurement_reads_there() -> None:
    # a bridge on 1 of 4 cores of a host on which something else takes 0.2 cores
    share = (pl.col("cpu_cores") + 0.2) / 4
    frame = trials(60_000.0).with_columns(jvb_scope=pl.lit("host"), jvb_scope_cores=pl.lit(4.0), jvb_cpu_ratio=share)
    told = thresholds(recommend(frame)[0])
    assert told is not None
    assert told.cpu_at_threshold is not None
    assert (told.cpu_scope, told.cpu_measured) == ("host", True)
    assert told.cpu_load_threshold == pytest.approx((told.cpu_at_threshold + 0.2) / 4, rel=0.01)
    assert told.cpu_recovery_threshold == pytest.approx(0.8 * told.cpu_load_threshold)


def test_where_the_generator_is_on_the_host_the_bridges_own_share_of_the_scope_is_told() -> None:
    frame = trials(60_000.0).with_columns(
        jvb_scope=pl.lit("host"), jvb_scope_cores=pl.lit(2.0), jvb_cpu_ratio=pl.lit(None, pl.Float64)
    )
    told = thresholds(recommend(frame)[0])
    assert told is not None
    assert told.cpu_at_threshold is not None
    assert (told.cpu_scope, told.cpu_measured) == ("host", False)
    assert told.cpu_load_threshold == pytest.approx(told.cpu_at_threshold / 2, rel=0.01)


def test_a_scope_that_nobody_recorded_is_said_to_be_the_bridges_own() -> None:
    told = thresholds(recommend(trials(60_000.0))[0])
    assert told is not None
    assert (told.cpu_scope, told.cpu_measured) == ("bridge", False)
    assert told.cpu_load_threshold == told.cpu_at_threshold


def test_no_recommendation_has_no_thresholds() -> None:
    (found,) = recommend(trials(15_000.0), Limits())
    assert thresholds(found) is None


def test_a_buffer_holds_the_stall_and_not_much_more() -> None:
    size = buffer_size(0.2, 20_000, 2304)
    assert size.packets == 4000
    assert size.rcvbuf_bytes == 2 * size.rmem_max_bytes
    assert 0.2 <= size.holds_seconds < 0.21
    assert size.delay_of(10_485_760, 20_000, 2304) == pytest.approx(0.455, abs=0.001)
    assert buffer_size(30.0, 1000).holds_seconds < 0.6
    with pytest.raises(UsageError):
        buffer_size(0.0, 1000)


def test_a_bigger_machine_is_promised_no_more_than_was_seen() -> None:
    (found,) = recommend(trials(60_000.0))
    told = thresholds(found)
    assert told is not None
    assert told.bigger_machine is not None
    assert told.bigger_machine.at_least
    assert told.bigger_machine.gain_ratio * (found.max_packet_rate_pps or 0) <= 60_500


@pytest.mark.parametrize("top", [60_000.0, 15_000.0], ids=["a figure", "none"])
def test_what_fit_prints_is_what_its_schema_says(top: float) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    found = recommend(trials(top))
    told = {"schema_version": 1, "run": "r", "limits": Limits().to_json(), "hosts": [complete(r) for r in found]}
    Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(told)))
    told["hosts"][0].pop("reasons")
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate(told)


def test_a_buffer_is_sized_by_what_was_seen_and_bigger_is_not_called_better() -> None:
    frame = trials(60_000.0).with_columns(socket_rcvbuf_bytes=pl.lit(2 * 104_857_600))
    (found,) = recommend(frame)
    assert found.export_pps is not None
    peak = 0.2 * found.export_pps
    behind = [0.0] * 999 + [0.25] * 3
    advice = buffer_advice(found, frame, queued_seconds=behind, truesizes={"120": 832.0, "1200": 2304.0})
    assert advice is not None
    assert advice.stall_seconds == pytest.approx(0.25, abs=0.01)
    assert advice.peak_in_pps == pytest.approx(peak, rel=0.01)
    assert advice.size.rcvbuf_bytes == pytest.approx(0.25 * peak * 832, rel=0.02)
    assert advice.verdict == "larger than useful"
    assert advice.found_holds_seconds == pytest.approx(209_715_200 / 832 / peak, rel=0.01)
    assert "measured" in advice.truesize_source
    small = buffer_advice(found, frame.with_columns(socket_rcvbuf_bytes=pl.lit(425_984)), queued_seconds=behind)
    assert small is not None
    assert small.verdict == "too small"
    assert "assumed" in small.truesize_source
    video = buffer_advice(
        found, frame, queued_seconds=behind, truesizes={"120": 832.0, "1200": 2304.0}, payload_bytes=1000
    )
    assert video is not None
    assert video.truesize_bytes == 2304


def test_a_queue_is_so_many_seconds_behind() -> None:
    samples = pl.DataFrame({"sockets.7.rmem_bytes": [0, 832_000], "sockets.8.rmem_bytes": [0, 0]})
    assert queued_seconds(samples, 10_000, 832) == [0.0, 0.1]


def test_a_buffer_is_never_advised_below_what_bursts_overflowed_nor_by_a_run_that_saw_no_pause() -> None:
    frame = trials(60_000.0).with_columns(socket_rcvbuf_bytes=pl.lit(8_388_608))
    (found,) = recommend(frame)
    quiet = buffer_advice(found, frame, queued_seconds=[0.001] * 2000)
    assert quiet is not None
    assert quiet.size.holds_seconds >= 0.1
    assert "rare pauses" in quiet.sentence()
    row = frame.filter(pl.col("kind") == "steady").head(1)

    def burst(rcvbuf_bytes: int, drops: int) -> pl.DataFrame:
        return row.with_columns(
            kind=pl.lit("burst"), socket_rcvbuf_bytes=pl.lit(rcvbuf_bytes), socket_drops=pl.lit(drops)
        )

    with_drops = frame.with_columns(socket_drops=pl.lit(0))
    swept = pl.concat([with_drops, burst(16_777_216, 9), burst(20_971_520, 0)], how="diagonal_relaxed")
    burdened = buffer_advice(found, swept, queued_seconds=[0.001] * 2000)
    assert burdened is not None
    assert burdened.size.rcvbuf_bytes == 20_971_520
    assert burdened.verdict == "too small"
    assert "bursts overflowed 16777216 bytes" in burdened.sentence()
    untried = buffer_advice(found, swept.filter(pl.col("socket_rcvbuf_bytes") < 20_000_000), queued_seconds=[0.001] * 9)
    assert untried is not None
    assert untried.size.rcvbuf_bytes == 2 * 16_777_216
