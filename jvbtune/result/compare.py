"""Runs side by side: which differ in their max packet rate, and in what else they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import combinations

from jvbtune.fit.compare import deployed
from jvbtune.result.estimates import overlap
from jvbtune.result.model import Provenance, Recommendation, RunResult

SCHEMA_VERSION = 2


class Difference(StrEnum):
    """Of two max packet rates."""

    DIFFERENT = "different"
    NOT_SIGNIFICANT = "not significant"
    UNRESOLVED = "unresolved"  #: one of the runs has no recommendation


@dataclass(frozen=True)
class Side:
    """One run."""

    id: str
    host: str
    status: str
    recommendation: Recommendation | None
    traffic_mix: str | None
    provenance: Provenance


@dataclass(frozen=True)
class Pair:
    """``ratio``: max packet rate of ``b`` to that of ``a``. ``differs_besides``: what else is not the same."""

    a: str
    b: str
    verdict: Difference
    ratio: float | None
    differs_besides: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """The document of ``jvbtune compare --json``."""

    schema_version: int
    runs: tuple[Side, ...]
    comparisons: tuple[Pair, ...]


def compare(results: Sequence[RunResult]) -> Comparison:
    """Every pair of runs. Two differ if their 95 % intervals do not overlap, which is stricter than a test at 5 %."""
    return Comparison(
        SCHEMA_VERSION,
        tuple(_side(result) for result in results),
        tuple(_pair(a, b) for a, b in combinations(results, 2)),
    )


def _side(result: RunResult) -> Side:
    mix = None if result.traffic is None else result.traffic.shape or result.traffic.description
    return Side(result.id, result.host, result.status.value, result.recommendation, mix, result.provenance)


def _pair(a: RunResult, b: RunResult) -> Pair:
    one, other = a.recommendation, b.recommendation
    if one is None or other is None:
        return Pair(a.id, b.id, Difference.UNRESOLVED, None, _besides(a, b))
    alike = overlap(one.interval_pps, other.interval_pps)
    verdict = Difference.NOT_SIGNIFICANT if alike else Difference.DIFFERENT
    return Pair(a.id, b.id, verdict, other.max_packet_rate_pps / one.max_packet_rate_pps, _besides(a, b))


def needed(result: RunResult) -> str:
    """What a host must have for the figures to hold."""
    if not result.settings_first:
        return "as found"
    return ", ".join(f"{name} = {value}" for name, value in sorted(deployed(result.settings).values.items()))


def _in_force(result: RunResult) -> dict[str, int | float | str]:
    """The settings that the figures hold with, as far as they are known."""
    better = deployed(result.settings).values if result.settings_first else {}
    return {**result.measured_with, **better}


def _besides(a: RunResult, b: RunResult) -> tuple[str, ...]:
    """What makes a comparison one of more than the hosts: where it is from, traffic, settings, limits, machine."""
    found = []
    if a.source != b.source:
        found.append(f"source: {a.source} / {b.source}")
    mixes = [_side(result).traffic_mix for result in (a, b)]
    if mixes[0] != mixes[1]:
        found.append(f"traffic mix: {mixes[0] or 'unknown'} / {mixes[1] or 'unknown'}")
    both = [_in_force(result) for result in (a, b)]
    for name in sorted({*both[0], *both[1]}):
        values = [in_force.get(name, "unknown") for in_force in both]
        if values[0] != values[1]:
            found.append(f"{name}: {values[0]} / {values[1]}")
    if a.limits != b.limits:
        found.append("limits")
    for field in fields(Provenance):
        pair = (getattr(a.provenance, field.name), getattr(b.provenance, field.name))
        if pair[0] != pair[1]:
            found.append(f"{field.name}: {pair[0] or 'unknown'} / {pair[1] or 'unknown'}")
    return tuple(found)
