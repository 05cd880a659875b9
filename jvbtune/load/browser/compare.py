"""The same conference twice, of browsers and of jvbtune's clients: where the packets differ, the clients are wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import LoadError
from jvbtune.hosts.base import Host
from jvbtune.inventory import HostEntry
from jvbtune.load.base import Generator, IntendedLoad
from jvbtune.load.browser.conference import (
    LEAST_FRAMES,
    SETTLE_SECONDS,
    BrowserConference,
    Counts,
    frames_wanted,
    hold,
    nothing,
    refuse_for_browsers,
)
from jvbtune.load.colibri import Sources
from jvbtune.load.generator import WorkerGenerator
from jvbtune.load.mix import Mix
from jvbtune.protocol import worker as messages

#: A client whose packets differ by more than this is no model of a browser ...
MOST_APART = 0.1
#: ... unless it is less than this, in packets per second: a handful of checks or of retransmissions.
FEW_PPS = 3.0
#: Each is a Chromium with its encoders.
MAX_BROWSERS = 10


@dataclass(frozen=True)
class Compared:
    """Packets per second of all participants together."""

    stream: str
    browser_pps: float
    client_pps: float

    @property
    def apart(self) -> float | None:
        """Of the client from the browser, relative; None if the browser has none."""
        return self.client_pps / self.browser_pps - 1 if self.browser_pps else None

    @property
    def differs(self) -> bool:
        off = abs(self.client_pps - self.browser_pps)
        return off > FEW_PPS and off > MOST_APART * self.browser_pps


@dataclass(frozen=True)
class Comparison:
    streams: tuple[Compared, ...]
    frames_per_second: float  #: that the browsers encoded, of their highest layers, where somebody wants these
    wanted_frames_per_second: float
    seconds: float

    @property
    def lacks_cpu(self) -> bool:
        return self.frames_per_second < LEAST_FRAMES * self.wanted_frames_per_second

    @property
    def alike(self) -> bool:
        return not self.lacks_cpu and not any(one.differs for one in self.streams)


def refuse(mix: Mix) -> None:
    """Raises LoadError for a mix that cannot be compared."""
    refuse_for_browsers(mix)
    if mix.participants > MAX_BROWSERS:
        raise LoadError(
            f"at most {MAX_BROWSERS} browsers are compared, and a conference of the mix has {mix.participants}",
            hint="Choose a smaller one: --mix one-to-one",
        )


def compare(
    entry: HostEntry,
    host: Host,
    generator: Generator,
    mix: Mix,
    seconds: float,
    grid: str | None,
    check: Callable[[], None],
) -> Comparison:
    """Hold one conference of ``mix`` for so long with the generator's clients, and then with browsers: of a Selenium
    ``grid``, or of this machine. ``check`` raises if the load must end. Raises LoadError where a
    browser does not start or does not join."""
    refuse(mix)
    mix = replace(mix, ssrc_rewriting=False)  # the browsers' page knows all SSRCs from the start, and so do the counts
    if not isinstance(generator, WorkerGenerator):
        raise LoadError("browsers are compared with jvbtune's own clients, and another generator makes this load")
    offered = generator.offer(IntendedLoad(1, mix), seconds, settle_seconds=SETTLE_SECONDS, edge=generator.streams)
    if offered.generator_limited:
        raise LoadError(f"jvbtune's own clients were the limit: {'; '.join(offered.generator_limited_because)}")
    sources = [one for _, members in generator.conferences for one in members.values()]
    before, after = (_summed(streams, sources, mix) for streams in offered.extra["edges"])
    clients = _rates(before, after, offered.duration_seconds)
    generator.stop()
    client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
    with closing(BrowserConference(entry, client, f"{generator.prefix}-1", mix, grid, check)) as conference:

        def both() -> None:
            check()
            conference.check()

        hold(SETTLE_SECONDS, both)
        begun, before = time.monotonic(), conference.counts()
        hold(seconds, both)
        held = time.monotonic() - begun
        browsers = _rates(before, conference.counts(), held)
    streams = tuple(Compared(name, browsers[name], clients[name]) for name in clients)
    return Comparison(streams, browsers["frames"], frames_wanted(mix), held)


def _rates(before: Counts, after: Counts, seconds: float) -> Counts:
    return {name: (after[name] - before[name]) / seconds for name in after}


def _summed(workers: Sequence[messages.Streams], sources: Iterable[Sources], mix: Mix) -> Counts:
    """Of all clients together."""
    kind_of = _kinds(sources, mix)
    counts = nothing(mix)
    for streams in workers:
        for one in streams.sent:
            counts[f"sent {kind_of.get(one.ssrc, 'retransmitted')}"] += one.packets
        for one in streams.received:
            counts[f"received {kind_of.get(one.ssrc, 'retransmitted').split()[0]}"] += one.packets
        for endpoint in streams.endpoints.values():
            counts["sent RTCP"] += endpoint.rtcp_sent
            counts["received RTCP"] += endpoint.rtcp_received
    return dict(counts)


def _kinds(sources: Iterable[Sources], mix: Mix) -> dict[int, str]:
    """By SSRC; those of retransmissions are not among them."""
    assert mix.video is not None
    found = {}
    for one in sources:
        if one.audio is not None:
            found[one.audio] = "audio"
        for (ssrc, _), layer in zip(one.layers, mix.video.layers, strict=False):
            found[ssrc] = f"video {layer.height}"
    return found
