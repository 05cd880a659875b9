"""One trial: a load held once, with everything that was seen of it, as one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jvbtune.bridge.counts import bridge_counts
from jvbtune.load.base import Offered
from jvbtune.protocol.samples import QueueSeen, Sample
from jvbtune.sweep.plan import Step, Trial
from jvbtune.sweep.window import clock_step_seconds, in_window, per_second, summarise
from jvbtune.trials.delays import delay_counts
from jvbtune.trials.judge import Invalid, Why, fields_of, judge
from jvbtune.trials.steady import assess

#: A window begins after quiet, so that a burst a little before it is its own: clocks agree to so much.
EDGE_SECONDS = 0.25
#: What stays below this share of a trial's largest peak is no burst.
LEAST_OF_PEAK = 0.1


@dataclass(frozen=True)
class Measured:
    """A trial's raw data and its row."""

    row: dict[str, Any]
    samples: Sequence[Sample]
    offered: Offered
    bridge: Sequence[Mapping[str, Any]]

    def because_of(self, why: Why) -> bool:
        """Whether that is among the reasons why the trial may not be used."""
        return why in self.row["invalid_codes"]

    def only_because_of(self, *reasons: Why) -> bool:
        """Whether there is no other reason than these."""
        return set(self.row["invalid_codes"]) <= set(reasons)


@dataclass(frozen=True)
class Context:
    """What a row has to know of its run."""

    run_id: str
    host: str
    cores: float  #: that the bridge may use
    expected_rcvbuf_bytes: int | None
    clock_offset_seconds: float
    clock_uncertainty_seconds: float
    not_in_force: Sequence[str] = ()  #: settings that changed during the trial, in words
    same_machine: bool = False  #: the generator's CPU is the host's
    median_cpu_mhz: float | None = None  #: of the run's trials at this load so far


def measure(
    context: Context,
    step: Step,
    trial: Trial,
    order: int,
    offered: Offered,
    samples: Sequence[Sample],
    answers: Sequence[Mapping[str, Any]],
    queue_seen: QueueSeen | None = None,
) -> Measured:
    """The row of a trial from what the generator, the agent and the bridge saw in the measured window. Pure.

    ``samples`` and ``answers`` may reach beyond the window; only what lies in it is used, all is kept. ``queue_seen``:
    what watching the socket's queue gave (``agent.queuewatch``), of a burst trial.
    """
    start, end = offered.started_unix, offered.started_unix + offered.duration_seconds
    inside = in_window(samples, start, end, context.clock_offset_seconds)
    row: dict[str, Any] = {
        "run_id": context.run_id,
        "host": context.host,
        "block": step.block,
        "step": step.name,
        "settings": dict(step.values),
        "trial": trial.id,
        "kind": trial.kind,
        "order": order,
        "cores": context.cores,
        "conferences": trial.load.conferences,
        "mix": str(trial.load.mix),
        "clock_offset_seconds": context.clock_offset_seconds,
        **_generator(offered),
        **_stats(answers, start, end),
    }
    because: list[Invalid] = []
    try:
        row.update(_counts(offered))
    except ValueError as error:
        because.append(Invalid(Why.NOT_COUNTED, f"not counted: {error}"))
    try:
        row.update(summarise(inside))
    except ValueError as error:
        because.append(Invalid(Why.NOT_MEASURED, f"not measured: {error}"))
    row.update(_queue(queue_seen, start, end, context.clock_offset_seconds))
    if context.median_cpu_mhz and row.get("cpu_mhz"):
        row["frequency_ratio"] = row["cpu_mhz"] / context.median_cpu_mhz
    if context.same_machine and row.get("jvb_scope") != "quota":
        row["jvb_cpu_ratio"] = None  # the generator is in it
    steadiness = assess(per_second(inside)) if trial.kind == "steady" else None
    because.extend(
        judge(
            row,
            expected_rcvbuf_bytes=context.expected_rcvbuf_bytes,
            clock_uncertainty_seconds=max(context.clock_uncertainty_seconds, clock_step_seconds(samples)),
        )
    )
    because.extend(Invalid(Why.SETTINGS, f"settings: {text}") for text in context.not_in_force)
    if steadiness is not None and not steadiness.steady:
        because.append(Invalid(Why.UNSTEADY, "unsteady: " + "; ".join(steadiness.reasons)))
    row.update(fields_of(because))
    return Measured(row, samples, offered, answers)


def _generator(offered: Offered) -> dict[str, Any]:
    said = asdict(offered)
    same = ("intended_pps", "offered_pps", "loss_ratio", "delayed_50ms_ratio", "endpoints", "lateness_p99_ms")
    delay = offered.delay_ms
    return {
        **{name: said[name] for name in same},
        "generator_limited": offered.generator_limited,
        "generator_limited_because": list(offered.generator_limited_because),
        "generator_cpu_ratio": offered.cpu_ratio,
        "duration_s": offered.duration_seconds,
        "started_unix": offered.started_unix,
        **{f"delay_{name}_ms": delay.get(name) for name in ("p50", "p95", "p99", "p999")},
        "delay_counts": delay_counts(offered.extra.get("delay_us") or {}),
    }


def _queue(seen: QueueSeen | None, start: float, end: float, clock_offset_seconds: float) -> dict[str, Any]:
    """Of the bursts that began in the window. Their drops are the socket's: samples at 1 Hz miss those of the edges."""
    if seen is None:
        return {}
    inside = [b for b in seen.bursts if start - EDGE_SECONDS <= b.at_unix - clock_offset_seconds <= end]
    highest = max((burst.peak_bytes for burst in inside), default=0)
    # a packet of ICE or RTCP that a poll happens to see is no burst
    bursts = [b for b in inside if b.drops or b.peak_bytes >= LEAST_OF_PEAK * highest]
    return {
        "socket_drops": sum(burst.drops for burst in bursts),
        "socket_peak_bytes": highest,
        "bursts": len(bursts),
        "bursts_dropping": sum(burst.drops > 0 for burst in bursts),
        "burst_peaks_bytes": [burst.peak_bytes for burst in bursts],
        "burst_drops": [burst.drops for burst in bursts],
    }


def _counts(offered: Offered) -> dict[str, Any]:
    """What the bridge counted between the edges of the window, where nothing was in flight: exact."""
    edges = [edge for edge in offered.extra.get("edges") or () if edge["what"] == "queues"]
    if len(edges) != 2:
        raise ValueError("the bridge did not tell its queue counters at both edges of the window")
    counts = bridge_counts(edges[0]["data"], edges[1]["data"], offered.duration_seconds, offered.relayed_in)
    return {
        "in_pps": counts.in_pps,
        "out_pps": counts.out_pps,
        "relay_pps": counts.relay_pps,
        "relay_in_pps": counts.relay_in_pps,
        "relay_out_pps": counts.relay_out_pps,
        "bridge_pps": counts.packet_rate_pps,
        "queue_drops": counts.dropped_packets,
    }


def _stats(answers: Sequence[Mapping[str, Any]], start: float, end: float) -> dict[str, Any]:
    """The bridge's own windowed stats, for comparison."""
    fields: dict[str, Any] = {}
    stats = [a["data"] for a in answers if a["what"] == "stats" and start <= a["unix"] <= end]
    if stats and stats[-1].get("packet_rate_pps") is not None:
        fields["stats_pps"] = stats[-1]["packet_rate_pps"]
    if stats and stats[-1].get("participants") is not None:
        fields["participants"] = stats[-1]["participants"]
    return fields
