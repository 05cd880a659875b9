"""VP9, AV1 and RED on the lab's bridge, which forwards them as they are; ``tests/real_bridge/test_codecs.py`` holds a
real one to its choice of layers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import bridge_counts
from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, open_generator
from jvbtune.load.mix import LAYERS
from jvbtune.load.mixfile import load_mix

pytestmark = [pytest.mark.lab, pytest.mark.measured]

MEETING = load_mix("one-to-one").mix()


@pytest.mark.parametrize("codec", ["vp9", "av1", "red"])
def test_all_layers_come_and_are_counted_alike_on_both_sides(lab: Lab, codec: str) -> None:
    entry = lab.entry()
    assert MEETING.video is not None
    mix = replace(MEETING, red=True)
    if codec != "red":
        mix = replace(MEETING, video=replace(MEETING.video, codec=codec, layers=LAYERS[codec]))
    with connect(entry) as host, open_generator(entry, host) as generator:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        generator.offer(IntendedLoad(2, mix), 2.0, settle_seconds=2.0)
        offered = generator.offer(IntendedLoad(2, mix), 4.0, settle_seconds=1.0, edge=client.queue_stats)
    kinds = offered.extra["kinds"]
    assert offered.extra["silent_endpoints"] == ()
    assert kinds["audio"]["received"] == kinds["audio"]["expected"] == kinds["audio"]["sent"] > 0
    assert kinds["video"]["received"] == kinds["video"]["expected"] > 0
    if codec != "red":
        assert kinds["video"]["received"] == pytest.approx(kinds["video"]["sent"], rel=0.02), "all layers"
    before, after = offered.extra["edges"]
    counts = bridge_counts(before, after, offered.duration_seconds)
    assert counts.packet_rate_pps == pytest.approx(offered.offered_pps, rel=0.01)
