"""Annotations by Grafana's HTTP API (https://grafana.com/docs/grafana/latest/developers/http_api/annotations/).

``put`` is idempotent: it looks for an annotation with the same key of tags, and adds, changes or leaves it. The token
is sent to the given server only: no redirect is followed.
"""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from jvbtune import __version__
from jvbtune.errors import ConfigError, JvbtuneError, UsageError
from jvbtune.export.grafana.annotations import Annotation
from jvbtune.text import clean

TIMEOUT_SECONDS = 15.0
MOST_BYTES = 4 << 20
PATH = "/api/annotations"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class GrafanaError(JvbtuneError):
    """Grafana cannot be reached, or refuses."""


class Outcome(StrEnum):
    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Grafana:
    """A server. ``url``: its address, with the path under which it is served. ``ca_file``: the CA to trust instead of
    the system's. Raises UsageError and ConfigError for what cannot be one."""

    url: str
    token: str = field(repr=False)
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise UsageError(f"--grafana {clean(self.url)}: not an http:// or https:// address")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise UsageError("--grafana: the address must have no user, password or query")
        if parts.scheme == "http" and self.ca_file is not None:
            raise UsageError("--ca is for an https:// address")
        if not self.token.isascii() or not self.token.isprintable():
            raise UsageError("the token of Grafana has characters that no token has")
        self._context()

    @property
    def unencrypted(self) -> bool:
        """Whether others on the way can read the token."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and parts.hostname not in LOOPBACK

    def put(self, annotation: Annotation) -> Outcome:
        """Make it so. Raises GrafanaError."""
        query = [("tags", tag) for tag in annotation.key] + [("type", "annotation"), ("limit", "100")]
        found = self._call("GET", f"{PATH}?{urlencode(query)}")
        if not isinstance(found, list):
            raise GrafanaError(f"{self.url}: the answer is not a list of annotations", hint=_NOT_GRAFANA)
        same = [one for one in found if isinstance(one, dict) and set(annotation.key) <= set(one.get("tags") or ())]
        wanted = {
            "time": annotation.begin_ms,
            "timeEnd": annotation.end_ms if annotation.end_ms is not None else annotation.begin_ms,
            "tags": list(annotation.tags),
            "text": annotation.text,
        }
        if not same:
            self._call("POST", PATH, wanted)
            return Outcome.ADDED
        if _equal(same[0], wanted):
            return Outcome.UNCHANGED
        self._call("PATCH", f"{PATH}/{int(same[0]['id'])}", wanted)
        return Outcome.CHANGED

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        except (OSError, ssl.SSLError) as error:
            reason = "no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError(f"cannot be used as a CA: {reason}", file=self.ca_file) from error

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=TIMEOUT_SECONDS, context=self._context()
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json",
            "User-Agent": f"jvbtune/{__version__}",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(
                method, parts.path.rstrip("/") + path, None if body is None else json.dumps(body), headers
            )
            answer = connection.getresponse()
            content = answer.read(MOST_BYTES + 1)
        except ssl.SSLCertVerificationError as error:
            raise GrafanaError(
                f"{self.url}: the certificate is not trusted: {clean(error.verify_message)}",
                hint="Name the file of the CA that signed it: --ca FILE",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise GrafanaError(f"{self.url}: Grafana does not answer: {clean(str(error))}") from error
        finally:
            connection.close()
        if answer.status != 200:
            self._refused(answer, content)
        try:
            if len(content) > MOST_BYTES:
                raise ValueError
            return json.loads(content)
        except (ValueError, RecursionError):
            raise GrafanaError(f"{self.url}: the answer is not JSON of Grafana's API", hint=_NOT_GRAFANA) from None

    def _refused(self, answer: http.client.HTTPResponse, content: bytes) -> None:
        if 300 <= answer.status < 400:
            where = clean(answer.headers.get("Location") or "elsewhere")
            raise GrafanaError(
                f"{self.url} redirects to {where}, and the token is not sent there",
                hint="Give the address at which Grafana is served: --grafana URL",
            )
        try:
            said = clean(str(json.loads(content)["message"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            said = clean(answer.reason)
        hints = {
            401: "The token is wrong or expired. Create one: Administration, Service accounts.",
            403: "The token's service account needs the role Editor, or the permissions annotations:read, "
            "annotations:create and annotations:write for annotations of the organization.",
            404: _NOT_GRAFANA,
        }
        raise GrafanaError(f"{self.url} refuses: {answer.status} {said}", hint=hints.get(answer.status))


_NOT_GRAFANA = "Give the address at which Grafana is served, with its path: --grafana https://example.org/grafana"


def _equal(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """A moment has no end, an end of 0, or an end that is its beginning: versions of Grafana differ."""
    end = found.get("timeEnd") or found.get("time")
    return (
        found.get("time") == wanted["time"]
        and end == wanted["timeEnd"]
        and set(found.get("tags") or ()) == set(wanted["tags"])
        and found.get("text") == wanted["text"]
    )
