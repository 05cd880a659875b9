"""A worker within the test's own process: what it keeps of endpoints that were closed, and of an answer too long."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from pylibsrtp import Policy, Session
from websockets.sync.server import ServerConnection, serve

from jvbtune.load import worker as module
from jvbtune.load.calendar import Calendar
from jvbtune.load.client import Client
from jvbtune.load.endpoint import Endpoint
from jvbtune.load.meeting import Meetings
from jvbtune.load.mix import VP8_LAYERS, Mix, Remote, Video
from jvbtune.load.participants import Behind, participants, peer, sources_behind, sources_of
from jvbtune.load.relay import RelayPeer
from jvbtune.load.sending import Outbox
from jvbtune.load.worker import OPERATIONS, Worker
from jvbtune.protocol import codec
from jvbtune.protocol import worker as messages
from jvbtune.protocol.messages import Nothing
from jvbtune.protocol.peers import read_asked

NAMES, RELAY = ("aaaa", "bbbb"), "jvbtune-relay"
MIX = Mix(2, 2, video=Video(2, VP8_LAYERS), remote=Remote(2, 1))


@pytest.fixture
def worker() -> Iterator[Worker]:
    """With a pipe as its standard input."""
    before, (read, write) = os.dup(0), os.pipe()
    os.dup2(read, 0)
    try:
        made = Worker(messages.SetUp("127.0.0.1", 9, "127.0.0.1", 1e6, 60.0))
        yield made
        made.close()
    finally:
        os.dup2(before, 0)
        for descriptor in (before, read, write):
            os.close(descriptor)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """As in a worker's process."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def bridge_channel() -> Iterator[messages.ChannelAt]:
    def listen(connection: ServerConnection) -> None:
        for _ in connection:
            pass

    with serve(listen, "127.0.0.1", 0) as up:
        thread = threading.Thread(target=up.serve_forever)
        thread.start()
        address, port = up.socket.getsockname()[:2]
        yield messages.ChannelAt(f"ws://{address}:{port}/colibri-ws/lab/abc/def?pwd=x", address, port)
        up.shutdown()
        thread.join()


def secured(client: Client, channel: messages.ChannelAt) -> None:
    """As after DTLS, with an open channel."""
    policies = [Policy(key=bytes(30), ssrc_type=kind) for kind in (Policy.SSRC_ANY_OUTBOUND, Policy.SSRC_ANY_INBOUND)]
    client.outbound, client.inbound = map(Session, policies)
    client._remote = messages.Remote("a", "b", "c", channel)
    client.allow(10.0)
    client._secured()
    deadline = time.monotonic() + 10
    while client.state == "joining" and time.monotonic() < deadline:
        client.next_check = client._next_channel = 0.0
        client.tick(time.monotonic())
        time.sleep(0.005)
    assert client.state == "connected", client.why


def joined(worker: Worker, channel: messages.ChannelAt) -> list[weakref.ref[Any]]:
    """A conference with a relay, opened and joined: its clients, and what they have that is large."""
    ends = [*NAMES, RELAY]
    worker.open(messages.Open(ends, clients=True, peers=[RELAY]))
    behind = Behind(RELAY, ("cccc", "dddd"), sources_behind(MIX))
    asked = participants(MIX, NAMES, sources_of(MIX), seed=3, behind=behind)
    kept: list[weakref.ref[Any]] = []
    for name in ends:
        client = worker._endpoints[name]
        assert isinstance(client, Client)
        assert isinstance(client, RelayPeer) == (name == RELAY)
        secured(client, channel)
        assert client.channel is not None
        kept += map(weakref.ref, (client, client.outbound, client.inbound, client.channel, client.channel._protocol))
    worker.join(messages.Participants(asked, 1000.0, [peer(MIX, NAMES, sources_of(MIX), behind, seed=3)]))
    kept += [weakref.ref(worker._endpoints[name].reports) for name in ends]  # type: ignore[attr-defined]
    return kept


def alive(kept: list[weakref.ref[Any]]) -> list[object]:
    return [found for one in kept if (found := one()) is not None]


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("sending", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_clients_that_were_closed_are_gone_without_a_collection(
    worker: Worker,
    bridge_channel: messages.ChannelAt,
    compiled: bool,
    sending: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module.gc, "collect", lambda: 0)
    if not compiled:
        worker._meetings = Meetings(Calendar(Outbox()))
    kept = joined(worker, bridge_channel)
    assert len(alive(kept)) == len(kept)
    if sending:
        worker.start(messages.Start(50.0, 1))
        for _ in range(50):
            worker.step()
    worker.forget(messages.Names([*NAMES, RELAY]))
    assert alive(kept) == []


class Cyclic(Endpoint):
    """With what a library may leave."""

    def close(self) -> None:
        super().close()
        self.itself = self


@pytest.mark.usefixtures("uncollected")
def test_what_is_left_in_cycles_is_collected_while_nothing_is_sent(worker: Worker) -> None:
    def opened(name: str) -> weakref.ref[Endpoint]:
        made = Cyclic(name, "127.0.0.1", ("127.0.0.1", 9))
        worker._endpoints[name] = made
        return weakref.ref(made)

    first, second = opened("aaaa"), opened("bbbb")
    worker._meetings.sending = True
    worker.forget(messages.Names(["aaaa"]))
    assert first() is not None, "a collection would make packets late"
    worker.pause(Nothing())
    worker.forget(messages.Names(["bbbb"]))
    assert first() is second() is None


def test_a_sender_that_was_closed_while_it_was_quiet_is_gone(worker: Worker) -> None:
    worker.open(messages.Open(["aaaa"]))
    endpoint = worker._endpoints["aaaa"]
    endpoint.outbound = Session(Policy(key=bytes(30), ssrc_type=Policy.SSRC_ANY_OUTBOUND))
    worker.senders(messages.Senders([messages.SenderOf("aaaa", 7, 50.0, 80, 1)]))
    worker.start(messages.Start(50.0, 1))
    worker.pause(Nothing())
    worker.forget(messages.Names(["aaaa"]))
    worker.resume(Nothing())
    until = time.monotonic() + 0.05
    while time.monotonic() < until:
        worker.step()
    assert worker._audio.unsent == 0


def test_an_answer_that_is_too_long_is_refused_and_the_worker_goes_on(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(module, "_write", written.append)
    monkeypatch.setattr(codec, "MAX_LINE_BYTES", 400)
    line = b'{"id": %d, "op": "open", "args": {"endpoints": [%s]}}'
    for number, names in enumerate((["a"], [f"endpoint-{at}" for at in range(20)], ["b"])):
        asked = read_asked(line % (number, ", ".join(f'"{name}"' for name in names).encode()), OPERATIONS)
        worker._perform(asked)  # type: ignore[arg-type]
    first, refused, last = map(codec.parse, written)
    assert "result" in first
    assert "result" in last
    assert (refused["id"], refused["error"]["kind"]) == (1, "load")
    assert refused["error"]["message"].startswith("open: the result cannot be sent: the line has ")
