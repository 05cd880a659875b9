"""The agent is reached by its standard streams only."""

from __future__ import annotations

import os

import psutil
import pytest

from jvbtune.hosts import agent_client
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.hosts.local import LocalHost
from jvbtune.protocol import agent as protocol
from jvbtune.protocol import check
from jvbtune.protocol.agent import BridgeQuery
from jvbtune.protocol.messages import Nothing


def test_it_opens_no_port(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_client, "ROOT_DIRECTORIES", (str(tmp_path),))
    with LocalHost() as host, AgentClient(host, sudo=os.getuid() == 0) as agent:
        agent.call(protocol.PROVENANCE, Nothing())
        agent.call(check.LOOK, check.Look(BridgeQuery(http_port=1), [], True))
        process = psutil.Process(agent.capabilities.pid)
        family = [process, *process.children(recursive=True)]
        assert [one.net_connections(kind="inet") for one in family] == [[] for _ in family]
        assert not [found for one in family for found in one.net_connections(kind="unix") if found.laddr]
