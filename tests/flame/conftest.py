"""Reading by the compiled loops and by Python's."""

from __future__ import annotations

import pytest

from jvbtune.flame.formats import native, streams


@pytest.fixture(params=["python", "compiled"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test by Python's loops, and once more by the compiled ones, however small the file."""
    if request.param == "python":
        monkeypatch.setattr(native, "library", lambda: None)
    else:
        if native.library() is None:
            pytest.skip("no C compiler here: the compiled loops are not to be had")
        monkeypatch.setattr(streams, "WORTH_IT_BYTES", 0)
    return str(request.param)
