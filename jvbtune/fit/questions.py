"""Is there anything left that more blocks would answer? For sweeps that stop by themselves.

Looking after every block is testing again and again, so a difference ends the search only at an error that the looks
share (Bonferroni over the looks that are planned); the verdicts of the finished run stay those of ``compare_settings``.
That this keeps false verdicts within 5 % is shown by benchmarks/bench_fit_validity.py.
"""

from __future__ import annotations

import polars as pl

from jvbtune.fit.compare import SIGNIFICANT, compare_settings
from jvbtune.fit.limits import Limits
from jvbtune.fit.recommend import recommend


def open_questions(
    trials: pl.DataFrame, limits: Limits, *, looks: int, relative_width: float | None = None, seed: int = 0
) -> list[str]:
    """What is not answered yet, in words; empty: more blocks would change nothing that was asked.

    ``looks``: how often the question is put in all. ``relative_width``: (high − low) / rate of the max packet rate's
    interval that is wanted; None: any rate that can be recommended will do.
    """
    found: list[str] = []
    for verdict in compare_settings(trials, seed=seed):
        significant = verdict.verdict in ("better", "worse")
        sure = significant and verdict.p_value is not None and verdict.p_value < SIGNIFICANT / max(1, looks)
        if not sure and verdict.verdict != "no difference":
            more = "" if verdict.more_blocks is None else f", about {verdict.more_blocks} more blocks"
            found.append(f"{verdict.name}: {'not yet sure' if significant else 'unresolved'}{more}")
    for host in recommend(trials, limits, seed=seed):
        if host.max_packet_rate_pps is None or host.interval_pps is None:
            found.append(f"max packet rate: {host.reasons[0] if host.reasons else 'none'}")
            continue
        width = (host.interval_pps[1] - host.interval_pps[0]) / host.max_packet_rate_pps
        if relative_width is not None and width > relative_width:
            found.append(f"max packet rate: its interval is {width:.0%} wide, not {relative_width:.0%}")
    return found
