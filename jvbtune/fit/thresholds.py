"""From a max packet rate to what JVB and Jicofo are configured with, and at what CPU the bridge will then really run.

JVB's stress is load / threshold; Jicofo takes a bridge at stress 0.8 for overloaded (``stress-threshold``) and gives
it no more conferences while another can take them. So nothing is taken off the load threshold for the sake of headroom:
that would waste the fifth that Jicofo already keeps free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jvbtune.fit.host_fit import HostFit

#: Of JVB's own defaults: packet-rate 40000 of 50000, cpu-usage 0.72 of 0.9.
RECOVERY_RATIO = 0.8
#: Jicofo's ``stress-threshold``.
JICOFO_OVERLOADED_STRESS = 0.8


@dataclass(frozen=True)
class Thresholds:
    """Of one host.

    ``load_threshold_pps`` is what 19 of 20 restarts carry within every limit, for the dearest mix of packets that was
    seen; ``cpu_load_threshold`` is the CPU there for a bridge whose load-measurement stays "cpu-usage", as that
    measurement sees it: a share of ``cpu_scope`` (host, cpuset, quota), with all that runs there where
    ``cpu_measured``, else of the bridge's process alone. ``cpu_scope`` is "bridge" where nobody recorded it: then it
    is a share of the cores that the bridge may use. ``cpu_at_…``: of the cores that it may use, all that
    keeps them busy where that was measured, else the bridge's process.
    """

    load_measurement: str
    load_threshold_pps: float
    recovery_threshold_pps: float
    cpu_load_threshold: float | None
    cpu_recovery_threshold: float | None
    cpu_scope: str | None
    cpu_measured: bool
    average_participant_stress: float | None
    packets_per_participant_pps: float | None
    packets_per_participant_source: str | None
    overloaded_pps: float  #: where Jicofo begins to take the bridge for overloaded
    cpu_at_overloaded: float | None
    cpu_at_threshold: float | None
    bigger_machine: BiggerMachine | None  #: None where CPU does not bind: more cores would change nothing


@dataclass(frozen=True)
class BiggerMachine:
    """More cores raise the CPU limit and no other: so far the packet rate could grow before the next one binds."""

    gain_ratio: float
    at_least: bool  #: the next limit was not met at any load: it may be more
    next_limit: str | None


def thresholds(found: HostFit) -> Thresholds | None:
    """None where there is no recommendation."""
    threshold = found.load_threshold_pps
    if threshold is None or found.max_packet_rate_pps is None:
        return None
    each = found.packets_per_participant_pps
    cpu = found.bound("cpu")
    at = None if cpu is None else cpu.quantity(np.array([threshold, threshold * JICOFO_OVERLOADED_STRESS]))[0]
    full = None if at is None else float(min(at[0], 1.0))
    own = found.own_measurement
    seen = full if own is None else own.at(threshold)
    return Thresholds(
        load_measurement="packet-rate",
        load_threshold_pps=threshold,
        recovery_threshold_pps=threshold * RECOVERY_RATIO,
        cpu_load_threshold=seen,
        cpu_recovery_threshold=None if seen is None else seen * RECOVERY_RATIO,
        cpu_scope=own.scope if own is not None else None if seen is None else "bridge",
        cpu_measured=own is not None and own.measured,
        average_participant_stress=None if each is None else each / threshold,
        packets_per_participant_pps=each,
        packets_per_participant_source=found.packets_per_participant_source,
        overloaded_pps=threshold * JICOFO_OVERLOADED_STRESS,
        cpu_at_overloaded=None if at is None else float(at[1]),
        cpu_at_threshold=full,
        bigger_machine=_bigger(found),
    )


def _bigger(found: HostFit) -> BiggerMachine | None:
    """Of the limits that cores do not move only the receiving thread is sure to stay: loss and delay come of CPU."""
    if found.binding_limit != "cpu" or not found.max_packet_rate_pps:
        return None
    thread = found.bound("rx_thread")
    if thread is None:
        return None
    met = bool(np.isfinite(thread.estimate_pps))
    rate = thread.estimate_pps if met else thread.low_pps
    return BiggerMachine(round(max(1.0, rate / found.max_packet_rate_pps), 3), not met, "rx_thread" if met else None)
