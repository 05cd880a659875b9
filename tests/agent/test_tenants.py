"""The busiest other processes are named, on real processes; what they are called with is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from jvbtune.agent import tenants as module
from jvbtune.agent.tenants import Tenants
from jvbtune.protocol.codec import to_json
from jvbtune.protocol.samples import BridgeSample, CoreTimes, Sample
from jvbtune.sweep.window import summarise
from jvbtune.trials.judge import Why, judge

BUSY = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, b"busy-neighbour", 0, 0, 0)
print("begun", flush=True)
while True:
    sum(range(10000))
"""


def test_a_busy_process_is_named_by_its_comm_and_only_by_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PERIOD_SECONDS", 0.0)
    monkeypatch.setattr(module, "MAX_CPU_RATIO", 1.0)
    cpus = os.sched_getaffinity(0)
    with subprocess.Popen([sys.executable, "-c", BUSY, "--password=secret"], stdout=subprocess.PIPE) as busy:
        try:
            assert busy.stdout is not None
            busy.stdout.readline()
            watch = Tenants()
            assert watch.look(1, cpus) == {}
            found: dict[str, float] = {}
            deadline = time.monotonic() + 30
            while "busy-neighbour" not in found and time.monotonic() < deadline:
                time.sleep(0.5)
                found = watch.look(1, cpus)
            assert 0.0 < found["busy-neighbour"] <= 1.1
            assert len(found) <= 5
            assert "secret" not in str(found)
            time.sleep(0.2)
            assert "busy-neighbour" not in watch.look(busy.pid, cpus)  # as if it were the bridge
            os.sched_setaffinity(busy.pid, {max(cpus)})
            time.sleep(0.5)
            assert "busy-neighbour" not in watch.look(1, {max(cpus) + 1})  # it may not run there
        finally:
            busy.kill()


def test_it_looks_seldom_and_costs_little() -> None:
    watch = Tenants()
    begun = time.thread_time()
    for _ in range(1000):
        watch.look(1, {0})
    assert time.thread_time() - begun < 0.5
    assert watch.busiest == {}


def _sample(second: float, **tenants: float) -> Sample:
    bridge = BridgeSample(pid=7, start_ticks=9, cpu_user_s=0.3 * second, cpu_sys_s=0.0, cpus=[0, 1])
    cores = [CoreTimes(cpu, user_s=0.5 * second, idle_s=0.5 * second) for cpu in (0, 1)]
    return Sample(1000.0 + second, second, cores=cores, bridge=bridge, tenants=tenants)


def test_a_trial_that_others_disturbed_says_who_how_much_is_allowed_and_what_to_do() -> None:
    samples = [_sample(s, stress=0.4, apt=0.1, **{"a\x1b[31m": 0.06}, cron=0.02) for s in range(11)]
    row = summarise(samples)
    assert row["tenants"] == {
        "stress": pytest.approx(0.2),
        "apt": pytest.approx(0.05),
        "a\x1b[31m": pytest.approx(0.03),
    }
    (found,) = [fault for fault in judge(row) if fault.code is Why.OTHER_TENANTS]
    assert found.text == (
        "other tenants: other processes used 35% of the bridge's cores, and 10% is allowed (busiest: stress 20%, "
        "apt 5%, a [31m 3%). Stop them, or keep them off these cores (taskset)"
    )


def test_without_names_the_trial_is_judged_all_the_same() -> None:
    row = summarise([replace(_sample(s), tenants={}) for s in range(11)])
    (found,) = [fault for fault in judge(row) if fault.code is Why.OTHER_TENANTS]
    assert "35% of the bridge's cores, and 10% is allowed. Stop" in found.text
    assert to_json(_sample(1.0, x=0.5))["tenants"] == {"x": 0.5}
