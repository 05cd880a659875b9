"""What a packet in, out and relayed, and an endpoint, cost; and for which mix a figure holds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jvbtune.errors import ConfigError, FormatError
from jvbtune.fit import HostFit, Limits, recommend
from jvbtune.fit.history import nearest_shape, read_history
from jvbtune.fit.mix import PacketMix
from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost, SimulatedMix, simulate
from jvbtune.fit.simulator.host import LISTENERS, SMALL
from tests.fit.words import texts

HOST = SimulatedHost()
LIMITS = Limits()
MAIN = SimulatedMix(0.2, 0.8, endpoint_pps=150.0)
QUIET = Disturbance(restart_sd=0.0, noise_sd=0.003)


def sweep(
    shapes: dict[str, SimulatedMix],
    host: SimulatedHost = HOST,
    noise: Disturbance = QUIET,
    seed: int = 8,
    blocks: int = 5,
) -> pl.DataFrame:
    """A sweep of the first shape, and beside it, in the same restarts, two loads of each other one."""
    (name, main), *others = shapes.items()
    rates = np.linspace(0.2, 1.1, 6) * min(host.truth(LIMITS, main).values())
    design = Design(tuple(rates.tolist()), blocks, mix=main, other_mixes=dict(others))
    return simulate(host, design, noise, seed=seed).with_columns(pl.col("mix").fill_null(name))


def one(trials: pl.DataFrame, history: pl.DataFrame | None = None) -> HostFit:
    (found,) = recommend(trials, LIMITS, history=history)
    return found


def mix_of(trials: pl.DataFrame, history: pl.DataFrame | None = None) -> PacketMix:
    mix = one(trials, history).mix
    assert mix is not None
    return mix


def marginal_us(host: SimulatedHost, cost: float, mix: SimulatedMix = MAIN) -> float:
    """What a kind of packet of ``cost`` µs adds over the upper half of the loads: with its share of the wake-ups."""
    pps = np.array([0.55, 1.1]) * host.truth(LIMITS, mix)["cpu"]
    whole = mix.in_share * host.in_us + mix.out_share * host.out_us + host.endpoint_us / mix.endpoint_pps
    return float(np.diff(host.cpu_cores(pps, mix))[0] / np.diff(pps)[0]) / whole * cost * 1e6


def test_one_shape_cannot_tell_what_a_packet_costs() -> None:
    found = one(sweep({"main": MAIN}))
    assert found.mix is not None
    assert (found.mix.weights, found.mix.costs) == (None, ())
    assert any("cannot be told apart" in reason for reason in texts(found))


def test_two_shapes_tell_in_from_out_where_endpoints_follow_the_packets() -> None:
    mix = mix_of(sweep({"main": MAIN, "other": replace(MAIN, in_share=0.6, out_share=0.4)}))
    costs = {cost.name: cost for cost in mix.costs}
    assert set(costs) == {"in", "out"}
    assert costs["in"].estimate / costs["out"].estimate == pytest.approx(HOST.in_us / HOST.out_us, rel=0.1)
    assert "endpoint" in mix.explanation


def test_three_shapes_tell_what_an_endpoint_costs_by_itself() -> None:
    host = replace(HOST, endpoint_us=400.0)
    mix = mix_of(sweep({"main": MAIN, "few": SMALL, "listeners": LISTENERS}, host))
    costs = {cost.name: cost for cost in mix.costs}
    assert set(costs) == {"in", "out", "endpoints"}
    for name, truth in (("in", host.in_us), ("out", host.out_us), ("endpoints", host.endpoint_us)):
        expected = marginal_us(host, truth)
        assert costs[name].estimate == pytest.approx(expected, rel=0.2)
    free = mix_of(sweep({"main": MAIN, "few": SMALL, "listeners": LISTENERS}))
    endpoint = free.cost("endpoints")
    assert endpoint is not None
    assert endpoint.low == 0
    assert endpoint.estimate < 40


def test_shapes_that_differ_in_two_things_at_once_are_not_said_to_tell_which() -> None:
    host = replace(HOST, endpoint_us=400.0)
    found = one(sweep({"main": MAIN, "few": SMALL}, host))
    assert found.mix is not None
    assert found.mix.weights is not None
    assert found.mix.costs == ()
    assert "third shape" in found.mix.explanation
    assert found.max_packet_rate_pps == pytest.approx(host.truth(LIMITS, MAIN)["cpu"], rel=0.02)


def test_of_two_readings_of_two_shapes_the_dearer_one_counts_for_production(tmp_path: Path) -> None:
    """Production has the mix of the main shape and three times its endpoints: dear, if endpoints are what costs."""
    host = replace(HOST, endpoint_us=400.0)
    produced = history(tmp_path, "in_pps,out_pps,endpoints\n1500,6000,150\n")
    mix = mix_of(sweep({"main": MAIN, "few": SMALL}, host), produced)
    truth = (host.in_us * 0.2 + host.out_us * 0.8 + 400 / 50) / (host.in_us * 0.2 + host.out_us * 0.8 + 400 / 150)
    assert mix.worst_cost_ratio > 0.97 * truth
    assert mix.costs == ()


def test_as_many_packets_of_fewer_endpoints_tell_an_endpoint_from_its_packets() -> None:
    host = replace(HOST, endpoint_us=400.0)
    mix = mix_of(sweep({"main": MAIN, "fast": replace(MAIN, endpoint_pps=450.0)}, host))
    assert [cost.name for cost in mix.costs] == ["packets", "endpoints"]
    assert mix.costs[1].estimate == pytest.approx(marginal_us(host, 400.0), rel=0.2)
    assert mix.shape_cost_ratios["fast"] < 0.9


@pytest.mark.slow
def test_intervals_of_costs_cover_them() -> None:
    host = replace(HOST, endpoint_us=400.0)
    noise = Disturbance(restart_sd=0.05, noise_sd=0.02)
    inside = []
    for seed in range(40):
        trials = sweep({"main": MAIN, "few": SMALL, "listeners": LISTENERS}, host, noise, seed=1000 * seed, blocks=6)
        for cost, truth in zip(mix_of(trials).costs, (host.in_us, host.out_us, host.endpoint_us), strict=True):
            inside.append(cost.low <= marginal_us(host, truth) <= cost.high)
    assert np.mean(inside) >= 0.88


def test_the_figures_stay_those_of_the_main_shape_of_conference() -> None:
    trials = sweep({"main": MAIN, "other": replace(MAIN, in_share=0.6, out_share=0.4)})
    found = one(trials)
    assert found.mix is not None
    assert found.mix.shares["in"] == pytest.approx(0.2, abs=0.001)
    assert found.max_packet_rate_pps == pytest.approx(HOST.truth(LIMITS, MAIN)["cpu"], rel=0.02)
    # another shape that costs more is named, and takes nothing from what is exported
    assert any("--history" in reason for reason in texts(found))
    assert found.load_threshold_pps is not None
    assert found.load_threshold_pps > 0.95 * found.max_packet_rate_pps


def test_another_shape_whose_cost_cannot_be_told_is_left_out() -> None:
    dear = replace(HOST, in_us=HOST.in_us * 1.5, out_us=HOST.out_us * 1.5)
    main, other = sweep({"10 with 2 senders": MAIN}), sweep({"5 with 1 sender": MAIN}, dear, seed=9)
    some = other.filter(pl.col("intended_pps") < 0.7 * pl.col("intended_pps").max())
    found, alone = one(pl.concat([main, some])), one(main)
    assert found.mix is not None
    assert found.mix.costs == ()
    assert (found.max_packet_rate_pps, found.trials) == (alone.max_packet_rate_pps, alone.trials)


HISTORY = "in_pps,out_pps,relay_pps,endpoints\n3000,3000,0,40\n300,2000,0,12\n2500,2700,0,36\n0,0,0,0\n"


def history(tmp_path: Path, text: str = HISTORY) -> pl.DataFrame:
    file = tmp_path / "prod.csv"
    file.write_text(text)
    return read_history(file)


def test_what_is_exported_holds_for_the_dearest_mix_of_the_hosts_own_history(tmp_path: Path) -> None:
    other = replace(MAIN, in_share=0.6, out_share=0.4)
    trials = sweep({"main": MAIN, "other": other})
    produced = history(tmp_path)
    found, without = one(trials, produced), one(trials)
    assert found.max_packet_rate_pps == without.max_packet_rate_pps
    dearest = HOST.truth(LIMITS, SimulatedMix(0.5, 0.5))["cpu"]
    assert found.load_threshold_pps is not None
    assert 0.93 * dearest < found.load_threshold_pps <= 1.01 * dearest
    assert found.mix is not None
    assert (found.mix.worst_source, round(found.mix.worst_shares["in"], 2)) == ("history", 0.5)
    assert found.packets_per_participant_pps == pytest.approx((6000 + 2300 + 5200) / 88)
    assert found.packets_per_participant_source == "history"


def test_a_history_that_did_not_count_endpoints_leaves_participants_to_the_trials(tmp_path: Path) -> None:
    found = one(sweep({"main": MAIN}), history(tmp_path, "in_pps,out_pps\n1500,6000\n"))
    assert found.packets_per_participant_source == "trials"
    assert found.packets_per_participant_pps == pytest.approx(150, rel=0.02)


def test_a_history_of_what_cost_cannot_be_told_says_what_to_run(tmp_path: Path) -> None:
    found = one(sweep({"main": MAIN}), history(tmp_path))
    told = [reason for reason in texts(found) if "Production's mix is" in reason]
    assert len(told) == 1
    assert "participants = 2, senders = 2" in told[0]
    same = history(tmp_path, "in_pps,out_pps,endpoints\n1500,6000,50\n")
    assert any("much like that of the trials" in reason for reason in texts(one(sweep({"main": MAIN}), same)))


def test_relayed_packets_that_no_trial_had_are_named(tmp_path: Path) -> None:
    produced = history(tmp_path, "in_pps,out_pps,relay_pps,endpoints\n1500,6000,2500,50\n")
    found = one(sweep({"main": MAIN}), produced)
    assert any("25% of production's packets were relayed" in reason for reason in texts(found))


@pytest.mark.parametrize(
    ("in_pps", "out_pps", "endpoints", "shape"),
    [
        (150.0, 600.0, 5.0, "participants = 5, senders = 3, stream_pps = 50"),
        (900.0, 8100.0, 10.0, "participants = 10, senders = 10, stream_pps = 90"),
        (50.0, 50.0, 20.0, "participants = 2, senders = 1, stream_pps = 50"),
    ],
)
def test_the_shape_that_is_nearest_to_production(in_pps: float, out_pps: float, endpoints: float, shape: str) -> None:
    rows = pl.DataFrame({"in_pps": [in_pps], "out_pps": [out_pps], "endpoints": [endpoints]})
    assert str(nearest_shape(rows)) == shape


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("in_pps,relay_pps\n1,2\n", "no column out_pps"),
        ("in_pps,out_pps\n0,0\n", "no row has packets"),
        ("in_pps,out_pps\n1,x\n", "column out_pps: 'x' is not a number"),
    ],
)
def test_a_history_that_is_none_is_refused_by_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        history(tmp_path, text)


def test_a_history_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"prod\.csv"):
        read_history(tmp_path / "prod.csv")


def test_rows_of_other_hosts_are_nothing_to_a_host(tmp_path: Path) -> None:
    trials = sweep({"main": MAIN, "other": replace(MAIN, in_share=0.6, out_share=0.4)})
    theirs = history(tmp_path, "host,in_pps,out_pps\nelsewhere,3000,3000\n")
    assert one(trials, theirs).load_threshold_pps == one(trials).load_threshold_pps
