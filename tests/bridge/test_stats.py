"""The answers of a real bridge (JVB a29d97d) read into one vocabulary."""

import json
from pathlib import Path

import pytest

from jvbtune.bridge.stats import BridgeStats, stats_from_colibri, stats_from_metrics

ANSWERS = Path(__file__).parent / "answers"


def _read(name: str) -> dict:
    return json.loads((ANSWERS / name).read_text())


def test_colibri_stats_of_a_real_bridge() -> None:
    stats = stats_from_colibri(_read("colibri-stats.json"))
    assert (stats.participants, stats.conferences, stats.endpoints) == (40, 8, 40)
    assert (stats.in_pps, stats.out_pps, stats.relay_in_pps, stats.relay_out_pps) == (2007, 8109, 0, 0)
    assert stats.packet_rate_pps == 10116
    assert stats.stress == pytest.approx(0.3353637818853101)
    assert stats.drain is False
    assert stats.version == "2.3.SNAPSHOT"


def test_metrics_of_a_real_bridge_have_the_same_quantities() -> None:
    stats = stats_from_metrics(_read("metrics.json"))
    assert (stats.participants, stats.conferences, stats.endpoints) == (40, 8, 40)
    assert stats.packet_rate_pps == 2005 + 8100
    assert stats.drain is False
    assert (stats.gc_count, stats.gc_milliseconds) == (15, 274)


def test_a_rate_that_is_not_there_is_not_zero() -> None:
    stats = stats_from_colibri({"packet_rate_download": 5})
    assert isinstance(stats, BridgeStats)
    assert stats.packet_rate_pps is None
    assert stats.participants is None
