"""Each rule: the row that breaks it, and what is said."""

import pytest

from jvbtune.trials.judge import Why, drifting_blocks, judge

GOOD = {
    "kind": "steady",
    "generator_limited": False,
    "bridge_restarted": False,
    "steal_ratio": 0.0,
    "throttled_ratio": 0.0,
    "offered_pps": 10_000.0,
    "bridge_pps": 10_050.0,
    "loss_ratio": 0.0,
    "socket_rcvbuf_bytes": 425_984,
    "duration_s": 10.0,
    "sampled_seconds": 9.0,
    "frequency_ratio": 1.0,
    "tenants_cpu_ratio": 0.02,
}


def test_a_good_row_has_no_fault_and_nothing_measured_has_none_either() -> None:
    assert judge(GOOD, expected_rcvbuf_bytes=425_984, clock_uncertainty_seconds=0.01) == []
    assert judge({}) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"generator_limited": True, "generator_limited_because": ["CPU 99 %"]}, "generator was the limit: CPU 99 %"),
        ({"bridge_restarted": True}, "restarted by itself"),
        ({"steal_ratio": 0.05}, "steal"),
        ({"throttled_ratio": 0.2}, "throttled"),
        ({"socket_rcvbuf_bytes": 212_992}, "buffer"),
        ({"bridge_pps": 11_000.0}, "counts"),
        ({"sampled_seconds": 3.0}, "samples"),
        ({"frequency_ratio": 0.8}, "frequency"),
        ({"tenants_cpu_ratio": 0.5}, "other tenants"),
        ({"compiler_cores": 0.21}, "still compiling: the JVM's compilers used 21% of a core"),
    ],
)
def test_each_fault_is_named(change: dict[str, object], says: str) -> None:
    found = judge(GOOD | change, expected_rcvbuf_bytes=425_984, clock_uncertainty_seconds=0.01)
    assert len(found) == 1
    assert says in found[0].text


def test_rtcp_that_a_bridge_sends_each_endpoint_is_no_other_traffic() -> None:
    """A real bridge, conferences of two: 18 201 pps of RTP, 182 endpoints, 2.0 RTCP packets a second to each."""
    small_calls = GOOD | {"offered_pps": 18_201.3, "bridge_pps": 18_570.4, "endpoints": 182}
    assert judge(small_calls) == []
    assert "counts" in judge(small_calls | {"endpoints": 10, "bridge_pps": 18_700.0})[0].text
    assert "counts" in judge(small_calls | {"bridge_pps": 17_500.0})[0].text


def test_an_unsure_clock_is_a_fault() -> None:
    assert "clock" in judge(GOOD, clock_uncertainty_seconds=1.0)[0].text


def test_a_bad_result_is_a_result() -> None:
    assert judge(GOOD | {"loss_ratio": 0.3, "bridge_pps": 7000.0}) == []


#: A container with two cores whose bridge uses 95 % of them.
FULL_QUOTA = GOOD | {
    "throttled_ratio": 0.2,
    "cpu_cores": 1.9,
    "jvb_scope": "quota",
    "jvb_scope_cores": 2.0,
    "jvb_cpu_ratio": 0.96,
}


def test_a_quota_that_the_bridge_meets_by_itself_is_a_result() -> None:
    assert judge(FULL_QUOTA) == []


@pytest.mark.parametrize(
    "change",
    [{"cpu_cores": 1.5}, {"jvb_cpu_ratio": None}, {"jvb_scope": "host"}],
    ids=["others use a fifth of it", "not measured", "the quota is not the scope"],
)
def test_a_quota_that_others_use_too_is_none(change: dict[str, object]) -> None:
    assert [fault.code for fault in judge(FULL_QUOTA | change)] == [Why.THROTTLED]


def test_a_block_whose_baseline_is_off_is_found() -> None:
    rows = [
        {"block": block, "step": "baseline", "intended_pps": pps, "bridge_pps": pps, "cpu_cores": pps * 1e-5 * cost}
        for block, cost in enumerate([1.0, 1.05, 1.6, 0.97])
        for pps in (1e4, 2e4)
    ]
    assert list(drifting_blocks(rows)) == [2]
    assert drifting_blocks(rows[:4]) == {}


@pytest.mark.parametrize(
    ("compiler", "cpu", "seconds", "compiling"),
    [
        (0.05, 0.5, 10.0, False),
        (0.06, 0.5, 10.0, True),
        (0.08, 0.5, 3.0, False),  # a quarter of a second of CPU: one method
        (0.10, 0.5, 3.0, True),
        (0.10, 3.0, 10.0, False),  # a bridge on many cores, of whose CPU it is a thirtieth
        (0.20, 3.0, 10.0, True),
    ],
)
def test_a_burst_of_compilation_counts_by_its_share_and_by_its_length(
    compiler: float, cpu: float, seconds: float, compiling: bool
) -> None:
    row = GOOD | {"compiler_cores": compiler, "cpu_cores": cpu, "sampled_seconds": seconds, "duration_s": seconds}
    assert [fault.code for fault in judge(row)] == ([Why.COMPILING] if compiling else [])


def test_compilers_do_not_take_away_what_a_burst_has_shown() -> None:
    """A quick sweep of a real bridge lost 11 983 and 10 580 packets of bursts at 212992, none at 10 MiB, and had no
    verdict: the compilers were at work in both."""
    row = GOOD | {"compiler_cores": 0.53, "cpu_cores": 0.97, "sampled_seconds": 4.0, "duration_s": 4.0}
    assert [fault.code for fault in judge(row)] == [Why.COMPILING]
    assert judge(row | {"kind": "burst"}) == []
