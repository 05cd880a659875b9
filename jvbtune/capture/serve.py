"""Stored captures in a browser: a list, and any of them viewed, or any two compared. For this machine alone.

The server binds 127.0.0.1, answers only requests that name it so (a foreign page cannot reach it by a name of its own
that resolves to this machine), and reads nothing but what it lists: a request names a capture by the list's own key,
and never a file.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jinja2 import Environment, StrictUndefined

from jvbtune.capture.sources import Reader, captures_of, choose
from jvbtune.capture.store import captures_directory
from jvbtune.capture.stored import Capture, list_captures
from jvbtune.errors import JvbtuneError, UsageError
from jvbtune.flame.compare import NORMALISATIONS, merge, scaling
from jvbtune.flame.viewer import elasticity_columns, render_html
from jvbtune.store import Damaged, Run, list_runs

ADDRESS = "127.0.0.1"

Query = Mapping[str, str]


@dataclass(frozen=True)
class Group:
    """Captures that belong together: those of a run, or those without one."""

    title: str
    run: Run | None
    captures: Mapping[str, Capture]  # by key
    damaged: tuple[str, ...] = ()

    @property
    def loads(self) -> int:
        return len({round(c.packet_rate_pps or 0, -2) for c in self.captures.values() if c.packet_rate_pps})


@dataclass(frozen=True)
class Store:
    """What there is to show. Each request reads it again, because captures come and go."""

    reader: Reader

    def groups(self) -> list[Group]:
        """Captures without a run first, then runs that have captures, newest first."""
        damaged: list[JvbtuneError] = []
        alone = list_captures([captures_directory(self.reader.captures_dir)], damaged)
        unreadable: list[Damaged] = []
        runs = list_runs(self.reader.runs_dir, unreadable)
        errors = tuple(error.message for error in (*damaged, *unreadable))
        out = [Group("Captures", None, {c.id: c for c in alone}, errors)]
        for run in runs:
            broken: list[JvbtuneError] = []
            captures = captures_of(run, broken)
            if captures or broken:
                listed = {f"{run.id}:{c.id}": c for c in captures}
                out.append(Group(run.id, run, listed, tuple(error.message for error in broken)))
        return out

    def capture(self, key: str) -> Capture:
        """The capture of the list that has this very key."""
        for group in self.groups():
            if key in group.captures:
                return group.captures[key]
        raise NotFound(f"there is no capture {key!r}")

    def run(self, key: str) -> Group:
        """The run of the list with this very id."""
        for group in self.groups():
            if group.run is not None and group.run.id == key:
                return group
        raise NotFound(f"there is no run {key!r} with captures")


class NotFound(UsageError):
    """What was asked for is not in the list."""


def index(store: Store, query: Query) -> str:
    """The list, with a form to choose from."""
    template = _environment().from_string(_text("serve.html"))
    return template.render(
        groups=store.groups(),
        normalisations=NORMALISATIONS,
        style=_style(),
        day=lambda unix: time.strftime("%Y-%m-%d %H:%M", time.gmtime(unix)),
    )


def view(store: Store, query: Query) -> str:
    """One capture."""
    capture = store.capture(_needed(query, "a"))
    tree = merge([store.reader.capture(capture)], labels=[capture.title], rules=store.reader.sentences)
    return render_html(tree, title=capture.title)


def diff(store: Store, query: Query) -> str:
    """Two captures."""
    captures = [store.capture(_needed(query, name)) for name in ("a", "b")]
    tree = merge(
        [store.reader.capture(capture) for capture in captures],
        labels=[capture.title for capture in captures],
        normalise=query.get("normalise") or None,
        force="force" in query,
        rules=store.reader.sentences,
    )
    return render_html(tree, title=f"{captures[0].title} → {captures[1].title}")


def growth(store: Store, query: Query) -> str:
    """The captures of a run over its loads."""
    group = store.run(_needed(query, "run"))
    captures = choose(list(group.captures.values()), group.title, query.get("step"), query.get("event"))
    found = scaling.scaling(
        [store.reader.capture(capture) for capture in captures],
        labels=[capture.title for capture in captures],
        rules=store.reader.sentences,
    )
    by_frame = {name: getattr(found.total, name) for name in scaling.COLUMNS}
    return render_html(found.tree, title=f"{group.title}: growth", columns=elasticity_columns(by_frame))


PAGES = {"/": index, "/view": view, "/diff": diff, "/scaling": growth}


def _needed(query: Query, name: str) -> str:
    if not query.get(name):
        raise UsageError(f"the request lacks {name}", hint="Choose from the list.")
    return query[name]


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of ``PAGES``; all else is refused."""

    server: Server
    timeout = 30
    server_version = "jvbtune"
    sys_version = ""

    def do_GET(self) -> None:
        if self.headers.get("Host", "").lower() not in self.server.names:
            self._answer(
                HTTPStatus.MISDIRECTED_REQUEST, _problem("this server answers requests to its own address only")
            )
            return
        parts = urlsplit(self.path)
        page = PAGES.get(parts.path)
        if page is None:
            self._answer(HTTPStatus.NOT_FOUND, _problem("there is no such page"))
            return
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        try:
            self._answer(HTTPStatus.OK, page(self.server.store, query), list_=page is index)
        except NotFound as error:
            self._answer(HTTPStatus.NOT_FOUND, _problem(error.message, error.hint))
        except JvbtuneError as error:
            self._answer(HTTPStatus.BAD_REQUEST, _problem(error.message, error.hint))

    do_HEAD = do_GET

    def _answer(self, status: HTTPStatus, text: str, *, list_: bool = False) -> None:
        body = text.encode("utf-8", errors="replace")
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if list_ or status != HTTPStatus.OK:  # the viewer's pages bring a policy of their own
            self.send_header("Content-Security-Policy", _policy())
        for name, value in SAFE.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: only ``cli`` prints."""


SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1 from when it is made; ``serve_forever`` answers. Port 0: any that is free."""

    daemon_threads = True

    def __init__(self, store: Store, port: int = 0) -> None:
        self.store = store
        try:
            super().__init__((ADDRESS, port), Handler)
        except OSError as error:
            raise UsageError(
                f"port {port} is not available: {error.strerror}", hint="Choose another one with --port."
            ) from error
        self.names = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"


def _problem(message: str, hint: str | None = None) -> str:
    template = _environment().from_string(
        "<!doctype html><meta charset=utf-8><title>jvbtune</title><style>{{ style|safe }}</style>"
        "<main><h1>This cannot be shown</h1><p>{{ message }}</p>{% if hint %}<p>{{ hint }}</p>{% endif %}"
        '<p><a href="/">All captures</a></p></main>'
    )
    return template.render(message=message, hint=hint, style=_style())


@cache
def _environment() -> Environment:
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@cache
def _text(name: str) -> str:
    return files("jvbtune.capture").joinpath(name).read_text(encoding="utf-8")


def _style() -> str:
    return _text("serve.css")


@cache
def _policy() -> str:
    """No script at all, no network, forms to this server alone."""
    style = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
