"""The machine types of a fleet side by side: pooled rates, and hosts that are worse than their kind. Pure.

Whether a host is worse: its externally standardised residual (Viechtbauer and Cheung 2010, the ``rstudent`` of a
random-effects model), which compares the logarithm of its rate with what the other hosts of the kind predict for one
more host, their own spread included. The p-values are one-sided, corrected by Holm (1979) for the hosts of the kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import scipy

from jvbtune.errors import JvbtuneError, UsageError
from jvbtune.export.jvb_conf import thresholds
from jvbtune.export.pool import SIGNIFICANT, Pooled, combine, kind_of, pool, refuse_mixed, standard_error
from jvbtune.export.settings import is_sysctl, lines_of
from jvbtune.fit.thresholds import Thresholds
from jvbtune.result.model import Interval, RunResult

#: A difference below this is real at most, and does not matter.
RELEVANT_RATIO = 0.97
#: The hosts of which nobody knows what machine they are: listed together, never compared with each other.
UNKNOWN = "unknown machine"
UNKNOWN_HINT = (
    "nobody knows whether these hosts are of one machine type. Give them the label machine_type in the inventory "
    "before you measure them."
)


@dataclass(frozen=True)
class HostFigure:
    """One host. ``residual``: against the others of its kind; None: they are fewer than two."""

    result: RunResult
    residual: Residual | None = None

    @property
    def host(self) -> str:
        return self.result.host

    @property
    def rate_pps(self) -> float | None:
        return None if self.result.recommendation is None else self.result.recommendation.max_packet_rate_pps

    @property
    def interval_pps(self) -> Interval:
        return (None, None) if self.result.recommendation is None else self.result.recommendation.interval_pps


@dataclass(frozen=True)
class Residual:
    """``ratio``: the host's rate to the one that the others predict. ``p``: one-sided, corrected for all hosts."""

    ratio: float
    z: float
    p: float

    @property
    def is_worse(self) -> bool:
        return self.p < SIGNIFICANT and self.ratio < RELEVANT_RATIO


@dataclass(frozen=True)
class Kind:
    """``rate_pps``: of the average host of the type. ``why_not_pooled``: if there is no figure for the type.

    ``price``: of one host for an hour, in the user's currency.
    """

    name: str
    hosts: tuple[HostFigure, ...]
    cores: float | None
    price: float | None
    rate_pps: float | None = None
    interval_pps: Interval = (None, None)
    pooled: Pooled | None = None
    result: RunResult | None = None
    why_not_pooled: str = ""

    @property
    def measured(self) -> int:
        """How many of the hosts have a recommendation."""
        return sum(one.rate_pps is not None for one in self.hosts)

    @property
    def worse(self) -> tuple[HostFigure, ...]:
        return tuple(one for one in self.hosts if one.residual is not None and one.residual.is_worse)

    @property
    def thresholds(self) -> Thresholds | None:
        return None if self.result is None or self.result.thresholds is None else thresholds(self.result)

    def settings(self) -> list[tuple[str, str]]:
        """``(file, line)`` of everything that an export of the type sets."""
        if self.result is None:
            return []
        found = self.thresholds
        lines = []
        if found is not None:
            lines.append(("jvb.conf", f"load-threshold = {int(found.load_threshold_pps)}"))
            lines.append(("jvb.conf", f"recovery-threshold = {int(found.recovery_threshold_pps)}"))
            if found.average_participant_stress is not None:
                lines.append(("jvb.conf", f"average-participant-stress = {found.average_participant_stress:.5f}"))
        try:
            more = lines_of(self.result)
        except ValueError:
            more = []  # a name or a value that is in no catalogue: an export would refuse it
        return lines + [("sysctl" if is_sysctl(one.name) else "jvb.conf", f"{one.name} = {one.value}") for one in more]

    def per(self, divisor: float | None) -> tuple[float, Interval] | None:
        """The rate for each core, or for each unit of the price."""
        if self.rate_pps is None or not divisor:
            return None
        low, high = self.interval_pps
        return self.rate_pps / divisor, (
            None if low is None else low / divisor,
            None if high is None else high / divisor,
        )


