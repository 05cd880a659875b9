"""What makes two captures comparable: which normalisations their metadata permits, and whether they compare at all.

A normalisation is a factor for each side and, for the test, what each slice's counts are relative to (its *exposure*:
packets, seconds, its own total). Nothing is guessed: what the metadata lacks is named in the error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from jvbtune.errors import UsageError
from jvbtune.flame.compare.facts import sampled_ratio
from jvbtune.flame.model import Float64, Meta, Normalisation, Side

NAMES = ("samples", "seconds", "share", "packets")
FACTORS = re.compile(r"(?P<a>[0-9.]+(?:[eE][+-]?[0-9]+)?):(?P<b>[0-9.]+(?:[eE][+-]?[0-9]+)?)")

#: Lengths that differ by less than this are the same length: a profiler never stops on the dot.
SAME_LENGTH = 0.02


def check(name: str | None) -> None:
    """Raises UsageError where ``name`` is no normalisation at all."""
    if name is not None and name not in NAMES and _factors(name) is None:
        raise UsageError(
            f"{name!r} is no normalisation",
            hint="One of samples, seconds, share, packets, or two factors above 0, as in 1:0.5.",
        )


def normalisations(sides: Sequence[Side], chosen: str | None = None) -> tuple[Normalisation, ...]:
    """All that the metadata permits, the chosen one first.

    Without a choice that is packets; where packets or the time of a sample are not known, CPU seconds; else samples.
    Raises UsageError that names what is missing for the one that was asked for.
    """
    check(chosen)
    possible: dict[str, Normalisation] = {}
    refused: dict[str, str] = {}
    makers = {"packets": _packets, "seconds": _seconds, "samples": _samples, "share": _share}
    for name, make in makers.items():
        made = make(sides)
        if isinstance(made, str):
            refused[name] = made
        else:
            possible[name] = made
    if chosen is None:
        return tuple(possible.values())
    factors = _factors(chosen)
    if factors is not None:
        possible = {chosen: Normalisation(chosen, f"weighted {_unit(sides)}", factors[: len(sides)]), **possible}
    if chosen not in possible:
        others = ", ".join(possible)
        raise UsageError(f"--normalise {chosen}: {refused[chosen]}", hint=f"These captures permit: {others}.")
    return (possible[chosen], *(made for name, made in possible.items() if name != chosen))


def exposures(side: Side, normalisation: Normalisation) -> Float64:
    """What each slice's counts are relative to, as shares that sum to 1.

    Where slices do not say how long they were, they count as equally long.
    """
    parts: Float64
    if normalisation.name == "share":
        parts = np.array(side.slice_totals, dtype=float)
    elif normalisation.name == "packets":
        parts = np.array([meta.packets or 0.0 for meta in side.slices])
    else:
        parts = np.array([meta.seconds or 0.0 for meta in side.slices])
    if not np.all(parts > 0):
        parts = np.ones(len(parts))
    shares: Float64 = parts / parts.sum()
    return shares


def refuse_unlike(labels: Sequence[str], sides: Sequence[Sequence[Meta]], *, force: bool) -> list[str]:
    """Raises UsageError where captures of unlike engines, events or frames meet; with ``force`` says so instead."""
    notes = []
    for what, of in _LIKENESSES:
        found: dict[str, list[str]] = {}
        for label, metas in zip(labels, sides, strict=True):
            for value in sorted({value for meta in metas if (value := of(meta)) is not None}):
                found.setdefault(value, []).append(label)
        if len(found) < 2:
            continue
        said = "; ".join(f"{', '.join(dict.fromkeys(who))}: {value}" for value, who in found.items())
        if not force:
            raise UsageError(
                f"captures of unlike {what} do not compare: {said}",
                hint="What one of them cannot see would look like a change. Take both alike, or insist with --force.",
            )
        notes.append(f"Unlike {what} were forced together ({said}): what one of them cannot see looks like a change.")
    return notes


def _kernel(meta: Meta) -> str | None:
    known = meta.extra.get("kernel_frames")
    return None if known is None else "with kernel frames" if known else "without kernel frames"


_LIKENESSES: tuple[tuple[str, Callable[[Meta], str | None]], ...] = (
    ("engines", lambda meta: meta.engine),
    ("events", lambda meta: meta.event),
    ("frames", _kernel),
)


def _factors(name: str) -> tuple[float, float] | None:
    match = FACTORS.fullmatch(name)
    try:
        factors = (float(match["a"]), float(match["b"])) if match else None
    except ValueError:
        return None
    return factors if factors and min(factors) > 0 and np.isfinite(factors).all() else None


def _unit(sides: Sequence[Side]) -> str:
    return sides[0].meta.unit


def _lacking(sides: Sequence[Side], has: Callable[[Meta], object]) -> str:
    return ", ".join(side.meta.title or "AB"[i : i + 1] for i, side in enumerate(sides) if not has(side.meta))


def _time(sides: Sequence[Side]) -> str | None:
    """Why counts are no time; None where they are."""
    if {side.meta.unit for side in sides} & {"bytes"}:
        return "counts are bytes, not time"
    lacking = _lacking(sides, lambda meta: meta.seconds_per_unit)
    return f"the time that one sample stands for is not recorded: {lacking}" if lacking else None


def _of_what(sides: Sequence[Side]) -> str:
    """What a second of these captures is a second of."""
    events = {side.meta.event for side in sides}
    return {"wall": "wall-clock", "lock": "waiting"}.get(events.pop() or "", "CPU") if len(events) == 1 else "CPU"


def seconds_per_count(sides: Sequence[Side]) -> list[float]:
    """Seconds of each side's CPU that one count stands for, by its metadata; 0 if that is not known.

    A profiler takes fewer samples than it should of threads that run for a short time. So a count is its part of the
    CPU time that the kernel says the process used, if that is known for all sides; else one interval.
    """
    if all(sampled_ratio(side) for side in sides):
        return [(side.meta.cpu_seconds or 0.0) / side.total for side in sides]
    return [side.meta.seconds_per_unit or 0.0 for side in sides]


def _packets(sides: Sequence[Side]) -> Normalisation | str:
    lacking = _lacking(sides, lambda meta: meta.packets)
    if lacking:
        return f"no packet count is recorded: {lacking}"
    packets = [side.meta.packets or 1.0 for side in sides]
    if {side.meta.unit for side in sides} == {"bytes"}:
        return Normalisation("packets", "bytes per packet", tuple(1 / count for count in packets))
    missing = _time(sides)
    if missing:
        return missing
    factors = [1e6 * seconds / count for seconds, count in zip(seconds_per_count(sides), packets, strict=True)]
    what = "CPU" if _of_what(sides) == "CPU" else f"{_of_what(sides)} time"
    return Normalisation("packets", f"µs of {what} per packet", tuple(factors))


def _seconds(sides: Sequence[Side]) -> Normalisation | str:
    missing = _time(sides)
    if missing:
        return missing
    unit = f"{_of_what(sides)} seconds"
    factors = seconds_per_count(sides)
    lengths = [side.meta.seconds or 0.0 for side in sides]
    if min(lengths) > 0 and max(lengths) > (1 + SAME_LENGTH) * min(lengths):
        unit += " per second"
        factors = [factor / length for factor, length in zip(factors, lengths, strict=True)]
    return Normalisation("seconds", unit, tuple(factors))


def _samples(sides: Sequence[Side]) -> Normalisation | str:
    if len({side.meta.unit for side in sides}) > 1:
        units = ", ".join(f"{side.meta.title}: {side.meta.unit}" for side in sides)
        return f"the captures count different things ({units})"
    intervals = {side.meta.interval_ns for side in sides if side.meta.interval_ns}
    if len(intervals) > 1 and max(intervals) > 1.001 * min(intervals):
        said = ", ".join(f"{side.meta.title}: {(side.meta.interval_ns or 0) / 1e6:g} ms" for side in sides)
        return f"a sample does not stand for the same time on both sides ({said})"
    per_sample = [side.meta.units_per_sample for side in sides]
    in_samples = _unit(sides) == "samples" or all(side.meta.interval_ns for side in sides)
    return Normalisation("samples", "samples" if in_samples else _unit(sides), tuple(1 / each for each in per_sample))


def _share(sides: Sequence[Side]) -> Normalisation | str:
    return Normalisation("share", "%", tuple(100 / side.total if side.total else 0.0 for side in sides))
