"""Rows of trials of a simulated host, in the store's columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from jvbtune.fit.simulator.host import SimulatedHost, SimulatedMix
from jvbtune.trials.columns import TRIAL_SCHEMA
from jvbtune.trials.judge import fields_of, judge

RMEM_MAX = "net.core.rmem_max"
#: Loads of other shapes, whose packets may be dearer, stay below those of the main one.
OTHER_RATIO = 0.7
BACKLOG = "net.core.netdev_max_backlog"
#: Of a burst that arrives faster than softirq takes it off the backlog queue.
BACKLOG_SHARE = 0.4
ASKED_BYTES = 10_485_760  #: ice4j's receive-buffer-size in JVB's application.conf


@dataclass(frozen=True)
class Design:
    """What is run: every step in every block, every load in every step, shuffled."""

    packet_rates_pps: tuple[float, ...]
    blocks: int = 4
    #: step -> settings; ``baseline`` first
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"baseline": {}})
    mix: SimulatedMix = field(default_factory=SimulatedMix)
    duration_seconds: float = 60.0
    burst_packets: int = 0  #: aligned, over all senders; 0: no burst trial
    burst_pps: float = 10_000.0
    #: Further shapes of conferences, by name: each at two of the packet rates, less high, in every step.
    other_mixes: Mapping[str, SimulatedMix] = field(default_factory=dict)


@dataclass(frozen=True)
class Disturbance:
    """What stands between the truth and the rows. Standard deviations are of logarithms."""

    restart_sd: float = 0.06  #: restarts at the same rate: 4.5–9 % on a real bridge
    noise_sd: float = 0.02  #: of one trial of 60 s; grows as 1/√duration
    block_sd: float = 0.0  #: what all restarts of a block share
    drift_per_hour: float = 0.0
    outlier_ratio: float = 0.0  #: of the trials,
    outlier_factor: float = 1.4  #: which cost so much more, unseen
    neighbour_ratio: float = 0.0  #: of the trials, with steal that is seen
    delay_sd: float = 0.3  #: of a trial's p99: 45 % in windows of 8 s on the lab
    rate_sd: float = 0.003
    generator_capacity_pps: float = float("inf")
    step_effects: Mapping[str, float] = field(default_factory=dict)  #: step -> factor on CPU
    burst_sd: float = 0.4  #: of the share of a burst that waits: drops spread 20-fold between repetitions


def simulate(
    host: SimulatedHost,
    design: Design,
    disturbance: Disturbance = Disturbance(),
    *,
    seed: int,
    name: str = "simulated",
) -> pl.DataFrame:
    """All trials of a run, as the store would have them. The same arguments give the same rows."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    hours = 0.0
    for block in range(design.blocks):
        shared = disturbance.block_sd * rng.standard_normal()
        steps = list(design.steps)
        for index in rng.permutation(len(steps)):
            step = steps[index]
            luck = shared + disturbance.restart_sd * rng.standard_normal()
            luck += np.log(disturbance.step_effects.get(step, 1.0))
            rates = rng.permutation(np.array(design.packet_rates_pps, dtype=np.float64))
            times = hours + np.arange(rates.size) * design.duration_seconds / 3600
            hours = float(times[-1]) + 2 * design.duration_seconds / 3600
            factor = np.exp(luck + disturbance.drift_per_hour * times)
            base = {"block": block, "step": step, "settings": json.dumps(dict(design.steps[step]), sort_keys=True)}
            rows.extend(base | row for row in steady_rows(host, design, disturbance, rng, rates, factor))
            for shape, other in design.other_mixes.items():
                some = OTHER_RATIO * np.sort(rates)[[rates.size // 2, -1]]
                of_shape = replace(design, mix=other)
                same = np.full(2, float(np.exp(luck)))
                more = steady_rows(host, of_shape, disturbance, rng, some, same)
                rows.extend(base | row | {"mix": shape} for row in more)
            if design.burst_packets:
                rows.append(base | _burst(host, design, disturbance, rng, float(np.exp(luck)), design.steps[step]))
    for order, row in enumerate(rows):
        row |= {"run_id": f"simulated-{seed}", "host": name, "order": order, "cores": host.cores}
        row["trial"] = f"b{row['block']}-{row['step']}-{order}"
        row.update(fields_of(judge(row)))
    columns = {column: [row.get(column) for row in rows] for column in TRIAL_SCHEMA}
    return pl.DataFrame(columns, schema=TRIAL_SCHEMA, strict=False)


def steady_rows(
    host: SimulatedHost,
    design: Design,
    disturbance: Disturbance,
    rng: np.random.Generator,
    rates: np.ndarray[Any, np.dtype[np.float64]],
    factor: np.ndarray[Any, np.dtype[np.float64]],
) -> list[dict[str, Any]]:
    n = rates.size
    noise_sd = disturbance.noise_sd * np.sqrt(60 / design.duration_seconds)
    noise = np.exp(noise_sd * rng.standard_normal(n))
    noise *= np.where(rng.random(n) < disturbance.outlier_ratio, disturbance.outlier_factor, 1.0)
    neighbour = rng.random(n) < disturbance.neighbour_ratio
    offered = np.minimum(rates, disturbance.generator_capacity_pps)
    offered = offered * np.exp(disturbance.rate_sd * rng.standard_normal(n))
    expected = host.loss_ratio(offered, design.mix, factor)
    packets = offered * design.duration_seconds
    loss = rng.poisson(np.minimum(expected * packets, 1e9)) / packets
    carried = offered * (1 - loss)
    cpu = np.minimum(host.cpu_cores(offered, design.mix, factor * noise), host.cores)
    delay = host.delay_p99_ms(offered, design.mix, factor) * np.exp(disturbance.delay_sd * rng.standard_normal(n))
    rx = np.minimum(host.rx_ratio(offered, design.mix, factor * noise), 1.0)
    gc = host.gc_ratio(offered) * np.exp(0.2 * rng.standard_normal(n))
    steal = np.where(neighbour, 0.06, 0.0)
    return [
        {
            "kind": "steady",
            "endpoints": max(1, round(float(rates[i]) / design.mix.endpoint_pps)),
            "intended_pps": float(rates[i]),
            "offered_pps": float(offered[i]),
            "in_pps": float(carried[i] * design.mix.in_share),
            "out_pps": float(carried[i] * design.mix.out_share),
            "relay_pps": float(carried[i] * design.mix.relay_share),
            "bridge_pps": float(carried[i]),
            "stats_pps": float(carried[i] * 1.01),  # 1 % high when smooth, as seen on a real bridge
            "duration_s": design.duration_seconds,
            "cpu_cores": float(cpu[i] * (1.1 if neighbour[i] else 1.0)),
            "host_cpu_cores": float(cpu[i] + 0.05),
            "softirq_cores": float(0.05 * cpu[i]),
            "steal_ratio": float(steal[i]),
            "throttled_ratio": 0.0,
            "rx_thread_ratio": float(rx[i]),
            "gc_ratio": float(gc[i]),
            "loss_ratio": float(loss[i]),
            "socket_drops": 0,
            "backlog_drops": 0,
            "interface_drops": 0,
            "queue_drops": int(loss[i] * packets[i]),
            "delay_p50_ms": float(delay[i] / 6),
            "delay_p95_ms": float(delay[i] / 2),
            "delay_p99_ms": float(delay[i]),
            "delay_p999_ms": float(delay[i] * 1.6),
            "generator_cpu_ratio": float(min(1.0, offered[i] / 60_000)),
            "lateness_p99_ms": 1.0,
            "generator_limited": bool(rates[i] > disturbance.generator_capacity_pps),
        }
        for i in range(n)
    ]


def _burst(
    host: SimulatedHost,
    design: Design,
    disturbance: Disturbance,
    rng: np.random.Generator,
    factor: float,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Aligned bursts against the socket's buffer: what the receiving thread has not yet taken, and does not fit, drops.

    How much of a burst waits at once varies from restart to restart, and less from burst to burst.
    """
    asked = min(ASKED_BYTES, int(settings.get(RMEM_MAX, host.rmem_max_bytes)))
    places = 2 * asked // host.truesize_bytes
    seconds = design.duration_seconds
    incoming = design.burst_pps * design.mix.in_share * seconds
    bursts = max(1, int(incoming / design.burst_packets))
    waiting = 0.4 * factor * np.exp(disturbance.burst_sd * (rng.standard_normal() + 0.5 * rng.standard_normal(bursts)))
    limit = int(settings.get(BACKLOG, host.netdev_max_backlog))
    lost_before = max(0.0, BACKLOG_SHARE * design.burst_packets - limit)  # of each burst, before any socket
    backlog = (design.burst_packets - lost_before) * np.minimum(waiting, 1.0)
    drops = int(np.sum(np.maximum(backlog - places, 0)))
    backlog_drops = int(lost_before * bursts)
    carried = design.burst_pps * (1 - (drops + backlog_drops) / incoming)
    service_ms = host.rx_us / 1000
    return {
        "kind": "burst",
        "intended_pps": design.burst_pps,
        "offered_pps": design.burst_pps,
        "in_pps": carried * design.mix.in_share,
        "out_pps": carried * design.mix.out_share,
        "relay_pps": carried * design.mix.relay_share,
        "bridge_pps": carried,
        "duration_s": seconds,
        "cpu_cores": float(min(host.cpu_cores(np.array([carried]), design.mix, factor)[0], host.cores)),
        "stats_pps": carried * float(rng.uniform(0.3, 3.0)),  # a window of 5 s against bursts: badly wrong
        "loss_ratio": (drops + backlog_drops) / incoming,
        "socket_drops": drops,
        "backlog_drops": backlog_drops,
        "queue_drops": 0,
        "delay_p99_ms": float(np.minimum(backlog, places).max() * service_ms + host.base_delay_ms),
        "steal_ratio": 0.0,
        "throttled_ratio": 0.0,
        "generator_limited": False,
        "socket_rcvbuf_bytes": 2 * asked,
    }
