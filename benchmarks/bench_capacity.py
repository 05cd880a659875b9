"""How long does a capacity search take, and how true is it, against a ladder and RFC 2544? On simulated hosts.

    python benchmarks/bench_capacity.py            about a minute

Each method looks for the same thing, the packet rate at which the first limit is met after one restart whose luck it
does not know. The ladder is the fastest of several (spacing × trial time) that is at least as exact as the search.
RFC 2544 is a binary search of 60 s trials to 2 %. Fails (1) where the search takes more than half of the ladder's
time, more than 10 minutes for 3 %, or where repeated searches of three restarts each differ by more than a CV of 5 %
from what these very restarts could carry (the rest of their CV is the restarts' own luck).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from jvbtune.capacity.goals import goals
from jvbtune.capacity.result import conclude
from jvbtune.capacity.search import Bracket, Outcome, Searcher, SearchPlan, prior_of, set_aside
from jvbtune.fit import Limits
from jvbtune.fit.simulator import Disturbance, SimulatedHost
from jvbtune.fit.simulator.host import many_slow_streams
from jvbtune.fit.simulator.measure import SimulatedBridge

LIMITS = Limits(loss_ratio=0.001, delay_p99_ms=50 / 1.6)  # of the simulated delays, p99.9 is 1.6 × p99
WANTED = goals(LIMITS)
UNIT_PPS = 750.0
START_UNITS = 8
MAX_UNITS = 400
WIDTH = 0.03
SEARCH_SECONDS = 10.0
REPETITIONS = 50
HOSTS = {
    "one core, CPU binds": SimulatedHost(),
    "slow streams, CPU binds": many_slow_streams(),
    "4 cores, CPU binds": SimulatedHost().scaled(4),
    "loss binds": replace(SimulatedHost(), loss_onset=0.7),
    "8 cores, receive thread binds": replace(SimulatedHost().scaled(8), rx_us=20.0),
}

Method = Callable[[SimulatedBridge], float | None]


def truth(bridge: SimulatedBridge) -> float:
    return min(bridge.host.truth(LIMITS, bridge.design.mix, bridge.factor).values())


def keeps(row: dict[str, object]) -> bool:
    ratios = [goal.ratio(row) for goal in WANTED if goal.binding]
    return all(ratio is None or ratio <= 1 for ratio in ratios)


def outcome(bridge: SimulatedBridge, units: int, seconds: float = SEARCH_SECONDS) -> Outcome:
    row = bridge.hold(units * UNIT_PPS, seconds)
    return Outcome(units, float(row["offered_pps"]), seconds, {goal.name: goal.ratio(row) for goal in WANTED})


def searched(
    bridge: SimulatedBridge, prior: dict[str, float] | None = None, aside: frozenset[str] = frozenset()
) -> list[Bracket]:
    searcher = Searcher(WANTED, SearchPlan(UNIT_PPS, START_UNITS, MAX_UNITS, WIDTH), prior or {}, aside)
    return searcher.run(lambda units: outcome(bridge, units))


def ramp(bridge: SimulatedBridge) -> dict[str, float]:
    searcher = Searcher(WANTED, SearchPlan(UNIT_PPS, START_UNITS, MAX_UNITS, WIDTH))
    found = searcher.run(lambda units: outcome(bridge, units, SEARCH_SECONDS / 2), searcher.any_broken)
    return prior_of(found, UNIT_PPS)


def search(bridge: SimulatedBridge) -> float | None:
    found = [b.estimate_pps for b in searched(bridge) if b.goal.binding and b.estimate_pps is not None]
    return min(found, default=None)


def ladder(step: float, seconds: float) -> Method:
    """Ascending levels, ``step`` × (twice the CPU's capacity guessed from the machine) apart, until one breaks."""

    def run(bridge: SimulatedBridge) -> float | None:
        top = 1.25 * min(bridge.host.truth(LIMITS).values())  # somebody knows the machine well
        kept = 0.0
        for pps in np.arange(0.2 * top, top, step * top):
            if not keeps(bridge.hold(float(pps), seconds)):
                return float((kept + pps) / 2)
            kept = float(pps)
        return None

    return run


def rfc2544(bridge: SimulatedBridge) -> float | None:
    low, high = START_UNITS * UNIT_PPS, 1.25 * min(bridge.host.truth(LIMITS).values())
    while 1 - low / high > 0.02:
        middle = (low + high) / 2
        if keeps(bridge.hold(middle, 60.0)):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def assess(host: SimulatedHost, method: Method) -> tuple[float, float, float]:
    """(median minutes, root mean squared relative error, bias) over restarts."""
    errors, minutes = [], []
    for seed in range(REPETITIONS):
        bridge = SimulatedBridge(host, Disturbance(), seed)
        bridge.restart()
        bridge.clock_seconds = 0.0
        found = method(bridge)
        errors.append(-1.0 if found is None else found / truth(bridge) - 1)
        minutes.append(bridge.clock_seconds / 60)
    return float(np.median(minutes)), float(np.sqrt(np.mean(np.square(errors)))), float(np.mean(errors))


def compare(name: str, host: SimulatedHost) -> bool:
    minutes, error, bias = assess(host, search)
    ladders = []
    for step in (0.04, 0.02):
        for seconds in (10.0, 20.0, 60.0):
            found = assess(host, ladder(step, seconds))
            if found[1] <= 1.02 * error:
                ladders.append((found[0], step, seconds, found[1]))
    best = min(ladders, default=(float("inf"), 0.0, 0.0, 0.0))
    rfc = assess(host, rfc2544)
    fine = minutes <= best[0] / 2 and minutes <= 10
    ladder_said = f"{best[0]:5.1f} min ({best[3]:.1%})" if best[1] else "   none is   "
    print(
        f"{name:31s} {minutes:5.1f} min  {error:5.1%} {bias:+6.1%}   {ladder_said}   {rfc[0]:5.1f} min ({rfc[1]:.1%})"
        + ("" if fine else "  ✗"),
        flush=True,
    )
    return fine


def repeated(name: str, host: SimulatedHost) -> bool:
    """Whole searches of three restarts each: how much do they differ, and how long do they take?"""
    found, own, minutes, covered = [], [], [], []
    average = min(host.truth(LIMITS).values())
    for seed in range(REPETITIONS):
        bridge = SimulatedBridge(host, Disturbance(), 1000 + seed)
        restarts: list[list[Bracket]] = []
        aside: frozenset[str] = frozenset()
        luck = []
        bridge.restart()
        bridge.clock_seconds = 0.0  # the ramp is on the bridge as found
        prior = ramp(bridge)
        for _ in range(3):
            bridge.restart()
            luck.append(np.log(truth(bridge)))
            restarts.append(searched(bridge, prior, aside))
            aside = set_aside(restarts[0])
            prior = prior_of(restarts[-1], UNIT_PPS)
        best = conclude(WANTED, restarts, minutes=0, width=WIDTH).max_packet_rate
        minutes.append(bridge.clock_seconds / 60)
        if best is not None and best.pps is not None:
            found.append(best.pps)
            own.append(np.log(best.pps) - np.mean(luck))
            covered.append(best.interval_pps is not None and best.interval_pps[0] <= average <= best.interval_pps[1])
    cv = float(np.std(found) / np.mean(found))
    bias = float(np.mean(found)) / average - 1
    search_cv = float(np.std(own))
    fine = search_cv <= 0.05 and float(np.median(minutes)) <= 10 and len(found) >= 0.95 * REPETITIONS
    print(
        f"{name:31s} {np.median(minutes):5.1f} min  CV {cv:.1%} ({search_cv:.1%} the search's own)  "
        f"bias {bias:+.1%}  covered {np.mean(covered):.0%}  "
        f"n {len(found)}" + ("" if fine else "  ✗"),
        flush=True,
    )
    return fine


def main() -> int:
    print(
        f"{'one restart, to 3 %':31s} {'search':>9s}  {'rmse':>5s} {'bias':>6s}   {'ladder':>15s}   {'RFC 2544':>17s}"
    )
    good = [compare(name, host) for name, host in HOSTS.items()]
    print("\nthree restarts (they differ by 6 %)")
    good += [repeated(name, host) for name, host in HOSTS.items()]
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
