"""Which interval means what it says with few restarts: the jackknife with Student's t, or a bootstrap of restarts?

    python benchmarks/bench_fit_intervals.py           about a minute; --full: 1000 repetitions

For simulated hosts of known truth: how often the 95 % interval of the packet rate at 80 % CPU holds it, by ours, by the
percentile bootstrap and by BCa (Efron 1987), both over restarts (the cluster bootstrap of blocks). Beside them what is
said of a further restart: how many of them carry the exported rate (wanted: 95 %), and how many of their trials lie in
the curve's prediction band (wanted: 95 %). Fails (1) where ours is outside its limit by more than 2.6 standard errors.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import numpy.typing as npt
from scipy import stats

from jvbtune.fit import Limits, recommend
from jvbtune.fit.bounds import Bound
from jvbtune.fit.curve import TOP, Curve, Preparation
from jvbtune.fit.forms import fit_form
from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost, simulate

Floats = npt.NDArray[np.float64]

HOST = SimulatedHost()
LIMITS = Limits()
TRUTH = HOST.truth(LIMITS)["cpu"]
NOISE = Disturbance()
RESAMPLES = 1000
#: Of the confidence and prediction intervals; an export may be held by more restarts than it says, not by fewer.
COVERAGE = (0.93, 0.97)


def bootstrap(curve: Curve, rng: np.random.Generator) -> tuple[Floats, float]:
    """Packet rates at the CPU limit in resamples of whole restarts, and the estimate that they are about."""
    data, x = curve.data, curve.data.x / curve.scale
    prior = Preparation.of(data, x, curve.form)
    picks = rng.integers(0, data.restarts, (RESAMPLES, data.restarts))
    counts = np.stack([np.bincount(pick, minlength=data.restarts) for pick in picks]).astype(float)
    weights = counts[:, data.restart] * prior.row_weights
    level = prior.shrink * counts @ prior.effect / data.restarts
    fitted = fit_form(curve.form, x, prior.adjusted, weights)
    rates = fitted.inverse(LIMITS.cpu_ratio * np.exp(-level), TOP) * curve.scale
    return rates, float(curve.inverse_sets(LIMITS.cpu_ratio)[0])


def percentile(rates: Floats) -> tuple[float, float]:
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)


def bias_corrected(rates: Floats, estimate: float, curve: Curve) -> tuple[float, float]:
    without = np.log(curve.inverse_sets(LIMITS.cpu_ratio)[1:])
    off = without.mean() - without
    acceleration = float(np.sum(off**3) / (6 * np.sum(off**2) ** 1.5 + 1e-300))
    share = np.clip(np.mean(rates < estimate), 1 / RESAMPLES, 1 - 1 / RESAMPLES)
    middle = float(stats.norm.ppf(share))
    z = middle + stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(rates, stats.norm.cdf(middle + z / (1 - acceleration * z)))
    return float(low), float(high)


def further(bound: Bound, export: float, rng: np.random.Generator) -> tuple[float, float]:
    """Of 40 further restarts: the share that carries the export, and of a trial of each, that lies in the band."""
    factors = np.exp(NOISE.restart_sd * rng.standard_normal(40))
    carried = np.mean(HOST.cpu_cores(np.full(40, export), factor=factors) <= LIMITS.cpu_ratio * HOST.cores)
    pps = rng.uniform(0.3, 1.0, 40) * TRUTH
    cpu = HOST.cpu_cores(pps, factor=factors * np.exp(NOISE.noise_sd * rng.standard_normal(40)))
    low, high = bound.curve.prediction_band(pps)  # type: ignore[union-attr]
    return float(carried), float(np.mean((low <= cpu) & (cpu <= high)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="1000 repetitions of each")
    repetitions = 1000 if parser.parse_args().full else 150
    good = True
    print(
        f"{'restarts':>8s} {'n':>5s} {'jackknife, t':>13s} {'percentile':>11s} {'BCa':>7s} "
        f"{'carry the export':>17s} {'in the band':>12s}"
    )
    for restarts in (3, 4, 6, 10):
        design = Design(tuple((np.linspace(0.2, 1.1, 5) * TRUTH).tolist()), restarts)
        inside, carried, banded = [], [], []
        for seed in range(repetitions):
            rng = np.random.default_rng(seed)
            (found,) = recommend(simulate(HOST, design, NOISE, seed=seed), LIMITS)
            bound = found.bound("cpu")
            if bound is None or found.load_threshold_pps is None:
                continue
            rates, estimate = bootstrap(bound.curve, rng)  # type: ignore[arg-type]
            ends = (
                (bound.low_pps, bound.high_pps),
                percentile(rates),
                bias_corrected(rates, estimate, bound.curve),  # type: ignore[arg-type]
            )
            inside.append([low <= TRUTH <= high for low, high in ends])
            of_next = further(bound, found.load_threshold_pps, rng)
            carried.append(of_next[0])
            banded.append(of_next[1])
        count = len(inside)
        ours, simple, corrected = np.mean(inside, axis=0)
        room = 2.6 * np.sqrt(0.95 * 0.05 / count)
        of_band = 2.6 * float(np.std(banded)) / np.sqrt(count)
        fine = COVERAGE[0] - room <= ours <= COVERAGE[1] + room
        fine &= np.mean(carried) >= 0.95 - 2.6 * float(np.std(carried)) / np.sqrt(count)
        fine &= np.mean(banded) >= COVERAGE[0] - of_band
        good &= bool(fine)
        print(
            f"{restarts:8d} {count:5d} {ours:13.1%} {simple:11.1%} {corrected:7.1%} {np.mean(carried):17.1%} "
            f"{np.mean(banded):12.1%}{'' if fine else '  ✗'}",
            flush=True,
        )
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