def kinds_of(results: Iterable[RunResult], prices: Mapping[str, float] | None = None) -> list[Kind]:
    """By machine type, the highest rate first. One result for each host. Raises UsageError for a price of no type."""
    by_name: dict[str, list[RunResult]] = {}
    for result in results:
        by_name.setdefault(kind_name(result), []).append(result)
    unknown = sorted(set(prices or {}) - set(by_name))
    if unknown:
        raise UsageError(
            f"a price is given for {unknown[0]!r}, and no host is of that machine type",
            hint=f"Machine types: {', '.join(sorted(by_name))}.",
        )
    kinds = [_kind(name, found, (prices or {}).get(name)) for name, found in by_name.items()]
    return sorted(kinds, key=lambda kind: (-(kind.rate_pps or 0.0), kind.name))


def kind_name(result: RunResult) -> str:
    """The label ``machine_type``; if a host has none, its CPU and cores."""
    return kind_of(result) or UNKNOWN


def _kind(name: str, results: Sequence[RunResult], price: float | None) -> Kind:
    measured = [one for one in results if one.recommendation is not None]
    compared = [one for one in measured if _error(one) is not None]
    hosts = tuple(HostFigure(one) for one in sorted(results, key=lambda one: one.host))
    if all(kind_of(one) is None for one in results):
        return Kind(name, hosts, None, price, why_not_pooled=f"Not pooled: {UNKNOWN_HINT}")
    cores = {one.provenance.cores for one in results}
    kind = Kind(name, hosts, cores.pop() if len(cores) == 1 else None, price)
    if not measured:
        return replace(kind, why_not_pooled="No host of this type has a recommendation.")
    if len(measured) == 1:
        [only] = measured
        assert only.recommendation is not None
        found = only.recommendation
        return replace(kind, rate_pps=found.max_packet_rate_pps, interval_pps=found.interval_pps, result=only)
    try:
        refuse_mixed(measured)
    except UsageError as error:  # and so no host is compared with the others either
        return replace(kind, why_not_pooled=f"Not pooled: {error.message}.")
    residuals = dict(zip((one.id for one in compared), residuals_of(compared), strict=True))
    kind = replace(kind, hosts=tuple(replace(one, residual=residuals.get(one.result.id)) for one in hosts))
    try:
        result = pool(measured)
        figures = combine(*_rates(compared))
    except (JvbtuneError, ValueError) as error:
        text = error.message if isinstance(error, JvbtuneError) else str(error)
        return replace(kind, why_not_pooled=f"Not pooled: {text}.")
    return replace(
        kind,
        rate_pps=figures.max_packet_rate_pps,
        interval_pps=figures.interval_pps,
        pooled=figures,
        result=result,
    )


def _error(result: RunResult) -> float | None:
    """Standard error of the logarithm of a rate; None: its interval has an open end, or no width."""
    if result.recommendation is None:
        return None
    low, high = result.recommendation.interval_pps
    if not low or not high or high <= low:
        return None
    return standard_error((low, high))


def _rates(results: Sequence[RunResult]) -> tuple[list[float], list[tuple[float, float]]]:
    found = [one.recommendation for one in results if one.recommendation is not None]
    return (
        [one.max_packet_rate_pps for one in found],
        [(float(one.interval_pps[0] or 0), float(one.interval_pps[1] or 0)) for one in found],
    )


def residuals_of(results: Sequence[RunResult]) -> list[Residual | None]:
    """Of each host against all others. Each needs at least two others: of two hosts nobody knows which is the odd."""
    if len(results) < 3:
        return [None] * len(results)
    found = []
    for place, one in enumerate(results):
        rates, intervals = _rates([other for at, other in enumerate(results) if at != place])
        others = combine(rates, intervals)
        errors = [standard_error(interval) for interval in intervals]
        between = others.between_sd**2
        of_mean = 1 / sum(1 / (error**2 + between) for error in errors)
        own, assumed = _error(one), one.recommendation
        assert own is not None
        assert assumed is not None
        difference = math.log(assumed.max_packet_rate_pps) - math.log(others.max_packet_rate_pps)
        z = difference / math.sqrt(own**2 + between + of_mean)
        found.append((math.exp(difference), z, float(scipy.stats.norm.cdf(z))))
    corrected = _holm([p for _, _, p in found])
    return [Residual(ratio, z, p) for (ratio, z, _), p in zip(found, corrected, strict=True)]


def _holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given."""
    order = sorted(range(len(ps)), key=lambda place: ps[place])
    corrected, highest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = highest
    return corrected
