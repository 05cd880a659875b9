"""Runs of several hosts of one machine type as one result for the type.

- The max packet rate: the hosts' own, combined with a variance between hosts (DerSimonian and Laird 1986) on the log
  scale; its interval by Hartung and Knapp (2001), Student's t with one degree of freedom less than hosts.
- The load threshold: the lowest of the hosts' own, since every host of the type gets it. It is what 95 % of restarts of
  the weakest host that was measured sustain; it says nothing of a weaker one.
- A setting is exported only if it was better on every host that swept it; the receive buffer is the largest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import scipy

from jvbtune.errors import NoRecommendation, UsageError
from jvbtune.export.jvb_conf import thresholds
from jvbtune.export.terraform import MACHINE_TYPE
from jvbtune.fit.compare import SettingVerdict, Verdict, deployed
from jvbtune.fit.reasons import Code, Reason
from jvbtune.result.model import RunResult
from jvbtune.store import Damaged, Run, newest_of_hosts
from jvbtune.text import clean

#: Half the width of a 95 % interval, in standard errors.
NORMAL_95 = 1.959964
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Pooled:
    """``between_sd``: of the logarithm, between hosts. ``heterogeneity_p``: that they differ by chance."""

    max_packet_rate_pps: float
    interval_pps: tuple[float, float]
    between_sd: float
    heterogeneity_p: float


def standard_error(interval: tuple[float, float]) -> float:
    """Of the logarithm of a rate, from its 95 % interval."""
    low, high = interval
    return (math.log(high) - math.log(low)) / (2 * NORMAL_95)


def combine(rates_pps: Sequence[float], intervals_pps: Sequence[tuple[float, float]]) -> Pooled:
    """The rate of the average host of the type. At least two hosts. Raises ValueError for an interval without width."""
    logs = [math.log(rate) for rate in rates_pps]
    errors = [standard_error(interval) for interval in intervals_pps]
    if any(not 0 < error < math.inf for error in errors):
        raise ValueError("an interval has no width")
    weights = [1 / error**2 for error in errors]
    fixed = sum(w * y for w, y in zip(weights, logs, strict=True)) / sum(weights)
    q = sum(w * (y - fixed) ** 2 for w, y in zip(weights, logs, strict=True))
    free = len(logs) - 1
    scale = sum(weights) - sum(w**2 for w in weights) / sum(weights)
    between = max(0.0, (q - free) / scale)
    weights = [1 / (error**2 + between) for error in errors]
    mean = sum(w * y for w, y in zip(weights, logs, strict=True)) / sum(weights)
    spread = sum(w * (y - mean) ** 2 for w, y in zip(weights, logs, strict=True)) / free
    # Never narrower than the hosts' own intervals allow (the modification of Knapp and Hartung 2003).
    half = float(scipy.stats.t.ppf(0.975, free)) * math.sqrt(max(1.0, spread) / sum(weights))
    interval = (math.exp(mean - half), math.exp(mean + half))
    return Pooled(math.exp(mean), interval, math.sqrt(between), float(scipy.stats.chi2.sf(q, free)))


def newest_of_group(runs: Sequence[Run], group: str, damaged: list[Damaged] | None = None) -> list[Run]:
    """The newest finished run of each host of that group or machine type. ``runs``: newest first. ``damaged``: as for
    ``newest_of_hosts``. Raises UsageError."""
    found = newest_of_hosts((run for run in runs if group in _kinds(run)), damaged)
    if not found:
        known = set().union(*(_kinds(run) for run in runs))
        raise UsageError(
            f"no finished run is of the group {group!r}",
            hint=f"Groups of the runs: {', '.join(sorted(known))}"
            if known
            else "Give hosts groups, or the label machine_type, in jvbtune.toml before you measure them.",
        )
    return found


def _kinds(run: Run) -> set[str]:
    """The names under which a run is pooled: its host's groups, and the labels ``group`` and ``machine_type``."""
    return {*run.groups, *(run.labels[key] for key in ("group", MACHINE_TYPE) if run.labels.get(key))}


def pool(results: Sequence[RunResult]) -> RunResult:
    """One result for the machine type of several runs; of one run it is that run's.

    Raises UsageError for runs that are not of one kind or of one host, NoRecommendation for a run without figures.
    """
    if len(results) == 1:
        return results[0]
    refuse_mixed(results)
    for result in results:
        if result.recommendation is None or None in result.recommendation.interval_pps:
            raise NoRecommendation(
                f"run {result.id} has no max packet rate with an interval, so it is not pooled",
                hint="Leave it out, or measure its host again.",
            )
    figures = [result.recommendation for result in results if result.recommendation is not None]
    intervals = [(float(one.interval_pps[0] or 0), float(one.interval_pps[1] or 0)) for one in figures]
    pooled = combine([one.max_packet_rate_pps for one in figures], intervals)
    weakest = min(results, key=lambda result: thresholds(result).load_threshold_pps)
    assert weakest.recommendation is not None
    hosts = ", ".join(sorted(result.host for result in results))
    known = next((str(result.labels[MACHINE_TYPE]) for result in results if result.labels.get(MACHINE_TYPE)), None)
    settings = _settings(results)
    _refuse_without_settings(results, settings)
    buffers = [result.receive_buffer for result in results if result.receive_buffer is not None]
    return replace(
        weakest,
        id=_ids(results),
        host=f"{_in_words(results, known)}: {hosts}",
        labels={**weakest.labels, **({MACHINE_TYPE: known} if known else {})},
        recommendation=replace(
            weakest.recommendation, max_packet_rate_pps=pooled.max_packet_rate_pps, interval_pps=pooled.interval_pps
        ),
        remarks=(*weakest.remarks, *_remarks(results, weakest, pooled)),
        settings=settings,
        receive_buffer=max(buffers, key=lambda one: one.rmem_max_bytes, default=None),
        measured_with=_common(results),
    )


