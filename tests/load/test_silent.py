"""An endpoint that gets nothing at all: its set-up failed, or the bridge lost packets of everybody."""

from __future__ import annotations

import pytest

from jvbtune.load.generator import _lost_to_all


@pytest.mark.parametrize(
    ("silent", "endpoints", "expected", "received", "lost"),
    [
        (1, 20, 10_000, 9_500, False),  # its share, and no more
        (1, 20, 10_000, 9_400, False),
        (1, 20, 10_000, 4_400, True),  # a real bridge with 212992 bytes: 56 % of each burst
        (10, 20, 10_000, 5_000, False),
        (10, 20, 10_000, 2_500, True),
        (20, 20, 10_000, 0, False),  # nobody hears: no connection at all
    ],
)
def test_only_what_everybody_lost_explains_it(
    silent: int, endpoints: int, expected: int, received: int, lost: bool
) -> None:
    assert _lost_to_all(silent, endpoints, expected, received) == lost
