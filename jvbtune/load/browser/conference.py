"""One conference of browsers, in the shape of a mix."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import BridgeError, JvbtuneError, LoadError
from jvbtune.interrupts import pause
from jvbtune.inventory import HostEntry
from jvbtune.load.browser.driver import open_browser
from jvbtune.load.browser.seat import Seat, signal
from jvbtune.load.channel import receiver_constraints
from jvbtune.load.colibri import Conference, Sources
from jvbtune.load.mix import Mix
from jvbtune.load.participants import view_of

#: Bandwidth estimates need so long to rise to what these cameras send, in browsers and in the bridge.
SETTLE_SECONDS = 20.0
#: Of the frames that cameras make: browsers that encode fewer lack CPU, and send other packets.
LEAST_FRAMES = 0.8
#: Each browser hears from here so often.
BEAT_SECONDS = 1.0
CHECK_SECONDS = 0.5
Counts = dict[str, float]


def refuse_for_browsers(mix: Mix) -> None:
    """Raises LoadError for a mix that browsers cannot hold here."""
    if mix.video is None or mix.video.codec != "vp8" or mix.video.desktop:
        raise LoadError("browsers need a mix with cameras of VP8", hint="Choose one: --mix one-to-one")
    if mix.remote is not None:
        raise LoadError("browsers are not behind a relay", hint="Choose a mix without one: --mix one-to-one")
    if mix.burst_packets > 1:
        raise LoadError("browsers send no bursts", hint="Leave out [load.burst] of the experiment.")
    if mix.dtx or mix.nack_ratio:
        raise LoadError("browsers decide themselves on DTX and on what they ask for again")


class BrowserConference:
    """Raises LoadError where a browser does not start, or does not join."""

    def __init__(
        self,
        entry: HostEntry,
        client: BridgeClient,
        meeting_id: str,
        mix: Mix,
        grid: str | None,
        allowed: Callable[[], None],
    ) -> None:
        """``grid``: URL of a Selenium Grid; None: Chromium of this machine. ``allowed`` raises as soon as the load must
        end: it is asked before each step and once a second, by any thread."""
        refuse_for_browsers(mix)
        assert mix.video is not None
        self.mix, self._video, self._allowed = mix, mix.video, allowed
        self.seats: list[Seat] = []
        self._lost: JvbtuneError | None = None
        self._closed = threading.Event()
        conference = Conference(client, meeting_id)
        negotiated = Sources(clients=True, transport_cc=mix.transport_cc, codec=mix.video.codec, red=mix.red)
        with ExitStack() as stack:
            stack.callback(_expire, conference)
            beat = threading.Thread(target=self._beat, name="browsers-alive", daemon=True)
            beat.start()
            stack.callback(beat.join)
            stack.callback(self._closed.set)
            for number in range(mix.participants):
                allowed()
                signalled = signal(entry, conference, negotiated)
                netns = entry.generator.netns if grid is None else None
                driver = stack.enter_context(open_browser(grid, netns, signalled.flags))
                self.seats.append(
                    Seat(
                        driver,
                        conference,
                        signalled,
                        negotiated,
                        {one.name: one.sources for one in self.seats},
                        allowed,
                        audio=number < mix.senders,
                        video=mix.video if number < mix.video.senders else None,
                    )
                )
            for number, seat in enumerate(self.seats):
                others = {one.name: one.sources for one in self.seats if one is not seat}
                seat.hear(others)
                cameras = [f"{name}-v0" for name, one in others.items() if one.layers]
                seat.say(receiver_constraints(view_of(mix.video, number), cameras, next(iter(cameras), "")))
            self._undo = stack.pop_all()

    def close(self) -> None:
        """Expire it, and end its browsers."""
        self._closed.set()
        self._undo.close()

    def check(self) -> None:
        """Raises LoadError if one of the browsers is gone, or if the load must end."""
        if self._lost is not None:
            raise self._lost

    def _beat(self) -> None:
        """Pages that do not hear of it end their part, and so does all load that is not allowed any more."""
        while not self._closed.wait(BEAT_SECONDS):
            try:
                self._allowed()
                for seat in list(self.seats):
                    seat.check()
            except Exception as error:
                self._lost = error if isinstance(error, JvbtuneError) else LoadError(f"the browsers: {error}")
                break
        if self._lost is not None:
            for seat in list(self.seats):
                with contextlib.suppress(JvbtuneError):
                    seat.leave()

    def counts(self) -> Counts:
        """Since they joined, of all participants together: packets ``sent`` and ``received`` by kind of stream, what
        was ``lost`` on the way to them, all packets of their ``transports``, and ``frames`` encoded of the highest
        layer.

        RTCP is what a transport has beside media: STUN's checks, of which there is one in some seconds, are in it.
        """
        counts = nothing(self.mix)
        for name in ("lost", "transports", "frames"):
            counts[name] = 0
        for seat in self.seats:
            for one in seat.stats():
                self._add(counts, one)
        return dict(counts)

    def _add(self, counts: Counter[str], one: Mapping[str, Any]) -> None:
        """One of the objects of https://www.w3.org/TR/webrtc-stats/."""
        if one["type"] == "outbound-rtp":
            again = one.get("retransmittedPacketsSent", 0)
            layer = self._video.layers[int(one.get("rid") or 0)]
            counts[f"sent {one['kind']}" + (f" {layer.height}" if one["kind"] == "video" else "")] += (
                one["packetsSent"] - again
            )
            counts["sent retransmitted"] += again
            counts["sent RTCP"] -= one["packetsSent"]
            if one["kind"] == "video" and layer == self._video.layers[-1]:
                counts["frames"] += one.get("framesEncoded", 0)
        elif one["type"] == "inbound-rtp":
            again = one.get("retransmittedPacketsReceived", 0)
            counts[f"received {one['kind']}"] += one["packetsReceived"] - again
            counts["received retransmitted"] += again
            counts["received RTCP"] -= one["packetsReceived"]
            counts["lost"] += one.get("packetsLost", 0)
        elif one["type"] == "transport":
            counts["sent RTCP"] += one["packetsSent"]
            counts["received RTCP"] += one["packetsReceived"]
            counts["transports"] += one["packetsSent"] + one["packetsReceived"]


def hold(seconds: float, check: Callable[[], None]) -> None:
    """Wait, and ``check`` often, also at the end; it raises if the load must end."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        check()
        pause(min(left, CHECK_SECONDS))
    check()


def _expire(conference: Conference) -> None:
    """A bridge that is down, or restarts, has lost it anyway."""
    with contextlib.suppress(BridgeError):
        conference.expire()


def frames_wanted(mix: Mix) -> float:
    """Frames per second of the highest layer, of all cameras of a conference together: of some nobody wants it."""
    assert mix.video is not None
    top, heights = mix.video.layers[-1].height, mix.video.needed_heights(mix.participants)
    return mix.video.frames_per_second * sum(height >= top for height in heights)


def nothing(mix: Mix) -> Counter[str]:
    """The kinds of streams, in the order in which people read them."""
    assert mix.video is not None
    sent = ("audio", *(f"video {layer.height}" for layer in mix.video.layers), "retransmitted", "RTCP")
    received = ("audio", "video", "retransmitted", "RTCP")
    return Counter({**{f"sent {name}": 0 for name in sent}, **{f"received {name}": 0 for name in received}})
