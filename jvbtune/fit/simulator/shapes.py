"""Hosts of which nothing but CPU over packet rate matters, by curves that the fit has forms for, and by others.

CPU is ``IDLE + (1 − IDLE) × shape(load)`` of one core, with load 1 where it is full. Each restart multiplies it, and
so does the noise of each trial. Loss and delay are not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Shape = Callable[[Floats], Floats]

IDLE = 0.04
CAPACITY_PPS = 50_000.0
#: Lowest and highest load of a design.
LOADS = (0.06, 0.94)
SECONDS = 60.0
RATE_SD = 0.003


def _scaled(curve: Shape) -> Shape:
    """From 0 at no load to 1 at full load."""
    start, end = curve(np.array([0.0, 1.0]))
    return lambda load: np.asarray((curve(np.asarray(load, dtype=np.float64)) - start) / (end - start))


def _bend(load: Floats, at: float) -> Floats:
    return np.maximum(load - at, 0.0)


#: What a fitted form is exactly.
FITTED: Mapping[str, Shape] = {
    "linear": _scaled(lambda x: x),
    "x^0.75": _scaled(lambda x: x**0.75),
    "x^1.3": _scaled(lambda x: x**1.3),
    "0.4·√x + 0.6·x": _scaled(lambda x: 0.4 * np.sqrt(x) + 0.6 * x),
    "x + 0.5·x²": _scaled(lambda x: x + 0.5 * x**2),
}
#: What none is.
UNLIKE: Mapping[str, Shape] = {
    "wake-ups amortised": _scaled(lambda x: 0.25 * (1 - np.exp(-x / 0.08)) + 0.75 * x),
    "log(1 + 6·x)": _scaled(lambda x: np.log1p(6 * x)),
    "x/(0.5 + x)": _scaled(lambda x: x / (0.5 + x)),
    "x/(1.6 − x)": _scaled(lambda x: x / (1.6 - x)),
    "exp(1.5·x)": _scaled(lambda x: np.exp(1.5 * x)),
    "softplus": _scaled(lambda x: 0.5 * x + 0.08 * np.logaddexp(0.0, (x - 0.65) / 0.08)),
    "logistic": _scaled(lambda x: 1 / (1 + np.exp(-6 * (x - 0.45)))),
    "steeper from 0.62": _scaled(lambda x: x + 1.2 * _bend(x, 0.62)),
    "flatter from 0.55": _scaled(lambda x: x - 0.45 * _bend(x, 0.55)),
    "flatter, then steeper": _scaled(lambda x: x - 0.5 * _bend(x, 0.3) + 0.9 * _bend(x, 0.75)),
    "concave, then a wall": _scaled(lambda x: 0.5 * np.sqrt(x) + 0.3 * x + 0.3 * x**8),
    "a step of 6 %": _scaled(lambda x: x + 0.06 / (1 + np.exp((0.5 - x) / 0.03))),
}
SHAPES: Mapping[str, Shape] = {**FITTED, **UNLIKE}


def place_pps(shape: Shape, cpu_ratio: float) -> float:
    """The packet rate at which a restart of average luck takes ``cpu_ratio``."""
    load = np.linspace(0.0, 1.0, 100_001)
    return float(np.interp(cpu_ratio, IDLE + (1 - IDLE) * shape(load), load)) * CAPACITY_PPS


def shaped_trials(
    shape: Shape,
    blocks: int,
    loads: int,
    *,
    seed: int,
    restart_sd: float = 0.02,
    noise_sd: float = 0.02,
    host: str = "shaped",
) -> pl.DataFrame:
    """A restart of each block, at evenly spaced loads: the columns that ``jvbtune fit --from csv`` reads."""
    rng = np.random.default_rng(seed)
    restart = np.repeat(np.exp(restart_sd * rng.standard_normal(blocks)), loads)
    load = np.tile(np.linspace(*LOADS, loads), blocks) * np.exp(RATE_SD * rng.standard_normal(blocks * loads))
    cpu = (IDLE + (1 - IDLE) * shape(load)) * restart * np.exp(noise_sd * rng.standard_normal(load.size))
    return pl.DataFrame(
        {
            "host": host,
            "block": np.repeat(np.arange(blocks), loads),
            "step": "baseline",
            "in_pps": 0.2 * load * CAPACITY_PPS,
            "out_pps": 0.8 * load * CAPACITY_PPS,
            "cpu_cores": np.minimum(cpu, 1.0),
            "cores": 1.0,
            "duration_s": SECONDS,
        }
    )
