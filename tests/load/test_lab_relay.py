"""Conferences behind a relay on the lab's bridge; ``tests/real_bridge/test_relays.py`` holds the same on a real one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import bridge_counts
from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, open_generator
from jvbtune.load.mix import VP8_LAYERS, Remote, Video

pytestmark = [pytest.mark.lab, pytest.mark.measured]

VIDEO = Mix(3, 2, video=Video(2, VP8_LAYERS, stage_views=3), remote=Remote(3, 2, cameras=2, stage_views=3))


@pytest.mark.parametrize("mix", [Mix(3, 1, remote=Remote(3, 2)), VIDEO], ids=["audio", "video"])
def test_relayed_packets_are_counted_alike_on_both_sides(lab: Lab, mix: Mix) -> None:
    entry = lab.entry()
    with connect(entry) as host, open_generator(entry, host) as generator:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        generator.offer(IntendedLoad(2, mix), 2.0, settle_seconds=2.0)
        offered = generator.offer(IntendedLoad(2, mix), 4.0, settle_seconds=1.0, edge=client.queue_stats)
        assert generator.endpoints == 6, "those behind relays are not on the bridge"
        stats = client.request("GET", "/colibri/stats")
    kinds, meetings = offered.extra["kinds"], offered.extra["meetings"]
    assert offered.extra["silent_endpoints"] == ()
    heard = kinds["audio"]["expected"] / kinds["audio"]["sent"]
    assert heard == pytest.approx(3.0), "each microphone is heard by two here and the relay, or by three here"
    assert kinds["audio"]["received"] == kinds["audio"]["expected"]
    before, after = offered.extra["edges"]
    counts = bridge_counts(before, after, offered.duration_seconds, offered.relayed_in)
    assert counts.packet_rate_pps == pytest.approx(offered.offered_pps, rel=0.01)
    assert counts.relay_out_pps == pytest.approx(meetings["relayed_out"] / offered.duration_seconds, rel=0.01)
    assert counts.relay_in_pps >= 2 * mix.remote.senders * 50  # type: ignore[union-attr]
    if mix.video is not None:
        assert kinds["video"]["received"] == kinds["video"]["expected"] > 0
        assert counts.relay_out_pps > 2 * mix.senders * 50 + 2 * 30
    assert stats["octo_conferences"] == 2
    assert (stats["local_endpoints"], stats["octo_endpoints"], stats["participants"]) == (6, 6, 12)


def load_over_a_relay(lab: Lab, directory: Path) -> dict[str, Any]:
    """What ``jvbtune load --json`` answers; held alike by ``tests/real_bridge/test_relays.py``."""
    argv = [sys.executable, "-m", "jvbtune", "load", "--host", lab.name, "--inventory", str(lab.inventory)]
    (directory / "two.toml").write_text("participants = 2\nsenders = 1\n[remote]\nparticipants = 2\nsenders = 1\n")
    done = subprocess.run(
        [*argv, "--mix", str(directory / "two.toml"), "--packet-rate", "1000", "--duration", "4", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["bridge_relay_in_pps"] == pytest.approx(answer["bridge_relay_out_pps"], rel=0.2)
    assert answer["bridge_relay_in_pps"] > 100
    return answer


def test_a_trial_has_relay_packets_in_and_out(lab: Lab, tmp_path: Path) -> None:
    load_over_a_relay(lab, tmp_path)


def test_check_says_whether_the_bridge_takes_relays(lab: Lab, tmp_path: Path) -> None:
    experiment = tmp_path / "relayed.toml"
    experiment.write_text('name = "relayed"\n[load]\npacket_rates_pps = [20000]\nmix = "town-hall-60"\n')
    argv = [sys.executable, "-m", "jvbtune", "check", "--host", lab.name, "--inventory", str(lab.inventory)]
    done = subprocess.run([*argv, str(experiment), "--json"], capture_output=True, text=True, timeout=60, check=False)
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert findings["relays"]["state"] == "ok", findings
    assert findings["relays"]["text"] == "the bridge takes relays, as lab"
    assert findings["channel"]["state"] == "ok", findings
