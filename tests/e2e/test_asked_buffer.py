"""What a real bridge asks for, by an included file, stays known through restarts, limits and an overlay."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from jvbtune.errors import JvbtuneError
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.inventory import bridge_arguments
from jvbtune.lab import Lab
from jvbtune.protocol.messages import Nothing
from jvbtune.protocol.tuning import STATUS
from jvbtune.settings.tuning import Applied, Tuning

pytestmark = [pytest.mark.lab, pytest.mark.kernel]

KEY, RMEM = "ice4j.harvest.udp.receive-buffer-size", "net.core.rmem_max"
ASKED = 25_165_824


@pytest.fixture
def included(lab: Lab) -> Iterator[Lab]:
    """Where jvbtune's own export for Docker puts it."""
    config, custom = lab.directory / "jvb.conf", lab.directory / "custom-jvb.conf"
    before = config.read_bytes()
    config.write_bytes(before + b'\n# B\xfcro\ninclude "custom-jvb.conf"\n')
    custom.write_text(f"ice4j.harvest.udp.receive-buffer-size = {ASKED}\n")
    yield lab
    config.write_bytes(before)
    custom.unlink()


def open_tuning(agent: AgentClient, lab: Lab) -> Tuning:
    bridge = bridge_arguments(lab.entry())
    return Tuning(agent, owner="t", run_id="asked", lease_seconds=20, bridge=bridge, settings=[RMEM, KEY])


def shown(applied: Applied) -> set[int]:
    return {socket.rcvbuf_bytes for socket in applied.sockets}


def test_each_step_is_held_against_what_the_bridge_asked_for(included: Lab, sysctl: Callable[[str], str]) -> None:
    with connect(included.entry()) as host, AgentClient(host) as agent, open_tuning(agent, included) as tuning:
        assert tuning.baseline[KEY] == str(ASKED)
        wide = tuning.apply({RMEM: 4 * ASKED}, restart=True)
        assert shown(wide) == {wide.expected_rcvbuf_bytes} == {2 * ASKED}
        narrow = tuning.apply({RMEM: 212992}, restart=True)
        assert shown(narrow) == {narrow.expected_rcvbuf_bytes} == {425984}
        swept = tuning.apply({RMEM: 4 * ASKED, KEY: 2 * ASKED}, restart=True)
        assert shown(swept) == {swept.expected_rcvbuf_bytes} == {4 * ASKED}
        (included.directory / "custom-jvb.conf").write_text(f"{KEY} = {ASKED // 2}\n")
        changed = tuning.apply({RMEM: 4 * ASKED}, restart=True)
        assert shown(changed) == {changed.expected_rcvbuf_bytes} == {ASKED}


def test_a_file_that_takes_no_overlay_is_refused_before_anything_begins(lab: Lab) -> None:
    config = lab.directory / "jvb.conf"
    before = config.read_bytes()
    try:
        config.write_bytes(before.decode().encode("utf-16"))
        with connect(lab.entry()) as host, AgentClient(host) as agent:
            with (
                pytest.raises(JvbtuneError, match=r"nothing can be added to .*: it is not UTF-8"),
                open_tuning(agent, lab),
            ):
                pytest.fail("the sweep began")
            assert not agent.call(STATUS, Nothing()).pending
    finally:
        config.write_bytes(before)
