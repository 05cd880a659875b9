"""Verdicts on settings: does a value do better than the one found on arrival, worse, the same, or is it unresolved?

Every value of every setting is compared with the baseline by every metric that was measured; the p-values are
corrected together (Holm 1979), so that a sweep of settings without any effect finds one in at most 5 % of cases.
"No difference" is a finding of its own (two one-sided tests, Schuirmann 1987), not the lack of one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import polars as pl
import scipy

from jvbtune.fit.effects import Contrast, Layout, layouts, rate_layout
from jvbtune.fit.limits import Limits
from jvbtune.fit.reasons import Code, Reason
from jvbtune.trials.frame import prepare

BASELINE = "baseline"
SIGNIFICANT = 0.05


class Verdict(StrEnum):
    """What a sweep says of a setting."""

    BETTER = "better"  #: a swept value beats the one found on arrival
    WORSE = "worse"  #: a swept value is worse, and none is better
    NO_DIFFERENCE = "no difference"
    UNRESOLVED = "unresolved"


class Metric(StrEnum):
    """By what a value is compared. Lower is better for each."""

    BURST_DROPS = "burst_drops"
    LOSS = "loss"
    CPU_PER_PACKET = "cpu_per_packet"
    DELAY_P99 = "delay_p99"


#: For people.
LABELS = {
    Metric.BURST_DROPS: "packets dropped in bursts",
    Metric.LOSS: "packet loss",
    Metric.CPU_PER_PACKET: "CPU per packet",
    Metric.DELAY_P99: "delay p99",
}
#: What counts as a difference at all, relative. Percentiles of delay and drops spread far more than CPU.
EQUIVALENCE = {Metric.CPU_PER_PACKET: 0.02, Metric.DELAY_P99: 0.25, Metric.BURST_DROPS: 1.0, Metric.LOSS: 1.0}
#: How the error of 5 % is shared: mostly to what settings are swept for, CPU and the drops of bursts.
WEIGHTS = {Metric.BURST_DROPS: 5.0, Metric.CPU_PER_PACKET: 5.0, Metric.DELAY_P99: 1.0, Metric.LOSS: 1.0}
#: Which metric speaks first if they disagree: lost packets count more than CPU, CPU more than delay within limits.
PRIORITY = (Metric.BURST_DROPS, Metric.LOSS, Metric.CPU_PER_PACKET, Metric.DELAY_P99)


@dataclass(frozen=True)
class Overflow:
    """Bursts that fit into the larger of two receive buffers, and were seen to need more than the smaller one has."""

    buffer_bytes: int  #: of the smaller one, as sock_diag shows it
    needed_bytes: int  #: the least that the largest burst of a restart took of the larger one


@dataclass(frozen=True)
class Comparison:
    """One value of a setting against the baseline, by one metric. Ratios: 0.05 is 5 % more of the metric.

    ``overflow``: physical evidence, which decides whatever a test of a few counts says.
    """

    value: int | float | str
    step: str
    metric: Metric
    effect: float | None
    interval: tuple[float | None, float | None]
    p_value: float
    adjusted_p_value: float
    equivalent: bool
    blocks: int
    blocks_needed: int | None  #: about how many in all would tell a difference of the margin
    dropped_packets: tuple[float, float] | None = None  #: of a burst trial, with the value and at the reference
    #: Of CPU per packet: what follows for the packet rate at the CPU limit, (relative change, low, high).
    max_packet_rate_effect: tuple[float, float, float] | None = None
    overflow: Overflow | None = None

    @property
    def significant(self) -> bool:
        return self.overflow is not None or self.adjusted_p_value < SIGNIFICANT

    @property
    def worse(self) -> bool:
        return (self.effect or 0.0) > 0


@dataclass(frozen=True)
class SettingVerdict:
    """Of one setting. The figures are those of the comparison that decided, by ``metric``.

    ``effect``: relative change of ``metric``. ``comparisons``: every value by every metric.
    """

    host: str
    name: str
    values: tuple[int | float | str, ...]
    verdict: Verdict
    recommended: int | float | str | None
    effect: float | None = None
    interval: tuple[float | None, float | None] | None = None
    p_value: float | None = None  #: corrected for all comparisons of the run
    metric: Metric | None = None
    reason: str = ""
    more_blocks: int | None = None
    comparisons: tuple[Comparison, ...] = ()
    step_values: Mapping[str, int | float | str] = field(
        default_factory=dict
    )  #: of the step that was found better, all

    @property
    def differing(self) -> tuple[Comparison, ...]:
        """Every comparison that shows a difference, the one that counts most first."""
        return tuple(sorted((c for c in self.comparisons if c.significant), key=lambda c: PRIORITY.index(c.metric)))

    @property
    def worse_values(self) -> tuple[int | float | str, ...]:
        """Those that are not to be set, as they were swept."""
        worse = {c.value for c in self.comparisons if c.significant and c.worse} - {self.recommended}
        return tuple(value for value in self.values if value in worse)


@dataclass(frozen=True)
class _Swept:
    setting: str
    value: Any
    step: str
    values: Mapping[str, Any]  #: of the step, this setting's among them


@dataclass(frozen=True)
class Bursts:
    """The burst trials of a host: drops of each restart by step, and how much of their buffers bursts took."""

    drops: Mapping[str, tuple[float, ...]]  #: step -> packets of each restart's burst trials
    peaks: Mapping[str, tuple[int, ...]]  #: step -> the most that a restart's queue held, in bytes
    buffers: Mapping[str, int]  #: step -> receive buffer in bytes

    @classmethod
    def of(cls, usable: pl.DataFrame) -> Bursts:
        rows = usable.filter((pl.col("kind") == "burst") & pl.col("socket_drops").is_not_null())
        restarts = rows.group_by("step", "block").agg(
            pl.col("socket_drops").mean(), pl.col("socket_peak_bytes").max(), pl.col("socket_rcvbuf_bytes").max()
        )
        drops: dict[str, tuple[float, ...]] = {}
        peaks: dict[str, tuple[int, ...]] = {}
        buffers: dict[str, int] = {}
        for (step,), of_step in restarts.sort("step", "block").group_by("step", maintain_order=True):
            drops[str(step)] = tuple(float(value) for value in of_step["socket_drops"])
            seen = of_step["socket_peak_bytes"].drop_nulls()
            peaks[str(step)] = tuple(int(value) for value in seen) if len(seen) == of_step.height else ()
            sizes = of_step["socket_rcvbuf_bytes"].drop_nulls()
            if len(sizes):
                buffers[str(step)] = int(sizes.max())  # type: ignore[arg-type]
        return cls(drops, peaks, buffers)

    def mean(self, step: str) -> float:
        return float(np.mean(self.drops[step]))

    def overflow(self, step: str, reference: str) -> Overflow | None:
        """Evidence that bursts overflow the smaller buffer of the two, and fit into the larger one; else None.

        The smaller one dropped packets; the larger one dropped none, and in every restart held more than the smaller
        one has. Where both are alike in size this cannot happen, so it errs in no case.
        """
        if step not in self.buffers or reference not in self.buffers:
            return None
        small, large = sorted((step, reference), key=lambda name: self.buffers[name])
        needed = min(self.peaks.get(large) or (0,))
        if any(self.drops[large]) or not any(self.drops[small]) or needed <= self.buffers[small]:
            return None
        return Overflow(self.buffers[small], needed)

    def p_value(self, step: str, reference: str, by_t: float) -> float:
        """Two-sided p-value that step and reference drop alike; ``by_t``: of the test on logarithms.

        Where one of them dropped nothing in any restart, counts have no spread to test with, and a single large count
        inflates its own error. Then what is tested is in how many restarts packets were dropped at all (Fisher's exact
        test; restarts are the unit, so overdispersed counts cannot mislead it), against the restarts of all other
        steps: in the lack of any effect they are alike as well.
        """
        mine, other = self.drops.get(step), self.drops.get(reference)
        if not mine or not other or any(mine) == any(other):
            return by_t
        dropping = step if any(mine) else reference
        rest = [count for name, counts in self.drops.items() if name != dropping for count in counts]
        groups = (self.drops[dropping], rest)
        table = [[sum(c > 0 for c in group), sum(c == 0 for c in group)] for group in groups]
        return float(scipy.stats.fisher_exact(table).pvalue)


def compare_settings(
    trials: pl.DataFrame,
    limits: Limits | None = None,
    *,
    reference: str = BASELINE,
    level: float = SIGNIFICANT,
) -> list[SettingVerdict]:
    """A verdict on every setting that was swept, host by host. Pure.

    ``level``: the error that this look at the data may spend, of ``SIGNIFICANT`` in all (``fit.questions``); adjusted
    p-values are scaled by it, so that ``SIGNIFICANT`` is what they are held against, always. ``limits``: for what a
    change of CPU means for the max packet rate.
    """
    prepared = prepare(trials)
    hosts = sorted(prepared.frame["host"].unique().to_list())
    found: list[SettingVerdict] = []
    for host in hosts:
        of_host = prepared.frame.filter(pl.col("host") == host)
        found.extend(_one_host(host, of_host, reference, level, (limits or Limits()).cpu_ratio))
    return found


def _one_host(host: str, rows: pl.DataFrame, reference: str, level: float, cpu_ratio: float) -> list[SettingVerdict]:
    swept = _swept(rows, reference)
    if not swept:
        return []
    usable = rows.filter(pl.col("valid"))
    there = set(usable["step"].unique().to_list())
    measured = layouts(usable) if reference in there else []
    raw: list[tuple[_Swept, Layout, Contrast]] = []
    for item in swept:
        for layout in measured:
            contrast = layout.contrast(item.step, reference) if item.step in there else None
            if contrast is not None:
                raw.append((item, layout, contrast))
    bursts = Bursts.of(usable)
    p_values = [
        bursts.p_value(item.step, reference, contrast.p_value)
        if contrast.metric == Metric.BURST_DROPS
        else contrast.p_value
        for item, _, contrast in raw
    ]
    corrected = holm(p_values, [WEIGHTS[Metric(c.metric)] for _, _, c in raw])
    adjusted = [min(1.0, p * SIGNIFICANT / level) for p in corrected]
    by_setting: dict[str, list[Comparison]] = {item.setting: [] for item in swept}
    rates = rate_layout(usable, cpu_ratio)
    for (item, _, contrast), own, p in zip(raw, p_values, adjusted, strict=True):
        one = replace(_comparison(item, contrast, p), p_value=own)
        if one.metric == Metric.BURST_DROPS:
            dropped = (bursts.mean(item.step), bursts.mean(reference))
            one = replace(one, dropped_packets=dropped, overflow=bursts.overflow(item.step, reference))
        if one.metric == Metric.CPU_PER_PACKET and rates is not None:
            one = replace(one, max_packet_rate_effect=_rate_change(rates.contrast(item.step, reference)))
        by_setting[item.setting].append(one)
    verdicts = [
        _verdict(host, name, tuple(item.value for item in swept if item.setting == name), comparisons)
        for name, comparisons in by_setting.items()
    ]
    values = {(item.setting, item.value): item.values for item in swept}
    return [replace(one, step_values=dict(values.get((one.name, one.recommended), {}))) for one in verdicts]


def _swept(rows: pl.DataFrame, reference: str) -> list[_Swept]:
    """Each step but the reference, as a value of the setting that it is about.

    A step of the sweep is named ``setting=value``; where it is not, its first setting names it.
    """
    found: list[_Swept] = []
    for step, text in sorted(rows.select("step", "settings").unique().iter_rows()):
        if step == reference:
            continue
        try:
            values = json.loads(text)
        except json.JSONDecodeError:
            values = {}
        name = str(step).split("=")[0]
        if name not in values and values:
            name = next(iter(values))
        value = values.get(name, str(step).partition("=")[2] or step)
        found.append(_Swept(name, value, str(step), {**values, name: value}))
    return found


def _rate_change(contrast: Contrast | None) -> tuple[float, float, float] | None:
    """Of minus the logarithm of a rate to the relative change of the rate, with its interval."""
    if contrast is None:
        return None
    low, high = contrast.interval()
    return float(np.expm1(-contrast.difference)), float(np.expm1(-high)), float(np.expm1(-low))


def _comparison(item: _Swept, contrast: Contrast, adjusted: float) -> Comparison:
    low, high = contrast.interval()
    metric = Metric(contrast.metric)
    margin = float(np.log1p(EQUIVALENCE[metric]))
    inner_low, inner_high = contrast.interval(0.90)
    blocks = len(contrast.within_blocks)
    return Comparison(
        item.value,
        item.step,
        metric,
        _ratio(contrast.difference),
        (_ratio(low), _ratio(high)),
        contrast.p_value,
        adjusted,
        equivalent=-margin < inner_low and inner_high < margin,
        blocks=blocks,
        blocks_needed=_blocks_needed(contrast, margin),
    )


def _ratio(log: float) -> float | None:
    """A log ratio as a relative change; None beyond what a float holds."""
    with np.errstate(over="ignore"):
        value = float(np.expm1(log))
    return value if np.isfinite(value) else None


def _blocks_needed(contrast: Contrast, margin: float) -> int | None:
    """For 80 % power of the equivalence test at no true difference; None where it would be hundreds."""
    one = contrast.error * np.sqrt(len(contrast.within_blocks))
    for blocks in range(2, 200):
        degrees = max(1.0, contrast.degrees / len(contrast.within_blocks) * (blocks - 1))
        if (scipy.stats.t.ppf(0.95, degrees) + scipy.stats.t.ppf(0.90, degrees)) * one / np.sqrt(blocks) <= margin:
            return blocks
    return None


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given; weighted (Benjamini & Hochberg 1997) where asked.

    With weights, hypotheses share the error unequally: p/w is what is ranked, and each is held against the weights
    that are left.
    """
    count = len(p_values)
    weights = [1.0] * count if weights is None else list(weights)
    adjusted = [1.0] * count
    running = 0.0
    left = sum(weights)
    for index in sorted(range(count), key=lambda i: p_values[i] / weights[i]):
        running = max(running, min(1.0, p_values[index] * left / weights[index]))
        adjusted[index] = running
        left -= weights[index]
    return adjusted


