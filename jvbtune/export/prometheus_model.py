"""What the exported rules are made from: measured figures and alerts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """Of one host or one machine type: ``label`` and ``value`` select its series. Rates in packets per second."""

    label: str
    value: str
    max_packet_rate: float
    low: float | None
    high: float | None
    load_threshold: int | None
    origin: tuple[str, ...]


@dataclass(frozen=True)
class Alert:
    """``seconds``: how long it must hold. ``summary``: what happened, with Prometheus's templates. ``todo``: what to
    do, without. ``why``: what the condition rests on."""

    name: str
    expr: str
    seconds: int
    severity: str
    summary: str
    todo: str
    why: str
