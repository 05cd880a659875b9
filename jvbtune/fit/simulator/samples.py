"""1 Hz samples of a simulated trial, as the agent sends them: cumulative counters on the host's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jvbtune.protocol.samples import BridgeSample, Collections, CoreTimes, Sample, SocketMemory, Softnet


@dataclass(frozen=True)
class SampleNoise:
    """What happens inside a trial."""

    second_sd: float = 0.05  #: of one second's CPU
    warm_up_ratio: float = 0.0  #: extra CPU at the start, as of a JIT compiler after a restart
    warm_up_seconds: float = 20.0  #: its time constant
    drift_ratio: float = 0.0  #: over the window
    pause_every_seconds: float = 8.0  #: collections
    pause_ms: float = 12.0
    clock_offset_seconds: float = 0.0  #: host − controller
    port: int = 10_000


def simulate_samples(
    row: Mapping[str, Any],
    noise: SampleNoise = SampleNoise(),
    *,
    started_unix: float,
    seed: int,
) -> list[Sample]:
    """``duration_s`` + 1 samples whose differences give the row's means, but for the noise of ``noise``."""
    rng = np.random.default_rng(seed)
    seconds = round(float(row["duration_s"]))
    t = np.arange(seconds)
    wave = np.exp(noise.second_sd * rng.standard_normal(seconds))
    wave *= 1 + noise.drift_ratio * (t / max(1, seconds - 1) - 0.5)
    wave *= 1 + noise.warm_up_ratio * np.exp(-t / noise.warm_up_seconds)
    cpu = _running(float(row.get("cpu_cores") or 0.0) * wave)
    rx = _running(float(row.get("rx_thread_ratio") or 0.0) * wave)
    cores = max(1, round(float(row.get("cores") or 1.0)))
    packets_in = _running(np.full(seconds, float(row.get("in_pps") or 0.0)))
    packets_out = _running(np.full(seconds, float(row.get("out_pps") or 0.0)))
    drops = _running(np.full(seconds, float(row.get("socket_drops") or 0.0) / max(1, seconds)))
    steal = _running(np.full(seconds, float(row.get("steal_ratio") or 0.0)))
    pauses = _running((rng.random(seconds) < 1 / noise.pause_every_seconds) * noise.pause_ms / 1000)
    buffer = int(row.get("socket_rcvbuf_bytes") or 425_984)
    return [
        Sample(
            t_unix=started_unix + noise.clock_offset_seconds + i,
            t_mono=1000.0 + i,
            seq=i,
            late_ms=0.1,
            agent_cpu_seconds=0.004 * i,
            bridge=BridgeSample(
                pid=4242,
                start_ticks=100,
                cpu_user_s=round(0.6 * cpu[i], 6),
                cpu_sys_s=round(0.4 * cpu[i], 6),
                rx_thread_cpu_s=round(rx[i], 6),
                nr_threads=60,
            ),
            cores=[
                CoreTimes(
                    cpu=core,
                    user_s=round(0.6 * cpu[i] / cores, 6),
                    system_s=round(0.35 * cpu[i] / cores, 6),
                    idle_s=round(max(0.0, i - cpu[i] / cores - steal[i]), 6),
                    softirq_s=round(0.05 * cpu[i] / cores, 6),
                    steal_s=round(steal[i], 6),
                )
                for core in range(cores)
            ],
            udp={
                "InDatagrams": int(packets_in[i]),
                "OutDatagrams": int(packets_out[i]),
                "RcvbufErrors": int(drops[i]),
                "SndbufErrors": 0,
                "MemErrors": 0,
            },
            softnet=[Softnet(cpu=0, processed=int(packets_in[i]))],
            sockets=[SocketMemory(port=noise.port, inode=1, rcvbuf_bytes=buffer, drops=int(drops[i]))],
            gc=Collections(
                young_count=int(np.count_nonzero(np.diff(pauses[: i + 1]))),
                young_seconds=round(pauses[i], 6),
            ),
            load=[0.5, 0.5, 0.5],
        )
        for i in range(seconds + 1)
    ]


def _running(rates: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    return [0.0, *np.cumsum(rates).tolist()]
