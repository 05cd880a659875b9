"""What a result says of the traffic that it was measured with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from jvbtune.cli.result_text import summary
from jvbtune.fit.reasons import Code
from jvbtune.load.mixfile import load_mix
from jvbtune.result import RunResult, result_of
from jvbtune.store import open_run

REFERENCE = Path(__file__).parents[2] / "experiments" / "runs" / "reference-real-bridge"
AUDIO = {"participants": 10, "senders": 6, "stream_pps": 50.0, "payload_bytes": 80}
VIDEO = load_mix("meeting-5").model_dump(mode="json")


def measured_with(directory: Path, **load: Any) -> RunResult:
    run = shutil.copytree(REFERENCE, directory / REFERENCE.name)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["experiment"]["load"] |= load
    (run / "manifest.json").write_text(json.dumps(manifest))
    return result_of(open_run(run))


@pytest.mark.parametrize(
    ("load", "audio_only"),
    [
        ({}, True),
        ({"mix": AUDIO, "other_mixes": [AUDIO | {"senders": 2}]}, True),
        ({"mix": load_mix("audio").model_dump(mode="json")}, True),
        ({"mix": VIDEO}, False),
        ({"mix": AUDIO, "other_mixes": [VIDEO]}, False),
    ],
    ids=["as it was", "audio mixes", "the audio mix", "video", "video among others"],
)
def test_the_audio_only_remark_is_there_exactly_when_the_load_was(
    tmp_path: Path, load: dict[str, Any], audio_only: bool
) -> None:
    result = measured_with(tmp_path, **load)
    assert (Code.AUDIO_ONLY in {remark.code for remark in result.remarks}) == audio_only
    assert any("For video" in line for line in summary(result)) == audio_only
