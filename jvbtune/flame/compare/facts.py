"""What is known of each side of a comparison, and what differs between the sides besides the program.

Slices ─▶ SideFacts (typed, for the head of page, text and JSON) ─▶ differences (sentences' parts, one for each fact)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jvbtune.flame.model import Meta, Side

#: Relative differences up to these are none: a profiler does not stop, and a generator does not send, to the dot.
SAME_INTERVAL = 0.001
SAME_LENGTH = 0.1
SAME_LOAD = 0.03
SAME_MIX = 0.05
#: Of the ratio of sampled to used CPU time, absolute.
SAME_COVERAGE = 0.03


@dataclass(frozen=True)
class SideFacts:
    """One side as the files tell it. ``null``: not recorded. Several values on one side are joined by commas."""

    title: str
    slices: int
    captures: int  # where it is several, the test takes each as one slice
    engine: str | None
    event: str | None
    unit: str
    interval_ms: float | None
    seconds: float | None
    samples: float | None  # effective ones, where their weights differ
    packets: float | None
    packet_rate_pps: float | None
    out_in_ratio: float | None  # packets sent over packets received: the mix
    cpu_seconds: float | None  # of the process by the kernel's account
    sampled_ratio: float | None  # CPU time that the samples stand for, over cpu_seconds
    host: str | None
    bridge: str | None
    jvm: str | None
    kernel: str | None
    settings: str | None


def facts_of(side: Side) -> SideFacts:
    """What the metadata of a side holds."""
    meta = side.meta
    received, sent = (_sum_extra(side.slices, name) for name in ("in_packets", "out_packets"))
    return SideFacts(
        title=meta.title,
        slices=side.all_slices,
        captures=side.captures,
        engine=meta.engine,
        event=meta.event,
        unit=meta.unit,
        interval_ms=meta.interval_ns * 1e-6 if meta.interval_ns else None,
        seconds=meta.seconds,
        samples=side.total / side.per_sample if side.per_sample else None,
        packets=meta.packets,
        packet_rate_pps=meta.packet_rate_pps,
        out_in_ratio=sent / received if received and sent is not None else None,
        cpu_seconds=meta.cpu_seconds,
        sampled_ratio=sampled_ratio(side),
        host=_named(side.slices, lambda extra: extra.get("host")),
        bridge=_named(side.slices, lambda extra: _target(extra, "bridge_version")),
        jvm=_named(side.slices, lambda extra: _target(extra, "jvm_version")),
        kernel=_named(side.slices, lambda extra: _target(extra, "kernel")),
        settings=_named(side.slices, _settings),
    )


def sampled_ratio(side: Side) -> float | None:
    """CPU time that a side's samples stand for, over that of the process by the kernel's account; None: not known."""
    meta = side.meta
    if meta.event not in (None, "cpu", "ctimer") or not meta.cpu_seconds or not meta.seconds_per_unit:
        return None
    return side.total * meta.seconds_per_unit / meta.cpu_seconds if side.total else None


def described(facts: SideFacts) -> str:
    """A side in one line: load, interval, length, bridge, kernel."""
    rate, ratio = facts.packet_rate_pps, facts.out_in_ratio
    load = "load not recorded" if rate is None else f"{rate:,.0f} pps"
    if rate is not None and ratio is not None:
        load += f" ({ratio:.1f} packets out for each in)"
    parts = [
        load,
        " ".join(word for word in (facts.engine, facts.event) if word),
        f"a sample every {facts.interval_ms:g} ms" if facts.interval_ms else "interval not recorded",
        f"{facts.seconds:,.1f} s" if facts.seconds else "length not recorded",
        _parts(facts),
        f"{facts.samples:,.0f} samples" if facts.samples is not None else f"weights in {_unit(facts.unit)}",
        f"{facts.sampled_ratio:.0%} of the CPU time sampled" if facts.sampled_ratio else "",
        f"bridge {facts.bridge}" if facts.bridge else "bridge not recorded",
        f"JVM {facts.jvm}" if facts.jvm else "",
        f"kernel {facts.kernel}" if facts.kernel else "kernel not recorded",
        f"host {facts.host}" if facts.host else "",
    ]
    return ", ".join(part for part in parts if part)


def _parts(facts: SideFacts) -> str:
    if facts.captures > 1:
        return f"{facts.captures} captures with {facts.slices} slices"
    return f"{facts.slices} slices" if facts.slices > 1 else "one slice"


def _unit(unit: str) -> str:
    """Weights that claim to be samples have a unit that nobody recorded."""
    return "an unknown unit" if unit == "samples" else unit


def differences(a: SideFacts, b: SideFacts) -> tuple[str, ...]:
    """What differs besides the program, one part of a sentence for each fact; what only one side records counts."""
    found = [
        _of_numbers("load", a.packet_rate_pps, b.packet_rate_pps, lambda x: f"{x:,.0f} pps", SAME_LOAD),
        _of_numbers("packets out for each in", a.out_in_ratio, b.out_in_ratio, lambda x: f"{x:.2f}", SAME_MIX),
        _of_numbers("sampling interval", a.interval_ms, b.interval_ms, lambda x: f"{x:g} ms", SAME_INTERVAL),
        _of_coverage(a.sampled_ratio, b.sampled_ratio),
        _of_numbers("length", a.seconds, b.seconds, lambda x: f"{x:,.0f} s", SAME_LENGTH),
        *(
            _of_names(name.replace("_", " "), getattr(a, name), getattr(b, name))
            for name in ("engine", "event", "unit", "host", "bridge", "jvm", "kernel", "settings")
        ),
    ]
    return tuple(one for one in found if one)


def sentence(a: SideFacts, b: SideFacts) -> str:
    """The line "what differs besides" for people."""
    found = differences(a, b)
    if found:
        return f"What differs besides: {'; '.join(found)}."
    if not any((a.engine, a.seconds, a.packets, b.engine, b.seconds, b.packets)):
        return "What differs besides: the files do not record their load, length, interval, bridge or kernel."
    return "What differs besides: nothing that the captures record."


def _of_numbers(what: str, a: float | None, b: float | None, text: Callable[[float], str], same: float) -> str | None:
    if a is None or b is None:
        return _one_sided(what, None if a is None else text(a), None if b is None else text(b))
    return None if abs(a - b) <= same * max(a, b) else f"{what} {text(a)} in A, {text(b)} in B"


def _of_coverage(a: float | None, b: float | None) -> str | None:
    if a is None or b is None or abs(a - b) <= SAME_COVERAGE:
        return None
    return f"sampled share of the CPU time {a:.0%} in A, {b:.0%} in B"


def _of_names(what: str, a: str | None, b: str | None) -> str | None:
    if a is None or b is None:
        return _one_sided(what, a, b)
    return None if a == b else f"{what} {a} in A, {b} in B"


def _one_sided(what: str, a: str | None, b: str | None) -> str | None:
    if a is None and b is None:
        return None
    return f"{what} {a} in A, not recorded in B" if b is None else f"{what} not recorded in A, {b} in B"


def _sum_extra(metas: Sequence[Meta], name: str) -> float | None:
    values = [meta.extra.get(name) for meta in metas]
    known = [float(value) for value in values if isinstance(value, int | float)]
    return sum(known) if len(known) == len(values) else None


def _named(metas: Sequence[Meta], of: Callable[[Mapping[str, object]], object]) -> str | None:
    values = dict.fromkeys(str(value) for meta in metas if (value := of(meta.extra)) not in (None, ""))
    return ", ".join(values) or None


def _target(extra: Mapping[str, Any], name: str) -> object:
    target = extra.get("target")
    return target.get(name) if isinstance(target, dict) else None


def _settings(extra: Mapping[str, Any]) -> str | None:
    settings = extra.get("settings")
    if not isinstance(settings, dict) or not settings:
        return None
    return ", ".join(f"{name}={value}" for name, value in sorted(settings.items()))
