"""A simulated host and its bridge: what each packet rate costs, exactly.

CPU over packet rate was concave on a real bridge while idle wake-ups are amortised, and then near linear:
``idle + wake·(1 − exp(−work/wake_scale)) + work·(1 + curvature·work/cores)``, with work the packets times their cost.
The defaults are a least-squares fit (residuals within 7 %) to a ladder of one bridge on one core, 1:4 in to out:
17 % at 1 kpps, 36 % at 10, 60 % at 30, 77 % at 50, 90 % at 70. ``many_slow_streams`` is the one with realistic streams
of 50 pps, which cost about twice as much.

Delay grows like a queue's, ρ/(1 − ρ), on a part that is linear in ρ: 3, 7, 9, 12, 90 ms at ρ of 0.48, 0.73, 0.85,
0.9, 0.98. Past saturation CPU is flat, the bridge's own queues drop what is above capacity, delay is that of full
queues.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jvbtune.fit.limits import Limits

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SimulatedMix:
    """Of one packet rate: the shares of in, out and relay, which sum to 1, and packets a second of an endpoint."""

    in_share: float = 0.2
    out_share: float = 0.8
    relay_share: float = 0.0
    endpoint_pps: float = 150.0  #: of conferences of 5 with 3 audio senders: 150 in and 600 out


#: Conferences of 3 with 2 senders of 50 pps, and of 10 with one.
SMALL = SimulatedMix(1 / 3, 2 / 3, endpoint_pps=100.0)
LISTENERS = SimulatedMix(0.1, 0.9, endpoint_pps=50.0)


@dataclass(frozen=True)
class SimulatedHost:
    """The truth. Costs in microseconds of CPU a packet; rates are those of one restart of average luck."""

    cores: float = 1.0
    idle_cores: float = 0.139
    in_us: float = 12.0
    out_us: float = 7.4
    relay_us: float = 8.0
    endpoint_us: float = 0.0  #: a second of an endpoint, whatever it sends
    wake_cores: float = 0.205
    wake_scale_cores: float = 0.066
    curvature: float = 0.0  #: > 0: convex, as of contention
    rx_us: float = 9.0  #: of the one receiving thread, a packet in
    base_delay_ms: float = 0.6
    delay_per_load_ms: float = 5.0
    queue_delay_ms: float = 0.9
    full_delay_ms: float = 330.0
    loss_onset: float = 1.0  #: capacity of the loss curve, as a share of the saturation packet rate
    loss_width: float = 0.01  #: of the softplus, relative to the capacity
    background_loss: float = 0.0
    gc_per_kpps: float = 0.0002  #: share of time in collections
    truesize_bytes: int = 832  #: of a queued packet of at most 160 B
    rmem_max_bytes: int = 4_194_304  #: on arrival; the default of kernel 6.18
    netdev_max_backlog: int = 1000  #: packets of a burst that wait for one CPU's softirq; the kernel's default

    def cpu_cores(self, pps: Floats, mix: SimulatedMix = SimulatedMix(), factor: Floats | float = 1.0) -> Floats:
        """CPU that the bridge would need; may exceed ``cores``. ``factor``: what is special to a restart."""
        cost = mix.in_share * self.in_us + mix.out_share * self.out_us + mix.relay_share * self.relay_us
        cost += self.endpoint_us / mix.endpoint_pps
        work = np.asarray(pps) * cost * 1e-6
        wake = self.wake_cores * (1 - np.exp(-work / self.wake_scale_cores))
        return np.asarray(factor * (self.idle_cores + wake + work * (1 + self.curvature * work / self.cores)))

    def rx_ratio(self, pps: Floats, mix: SimulatedMix = SimulatedMix(), factor: Floats | float = 1.0) -> Floats:
        return np.asarray(factor * (0.01 + np.asarray(pps) * (mix.in_share + mix.relay_share / 2) * self.rx_us * 1e-6))

    def load_ratio(self, pps: Floats, mix: SimulatedMix = SimulatedMix(), factor: Floats | float = 1.0) -> Floats:
        """ρ: of whatever is scarcer, cores or the receiving thread."""
        return np.asarray(np.maximum(self.cpu_cores(pps, mix, factor) / self.cores, self.rx_ratio(pps, mix, factor)))

    def saturation_pps(self, mix: SimulatedMix = SimulatedMix(), factor: float = 1.0) -> float:
        return _solve(lambda pps: float(self.load_ratio(np.array([pps]), mix, factor)[0]), 1.0)

    def delay_p99_ms(self, pps: Floats, mix: SimulatedMix = SimulatedMix(), factor: Floats | float = 1.0) -> Floats:
        rho = np.minimum(self.load_ratio(pps, mix, factor), 0.9999)
        queue = self.base_delay_ms + self.delay_per_load_ms * rho + self.queue_delay_ms * rho / (1 - rho)
        return np.asarray(np.minimum(queue, self.full_delay_ms))

    def loss_ratio(self, pps: Floats, mix: SimulatedMix = SimulatedMix(), factor: Floats | float = 1.0) -> Floats:
        pps = np.asarray(pps, dtype=np.float64)
        factors = np.broadcast_to(np.asarray(factor, dtype=np.float64), pps.shape)
        saturation = {value: self.saturation_pps(mix, float(value)) for value in np.unique(factors)}
        capacity = self.loss_onset * np.array([saturation[value] for value in factors])
        width = self.loss_width * capacity
        lost = width * np.logaddexp(0.0, (pps - capacity) / width)
        return np.asarray(np.minimum(self.background_loss + lost / np.maximum(pps, 1.0), 1.0))

    def gc_ratio(self, pps: Floats) -> Floats:
        return np.asarray(pps) / 1000 * self.gc_per_kpps

    def truth(self, limits: Limits, mix: SimulatedMix = SimulatedMix(), factor: float = 1.0) -> dict[str, float]:
        """Packet rate at which each limit is met, by name; the max packet rate is the least of them.

        ``factor``: of a restart that is not of average luck.
        """

        def at(function: str, goal: float, divide: float = 1.0) -> float:
            curve = getattr(self, function)
            return _solve(lambda pps: float(curve(np.array([pps]), mix, factor)[0]) / divide, goal)

        return {
            "cpu": at("cpu_cores", limits.cpu_ratio, self.cores),
            "rx_thread": at("rx_ratio", limits.rx_thread_ratio),
            "loss": at("loss_ratio", limits.loss_ratio),
            "delay": at("delay_p99_ms", limits.delay_p99_ms),
            "gc": limits.gc_ratio / self.gc_per_kpps * 1000,
        }

    def scaled(self, times: float) -> SimulatedHost:
        """A host that is so many times as large: cores and packets; the receiving thread stays one."""
        return replace(
            self,
            cores=self.cores * times,
            idle_cores=self.idle_cores * times,
            wake_cores=self.wake_cores * times,
            wake_scale_cores=self.wake_scale_cores * times,
        )


def many_slow_streams() -> SimulatedHost:
    """One core, conferences of 5 with 50 pps a stream: 22 % at 2.5 kpps, 55 at 10, 83 at 20, full at 30."""
    return SimulatedHost(idle_cores=0.12, in_us=48.0, out_us=33.0, wake_cores=0.0)


def _solve(function: Callable[[float], float], goal: float, low: float = 1.0, high: float = 1e8) -> float:
    """The packet rate at which a rising function meets the goal; the ends if it never does."""
    if function(low) >= goal:
        return low
    if function(high) < goal:
        return high
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if function(middle) >= goal else (middle, high)
    return float((low * high) ** 0.5)
