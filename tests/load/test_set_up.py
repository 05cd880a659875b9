"""A conference that cannot be set up leaves nothing open in the worker."""

from __future__ import annotations

from typing import Any, cast

import pytest

from jvbtune.errors import LoadError
from jvbtune.inventory import HostEntry
from jvbtune.load import Mix
from jvbtune.load.conferences import ATTEMPTS, Conferences
from jvbtune.load.workers import Worker
from jvbtune.protocol import worker as messages
from tests.load.test_leftover import bridge


class FakeWorker:
    """Opens what it is asked to, and remembers what was not closed."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.opened = 0

    def call(self, operation: Any, arguments: Any, timeout_seconds: float = 30.0) -> Any:
        if operation is messages.OPEN:
            self.open |= set(arguments.endpoints)
            self.opened += len(arguments.endpoints)
            own = messages.OwnEnd("u", "p", "127.0.0.1", 4000)
            return messages.Opened(dict.fromkeys(arguments.endpoints, own), "sha-256 00")
        assert operation is messages.CLOSE, operation
        self.open -= set(arguments.endpoints)
        return None


def test_a_bridge_that_refuses_every_endpoint_leaves_none_open() -> None:
    worker = FakeWorker()
    with bridge([]) as (client, _):  # it knows of no such conference
        conferences = Conferences(HostEntry("jvb", None), client, None)
        with pytest.raises(LoadError, match=r"2 conferences could not be set up: .*signalling"):
            conferences.add(2, Mix(3, 1), machines=1, worker_for=lambda pps: cast(Worker, worker))
    assert worker.opened == 2 * 3 * ATTEMPTS
    assert not worker.open
    assert len(conferences) == 0
