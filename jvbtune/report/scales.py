"""From values to places on an axis, with ticks that a person would choose. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    LINEAR = "linear"
    LOG = "log"
    COUNTS = "counts"  #: logarithmic, but with a place for zero: log(1 + value / floor)


@dataclass(frozen=True)
class Scale:
    """``domain``: least and largest value; ``floor``: of ``COUNTS``, where the scale turns logarithmic."""

    kind: Kind
    domain: tuple[float, float]
    ticks: tuple[float, ...]
    floor: float = 1.0

    def share(self, value: float) -> float:
        """0 at the domain's low end, 1 at its high end; beyond them outside 0..1."""
        low, high = (self._plain(end) for end in self.domain)
        return (self._plain(value) - low) / (high - low) if high > low else 0.5

    def holds(self, value: float) -> bool:
        return self.domain[0] <= value <= self.domain[1]

    def _plain(self, value: float) -> float:
        if self.kind is Kind.LOG:
            return math.log(max(value, 1e-300))
        if self.kind is Kind.COUNTS:
            return math.log1p(max(value, 0.0) / self.floor)
        return value


def linear(values: Iterable[float], *, zero: bool = True, most: int = 6) -> Scale:
    """Over all the values, from 0 if ``zero``, with ends on round numbers or a little beyond the last value."""
    found = [value for value in values if math.isfinite(value)] or [1.0]
    low, high = (0.0 if zero else min(found)), max(found)
    if high <= low:
        high = low + (abs(low) or 1.0)
    step = _round_step((high - low) / most)
    if not zero:
        low = math.floor(low / step) * step
    top = high + 0.03 * (high - low)
    ticks = [low + index * step for index in range(math.floor((top - low) / step + 1e-9) + 1)]
    return Scale(Kind.LINEAR, (low, top), tuple(ticks))


def logarithmic(values: Iterable[float], *, most: int = 7) -> Scale:
    """Over all the values above 0, with ticks at 1, 2, 5 times powers of ten, or at powers alone if these are many."""
    found = [value for value in values if math.isfinite(value) and value > 0] or [1.0, 10.0]
    low, high = min(found) / 1.15, max(found) * 1.15
    ladder = [
        m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)
    ]
    inside = [tick for tick in ladder if low <= tick <= high]
    if len(inside) > most:
        inside = thinned([tick for tick in inside if _is_power_of_ten(tick)], most)
    if len(inside) < 2:
        inside = list(linear(found, zero=False, most=4).ticks)
        low, high = min(low, inside[0]), max(high, inside[-1])
    return Scale(Kind.LOG, (low, high), tuple(inside))


def counts(values: Iterable[float], *, floor: float = 1.0, most: int = 6) -> Scale:
    """From zero, with ticks at zero and powers of ten above ``floor``."""
    high = max([floor, *(value for value in values if math.isfinite(value))])
    powers = [10.0**e for e in range(math.ceil(math.log10(floor) - 1e-9), math.ceil(math.log10(high)) + 1)]
    ticks = [0.0, *thinned([p for p in powers if p <= high * 1.3] or [floor], most)]
    return Scale(Kind.COUNTS, (0.0, max(high * 1.3, ticks[-1])), tuple(ticks), floor)


#: Ratios that people read at a glance, by how far apart the values are.
_NEAR = (0.01, 0.02, 0.05, 0.1, 0.2)


def ratios(values: Iterable[float], *, most: int = 7) -> Scale:
    """Of ratios to a reference, logarithmic and with 1 on it. Near 1 the ticks are even changes, else factors."""
    found = [value for value in values if math.isfinite(value) and value > 0] + [1.0]
    reach = max(abs(math.log(value)) for value in found)
    for step in _NEAR:
        if reach <= 2.5 * step:
            times = max(1, math.ceil(reach / step - 1e-9))
            ticks = tuple(1 + index * step for index in range(-times, times + 1))
            ends = (min(ticks[0], min(found)) / (1 + step / 4), max(ticks[-1], max(found)) * (1 + step / 4))
            return Scale(Kind.LOG, ends, ticks)
    low, high = min(found) / 1.2, max(found) * 1.2
    return Scale(Kind.LOG, (low, high), tuple(_one_two_five(low, high, most, keep=1.0)))


def _one_two_five(low: float, high: float, most: int, keep: float | None = None) -> list[float]:
    """1, 2 and 5 times powers of ten within the ends; powers alone if these are more than ``most``."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside = [tick for e in exponents for m in (1, 2, 5) if low <= (tick := m * 10.0**e) <= high]
    if len(inside) <= most:
        return inside
    return thinned([tick for tick in inside if _is_power_of_ten(tick)], most, keep)


def is_near(scale: Scale) -> bool:
    """Whether the ticks of ``ratios`` are changes (``+5 %``) rather than factors (``× 2``)."""
    return len(scale.ticks) > 1 and scale.ticks[-1] < 1.9 and scale.ticks[0] > 0.55


def thinned(ticks: Sequence[float], most: int, keep: float | None = None) -> list[float]:
    """At most ``most`` of the ticks, evenly; ``keep`` stays."""
    every = max(1, math.ceil(len(ticks) / most))
    start = 0 if keep is None else next((i for i, t in enumerate(ticks) if math.isclose(t, keep)), 0) % every
    return list(ticks[start::every])


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= least * (1 - 1e-9))


def _is_power_of_ten(value: float) -> bool:
    return math.isclose(math.log10(value), round(math.log10(value)), abs_tol=1e-9)
