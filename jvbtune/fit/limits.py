"""The limits that a max packet rate has to keep."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from jvbtune.errors import UsageError

#: A 99th percentile within its limit: so many of the packets may be later than it.
LATE_SHARE = 0.01


@dataclass(frozen=True)
class Limits:
    """What "it still holds" means. The max packet rate is the least of the rates at which one of these is met."""

    #: Of the cores that the bridge may use. JVB's own default threshold of its cpu-usage measurement is 0.9.
    cpu_ratio: float = 0.8
    #: End to end. Of Opus, 1e-4 is one packet in 200 s.
    loss_ratio: float = 1e-4
    delay_p99_ms: float = 50.0
    #: Of one core: the one thread that receives. Above it, its bursts queue in the socket.
    rx_thread_ratio: float = 0.7
    #: Of the time, in stop-the-world pauses: G1 sizes the heap for at most 1/13 of it (GCTimeRatio=12).
    gc_ratio: float = 0.077

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            top = None if field.name == "delay_p99_ms" else 1
            if not value > 0 or (top is not None and value > top):
                upper = "" if top is None else " and at most 1"
                raise UsageError(f"limit {field.name} is {value:g}: it must be above 0{upper}")

    def to_json(self) -> dict[str, float]:
        return asdict(self)