def _verdict(
    host: str, name: str, values: tuple[int | float | str, ...], comparisons: list[Comparison]
) -> SettingVerdict:
    if not comparisons:
        reason = "no two blocks have a valid trial both with it and at the baseline: run at least 3 blocks"
        return SettingVerdict(host, name, values, Verdict.UNRESOLVED, None, reason=reason)

    def decided(verdict: Verdict, by: Comparison, reason: str, more: int | None = None) -> SettingVerdict:
        recommended = by.value if verdict is Verdict.BETTER else None
        figures = (by.effect, by.interval, by.adjusted_p_value, by.metric)
        return SettingVerdict(host, name, values, verdict, recommended, *figures, reason, more, tuple(comparisons))

    differing = [c for c in comparisons if c.significant]
    better = _decisive([c for c in differing if not c.worse], differing)
    worse = _decisive([c for c in differing if c.worse], [])
    if better is not None:
        return decided(Verdict.BETTER, better, _in_words(better))
    if worse is not None:
        return decided(Verdict.WORSE, worse, f"{_in_words(worse)}. Do not set {worse.value}")
    core = [c for c in comparisons if c.metric is Metric.CPU_PER_PACKET or _loses_packets(c)] or comparisons
    asked = [c for c in core if not c.equivalent] or core
    leading = min(asked, key=lambda c: (c.metric is not Metric.CPU_PER_PACKET, c.adjusted_p_value))
    if leading.equivalent:
        reason = f"no difference above {EQUIVALENCE[leading.metric]:.0%} in {LABELS[leading.metric]}, at 95 %"
        return decided(Verdict.NO_DIFFERENCE, leading, reason)
    needed = [c.blocks_needed for c in asked]
    more = None if None in needed else max(1, max(int(n) for n in needed if n is not None) - leading.blocks)
    reason = f"about {more} more blocks are needed" if more else "more than 200 blocks would be needed"
    return decided(Verdict.UNRESOLVED, leading, f"{LABELS[leading.metric]}: {reason}", more)


