"""What several workers saw of one window, as one: counts add up, quantiles are of all sampled packets together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SUMS = ("sent_packets", "unsent_packets", "expected_packets", "received_packets", "reordered_packets")
#: Of each of these the worst is the generator's; ``overflows`` is a counter of the network namespace that all share.
WORST = ("overflows", "drain_seconds", "lateness_p99_ms", "lateness_max_ms", "cpu_ratio")
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
LATE_US = 50_000


def merge_windows(windows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The answers of ``worker.do_window``, at least one. The window is the time that all of them were in it."""
    delays = np.sort(np.concatenate([np.asarray(window["delays_us"], dtype=np.float64) for window in windows]))
    begun = [float(window["started_unix"]) for window in windows]
    return {
        "started_unix": min(begun),
        "duration_seconds": sum(float(window["duration_seconds"]) for window in windows) / len(windows),
        **{name: sum(int(window[name]) for window in windows) for name in SUMS},
        **{name: max(window[name] for window in windows) for name in WORST},
        "workers": len(windows),
        "workers_apart_ms": (max(begun) - min(begun)) * 1000,
        "delay_ms": _delays(delays),
        "delayed_50ms_ratio": float((delays > LATE_US).mean()) if len(delays) else None,
        "sampled_packets": len(delays),
    }


def _delays(ordered: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    if not len(ordered):
        return {}
    found = {name: float(ordered[min(len(ordered) - 1, int(len(ordered) * q))]) for name, q in QUANTILES.items()}
    return {name: value / 1000 for name, value in {**found, "max": float(ordered[-1])}.items()}
