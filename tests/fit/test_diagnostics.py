"""Where a curve does not hold, its residuals say so; where it does, they say that."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from jvbtune.fit import recommend
from jvbtune.fit.bounds import Bound
from jvbtune.fit.diagnostics import diagnose
from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost, simulate
from jvbtune.report.residuals import residual_figure
from jvbtune.result.curves import limit_fits

RATES = tuple(np.linspace(10e3, 58e3, 7).tolist())


def cpu(change: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame, seed: int = 1) -> Bound:
    trials = simulate(SimulatedHost(), Design(RATES, 8), Disturbance(), seed=seed)
    (found,) = recommend(change(trials), force=True)
    bound = found.bound("cpu")
    assert bound is not None
    return bound


def times(where: pl.Expr, factor: pl.Expr | float) -> Callable[[pl.DataFrame], pl.DataFrame]:
    changed = pl.when(where).then(pl.col("cpu_cores") * factor).otherwise("cpu_cores")
    return lambda frame: frame.with_columns(cpu_cores=changed)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (times(pl.col("intended_pps").is_close(34e3), 1.2), "the curve misses 33"),
        (times(pl.col("order") == 17, 1.5), "of 56 trials lie more than"),
        (times(pl.col("block") == 3, 1.24), "one restart is unlike"),
    ],
    ids=["a level", "a trial", "a restart"],
)
def test_what_is_amiss_is_named(change: Callable[[pl.DataFrame], pl.DataFrame], says: str) -> None:
    assert any(says in line for line in diagnose(cpu(change)))


def test_clean_data_is_mostly_called_clean() -> None:
    clean = sum("nothing amiss" in diagnose(cpu(seed=seed))[0] for seed in range(15))
    assert clean >= 11


def test_the_picture_has_three_panels() -> None:
    trials = simulate(SimulatedHost(), Design(RATES, 8), Disturbance(), seed=1)
    residuals = limit_fits(recommend(trials, force=True)[0])[0].residuals
    assert residuals is not None
    for drawing in residual_figure(residuals).drawings:
        assert drawing.count("<g transform=") == 3
        assert drawing.count("<circle") == 3 * len(residuals.residual)
