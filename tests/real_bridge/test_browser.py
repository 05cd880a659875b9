"""A real Chromium in a conference on a real Jitsi Videobridge decodes what jvbtune's cameras send, of each layer that
the bridge chooses: the proof that the media is real."""

from __future__ import annotations

from pathlib import Path

import pytest

from jvbtune.lab import Lab
from jvbtune.load.mix import LAYERS
from tests.load.seat import HEIGHTS, all_decoded, watching
from tests.real_bridge.conftest import REAL

pytestmark = [*REAL, pytest.mark.browser]


@pytest.mark.parametrize("codec", ["vp8", "vp9", "av1"])
def test_it_decodes_in_each_height_that_is_asked_for(real: Lab, tmp_path: Path, codec: str) -> None:
    with watching(real, tmp_path, codec, LAYERS[codec]) as seat:
        for height in HEIGHTS:
            seat.ask(height)
            seat.until_height(height)
        all_decoded(seat)
