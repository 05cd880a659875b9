"""Verdicts on settings: does a value do better than the one found on arrival, worse, the same, or is it unresolved?

Every value of every setting is compared with the baseline by every metric that was measured; the p-values are
corrected together (Holm 1979), so that a sweep of settings without any effect finds one in at most 5 % of cases.
"No difference" is a finding of its own (two one-sided tests, Schuirmann 1987), not the lack of one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from jvbtune.fit.columns import prepare
from jvbtune.fit.effects import Contrast, Layout, layouts, rate_layout
from jvbtune.fit.limits import Limits

BASELINE = "baseline"
SIGNIFICANT = 0.05
#: What counts as a difference at all, relative. Percentiles of delay and drops spread far more than CPU.
EQUIVALENCE = {"cpu_per_packet": 0.02, "delay_p99": 0.25, "burst_drops": 1.0, "loss": 1.0}
#: How the error of 5 % is shared: mostly to what settings are swept for, CPU and the drops of bursts.
WEIGHTS = {"burst_drops": 5.0, "cpu_per_packet": 5.0, "delay_p99": 1.0, "loss": 1.0}
#: Which metric speaks first where they disagree: packets lost count more than CPU, CPU more than delay within limits.
PRIORITY = ("burst_drops", "loss", "cpu_per_packet", "delay_p99")


@dataclass(frozen=True)
class Comparison:
    """One value of a setting against the baseline, by one metric. Ratios: 0.05 is 5 % more of the metric."""

    value: Any
    step: str
    metric: str
    effect: float
    interval: tuple[float, float]
    p_value: float
    adjusted_p: float
    equivalent: bool
    blocks: int
    blocks_needed: int | None  #: about how many in all would tell a difference of the margin
    dropped: tuple[float, float] | None = None  #: packets a burst trial, with the value and at the reference
    #: Of CPU per packet: what follows for the packet rate at the CPU limit, (relative change, low, high).
    max_packet_rate: tuple[float, float, float] | None = None

    @property
    def significant(self) -> bool:
        return self.adjusted_p < SIGNIFICANT

    def to_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "step": self.step,
            "metric": self.metric,
            "effect": self.effect,
            "interval": list(self.interval),
            "p_value": self.p_value,
            "adjusted_p_value": self.adjusted_p,
            "equivalent": self.equivalent,
            "blocks": self.blocks,
            "blocks_needed": self.blocks_needed,
            "dropped_packets": list(self.dropped) if self.dropped else None,
            "max_packet_rate_effect": list(self.max_packet_rate) if self.max_packet_rate else None,
        }


@dataclass(frozen=True)
class SettingVerdict:
    """Of one setting. The figures are those of the comparison that decided.

    ``better``: ``recommended`` beats the value found on arrival. ``worse``: a swept value is worse than that one, and
    none is better: leave it. ``effect``: relative change of ``metric``, lower is better.
    """

    host: str
    name: str
    values: tuple[Any, ...]
    verdict: str  #: better | worse | no difference | unresolved
    recommended: Any
    effect: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None  #: corrected for all comparisons of the run
    metric: str | None = None
    reason: str = ""
    more_blocks: int | None = None
    comparisons: tuple[Comparison, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "values": list(self.values),
            "verdict": self.verdict,
            "recommended": self.recommended,
            "effect": self.effect,
            "interval": list(self.interval) if self.interval else None,
            "p_value": self.p_value,
            "metric": self.metric,
            "reason": self.reason,
            "more_blocks": self.more_blocks,
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
        }


@dataclass(frozen=True)
class _Swept:
    setting: str
    value: Any
    step: str


def compare_settings(
    trials: pl.DataFrame,
    limits: Limits | None = None,
    *,
    reference: str = BASELINE,
    seed: int = 0,
    level: float = SIGNIFICANT,
) -> list[SettingVerdict]:
    """A verdict on every setting that was swept, host by host. Pure; ``seed`` as in ``recommend``.

    ``level``: the error that this look at the data may spend, of ``SIGNIFICANT`` in all (``fit.questions``); adjusted
    p-values are scaled by it, so that ``SIGNIFICANT`` is what they are held against, always. ``limits``: for what a
    change of CPU means for the max packet rate.
    """
    del seed
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
    corrected = holm([c.p_value for _, _, c in raw], [WEIGHTS[c.metric] for _, _, c in raw])
    adjusted = [min(1.0, p * SIGNIFICANT / level) for p in corrected]
    by_setting: dict[str, list[Comparison]] = {item.setting: [] for item in swept}
    drops = dict(
        usable.filter(pl.col("kind") == "burst").group_by("step").agg(pl.col("socket_drops").mean()).iter_rows()
    )
    rates = rate_layout(usable, cpu_ratio)
    for (item, _, contrast), p in zip(raw, adjusted, strict=True):
        one = _comparison(item, contrast, p)
        if contrast.metric == "burst_drops":
            one = replace(one, dropped=(float(drops[item.step]), float(drops[reference])))
        if contrast.metric == "cpu_per_packet" and rates is not None:
            one = replace(one, max_packet_rate=_rate_change(rates.contrast(item.step, reference)))
        by_setting[item.setting].append(one)
    return [
        _verdict(host, name, tuple(item.value for item in swept if item.setting == name), comparisons)
        for name, comparisons in by_setting.items()
    ]


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
        found.append(_Swept(name, values.get(name, str(step).partition("=")[2] or step), str(step)))
    return found


def _rate_change(contrast: Contrast | None) -> tuple[float, float, float] | None:
    """Of minus the logarithm of a rate to the relative change of the rate, with its interval."""
    if contrast is None:
        return None
    low, high = contrast.interval()
    return float(np.expm1(-contrast.difference)), float(np.expm1(-high)), float(np.expm1(-low))


def _comparison(item: _Swept, contrast: Contrast, adjusted: float) -> Comparison:
    low, high = contrast.interval()
    margin = float(np.log1p(EQUIVALENCE[contrast.metric]))
    inner_low, inner_high = contrast.interval(0.90)
    blocks = len(contrast.within_blocks)
    return Comparison(
        item.value,
        item.step,
        contrast.metric,
        float(np.expm1(contrast.difference)),
        (float(np.expm1(low)), float(np.expm1(high))),
        contrast.p_value,
        adjusted,
        equivalent=-margin < inner_low and inner_high < margin,
        blocks=blocks,
        blocks_needed=_blocks_needed(contrast, margin),
    )


def _blocks_needed(contrast: Contrast, margin: float) -> int | None:
    """For 80 % power of the equivalence test at no true difference; None where it would be hundreds."""
    one = contrast.error * np.sqrt(len(contrast.within_blocks))
    for blocks in range(2, 200):
        degrees = max(1.0, contrast.degrees / len(contrast.within_blocks) * (blocks - 1))
        if (stats.t.ppf(0.95, degrees) + stats.t.ppf(0.90, degrees)) * one / np.sqrt(blocks) <= margin:
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


def _verdict(host: str, name: str, values: tuple[Any, ...], comparisons: list[Comparison]) -> SettingVerdict:
    if not comparisons:
        reason = "no two blocks have a valid trial both with it and at the baseline: run at least 3 blocks"
        return SettingVerdict(host, name, values, "unresolved", None, reason=reason)
    telling = [c for c in comparisons if c.significant]
    better = _decisive([c for c in telling if c.effect < 0], telling)
    worse = _decisive([c for c in telling if c.effect > 0], [])
    if better is not None:
        return _decided(host, name, values, "better", better.value, better, comparisons, _in_words(better))
    if worse is not None:
        return _decided(host, name, values, "worse", None, worse, comparisons, _in_words(worse) + ": leave it as found")
    leading = min(comparisons, key=lambda c: (PRIORITY.index(c.metric) != 2, c.adjusted_p))
    core = [c for c in comparisons if c.metric == "cpu_per_packet"] or comparisons
    if all(c.equivalent for c in core):
        reason = f"no difference above {EQUIVALENCE[leading.metric]:.0%} in {leading.metric} at 95 %"
        return _decided(host, name, values, "no difference", None, leading, comparisons, reason)
    needed = [c.blocks_needed for c in core]
    more = None if None in needed else max(1, max(int(n) for n in needed if n is not None) - leading.blocks)
    reason = f"about {more} more blocks are needed" if more else "more than 200 blocks would be needed"
    return _decided(host, name, values, "unresolved", None, leading, comparisons, reason, more)


def _decisive(candidates: list[Comparison], against: list[Comparison]) -> Comparison | None:
    """The candidate that speaks first; one that a metric of higher priority contradicts is none."""
    for candidate in sorted(candidates, key=lambda c: (PRIORITY.index(c.metric), c.effect)):
        contradicted = any(
            other.step == candidate.step
            and other.effect * candidate.effect < 0
            and PRIORITY.index(other.metric) < PRIORITY.index(candidate.metric)
            for other in against
        )
        if not contradicted:
            return candidate
    return None


def _in_words(c: Comparison) -> str:
    low, high = c.interval
    size = f"{_change(c.effect)} ({_change(low)} to {_change(high)}"
    if c.dropped is not None:
        size = f"{c.dropped[0]:.0f} packets a trial, not {c.dropped[1]:.0f}: {size}"
    words = f"{c.metric} {size}, p = {c.adjusted_p:.2g}) at {c.value} in {c.blocks} blocks"
    if c.max_packet_rate is not None:
        gain, least, most = c.max_packet_rate
        words += f"; the packet rate at the CPU limit {gain:+.1%} ({least:+.1%} to {most:+.1%})"
    return words


def _change(ratio: float) -> str:
    return f"{ratio:+.1%}" if ratio < 10 else f"× {ratio + 1:.0f}"


def _decided(
    host: str,
    name: str,
    values: tuple[Any, ...],
    verdict: str,
    recommended: Any,
    by: Comparison,
    comparisons: list[Comparison],
    reason: str,
    more: int | None = None,
) -> SettingVerdict:
    return SettingVerdict(
        host,
        name,
        values,
        verdict,
        recommended,
        by.effect,
        by.interval,
        by.adjusted_p,
        by.metric,
        reason,
        more,
        tuple(comparisons),
    )
