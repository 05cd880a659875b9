"""Limits of delay and loss on hosts that are none of the fitted forms: walls, full queues, a background of losses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from jvbtune.fit import Limits, recommend
from jvbtune.fit.intervals import LEAST_RESTART_SD, least_error

HOSTS = 60
CAPACITY = 50_000.0


def wall(load: float) -> tuple[float, float]:
    """Delay of 3 ms up to the capacity, of full queues above it."""
    return (3.0 if load < CAPACITY else 300.0), 0.0


def soft(load: float) -> tuple[float, float]:
    width = 0.016 * CAPACITY
    return 3.0, float(width * np.logaddexp(0.0, (load - CAPACITY) / width) / load)


def hosts(of: Callable[[float], tuple[float, float]], truth: float, levels: int) -> pl.DataFrame:
    """Delay and loss of ``of`` at packet rate × luck, at 5 restarts of ``levels`` loads each; CPU never matters."""
    rng = np.random.default_rng(5)
    rows = []
    for host in range(HOSTS):
        for block, luck in enumerate(np.exp(0.05 * rng.standard_normal(5))):
            for pps in np.linspace(0.2, 1.25, levels) * truth * np.exp(0.003 * rng.standard_normal(levels)):
                delay, loss = of(pps * luck)
                loss = rng.poisson(loss * pps * 60) / (pps * 60)
                rows.append(
                    {
                        "host": f"h{host:02d}",
                        "block": block,
                        "in_pps": 0.2 * pps * (1 - loss),
                        "out_pps": 0.8 * pps * (1 - loss),
                        "cpu_cores": 0.2 + 2e-6 * pps,
                        "cores": 8.0,
                        "loss_ratio": loss,
                        "delay_p99_ms": delay * float(np.exp(0.3 * rng.standard_normal())),
                        "duration_s": 60.0,
                    }
                )
    return pl.DataFrame(rows)


@pytest.mark.slow
@pytest.mark.parametrize(("of", "truth", "limit"), [(wall, CAPACITY, "delay"), (soft, 45_873.0, "loss")])
def test_what_no_form_is_made_for_is_found_without_bias_and_covered(
    of: Callable[[float], tuple[float, float]], truth: float, limit: str
) -> None:
    found = recommend(hosts(of, truth, 9), Limits())
    given = [r for r in found if r.interval_pps is not None]
    assert len(given) >= 0.95 * HOSTS
    assert {r.binding_limit for r in given} == {limit}
    rates = [bound.estimate_pps for r in given if (bound := r.bound(limit)) is not None]
    assert np.mean(rates) == pytest.approx(truth, rel=0.012)
    inside = [r.interval_pps is not None and r.interval_pps[0] <= truth <= r.interval_pps[1] for r in given]
    assert np.mean(inside) >= 0.87


def test_two_or_three_restarts_that_agree_are_not_believed_to_the_percent() -> None:
    assert least_error(2) == pytest.approx(LEAST_RESTART_SD / np.sqrt(2))
    assert least_error(4) == 0.0
    exact = hosts(wall, CAPACITY, 9).filter((pl.col("host") == "h00") & (pl.col("block") < 2))
    same = pl.concat([exact.filter(pl.col("block") == 0).with_columns(block=pl.lit(b)) for b in range(2)])
    curve = same.with_columns(cpu_cores=8 * 0.9 * (pl.col("in_pps") + pl.col("out_pps")) / CAPACITY, delay_p99_ms=3.0)
    (found,) = recommend(curve)
    assert found.interval_pps is not None
    assert found.interval_pps[1] / found.interval_pps[0] > 1.07
