"""Ladders of a real bridge: what a fit of the lower loads says of the higher ones, and what no fit may claim.

The data are single restarts with steps of 6 to 10 s in ascending order: shapes, not digits (``ladders.json``).
"""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jvbtune.fit import recommend
from jvbtune.fit.curve import Data, fit_curve
from jvbtune.fit.forms import CPU_FORMS

LADDERS = json.loads((Path(__file__).parent / "ladders.json").read_text())
FAST = "one core, 4 senders with ever more packets"
TWO = "two shared cores, 4 senders with ever more packets"
SLOW = "one core, ever more conferences of 50 pps a stream"


def ladder(name: str, cores: float) -> tuple[np.ndarray, np.ndarray]:
    """(packet rate, CPU of the cores) of the loads below saturation."""
    rows = np.array([row[:2] for row in LADDERS[name]])
    rows = rows[rows[:, 1] / cores < 0.95]
    return rows[:, 0], rows[:, 1] / cores


@pytest.mark.parametrize(("name", "cores", "within"), [(FAST, 1.0, 0.08), (TWO, 2.0, 0.05)])
def test_the_lower_70_percent_predict_the_higher_loads(name: str, cores: float, within: float) -> None:
    x, y = ladder(name, cores)
    low = x <= 0.7 * x.max()
    one_plot = np.zeros(int(low.sum()), dtype=np.int64)
    curve = fit_curve(Data(x[low], y[low], one_plot, one_plot), CPU_FORMS)
    assert curve.mean(x[~low]) == pytest.approx(y[~low], rel=within)
    line = fit_curve(Data(x[low], y[low], one_plot, one_plot), CPU_FORMS[:1])
    assert np.abs(line.mean(x[~low]) - y[~low]).max() > np.abs(curve.mean(x[~low]) - y[~low]).max()


def test_three_loads_carry_a_line_and_no_bend() -> None:
    x, y = ladder(SLOW, 1.0)
    one_plot = np.zeros(3, dtype=np.int64)
    curve = fit_curve(Data(x[:3], y[:3], one_plot, one_plot), CPU_FORMS)
    assert curve.form.name == "linear"
    assert curve.mean(x[3:4]) == pytest.approx(y[3:4], rel=0.25)


def test_a_single_ladder_is_one_restart_and_gets_no_recommendation() -> None:
    rows = [
        {"host": "h", "block": 0, "bridge_pps": pps, "cpu_cores": cpu, "cores": 1.0, "delay_p99_ms": delay}
        for pps, cpu, delay, _ in LADDERS[FAST]
    ]
    (found,) = recommend(pl.DataFrame(rows))
    assert found.max_packet_rate_pps is None
    assert any("one block" in reason.text for reason in found.reasons)
    cpu = found.bound("cpu")
    assert cpu is not None
    assert 45_000 < cpu.estimate_pps < 62_000  # 80 % lies between 77 % at 50 and 85 % at 61 kpps
