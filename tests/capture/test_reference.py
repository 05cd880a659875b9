"""The committed captures of a real bridge: they load, their totals are whole, and they show what their README says."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from jvbtune.capture import quality_of
from jvbtune.capture.stored import Capture, list_captures

DIRECTORY = Path(__file__).parents[2] / "flamegraphs"
CAPTURES = {one.id: one for one in list_captures([DIRECTORY]) if one.id.startswith("reference-")}


@pytest.mark.parametrize("load", ["low", "high"])
@pytest.mark.parametrize("engine", ["async-profiler", "perf", "jfr"])
def test_a_reference_capture_is_whole(engine: str, load: str) -> None:
    capture = CAPTURES[f"reference-{load}-{engine}"]
    assert capture.path.name == capture.id
    profiles = capture.profiles()
    assert [profile.total for profile in profiles] == [one.samples for one in capture.slices]
    assert len(profiles) == 6
    assert all(one.packets and one.packets == (one.in_packets or 0) + (one.out_packets or 0) for one in capture.slices)
    assert ("udp_sendmsg_[k]" in _text(capture)) == (engine != "jfr")
    assert "org/jitsi/" in _text(capture)


def test_what_the_readme_says_of_them_is_what_they_hold() -> None:
    readme = (DIRECTORY / "README.md").read_text()
    for name, capture in CAPTURES.items():
        quality = quality_of(_text(capture).encode())
        rate = capture.packet_rate_pps
        assert rate is not None
        row = re.search(rf"^\| `{name}` \| (\d+) pps \| (\d+) \| ([\d.]+) % \| (\S+)", readme, re.M)
        assert row is not None, f"{name} is not in the README"
        assert (int(row[1]), int(row[2])) == (round(rate), quality.samples)
        assert float(row[3]) == pytest.approx(100 * quality.unresolved_ratio, abs=0.06)
        assert row[4] == "–" or float(row[4]) == pytest.approx(100 * quality.kernel_ratio, abs=0.6)


def test_they_are_small_and_name_no_place_of_the_machine_that_they_were_taken_on() -> None:
    files = [path for path in DIRECTORY.glob("reference-*/*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1 << 20
    for capture in CAPTURES.values():
        text = _text(capture) + (capture.path / "capture.json").read_text()
        assert not re.search(r'(?m)(?:^|[ "(=;])/(?:root|home|work|tmp|opt|usr)/', text)


def _text(capture: Capture) -> str:
    return "".join(gzip.decompress((capture.path / one.file).read_bytes()).decode() for one in capture.slices)
