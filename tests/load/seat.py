"""A headless Chromium in a conference of jvbtune's clients."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix
from jvbtune.load.browser import PAGE
from jvbtune.load.browser.session import offer, transport_of
from jvbtune.load.colibri import Conference, Sources
from jvbtune.load.generator import WorkerGenerator
from jvbtune.load.media.video import width_of
from jvbtune.load.mix import Layer, Video
from jvbtune.load.target import channel_target
from tests.conftest import CHROMIUM, CHROMIUM_FLAGS

#: A page that may use a camera is told all addresses of the machine; the namespace has no route to anywhere else.
FLAGS = [
    *CHROMIUM_FLAGS,
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]
#: What the browser asks for in turn: up and down, and the lowest layer in the end again.
HEIGHTS = (180, 720, 360, 720, 180)
CAMERAS = 2
SWITCH_SECONDS = 20.0
#: Of the 30 frames a second that are sent, at least so many arrive: of each temporal layer.
LEAST_FRAMES_PER_SECOND = 25.0
#: Of the pictures that came, at least so many decode; the others are of before the first key frame, or under way.
DECODED_RATIO, UNDER_WAY = 0.97, 10
Stats = dict[str, Any]


class Seat:
    """One participant. Figures are of ``getStats()``."""

    def __init__(self, page: Page, sources: Mapping[str, Sources]) -> None:
        self._page = page
        self.sources = [f"{name}-v0" for name, one in sources.items() if one.layers]
        self._ssrcs = {one.layers[0][0]: f"{name}-v0" for name, one in sources.items() if one.layers}

    def ask(self, max_height: int) -> None:
        """For all videos, in no more than this height."""
        self._page.evaluate(
            "message => jvbtune.say(message)",
            {
                "colibriClass": "ReceiverVideoConstraints",
                "lastN": -1,
                "onStageSources": self.sources if max_height > 360 else [],
                "selectedSources": [],
                "defaultConstraints": {"maxHeight": max_height},
                "constraints": {name: {"maxHeight": max_height} for name in self.sources},
            },
        )

    def all_stats(self) -> list[Stats]:
        found: list[Stats] = self._page.evaluate("jvbtune.stats()")
        return found

    def videos(self) -> dict[str, Stats]:
        """By the names of their sources."""
        of = {one["ssrc"]: one for one in self.all_stats() if one["type"] == "inbound-rtp" and one["kind"] == "video"}
        return {name: of[ssrc] for ssrc, name in self._ssrcs.items() if ssrc in of}

    def until(self, true: Callable[[dict[str, Stats]], bool], seconds: float) -> dict[str, Stats]:
        """The videos, once that is true of them. Fails with what they are if it is not in time."""
        ends = time.monotonic() + seconds
        while not true(seen := self.videos()):
            assert time.monotonic() < ends, self.all_stats()
            time.sleep(0.2)
        return seen

    def until_height(self, height: int) -> None:
        """All videos are in that height, and go on for two seconds."""

        def there(seen: dict[str, Stats]) -> bool:
            sizes = [(one.get("frameWidth"), one.get("frameHeight")) for one in seen.values()]
            return sizes == [(width_of(height), height)] * CAMERAS

        before = self.until(there, SWITCH_SECONDS)
        self.wait(2.0)
        for name, one in self.videos().items():
            seconds = (one["timestamp"] - before[name]["timestamp"]) / 1000
            decoded = one["framesDecoded"] - before[name]["framesDecoded"]
            assert decoded >= LEAST_FRAMES_PER_SECOND * seconds, (decoded, seconds, one)
            assert one["frameHeight"] == height

    def wait(self, seconds: float) -> None:
        self._page.wait_for_timeout(1000 * seconds)


def all_decoded(seat: Seat) -> None:
    """Nearly all that came was decoded, by decoders in software, and none was asked for again and again."""
    seen = seat.videos()
    assert len(seen) == CAMERAS
    for one in seen.values():
        assert one["framesReceived"] > 50
        assert one["framesDecoded"] >= DECODED_RATIO * one["framesReceived"] - UNDER_WAY, one
        assert one["keyFramesDecoded"] >= 1
        assert one["pliCount"] <= 10, one
        assert one["decoderImplementation"] in ("libvpx", "dav1d"), one


@contextmanager
def watching(lab: Lab, directory: Path, codec: str, layers: Sequence[Layer]) -> Iterator[Seat]:
    """Chromium in a conference of three, of whom two have cameras."""
    mix = Mix(CAMERAS + 1, CAMERAS, video=Video(CAMERAS, tuple(layers), grid_height=layers[-1].height, codec=codec))
    entry = lab.entry()
    with connect(entry) as host, WorkerGenerator(entry, host) as generator:
        generator.offer(IntendedLoad(1, mix), 1.0, settle_seconds=2.0)
        [(conference, sources)] = generator.conferences
        assert isinstance(conference, Conference)
        with seated(lab, directory, conference, sources, codec) as seat:
            yield seat


@contextmanager
def seated(
    lab: Lab, directory: Path, conference: Conference, sources: Mapping[str, Sources], codec: str
) -> Iterator[Seat]:
    """Chromium in the generator's network, in a conference with whoever sends those sources."""
    chromium = directory / "chromium"
    chromium.write_text(f'#!/bin/sh\nexec nsenter --net=/run/netns/{lab.network.generator_netns} -- {CHROMIUM} "$@"\n')
    chromium.chmod(0o755)
    name, own = secrets.token_hex(4), Sources(clients=True, transport_cc=True, codec=codec)
    answer = conference.add(name, None, own)
    channel = channel_target(lab.entry(), answer.channels)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        page.goto(PAGE.as_uri())
        page.evaluate("navigator.mediaDevices.getUserMedia({ audio: true }).then(() => null)")  # to see decoders' names
        answered = page.evaluate("sdp => jvbtune.answer(sdp)", offer(answer, own, sources))
        conference.complete(name, transport_of(answered))
        page.wait_for_function("jvbtune.connection.connectionState === 'connected'", timeout=20_000)
        page.evaluate("url => jvbtune.listen(url)", channel.url)
        yield Seat(page, sources)
        browser.close()
