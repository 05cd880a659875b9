"""Beside the servers of ``tools.monitoring``: an InfluxDB with users, which can be stopped and started again."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tools.monitoring.servers import certificates, free_port, influxdb_config, listens, running

#: Where `make telegraf` puts it.
TELEGRAF = shutil.which("telegraf", path=f"{Path(__file__).parents[2] / '.cache'}:/usr/bin:/usr/local/bin")


class InfluxDB:
    """Debian's InfluxDB 1, over TLS, with a user who may write to one database."""

    database, user, password = "jitsi", "writer", "pass'word"

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.certificates = certificates(directory)
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self._config = influxdb_config(directory, self.port, self.certificates, users=True)
        self._running = contextlib.ExitStack()
        self.start()
        self._ask("CREATE USER admin WITH PASSWORD 'admin' WITH ALL PRIVILEGES", auth=None)
        self.query(f"CREATE DATABASE {self.database}")
        self.query(f"CREATE USER {self.user} WITH PASSWORD 'pass\\'word'")
        self.query(f"GRANT ALL ON {self.database} TO {self.user}")

    def start(self) -> None:
        argv = ["influxd", "run", "-config", str(self._config)]
        self._running.enter_context(running(argv, self._config.parent / "log", lambda: listens(self.port)))

    def stop(self) -> None:
        self._running.close()

    def query(self, text: str) -> list[dict[str, Any]]:
        """Rows of the first series, one dict each."""
        answer = self._ask(text, auth="admin:admin")
        series = [one for result in answer["results"] for one in result.get("series", [])]
        return [dict(zip(one["columns"], values, strict=True)) for one in series for values in one.get("values", [])]

    def _ask(self, text: str, auth: str | None) -> dict[str, Any]:
        body = urlencode({"q": text, "db": self.database, "epoch": "ms"}).encode()
        request = urllib.request.Request(f"{self.url}/query", data=body)
        if auth is not None:
            request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
        context = ssl.create_default_context(cafile=str(self.certificates.ca))
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as response:
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from error
        faults = [result["error"] for result in answer["results"] if "error" in result]
        assert not faults, faults
        return answer
