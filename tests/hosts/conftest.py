from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jvbtune.hosts.base import Host
from jvbtune.hosts.local import LocalHost
from jvbtune.hosts.ssh import SshHost
from tests.sshd import SSHD, Server, run_sshd


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not Path(SSHD).exists():
        pytest.skip("openssh-server is not installed: make test installs it")
    with run_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(params=["local", "ssh"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    if request.param == "local":
        with LocalHost() as local:
            yield local
    else:
        server = request.getfixturevalue("sshd")
        with SshHost.connect("target", "target", config=server.client_config) as ssh:
            yield ssh
