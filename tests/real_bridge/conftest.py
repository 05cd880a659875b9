"""The real Jitsi Videobridge of ``$JVBTUNE_JVB_HOME``: what every test here needs of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvbtune.lab import Lab

HOME = Path(os.environ.get("JVBTUNE_JVB_HOME", ""))

#: ``pytestmark`` of each module.
REAL = [
    pytest.mark.lab,
    pytest.mark.kernel,
    pytest.mark.real_bridge,
    pytest.mark.skipif("JVBTUNE_JVB_HOME" not in os.environ, reason="needs JVBTUNE_JVB_HOME, a real bridge's home"),
    pytest.mark.measured,
]


@pytest.fixture(scope="module")
def real(lab_root: Path) -> Iterator[Lab]:
    """The default lab with the real bridge in its own one's place."""
    with Lab.up("real", bridge_home=HOME) as up:
        yield up