def _loses_packets(c: Comparison) -> bool:
    """By bursts of which the average one lost a packet or more, with the value or without: that has to be answered."""
    return c.metric is Metric.BURST_DROPS and max(c.dropped_packets or (0.0,)) >= 1


def _decisive(candidates: list[Comparison], against: list[Comparison]) -> Comparison | None:
    """The candidate that speaks first; one that a metric of higher priority contradicts is none."""
    for candidate in sorted(candidates, key=lambda c: (PRIORITY.index(c.metric), c.effect or 0.0)):
        contradicted = any(
            other.step == candidate.step
            and other.worse != candidate.worse
            and PRIORITY.index(other.metric) < PRIORITY.index(candidate.metric)
            for other in against
        )
        if not contradicted:
            return candidate
    return None


def _in_words(c: Comparison) -> str:
    """What was seen, and how sure it is."""
    if c.metric is Metric.BURST_DROPS and c.dropped_packets is not None:
        mine, other = c.dropped_packets
        text = f"at {c.value} bursts lose {mine:.0f} packets per trial, and {other:.0f} with the value found on arrival"
        if c.overflow is not None:
            return (
                f"{text}: a burst takes {_mib(c.overflow.needed_bytes)} of the receive buffer, and the smaller one has "
                f"{_mib(c.overflow.buffer_bytes)}"
            )
        return f"{text} (p = {c.adjusted_p_value:.2g}, {c.blocks} blocks)"
    low, high = c.interval
    words = (
        f"{LABELS[c.metric]} {_change(c.effect)} ({_change(low)} to {_change(high)}, p = {c.adjusted_p_value:.2g}) at "
        f"{c.value} in {c.blocks} blocks"
    )
    if c.max_packet_rate_effect is not None:
        gain, least, most = c.max_packet_rate_effect
        words += f"; the packet rate at the CPU limit {gain:+.1%} ({least:+.1%} to {most:+.1%})"
    return words


