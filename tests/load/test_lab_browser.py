"""A real Chromium in a conference on the lab's bridge decodes what jvbtune's cameras send.

That bridge chooses layers of VP8 only. Of the others it forwards all, and no dependency descriptor, without which a
browser cannot tell spatial layers of AV1 apart: those have one
here. ``tests/real_bridge/test_browser.py`` has the rest.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from jvbtune.lab import Lab
from jvbtune.load.mix import LAYERS
from tests.load.seat import HEIGHTS, all_decoded, watching

pytestmark = [pytest.mark.lab, pytest.mark.browser, pytest.mark.measured]


def test_vp8_decodes_in_each_height_that_is_asked_for(lab: Lab, tmp_path: Path) -> None:
    with watching(lab, tmp_path, "vp8", LAYERS["vp8"]) as seat:
        for height in HEIGHTS:
            seat.ask(height)
            seat.until_height(height)
        all_decoded(seat)


@pytest.mark.parametrize(("codec", "layers"), [("vp9", 3), ("av1", 1)])
def test_vp9_and_av1_decode_as_they_are_forwarded(lab: Lab, tmp_path: Path, codec: str, layers: int) -> None:
    sent = LAYERS[codec][:layers]
    with watching(lab, tmp_path, codec, sent) as seat:
        seat.ask(720)
        seat.until_height(sent[-1].height)
        all_decoded(seat)