def _ids(results: Sequence[RunResult]) -> str:
    ids = [result.id for result in results]
    return "+".join(ids) if len(ids) <= 3 else f"{ids[0]} and {len(ids) - 1} more"


def refuse_mixed(results: Sequence[RunResult]) -> None:
    """Figures hold for one machine type, one version of the bridge and one traffic mix. Raises UsageError.

    One machine type: the label ``machine_type`` is the same, or CPU and cores are known and the same.
    """
    hosts = [result.host for result in results]
    if len(set(hosts)) < len(hosts):
        raise UsageError("two of the runs are of one host: a pool takes one run of each", hint="Leave one of them out.")
    hint = "Export each kind by itself. jvbtune compare shows what differs."
    facts: dict[str, Callable[[RunResult], str | None]] = {
        "machine type": lambda result: str(result.labels.get(MACHINE_TYPE) or "") or None,
        "CPU": lambda result: result.provenance.cpu,
        "number of cores": lambda result: None if result.provenance.cores is None else f"{result.provenance.cores:g}",
        "version of the bridge": lambda result: result.provenance.jvb_version or "unknown",
        "traffic mix": lambda result: None if result.traffic is None else result.traffic.shape,
    }
    for what, fact_of in facts.items():
        found = {fact: result.host for result in results if (fact := fact_of(result)) is not None}
        if len(found) > 1:
            both = " and ".join(f"{fact} ({host})" for fact, host in sorted(found.items()))
            raise UsageError(f"the runs are not of one kind: {what} {both}", hint=hint)
    labelled = all(result.labels.get(MACHINE_TYPE) for result in results)
    unknown = sorted(result.host for result in results if kind_of(result) is None)
    if unknown and not labelled:
        raise UsageError(
            f"the machine type of {', '.join(unknown)} is unknown: without the label {MACHINE_TYPE}, runs are of one "
            "type if the CPU and the cores of each are known",
            hint=f"Give the hosts the label {MACHINE_TYPE} before you measure them, or export each run by itself.",
        )


def kind_of(result: RunResult) -> str | None:
    """The label ``machine_type``, else CPU and cores; None: the machine type is unknown."""
    facts = result.provenance
    if result.labels.get(MACHINE_TYPE):
        return str(result.labels[MACHINE_TYPE])
    return f"{facts.cpu}, {cores_text(facts.cores)}" if facts.cpu and facts.cores else None


def cores_text(cores: float) -> str:
    return "1 core" if cores == 1 else f"{cores:g} cores"


def _in_words(results: Sequence[RunResult], known: str | None) -> str:
    """Such as "3 hosts of the machine type c2-standard-4". ``known``: the label of those that have it."""
    hosts = f"{len(results)} hosts of "
    if known:
        return hosts + f"the machine type {clean(known, 100)}"
    facts = results[0].provenance
    return hosts + f"an unknown machine type with the CPU {facts.cpu} and {cores_text(facts.cores or 0)}"


def _remarks(results: Sequence[RunResult], weakest: RunResult, pooled: Pooled) -> list[Reason]:
    load = thresholds(weakest).load_threshold_pps
    texts = [
        f"Pooled from {len(results)} hosts: the load threshold is that of the weakest, {weakest.host}, {load:.0f} pps. "
        f"The max packet rate of the average host of the type is {pooled.max_packet_rate_pps:.0f} pps (95 % interval "
        f"{pooled.interval_pps[0]:.0f} to {pooled.interval_pps[1]:.0f})",
    ]
    if pooled.heterogeneity_p < SIGNIFICANT:
        texts.append(
            f"The hosts differ by more than chance (p = {pooled.heterogeneity_p:.2g}): look at {weakest.host} before "
            "you deploy its figure to all of them"
        )
    kernels = {str(result.provenance.kernel) for result in results}
    if len(kernels) > 1:
        texts.append(f"The hosts run different kernels: {', '.join(sorted(kernels))}")
    return [Reason(Code.POOLED, text) for text in texts]


def _settings(results: Sequence[RunResult]) -> tuple[SettingVerdict, ...]:
    """By name: better only where every host that swept it agrees on the value."""
    by_name: dict[str, list[SettingVerdict]] = {}
    for result in results:
        for verdict in result.settings:
            by_name.setdefault(verdict.name, []).append(verdict)
    pooled = []
    for name, verdicts in sorted(by_name.items()):
        agreed = {(verdict.verdict, verdict.recommended) for verdict in verdicts}
        if len(agreed) == 1:
            pooled.append(verdicts[0])
        else:
            reason = f"the hosts disagree on {name}: " + "; ".join(f"{one.host}: {one.verdict}" for one in verdicts)
            pooled.append(replace(verdicts[0], verdict=Verdict.UNRESOLVED, recommended=None, reason=reason))
    return tuple(pooled)


def _refuse_without_settings(results: Sequence[RunResult], settings: Sequence[SettingVerdict]) -> None:
    """Raises NoRecommendation where a host's figures need what is not exported, because the hosts disagree on it."""
    exported = deployed(settings).values
    for result in results:
        needed = deployed(result.settings).values if result.settings_first else {}
        if not needed.items() <= exported.items():
            values = ", ".join(f"{name} = {value}" for name, value in sorted(needed.items()))
            raise NoRecommendation(
                f"the figures of {result.host} hold with {values}, and the hosts disagree on that",
                hint="Export each host by itself, or set it on all hosts and measure again.",
            )


def _common(results: Sequence[RunResult]) -> dict[str, int | str]:
    first, *others = [dict(result.measured_with) for result in results]
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