def _mib(size: int) -> str:
    return f"{size / 2**20:.2f} MiB"


def _change(ratio: float | None) -> str:
    if ratio is None:
        return "without end"
    return f"{ratio:+.1%}" if ratio < 10 else f"× {ratio + 1:.0f}"


@dataclass(frozen=True)
class Deployed:
    """The step that a host is in once it has what was found better, with its values. ``step`` None: several settings
    were, and no step of the sweep has all of them."""

    step: str | None
    values: Mapping[str, int | float | str]


def deployed(verdicts: Sequence[SettingVerdict]) -> Deployed:
    """By the verdicts on one host; the baseline if nothing was found better."""
    better = [verdict for verdict in verdicts if verdict.verdict is Verdict.BETTER]
    if not better:
        return Deployed(BASELINE, {})
    names = {verdict.name for verdict in better}
    for verdict in better:
        step = next((c.step for c in verdict.comparisons if c.value == verdict.recommended), None)
        if step is not None and names <= verdict.step_values.keys():
            return Deployed(step, verdict.step_values)
    return Deployed(None, {verdict.name: verdict.recommended for verdict in better if verdict.recommended is not None})


def broken_controls(verdicts: Sequence[SettingVerdict], controls: Collection[str]) -> list[Reason]:
    """Why a run with negative controls is not to be trusted: a setting that can have no effect shows one."""
    return [
        Reason(
            Code.NEGATIVE_CONTROL,
            f"The negative control {verdict.name} shows an effect: {verdict.reason}",
            "Something else changed with it. Find what disturbed the host, then run the sweep again.",
        )
        for verdict in verdicts
        if verdict.name in controls and verdict.differing
    ]
