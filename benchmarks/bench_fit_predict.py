"""Do the lower 70 % of the loads predict the CPU of the higher ones? On measured runs.

    python benchmarks/bench_fit_predict.py [RUN…]      default: the committed experiments/runs/reference-*

For each run: the CPU curve is fitted to the trials up to 70 % of the highest packet rate, and its value at each higher
packet rate is held against the mean of the trials there. The noise of that mean is printed beside it: an error that is
no larger says nothing against the curve.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

from jvbtune.fit.bounds import unsaturated
from jvbtune.fit.curve import Data, fit_curve
from jvbtune.fit.diagnostics import by_level
from jvbtune.fit.forms import CPU_FORMS
from jvbtune.fit.recommend import usable_rows, with_restarts
from jvbtune.store import open_run
from jvbtune.trials.frame import of_main_shape, prepare

LIMIT = 0.05
SHARE = 0.7


def held_out(trials: pl.DataFrame) -> list[tuple[float, float, float, float]]:
    """(packet rate, predicted / measured − 1, the measured mean's relative standard error, measured) of each."""
    rows = with_restarts(
        of_main_shape(usable_rows(prepare(trials).frame)).filter(
            (pl.col("step") == "baseline") & (pl.col("cpu_ratio") > 0)
        )
    )
    data = unsaturated(Data(*(rows[name].to_numpy() for name in ("bridge_pps", "cpu_ratio", "restart", "block_index"))))
    low = data.x <= SHARE * data.x.max()
    restart = np.unique(data.restart[low], return_inverse=True)[1]
    curve = fit_curve(Data(data.x[low], data.y[low], restart, data.block[low]), CPU_FORMS)
    found = []
    for mask in by_level(data.x):
        rate, cpu = float(data.x[mask].mean()), data.y[mask]
        if rate <= SHARE * data.x.max():
            continue
        error = float(cpu.std(ddof=1) / np.sqrt(cpu.size) / cpu.mean()) if cpu.size > 1 else float("nan")
        found.append((rate, float(curve.mean(np.array([rate]))[0]) / float(cpu.mean()) - 1, error, float(cpu.mean())))
    return found


def main() -> int:
    paths = [Path(name) for name in sys.argv[1:]] or sorted(Path("experiments/runs").glob("reference-*"))
    print(f"{'run':44s} {'pps':>8s} {'CPU':>6s} {'error':>7s} {'noise':>7s}")
    good = True
    for path in paths:
        for rate, error, noise, cpu in held_out(open_run(str(path), None).trials()):
            fine = abs(error) <= LIMIT + 2.6 * (noise if np.isfinite(noise) else 0.0)
            good &= fine
            print(f"{path.name:44s} {rate:8.0f} {cpu:6.1%} {error:+7.1%} {noise:7.1%}{'' if fine else '  ✗'}")
    if not paths:
        print("no run is given, and there is no experiments/runs/reference-*")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
