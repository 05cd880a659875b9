"""What JVB and Jicofo are told, and the size of a buffer, by hand."""

import polars as pl
import pytest

from jvbtune.fit import Limits, recommend
from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost, simulate
from jvbtune.fit.thresholds import thresholds

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


def test_what_the_compilers_use_is_in_no_threshold() -> None:
    """A third of each trial's CPU was the compilers': the thresholds are those of the same bridge without them."""
    quiet = trials(60_000.0).with_columns(jvb_scope=pl.lit("host"), jvb_scope_cores=pl.lit(4.0))
    noisy = quiet.with_columns(compiler_cores=pl.col("cpu_cores") / 2, cpu_cores=pl.col("cpu_cores") * 1.5)
    told = [
        thresholds(recommend(frame.with_columns(jvb_cpu_ratio=pl.col("cpu_cores") / 4))[0]) for frame in (quiet, noisy)
    ]
    assert told[0] is not None
    assert told[1] is not None
    assert told[0].load_threshold_pps == told[1].load_threshold_pps
    assert told[0].cpu_at_threshold == pytest.approx(told[1].cpu_at_threshold)
    assert told[0].cpu_load_threshold == pytest.approx(told[1].cpu_load_threshold)


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


def test_a_bigger_machine_is_promised_no_more_than_was_seen() -> None:
    (found,) = recommend(trials(60_000.0))
    told = thresholds(found)
    assert told is not None
    assert told.bigger_machine is not None
    assert told.bigger_machine.at_least
    assert told.bigger_machine.gain_ratio * (found.max_packet_rate_pps or 0) <= 60_500
