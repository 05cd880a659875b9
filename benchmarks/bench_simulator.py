"""Is what the simulator assumes what was measured? On real runs.

    python benchmarks/bench_simulator.py [RUN…]      default: the committed experiments/runs/reference-*

The figures of docs/method.md hold for hosts that scatter as the simulated ones do, or less. For each run: the shape of
CPU over packet rate, and how restarts, trials, delays and bursts scatter, beside what the simulator has by default.
Scatter that is held against a limit is that of trials below saturation, by step; fails (1) where a run scatters by more
than twice what is assumed: then the simulated coverage does not speak for such hosts.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

from jvbtune.fit.bounds import unsaturated
from jvbtune.fit.curve import Data, fit_curve
from jvbtune.fit.forms import CPU_FORMS
from jvbtune.fit.recommend import usable_rows, with_restarts
from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost, simulate
from jvbtune.store import open_run
from jvbtune.trials.frame import prepare

ROOM = 2.0


def figures(trials: pl.DataFrame) -> dict[str, float]:
    """What can be told of one run; standard deviations are of logarithms."""
    frame = prepare(trials).frame
    rows = with_restarts(usable_rows(frame).filter(pl.col("cpu_ratio") > 0))
    data = unsaturated(Data(*(rows[name].to_numpy() for name in ("bridge_pps", "cpu_ratio", "restart", "block_index"))))
    curve = fit_curve(data, CPU_FORMS)
    low, high = float(data.x.min()), float(data.x.max())
    ends = curve.mean(np.array([low, high]))
    seconds = float(rows["duration_s"].median())  # type: ignore[arg-type]
    below = rows.filter(pl.col("bridge_pps") <= high)
    level = pl.col("intended_pps")
    delay = below.filter(pl.col("delay_p99_ms") > 0).group_by(level).agg(pl.col("delay_p99_ms").log().std())
    rate = below.select((pl.col("offered_pps") / pl.col("intended_pps")).log().std()).item()
    burst = frame.filter((pl.col("kind") == "burst") & pl.col("valid") & (pl.col("socket_drops") > 0))
    drops = burst.group_by("step").agg(pl.col("socket_drops").log().std())["socket_drops"].mean()
    return {
        "elasticity of CPU": float(np.log(ends[1] / ends[0]) / np.log(high / low)),
        "between restarts": curve.restart_sd,
        "a trial, as of 60 s": curve.noise_sd * float(np.sqrt(seconds / 60)),
        "delay p99": float(delay["delay_p99_ms"].mean() or np.nan),  # type: ignore[arg-type]
        "offered rate": float(rate or 0.0),
        "drops of bursts": float(drops) if drops is not None else float("nan"),  # type: ignore[arg-type]
    }


def main() -> int:
    paths = [Path(name) for name in sys.argv[1:]] or sorted(Path("experiments/runs").glob("reference-*"))
    if not paths:
        print("no run is given, and there is no experiments/runs/reference-*")
        return 1
    noise = Disturbance()
    saturation = SimulatedHost().saturation_pps()
    design = Design(tuple(saturation * share for share in (0.25, 0.4, 0.55, 0.7, 0.85)), 8)
    simulated = figures(simulate(SimulatedHost(), design, noise, seed=1))
    limits = {"between restarts": noise.restart_sd, "a trial, as of 60 s": noise.noise_sd, "delay p99": noise.delay_sd}
    assumed = {**simulated, **limits, "offered rate": noise.rate_sd}
    assumed["drops of bursts"] = noise.burst_sd
    measured = {path.name: figures(open_run(str(path), None).trials()) for path in paths}
    print(f"{'':24s}" + "".join(f"{name[:28]:>30s}" for name in measured) + f"{'simulator':>12s}")
    good = True
    for name, value in assumed.items():
        line = f"{name:24s}"
        for found in measured.values():
            fine = name not in limits or found[name] <= ROOM * value
            good &= fine
            told = "–" if np.isnan(found[name]) else f"{found[name]:.3f}"
            line += f"{told:>30s}" if fine else f"{told + ' ✗':>30s}"
        print(f"{line}{value:12.3f}")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
