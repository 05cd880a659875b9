"""Cumulative counters of the first and the last sample become rates; what cannot be a rate is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jvbtune.protocol.codec import build
from jvbtune.protocol.samples import BridgeSample, CoreTimes, LoadScope, Sample, SocketMemory
from jvbtune.sweep.window import clock_step_seconds, in_window, per_second, summarise
from jvbtune.trials.judge import Why, judge


def _sample(second: float, **overrides: Any) -> Sample:
    sample: dict[str, Any] = {
        "t_unix": 1000.0 + second,
        "t_mono": 50.0 + second,
        "agent_cpu_seconds": 0.004 * second,
        "bridge": {
            "pid": 7,
            "start_ticks": 99,
            "cpu_user_s": 0.3 * second,
            "cpu_sys_s": 0.2 * second,
            "rx_thread_cpu_s": 0.1 * second,
            "cpus": [0, 1],
            "cpu_mhz": 2000.0 + 100 * (second > 5),
        },
        "cores": [
            # As sampled by the tick, user and system add up to more than there was: only idle is measured.
            {
                "cpu": 0,
                "user_s": 0.9 * second,
                "system_s": 0.1 * second,
                "softirq_s": 0.05 * second,
                "idle_s": 0.45 * second,
            },
            {"cpu": 1, "user_s": 0.2 * second, "softirq_s": 0.0, "steal_s": 0.02 * second, "idle_s": 0.78 * second},
        ],
        "udp": {"RcvbufErrors": int(3 * second), "MemErrors": 0, "SndbufErrors": 0},
        "softnet": [{"cpu": 0, "dropped": int(second), "squeezed": int(4 * second)}, {"cpu": 1, "dropped": 5}],
        "sockets": [
            {"inode": 1, "port": 10000, "drops": 0, "rcvbuf_bytes": 212992, "receives": False},
            {"inode": 2, "port": 10000, "drops": int(3 * second), "rcvbuf_bytes": 425984, "receives": True},
        ],
        "interfaces": {"eth0": {"rx_dropped": int(2 * second), "rx_missed": 1}},
        "gc": {"young_count": int(second), "young_seconds": 0.01 * second},
        "cgroup": {"nr_periods": int(10 * second), "nr_throttled": int(second), "throttled_s": 0.0},
    }
    return replace(build(Sample, sample), **overrides)


def _bridge(sample: Sample, **changes: Any) -> BridgeSample:
    assert sample.bridge is not None
    return replace(sample.bridge, **changes)


def _core(sample: Sample, cpu: int, **changes: float) -> list[CoreTimes]:
    return [replace(core, **changes) if core.cpu == cpu else core for core in sample.cores]


def test_rates_over_the_window() -> None:
    fields = summarise([_sample(second) for second in range(11)])
    assert fields["cpu_cores"] == pytest.approx(0.5)
    assert fields["rx_thread_ratio"] == pytest.approx(0.1)
    assert fields["host_cpu_cores"] == pytest.approx(0.75)
    assert fields["softirq_cores"] == pytest.approx(0.05)
    assert fields["steal_ratio"] == pytest.approx(0.01)
    assert fields["socket_drops"] == 30
    assert fields["udp_rcvbuf_errors"] == 30
    assert fields["backlog_drops"] == 10
    assert fields["interface_drops"] == 20
    assert fields["squeezes"] == 40
    assert fields["tenants_cpu_ratio"] == pytest.approx((0.55 + 0.2 - 0.05 - 0.5) / 2)
    assert fields["busy_ratio"] == pytest.approx((0.55 + 0.2 + 0.02) / 2)
    assert fields["cpu_mhz"] == pytest.approx(2000 + 100 * 5 / 11)
    assert fields["gc_ratio"] == pytest.approx(0.01)
    assert fields["throttled_ratio"] == pytest.approx(0.1)
    assert fields["agent_cpu_ratio"] == pytest.approx(0.004)
    assert fields["socket_rcvbuf_bytes"] == 425984
    assert fields["bridge_restarted"] is False


def test_only_the_samples_of_the_window_on_the_controllers_clock() -> None:
    samples = [_sample(second) for second in range(10)]
    inside = in_window(samples, 1000.0, 1003.0, clock_offset_seconds=2.0)
    assert [s.t_unix for s in inside] == [1002.0, 1003.0, 1004.0, 1005.0]


def test_a_restarted_bridge_is_seen_and_has_no_cpu() -> None:
    fields = summarise([_sample(0), _sample(3, bridge=_bridge(_sample(3), pid=8))])
    assert fields["bridge_restarted"] is True
    assert "cpu_cores" not in fields


def test_a_socket_that_was_opened_later_is_not_counted() -> None:
    late = _sample(3)
    later = SocketMemory(inode=3, port=10000, drops=1000, rcvbuf_bytes=1)
    fields = summarise([_sample(0), replace(late, sockets=[*late.sockets, later])])
    assert fields["socket_drops"] == 9
    assert fields["socket_rcvbuf_bytes"] == 425984


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        ([], "0 samples"),
        ([_sample(1)], "1 samples"),
        ([_sample(1), _sample(1)], "did not advance"),
        ([_sample(1), _sample(2, bridge=None)], "process was not there"),
    ],
)
def test_what_cannot_be_a_rate_is_refused(samples: list[Sample], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        summarise(samples)


def test_series_have_one_value_an_interval_and_leave_restarts_out() -> None:
    samples = [_sample(second) for second in range(5)]
    samples[3] = replace(samples[3], bridge=None)
    series = per_second(samples)
    assert series["t_unix"] == [1001.0, 1002.0]
    assert series["cpu_cores"] == pytest.approx([0.5, 0.5])


def test_other_processes_count_where_the_bridge_may_run_and_nowhere_else() -> None:
    samples = [
        replace(
            _sample(second),
            bridge=_bridge(_sample(second), cpus=[1]),
            cores=_core(_sample(second), 1, idle_s=0.78 * second - 0.7 * second),
        )
        for second in range(11)
    ]
    assert summarise(samples)["tenants_cpu_ratio"] == pytest.approx(0.4)
    samples[-1] = replace(samples[-1], bridge=_bridge(samples[-1], cpus=[]))
    assert "tenants_cpu_ratio" not in summarise(samples)


def test_softirq_and_steal_keep_the_bridges_cores_busy_and_a_quota_is_no_core() -> None:
    """As with a network card: a tenth of a core each of softirq and steal beside a bridge at half of its one core."""
    samples = [
        replace(
            _sample(second),
            bridge=_bridge(_sample(second), cpus=[0]),
            cores=_core(
                _sample(second),
                0,
                idle_s=0.3 * second,
                iowait_s=0.0,
                steal_s=0.1 * second,
                softirq_s=0.1 * second,
                user_s=0.5 * second,
            ),
        )
        for second in range(11)
    ]
    assert summarise(samples)["busy_ratio"] == pytest.approx(0.7)
    quota = LoadScope("quota", 1.0, quota_s=0.1, cpus=[0])
    samples = [replace(sample, bridge=_bridge(sample, load_scope=quota)) for sample in samples]
    assert "busy_ratio" not in summarise(samples)


def test_steal_of_the_bridges_cores_is_not_diluted_by_those_of_the_rest_of_the_host() -> None:
    """On a guest of 64 cores, 30 % of the bridge's four are 1.9 % of all."""

    def cores(second: float, stolen: range) -> list[CoreTimes]:
        return [
            CoreTimes(cpu, idle_s=0.5 * second, steal_s=0.3 * second if cpu in stolen else 0.0) for cpu in range(64)
        ]

    def row(stolen: range) -> dict[str, Any]:
        at = (_sample(second, cores=cores(second, stolen)) for second in (0, 10))
        return summarise([replace(one, bridge=_bridge(one, cpus=[0, 1, 2, 3])) for one in at])

    assert row(range(4))["steal_ratio"] == pytest.approx(0.3)
    assert Why.STEAL in {fault.code for fault in judge(row(range(4)))}
    assert row(range(4, 64))["steal_ratio"] == pytest.approx(0.3 * 60 / 64)


def test_a_clock_that_is_stepped_is_seen_by_the_one_that_is_not() -> None:
    samples = [_sample(second) for second in range(5)]
    assert clock_step_seconds(samples) == pytest.approx(0)
    stepped = [replace(sample, t_unix=sample.t_unix - 2 * (sample.t_unix > 1002)) for sample in samples]
    assert clock_step_seconds(stepped) == pytest.approx(2)
    assert clock_step_seconds([]) == 0
