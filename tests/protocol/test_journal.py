"""What an agent tells of a journal and of a put-back has the fields that the protocol knows, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from jvbtune.agent import tuning
from jvbtune.agent.journal import Journal
from jvbtune.agent.putback import put_back, summary
from jvbtune.protocol.codec import build
from jvbtune.protocol.tuning import PutBack

RECORD = {
    "version": 1, "run_id": "r", "owner": "o", "boot_id": "b", "created_unix": 1.0, "baseline": {"net.a": "1"},
    "written": {"net.a": ["2"]}, "overlay": None, "drained": True, "pending": "a call is there", "tries": 2,
    "failed": ["x"], "bridge": None, "settings": [],
}  # fmt: skip


def test_a_journal_that_was_left_over() -> None:
    found = tuning._leftover(RECORD)
    assert (found.owner, found.written, found.pending_restart, found.tries) == (
        "o",
        {"net.a": ["2"]},
        "a call is there",
        2,
    )
    assert tuning._leftover({}).owner is None
    assert summary(RECORD)["pending"] == "a call is there"


def test_the_report_of_a_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real put-back, of a journal of another boot: nothing on this machine is touched."""
    journal = Journal(str(tmp_path / "state"))
    with journal.locked():
        journal.write(dict(RECORD))
        report = put_back(journal, "another boot", "a test")
    found = build(PutBack, report, "report")
    assert found.rebooted
    assert found.complete
    assert found.by == "a test"
