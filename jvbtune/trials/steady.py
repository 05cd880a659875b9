"""Was a trial steady? Warm-up, drift and jumps in its 1 Hz series.

Three checks, because each misses what another sees:

- MSER-5 (White, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69, 1997) finds
  the end of a warm-up that is longer than noise; it misses a drift over the whole window.
- The Theil–Sen slope (Sen, JASA 63, 1968) with Kendall's test finds a drift; it misses a jump in the middle.
- PELT with an l2 cost (Killick, Fearnhead & Eckley, JASA 107, 2012) finds a jump.

A window of fewer than 20 s cannot tell a warm-up from noise: there, only a drift that is both large and significant is
called unsteady, and ``Steadiness.notes`` says what was not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

Floats = npt.NDArray[np.float64]

MSER_BATCH = 5
MSER_MIN_SAMPLES = 4 * MSER_BATCH
PELT_MIN_SAMPLES = 30
PELT_MIN_SEGMENT = 10
#: A drift or warm-up below this share of the mean does not matter beside the variation between restarts (4–9 %).
TOLERANCE_RATIO = 0.02
#: The window for which TOLERANCE_RATIO can be told from noise; shorter ones get a tolerance that grows as they shrink.
FULL_WINDOW_SAMPLES = 60
SIGNIFICANCE = 0.01


@dataclass(frozen=True)
class Steadiness:
    """The verdict on one trial.

    ``extend`` says that more of the same load may make it steady (warm-up, a jump early in the window); after one
    extension a trial that is still not steady stays so.
    """

    steady: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    steady_from: int = 0  #: samples before it are warm-up
    drift_ratio: float = 0.0  #: Theil–Sen slope × window, as a share of the mean

    @property
    def extend(self) -> bool:
        return not self.steady


def assess(series: Mapping[str, Sequence[float]]) -> Steadiness:
    """Judge a trial's 1 Hz series; all that are there of ``cpu_cores`` and ``rx_thread_ratio``.

    NaN values are left out. The verdict is the worst of the series; the receive thread counts only where it does
    enough work (5 % of a core) for a relative change to mean something.
    """
    verdicts = []
    for name in ("cpu_cores", "rx_thread_ratio"):
        values = np.asarray(series.get(name, ()), dtype=np.float64)
        values = values[np.isfinite(values)]
        if name == "rx_thread_ratio" and (values.size == 0 or float(values.mean()) < 0.05):
            continue
        verdicts.append(assess_series(values, name))
    bad = [v for v in verdicts if not v.steady]
    worst = max(verdicts, key=lambda v: (not v.steady, v.steady_from))
    return Steadiness(
        steady=not bad,
        reasons=tuple(reason for v in bad for reason in v.reasons),
        notes=worst.notes,
        steady_from=max(v.steady_from for v in verdicts),
        drift_ratio=max((v.drift_ratio for v in verdicts), key=abs),
    )


def assess_series(values: Floats, name: str = "cpu_cores") -> Steadiness:
    """One series, equally spaced, without NaN. Fewer than 3 values are never called unsteady, but noted."""
    if values.size < 3:
        return Steadiness(True, notes=(f"{name}: {values.size} samples: steadiness cannot be judged",))
    reasons: list[str] = []
    notes: list[str] = []
    mean = float(values.mean())
    cut = 0
    if values.size >= MSER_MIN_SAMPLES:
        cut = mser(values)
        if not _warmed(values, cut):  # a cut that noise alone would make
            cut = 0
        if cut > values.size // 2:
            reasons.append(f"{name}: still warming up after {values.size // 2} of {values.size} s (MSER-5)")
            cut = values.size // 2
        elif cut and abs(mean / float(values[cut:].mean()) - 1) > TOLERANCE_RATIO:
            shift = mean / float(values[cut:].mean()) - 1
            reasons.append(f"{name}: the first {cut} s are warm-up, and shift the mean by {shift:+.1%} (MSER-5)")
    else:
        notes.append(f"{name}: {values.size} s are too short to see a warm-up: restarts vary more for it")
    drift = drift_ratio(values)
    tolerance = TOLERANCE_RATIO * max(1.0, FULL_WINDOW_SAMPLES / values.size)
    if abs(drift) > tolerance and _kendall_p(values) < SIGNIFICANCE:
        reasons.append(f"{name}: drifts by {drift:+.1%} over the window (tolerance {tolerance:.1%})")
    if values.size >= PELT_MIN_SAMPLES:
        changes = change_points(values)
        if changes and values.size - changes[-1] < values.size / 3:
            before = float(values[: changes[-1]].mean())
            jump = float(values[changes[-1] :].mean()) / before - 1 if before > 0 else float("inf")
            if abs(jump) > TOLERANCE_RATIO:
                reasons.append(f"{name}: jumps by {jump:+.1%} at {changes[-1]} s, too late in the window")
    return Steadiness(not reasons, tuple(reasons), tuple(notes), cut, drift)


def mser(values: Floats, batch: int = MSER_BATCH) -> int:
    """The number of leading samples that MSER would cut: it minimises the squared standard error of what is left.

    Candidates leave at least 5 batches, since the statistic of very few is small by chance.
    """
    batches = values[: values.size // batch * batch].reshape(-1, batch).mean(axis=1)
    count = batches.size
    best, best_cut = np.inf, 0
    for cut in range(max(1, count - 4)):
        kept = batches[cut:]
        statistic = float(np.sum((kept - kept.mean()) ** 2)) / kept.size**2
        if statistic < best:
            best, best_cut = statistic, cut
    return best_cut * batch


def _warmed(values: Floats, cut: int) -> bool:
    """Do the samples before the cut differ from those after it by more than the tolerance and 3 standard errors?"""
    if cut == 0:
        return False
    before, after = values[:cut], values[cut:]
    noise = float(np.median(np.abs(np.diff(values)))) / 0.954
    error = noise * np.sqrt(1 / before.size + 1 / after.size)
    difference = abs(float(before.mean() - after.mean()))
    return bool(difference > max(TOLERANCE_RATIO * abs(float(after.mean())), 3 * error))


def drift_ratio(values: Floats) -> float:
    """Theil–Sen slope × length / mean; 0 where the mean is not positive."""
    mean = float(values.mean())
    if mean <= 0:
        return 0.0
    i, j = np.triu_indices(values.size, 1)
    slope = float(np.median((values[j] - values[i]) / (j - i)))
    return slope * values.size / mean


def _kendall_p(values: Floats) -> float:
    if np.ptp(values) == 0:
        return 1.0
    return float(scipy.stats.kendalltau(np.arange(values.size), values).pvalue)


def change_points(values: Floats, penalty: float = 15.0, min_segment: int = PELT_MIN_SEGMENT) -> list[int]:
    """Indices at which the mean jumps: PELT, l2 cost in units of the noise, penalty × ln n a change.

    The noise is taken from first differences (median absolute, so that the jumps themselves do not count).
    """
    n = values.size
    noise = float(np.median(np.abs(np.diff(values)))) / 0.954  # MAD of a difference of two normals: 0.6745 × √2
    if noise == 0:
        noise = float(values.std()) or 1.0
    scaled = (values - values.mean()) / noise
    total = np.concatenate([[0.0], np.cumsum(scaled)])
    square = np.concatenate([[0.0], np.cumsum(scaled**2)])
    beta = penalty * np.log(n)
    cost = np.full(n + 1, np.inf)
    cost[0] = -beta
    previous = np.zeros(n + 1, dtype=np.int64)
    candidates = np.array([0])
    for end in range(min_segment, n + 1):
        length = end - candidates
        fit = square[end] - square[candidates] - (total[end] - total[candidates]) ** 2 / length
        values_here = cost[candidates] + fit + beta
        best = int(np.argmin(values_here))
        cost[end], previous[end] = values_here[best], candidates[best]
        keep = candidates[cost[candidates] + fit <= cost[end]]
        # a start becomes a candidate once a whole segment lies behind it
        start = end - min_segment + 1
        candidates = np.append(keep, start) if start >= min_segment else keep
    found: list[int] = []
    end = n
    while end > 0:
        end = int(previous[end])
        if end > 0:
            found.append(end)
    return found[::-1]
