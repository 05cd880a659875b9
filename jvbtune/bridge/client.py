"""The bridge's private HTTP interface, reached from its own host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jvbtune.bridge.stats import BridgeStats, stats_from_colibri, stats_from_metrics
from jvbtune.errors import BridgeError, HostError
from jvbtune.hosts.base import Host
from jvbtune.protocol.http import NoAnswer, TcpConnection, ask
from jvbtune.text import clean

#: A COLIBRI request of a loaded bridge was seen to take over a second; a hung one never answers.
DEFAULT_TIMEOUT_SECONDS = 10.0


class BridgeClient:
    """Asks the bridge on ``host`` at ``address:port``, as seen from the host itself.

    Thread-safe; holds nothing open.
    """

    def __init__(
        self,
        host: Host,
        address: str = "127.0.0.1",
        port: int = 8080,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self.host, self.address, self.port = host, address, port
        self.timeout_seconds = timeout_seconds

    def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        accept: str = "application/json",
        timeout_seconds: float | None = None,
    ) -> tuple[int, bytes]:
        """One request: (status, body). Raises BridgeError when the bridge does not answer."""
        headers = {"Accept": accept}
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        elif method in ("POST", "PATCH", "PUT"):
            payload = b""
        seconds = timeout_seconds or self.timeout_seconds

        def connect() -> TcpConnection:
            return self.host.connect_tcp(self.address, self.port, timeout_seconds=seconds)

        try:
            return ask(
                connect, self.address, self.port, method, path, timeout_seconds=seconds, body=payload, headers=headers
            )
        except (NoAnswer, HostError) as error:
            raise BridgeError(
                f"{self.host.name}: the bridge's private HTTP interface at "
                f"{self.address}:{self.port} did not answer {method} {path}: {error}",
                hint="Is the bridge running, and is bridge.http_port right in jvbtune.toml?",
            ) from error

    def request(self, method: str, path: str, body: Any = None, *, timeout_seconds: float | None = None) -> Any:
        """One request with a JSON answer, None for an empty one. Raises BridgeError for a status ≥ 400."""
        status, answer = self.raw(method, path, body, timeout_seconds=timeout_seconds)
        if status >= 400:
            hint = None
            if status == 404 and path.startswith("/colibri"):
                hint = (
                    "COLIBRI REST is off by default: set videobridge.apis.rest.enabled = true in jvb.conf "
                    "(docker-jitsi-meet: COLIBRI_REST_ENABLED=1) and restart the bridge."
                )
            text = clean(answer[:800].decode("utf-8", "replace"))
            raise BridgeError(
                f"{self.host.name}: the bridge answered {status} to {method} {path}" + (f": {text}" if text else ""),
                hint=hint,
            )
        if not answer.strip():
            return None
        try:
            return json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise BridgeError(
                f"{self.host.name}: the bridge's answer to {method} {path} is not JSON: {answer[:80]!r}"
            ) from error

    def healthy(self) -> tuple[bool, str]:
        """``/about/health``: (healthy, reason). A bridge that does not answer raises BridgeError."""
        status, answer = self.raw("GET", "/about/health")
        return 200 <= status < 300, answer[:200].decode("utf-8", "replace")

    def version(self) -> str:
        """``/about/version``, e.g. ``JVB 2.3.SNAPSHOT``."""
        answer = self.request("GET", "/about/version")
        told = answer if isinstance(answer, dict) else {}
        return clean(f"{told.get('name', 'JVB')} {told.get('version', 'unknown')}")

    def stats(self, keys: Mapping[str, str] | None = None) -> BridgeStats:
        """The bridge's stats from ``/colibri/stats``; from ``/metrics`` if those are off or have no packet rates.

        ``keys``: field of BridgeStats -> key of the answer, for keys that are named otherwise.
        """
        status, answer = self.raw("GET", "/colibri/stats")
        found = stats_from_colibri(_json_object(answer, "/colibri/stats"), keys) if status == 200 else None
        if found is not None and found.packet_rate_pps is not None:
            return found
        status, answer = self.raw("GET", "/metrics")
        if status == 200:
            other = stats_from_metrics(_json_object(answer, "/metrics"), keys)
            if found is None or other.packet_rate_pps is not None:
                return other
        if found is not None:
            return found
        raise BridgeError(
            f"{self.host.name}: the bridge at {self.address}:{self.port} gives neither /colibri/stats nor /metrics",
            hint="Set videobridge.apis.rest.enabled = true in jvb.conf.",
        )

    def queue_stats(self) -> dict[str, Any]:
        """``/debug/stats/jvb/queue-stats``: exact packet counts of the bridge's queues."""
        answer = self.request("GET", "/debug/stats/jvb/queue-stats")
        return answer if isinstance(answer, dict) else {}

    def draining(self) -> bool:
        """Whether the bridge is in drain mode: Jicofo gives it no new conference."""
        answer = self.request("GET", "/colibri/drain")
        drain = answer.get("drain") if isinstance(answer, dict) else None
        if not isinstance(drain, bool):
            raise BridgeError(f"{self.host.name}: the bridge does not report its drain mode: {clean(repr(answer), 80)}")
        return drain

    def drain(self, on: bool) -> None:
        """Switch the drain mode."""
        self.request("POST", "/colibri/drain/enable" if on else "/colibri/drain/disable")


def _json_object(answer: bytes, path: str) -> dict[str, Any]:
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise BridgeError(f"the bridge's answer to {path} is not JSON: {answer[:80]!r}") from error
    if not isinstance(parsed, dict):
        raise BridgeError(f"the bridge's answer to {path} is not a JSON object: {answer[:80]!r}")
    return parsed
