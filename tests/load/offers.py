"""What a generator says of a load that went well, to be changed by a test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jvbtune.load.base import IntendedLoad, Offered


def went_well(load: IntendedLoad, seconds: float, **changes: Any) -> Offered:
    """Everything was sent in time, and arrived."""
    found = Offered(
        intended_pps=load.packet_rate_pps,
        offered_pps=load.packet_rate_pps,
        sent_packets=1000,
        expected_packets=1000,
        received_packets=1000,
        loss_ratio=0.0,
        reordered_packets=0,
        delay_ms={},
        delayed_50ms_ratio=None,
        duration_seconds=seconds,
        lateness_p99_ms=0.1,
        cpu_ratio=0.2,
        endpoints=10,
        generator_limited=False,
        started_unix=0.0,
    )
    return replace(found, **changes)
