"""The lab's bridge as a process of a test's own. It binds this machine's own address, so that no root is needed; ice4j
never uses loopback.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from jvbtune.lab import home as lab_home


def own_address() -> str:
    """This machine's address towards others; connecting a UDP socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.254", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback's")
        address: str = probe.getsockname()[0]
        return address


def free_port(kind: socket.SocketKind, address: str) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


class Bridge:
    """A bridge of its own configuration, stopped at the end."""

    def __init__(self, directory: Path, settings: str = "", rest: bool = True, home: Path | None = None) -> None:
        self.address = own_address()
        self.media_port = free_port(socket.SOCK_DGRAM, self.address)
        self.http_port = free_port(socket.SOCK_STREAM, "127.0.0.1")
        self.channel_port = free_port(socket.SOCK_STREAM, "127.0.0.1")
        config = directory / "jvb.conf"
        config.write_text(
            f"""
            videobridge {{
              apis.rest.enabled = {str(rest).lower()}
              http-servers {{
                private {{ host = 127.0.0.1, port = {self.http_port} }}
                public {{ host = 127.0.0.1, port = {self.channel_port} }}
              }}
              websockets {{ enabled = true, server-id = test, domains = ["127.0.0.1:{self.channel_port}"] }}
              connection-stats.interval = 1 second
              ice.udp.port = {self.media_port}
              health.require-valid-address = false
            }}
            ice4j.harvest {{
              use-ipv6 = false, mapping.aws.enabled = false, allowed-addresses = ["{self.address}"]
            }}
            {settings}
            """
        )
        self.is_real = home is not None
        home = home or lab_home.lab_home()
        self.log = directory / "bridge.log"
        argv = ["java", "-Xmx256m", f"-Dconfig.file={config}", "-cp", f"{home}/{lab_home.JAR}:{home}/lib/*"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*argv, lab_home.main_class(home)], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                if self.status("GET", "/about/health") == 200:
                    return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def call(self, method: str, path: str, body: Any = None, accept: str = "application/json") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=10)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Accept": accept, "Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def status(self, method: str, path: str, body: Any = None) -> int:
        return self.call(method, path, body)[0]

    def json(self, path: str) -> Any:
        status, answer = self.call("GET", path)
        assert status == 200, answer
        return json.loads(answer)

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
