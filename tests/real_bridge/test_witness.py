"""The witness of ``tests/load/test_witness.py`` on a real Jitsi Videobridge: its probes and retransmissions, too, are
on the wire as the generator counts them."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad
from jvbtune.load.mix import LAYERS
from jvbtune.load.mixfile import load_mix
from tests.load.test_witness import (
    Held,
    held,
    test_rtcp_is_on_the_wire_too,
    test_the_bridges_queues_count_the_same_in_all,
    test_what_was_received_is_on_the_wire_stream_by_stream,
    test_what_was_sent_is_on_the_wire_stream_by_stream,
)
from tests.real_bridge.conftest import REAL

MEETING = load_mix("meeting-5").mix()
assert MEETING.video is not None
#: Those of other codecs ask for some packets again, and have RED.
LOADS = {"audio": IntendedLoad(4, load_mix("audio").mix()), "meeting-5": IntendedLoad(1, MEETING)} | {
    codec: IntendedLoad(
        1, replace(MEETING, red=True, nack_ratio=0.02, video=replace(MEETING.video, codec=codec, layers=LAYERS[codec]))
    )
    for codec in ("vp9", "av1")
}

__all__ = [
    "test_rtcp_is_on_the_wire_too",
    "test_the_bridges_queues_count_the_same_in_all",
    "test_what_was_received_is_on_the_wire_stream_by_stream",
    "test_what_was_sent_is_on_the_wire_stream_by_stream",
]

pytestmark = [*REAL, pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is missing: make system")]


def test_the_bridge_counts_the_same_of_each_ssrc_that_it_receives(one: Held) -> None:
    """Its own statistics of incoming streams, in the quiet after the load."""
    _, _, state = one.looks[-1]
    trackers = {
        name: endpoint["transceiver"]["receiver"]["Incoming statistics tracker"]
        for conference in state["conferences"].values()
        for name, endpoint in conference["endpoints"].items()
    }
    counted = {
        (stream.endpoint, stream.ssrc): trackers[stream.endpoint][str(stream.ssrc)]["num_received_packets"]
        for stream in one.streams.sent
    }
    assert counted == {(stream.endpoint, stream.ssrc): stream.packets for stream in one.streams.sent}


@pytest.fixture(scope="module", params=list(LOADS))
def one(request: pytest.FixtureRequest, real: Lab, tmp_path_factory: pytest.TempPathFactory) -> Held:
    return held(real, tmp_path_factory.mktemp("capture") / "veth.pcapng", LOADS[request.param])
