"""Asks the bridge for its own figures all through a run, beside the agent's samples of its host."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import BridgeError

#: The bridge refreshes its windowed stats every 5 s; its queue counters are always current.
QUEUE_INTERVAL_SECONDS = 1.0
STATS_INTERVAL_SECONDS = 2.5


class BridgePoller:
    """A thread that keeps every answer with the controller's clock, half-way between request and answer.

    An answer is ``{"unix", "rtt_seconds", "what": "queues" | "stats" | "error", "data"}``.
    """

    def __init__(self, client: BridgeClient) -> None:
        self._client = client
        self._answers: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._paused = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bridge-poller", daemon=True)

    def __enter__(self) -> BridgePoller:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def pause(self) -> None:
        """Ask nothing (the bridge restarts)."""
        self._paused.set()

    def resume(self) -> None:
        self._paused.clear()

    def between(self, start_unix: float, end_unix: float) -> list[dict[str, Any]]:
        """The answers of a window of the controller's clock."""
        with self._lock:
            return [answer for answer in self._answers if start_unix <= answer["unix"] <= end_unix]

    def forget_before(self, unix: float) -> None:
        with self._lock:
            self._answers = [answer for answer in self._answers if answer["unix"] >= unix]

    def queues_now(self) -> dict[str, Any]:
        """One more answer of the queue counters, at once."""
        return self._ask("queues")

    def _run(self) -> None:
        next_stats = 0.0
        while not self._stop.wait(QUEUE_INTERVAL_SECONDS):
            if self._paused.is_set():
                continue
            self._ask("queues")
            if time.monotonic() >= next_stats:
                next_stats = time.monotonic() + STATS_INTERVAL_SECONDS
                self._ask("stats")

    def _ask(self, what: str) -> dict[str, Any]:
        before = time.time()
        data: Mapping[str, Any]
        try:
            data = self._client.queue_stats() if what == "queues" else self._client.stats().to_json()
        except BridgeError as error:
            what, data = "error", {"message": error.message}
        after = time.time()
        answer = {"unix": (before + after) / 2, "rtt_seconds": after - before, "what": what, "data": data}
        with self._lock:
            self._answers.append(answer)
        return answer
