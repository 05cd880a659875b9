"""Is there anything left that more blocks would answer? For sweeps that stop by themselves.

Looking after every block is testing again and again, so the looks share the error of 5 % (Bonferroni, unequally): the
early ones have a fifth of it together, the last one the rest. Whichever look a sweep ends at, its verdicts are those of
that look's share, so that a false one is had in at most 5 % of sweeps; benchmarks/bench_fit_validity.py shows it.
"""

from __future__ import annotations

import polars as pl

from jvbtune.fit.compare import SIGNIFICANT, compare_settings, deployed
from jvbtune.fit.limits import Limits
from jvbtune.fit.recommend import recommend

#: Of the error, for all looks but the last one together.
EARLY_SHARE = 0.2


def early_level(looks: int) -> float:
    """The error that each look but the last may spend."""
    return SIGNIFICANT * EARLY_SHARE / (looks - 1) if looks > 1 else SIGNIFICANT


def last_level(looks: int) -> float:
    """The error that is left for a sweep that no early look ended."""
    return SIGNIFICANT * (1 - EARLY_SHARE) if looks > 1 else SIGNIFICANT


def open_questions(
    trials: pl.DataFrame, limits: Limits, *, looks: int, relative_width: float | None = None
) -> list[str]:
    """What is not answered yet, in words; empty: more blocks would change nothing that was asked.

    ``looks``: how often the question is put in all. ``relative_width``: (high − low) / rate of the max packet rate's
    interval that is wanted; None: any rate that can be recommended will do.
    """
    found: list[str] = []
    verdicts = compare_settings(trials, level=early_level(looks))
    for verdict in verdicts:
        if verdict.verdict == "unresolved":
            more = "" if verdict.more_blocks is None else f", about {verdict.more_blocks} more blocks"
            found.append(f"{verdict.name}: unresolved{more}")
    for host in recommend(trials, limits, reference=deployed(verdicts).step):
        if host.max_packet_rate_pps is None or host.interval_pps is None:
            found.append(f"max packet rate: {host.reasons[0].text if host.reasons else 'none'}")
            continue
        width = (host.interval_pps[1] - host.interval_pps[0]) / host.max_packet_rate_pps
        if relative_width is not None and width > relative_width:
            found.append(f"max packet rate: its interval is {width:.0%} wide, not {relative_width:.0%}")
    return found
