"""Two estimates of one quantity, a search's and a fitted curve's: which one is deployed, or that neither is.

Both look for the packet rate at which the average restart meets its first limit, with the same limits. If their 95 %
intervals overlap, the curve's is deployed: it uses every trial, and knows how far restarts differ. If they do not
overlap, one of them is wrong and nobody can say which, so there is no recommendation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jvbtune.capacity.result import Search
from jvbtune.fit.host_fit import HostFit
from jvbtune.fit.reasons import Code, Reason
from jvbtune.result.model import Estimate, Interval, Method


@dataclass(frozen=True)
class Choice:
    """``deployed`` None: ``reasons`` say why. ``remarks``: which one is deployed, and why, if there was a choice."""

    estimates: tuple[Estimate, ...]
    deployed: Estimate | None
    reasons: tuple[Reason, ...] = ()
    remarks: tuple[Reason, ...] = ()


def choose(fitted: HostFit | None, search: Search | None) -> Choice:
    """Of a run: ``search`` None where none was made, ``fitted`` None where there is no trial."""
    curve, found = _of_curve(fitted), _of_search(search)
    why_no_curve = () if fitted is None else fitted.reasons
    if search is None:
        return _chosen([curve], curve, why_no_curve)
    if found is None:
        advice = "" if curve is None else f"The fitted curves say {_words(curve)}; a second estimate is missing."
        reasons = [Reason(Code.SEARCH_UNFINISHED, _sentence(text), advice) for text in search.reasons]
        return _chosen([curve], None, reasons)
    if curve is None:
        text = f"Only the search gives a figure: {'; '.join(reason.text for reason in why_no_curve)}"
        return _chosen([found], found, (), [Reason(Code.DEPLOYED_ESTIMATE, text)])
    if not overlap(curve.interval_pps, found.interval_pps):
        return _chosen([curve, found], None, [_disagreement(curve, found)])
    text = (
        f"The search found {_words(found)}, the fitted curves {_words(curve)}: they agree. The curves' figure is "
        "deployed, because it uses every trial"
    )
    return _chosen([curve, found], curve, (), [Reason(Code.DEPLOYED_ESTIMATE, text)])


def overlap(one: Interval, other: Interval) -> bool:
    """Whether two intervals have a packet rate in common; an end that is None is open."""

    def below(high: float | None, low: float | None) -> bool:
        return high is not None and low is not None and high < low

    return not below(one[1], other[0]) and not below(other[1], one[0])


def _chosen(
    estimates: Sequence[Estimate | None],
    deployed: Estimate | None,
    reasons: Sequence[Reason],
    remarks: Sequence[Reason] = (),
) -> Choice:
    every = tuple(replace(one, deployed=one is deployed) for one in estimates if one is not None)
    chosen = next((one for one in every if one.deployed), None)
    return Choice(every, chosen, tuple(reasons), tuple(remarks))


def _of_curve(fitted: HostFit | None) -> Estimate | None:
    if fitted is None or fitted.max_packet_rate_pps is None or fitted.interval_pps is None:
        return None
    rate, interval = fitted.max_packet_rate_pps, fitted.interval_pps
    return Estimate(Method.CURVE, rate, interval, fitted.binding_limit or "", fitted.restart_low_pps)


def _of_search(search: Search | None) -> Estimate | None:
    best = None if search is None else search.max_packet_rate
    if best is None or best.pps is None:
        return None
    interval = best.interval_pps or (best.pps, best.pps)
    return Estimate(Method.SEARCH, best.pps, interval, best.goal, best.restart_low_pps)


def _disagreement(curve: Estimate, found: Estimate) -> Reason:
    first, second = sorted((curve, found), key=lambda one: one.max_packet_rate_pps)
    return Reason(
        Code.ESTIMATES_DISAGREE,
        f"The search found {_words(found)}, the fitted curves {_words(curve)}: the two disagree, so neither is used",
        f"Settle it with loads between {first.max_packet_rate_pps:.0f} and {second.max_packet_rate_pps:.0f} pps in "
        "several blocks (experiments/capacity.toml with load.packet_rates_pps), or with more --restarts and --minutes.",
    )


def _words(estimate: Estimate) -> str:
    low, high = estimate.interval_pps
    end = "no upper end" if high is None else f"{high:.0f}"
    ends = "no interval" if low == high else f"{low or 0:.0f} to {end}"
    return f"{estimate.max_packet_rate_pps:.0f} pps ({ends}; {estimate.binding_limit})"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
