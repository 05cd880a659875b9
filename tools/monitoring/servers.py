"""Prometheus and InfluxDB as processes of our own: temporary directories, free ports of 127.0.0.1, ended by pid."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import http.server
import ipaddress
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jvbtune.errors import JvbtuneError

ADDRESS = "127.0.0.1"
READY_SECONDS = 30.0
DATABASE = "monitoring"
PROGRAMS = {"prometheus": "prometheus", "influxd": "influxdb"}  #: and Debian's packages of them


def missing_packages() -> list[str]:
    """Debian packages that are not installed."""
    return [package for program, package in PROGRAMS.items() if shutil.which(program) is None]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Certificates:
    """PEM files: a CA, and a certificate for 127.0.0.1 that it signed, with its key."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Target:
    """What Prometheus scrapes, with the labels that an operator gives it. ``own_labels``: the target's own win."""

    address: str
    labels: dict[str, str]
    own_labels: bool = False


@dataclass(frozen=True)
class Prometheus:
    url: str
    pid: int

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer of the HTTP API. Raises RuntimeError with the server's message."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from None


@dataclass(frozen=True)
class Influx:
    """``ca``: the file that an HTTPS client trusts; None: plain HTTP."""

    url: str
    pid: int
    ca: Path | None

    def _request(self, path: str, query: dict[str, str], body: bytes | None = None) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca)) if self.ca else None
        request = urllib.request.Request(f"{self.url}{path}?{urllib.parse.urlencode(query)}", body)
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from None

    def write(self, lines: Sequence[str]) -> None:
        """Line protocol."""
        self._request("/write", {"db": DATABASE, "precision": "ms"}, "\n".join(lines).encode())

    def query(self, text: str, *, post: bool = False) -> list[dict[str, Any]]:
        """The series of one InfluxQL query. Raises RuntimeError with the server's message."""
        body = b"" if post else None
        answer = json.loads(self._request("/query", {"db": DATABASE, "q": text, "epoch": "ms"}, body))
        result = answer["results"][0]
        if "error" in result:
            raise RuntimeError(result["error"])
        return list(result.get("series", []))


@contextlib.contextmanager
def prometheus(
    directory: Path,
    targets: Sequence[Target],
    *,
    every_seconds: float = 1.0,
    rules: Sequence[dict[str, Any]] = (),
    past: Path | None = None,
) -> Iterator[Prometheus]:
    """A server that scrapes these, and evaluates these rules. ``past``: blocks that promtool made."""
    interval = f"{round(1000 * every_seconds)}ms"
    config = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {
                "job_name": f"target-{number}",
                "honor_labels": target.own_labels,
                "static_configs": [{"targets": [target.address], "labels": target.labels}],
            }
            for number, target in enumerate(targets)
        ],
    }
    directory.mkdir(parents=True)
    if past is not None:
        past.rename(directory / "data")
    (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    (directory / "rules.yml").write_text(json.dumps({"groups": [{"name": "jvbtune", "rules": list(rules)}]}))
    port = free_port()
    argv = [
        "prometheus",
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/data",
        "--storage.tsdb.retention.time=20y",
        f"--web.listen-address={ADDRESS}:{port}",
        "--log.level=warn",
    ]
    with running(argv, directory / "log", lambda: answers(port, "/-/ready")) as process:
        yield Prometheus(f"http://{ADDRESS}:{port}", process.pid)


@contextlib.contextmanager
def influxdb(directory: Path, *, tls: bool = False) -> Iterator[Influx]:
    """A server with one database. ``tls``: HTTPS with a certificate of a CA of its own."""
    directory.mkdir(parents=True)
    port = free_port()
    made = certificates(directory) if tls else None
    argv = ["influxd", "-config", str(influxdb_config(directory, port, made))]
    ca = None if made is None else made.ca
    with running(argv, directory / "log", lambda: answers(port, "/ping", ca)) as process:
        server = Influx(f"http{'s' if tls else ''}://{ADDRESS}:{port}", process.pid, ca)
        server.query(f"CREATE DATABASE {DATABASE}", post=True)
        yield server


def influxdb_config(directory: Path, port: int, tls: Certificates | None = None, *, users: bool = False) -> Path:
    """The configuration of an InfluxDB 1 that keeps all below ``directory``. ``users``: it serves its own only."""
    secure = ""
    if tls is not None:
        secure = f'  https-enabled = true\n  https-certificate = "{tls.certificate}"\n'
        secure += f'  https-private-key = "{tls.key}"\n'
    file = directory / "influxdb.conf"
    file.write_text(
        f"""reporting-disabled = true
bind-address = "{ADDRESS}:{free_port()}"
[meta]
  dir = "{directory}/meta"
[data]
  dir = "{directory}/data"
  wal-dir = "{directory}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "{ADDRESS}:{port}"
  auth-enabled = {str(users).lower()}
  log-enabled = false
{secure}"""
    )
    return file


@contextlib.contextmanager
def running(argv: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[subprocess.Popen[bytes]]:
    """A server, from when it is ready. Raises JvbtuneError with the end of its log."""
    with log.open("ab") as file:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=log.parent)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                raise JvbtuneError(f"{argv[0]} did not become ready:\n{tail}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((ADDRESS, port), timeout=1).close()
    except OSError:
        return False
    return True


def answers(port: int, path: str, ca: Path | None = None) -> bool:
    """Whether a server answers well there, over HTTPS if there is a CA to trust."""
    connection: http.client.HTTPConnection
    if ca is None:
        connection = http.client.HTTPConnection(ADDRESS, port, timeout=2)
    else:
        context = ssl.create_default_context(cafile=str(ca))
        connection = http.client.HTTPSConnection(ADDRESS, port, timeout=2, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status in (200, 204)
    except OSError:
        return False
    finally:
        connection.close()


def certificates(directory: Path) -> Certificates:
    """``ca.pem``, ``server.pem`` and ``server.key`` below ``directory``."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "monitoring demo CA")])

    def signed(subject: x509.Name, public: ec.EllipticCurvePublicKey, *extensions: tuple[Any, bool]) -> bytes:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        made = made.serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(minutes=5)).not_valid_after(now + datetime.timedelta(1))
        for extension, critical in extensions:
            made = made.add_extension(extension, critical)
        return made.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    constraints = (x509.BasicConstraints(True, 0), True)
    (directory / "ca.pem").write_bytes(
        signed(ca_name, ca_key.public_key(), constraints, (usage, True), (identifier, False))
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ADDRESS)])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ADDRESS))])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    (directory / "server.pem").write_bytes(
        signed(name, key.public_key(), (here, False), (issuer, False), (x509.BasicConstraints(False, None), True))
    )
    secret = directory / "server.key"
    secret.touch(mode=0o600)
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Certificates(directory / "ca.pem", directory / "server.pem", secret)


@contextlib.contextmanager
def endpoint(text: Callable[[], str]) -> Iterator[str]:
    """Serves ``text()`` as a bridge serves its /metrics, on a free port of 127.0.0.1; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((ADDRESS, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{ADDRESS}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
