"""The other end of a relay (Octo): a bridge with participants of its own, in the same conference.

A JVB forwards to a relay all that its own endpoints send: audio, each layer of video as it comes, sender reports and
requests for key frames; never what another relay of the mesh sent (Relay.kt, ``wants``). SSRCs and sequence numbers
stay. There is no congestion control on the way. One bridge tells the other by ``AddReceiver`` what its receivers
want of each source, and that one has its endpoints send no more than all receivers want (RelayMessageTransport.kt).
"""

from __future__ import annotations

from typing import Any

from jvbtune.load import rtcp
from jvbtune.load.camera import Source
from jvbtune.load.client import Client, Studio
from jvbtune.load.feedback import Reports
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.speech import Floor
from jvbtune.protocol import worker as messages

#: With these a JVB knows that the other side closed its channel on purpose, and does not dial (RelayMessageTransport).
GOING_AWAY, RELAY_CLOSED = 1001, "relay_closed"
UNLIMITED = -1


class RelayPeer(Client):
    """One relay, with the media of all participants behind it."""

    abs_send_time = False  #: a JVB takes it off
    rtx = False  #: a JVB's relayed endpoints know of none: it repeats the packet (RetransmissionSender.kt)

    def __init__(self, name: str, bind_address: str | None, remote_address: tuple[str, int]) -> None:
        super().__init__(name, bind_address, remote_address)
        self._asked: messages.Peer | None = None
        self._floor: Floor | None = None
        self._holder = self._before = -1
        self._heights: dict[str, int] = {}  #: what the bridge under test wants of each camera here,
        self._wanted: dict[str, int] = {}  #: and what it was asked of each camera there

    def stand_in(self, asked: messages.Peer, studio: Studio) -> None:
        """For these participants."""
        self._asked, self.receives = asked, asked.receives
        self._speak_and_film(asked.microphones, asked.cameras, studio)
        self._floor = studio.floor(asked.floor_seed, asked.speakers)
        self.reports = Reports(asked.ssrc, self.name, self._reported, apart=True) if asked.rtcp else None
        self._holder = self._floor.holder
        self._ask()

    def service(self, now: float, wall_ns: int) -> list[Frame]:
        if self._floor is not None and self._floor.holder != self._holder:
            self._before, self._holder = self._holder, self._floor.holder
            self._ask()
        return super().service(now, wall_ns)

    # -- what its participants see ------------------------------------------------------------------------------

    def _ask(self) -> None:
        """What they want of each camera, where it has changed: the bridge's by ``AddReceiver``, their own at once."""
        assert self._asked is not None
        for watched in self._asked.watched:
            height = self._height(watched.number)
            before = self._wanted.get(watched.name)
            if height == before:
                continue
            self._wanted[watched.name] = height
            constraints = {"maxHeight": height, "maxFrameRate": -1.0}
            self._say(
                {
                    "colibriClass": "AddReceiver",
                    "bridgeId": self.name,
                    "sourceName": watched.name,
                    "videoConstraints": constraints,
                }
            )
            if height > (before or 0) and self.outbound is not None:
                self.send_rtcp(rtcp.pli(self._asked.ssrc, watched.ssrc))
        for number, camera in enumerate(self.cameras):
            self._constrain(number, camera)

    def _constrain(self, number: int, camera: Source) -> None:
        assert self._asked is not None
        theirs, ours = self._heights.get(camera.name, 0), 0
        if self._asked.participants > 1:
            ours = self._height(self._number_of(number))
        camera.constrain(UNLIMITED if theirs == UNLIMITED else max(theirs, ours))

    def _height(self, number: int) -> int:
        """The highest at which a participant here sees the camera of that speaker: who speaks has the one before on
        stage."""
        assert self._asked is not None
        asked = self._asked
        on_stage = [self._holder]
        if self._holder in [mike.number for mike in asked.microphones]:
            on_stage.append(self._before)
        large = asked.stage_height if number >= 0 and number in on_stage else 0
        return max(large, asked.small_height)

    def _number_of(self, camera: int) -> int:
        assert self._asked is not None
        mikes = self._asked.microphones
        return mikes[camera].number if camera < len(mikes) else -1

    def _on_message(self, message: dict[str, Any]) -> None:
        """What the bridge says; anything that is not as it should be is left aside."""
        self.counts["channel_messages"] += 1
        constraints = message.get("videoConstraints")
        if message["colibriClass"] != "AddReceiver" or not isinstance(constraints, dict):
            return
        height = constraints.get("maxHeight")
        for number, camera in enumerate(self.cameras):
            if camera.name == message.get("sourceName") and isinstance(height, int):
                self._heights[camera.name] = height
                if self._asked is not None:
                    self._constrain(number, camera)

    # -- the account --------------------------------------------------------------------------------------------

    def took(self, ssrc: int, packets: int) -> None:
        super().took(ssrc, packets)
        self.counts["relayed_in"] += packets

    def send_rtcp(self, compound: bytes) -> None:
        super().send_rtcp(compound)
        self.counts["relayed_in"] += 1

    def got_media(self, packets: int) -> None:
        self.counts["relayed_out"] += packets

    def on_rtcp(self, data: bytes, age_seconds: float = 0.0) -> None:
        self.counts["relayed_out"] += 1
        super().on_rtcp(data, age_seconds)

    def close(self) -> None:
        if self.channel is not None:
            self.channel.close(GOING_AWAY, RELAY_CLOSED)
        super().close()
