"""A browser in a conference on a bridge: it joins by COLIBRI, sends and receives, and tells what it saw."""

from __future__ import annotations

import base64
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from jvbtune.errors import LoadError
from jvbtune.interrupts import pause
from jvbtune.inventory import HostEntry
from jvbtune.load.browser import PAGE
from jvbtune.load.browser.driver import first_line
from jvbtune.load.browser.session import Sent, offer, transport_of
from jvbtune.load.colibri import Answer, Conference, Sources
from jvbtune.load.mix import Video
from jvbtune.load.target import channel_target, media_target, refuse_elsewhere
from jvbtune.protocol.worker import ChannelAt

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

T = TypeVar("T")
Stats = dict[str, Any]
#: ICE and DTLS; and until all encoders have sent something.
CONNECT_SECONDS, ENCODE_SECONDS = 25.0, 30.0
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Signalled:
    """A participant that the bridge knows of, and where that may be reached."""

    name: str
    answer: Answer
    channel: ChannelAt

    @property
    def flags(self) -> tuple[str, ...]:
        """Of its browser: the channel's name leads to the address that was found to be allowed, wherever it runs."""
        name, address = urlsplit(self.channel.url).hostname, self.channel.address
        return (f"--host-resolver-rules=MAP {name} {f'[{address}]' if ':' in address else address}",)


def signal(entry: HostEntry, conference: Conference, negotiated: Sources) -> Signalled:
    """Create a participant. Raises LoadError if the bridge is nowhere where load may go."""
    name, target = secrets.token_hex(4), media_target(entry)
    answer = conference.add(name, None, negotiated)
    refuse_elsewhere(entry.name, target, answer.candidates)
    return Signalled(name, replace(answer, candidates=(target,)), channel_target(entry, answer.channels))


class Seat:
    """One participant. Raises LoadError, with the step that failed."""

    def __init__(
        self,
        driver: WebDriver,
        conference: Conference,
        signalled: Signalled,
        negotiated: Sources,
        others: Mapping[str, Sources],
        allowed: Callable[[], None],
        *,
        audio: bool = False,
        video: Video | None = None,
    ) -> None:
        """``negotiated``: its codecs. ``others``: what the rest of the conference sends. ``allowed`` raises if it must
        not go on. ``video``: of its camera."""
        self._driver, self._lock, self._allowed = driver, threading.Lock(), allowed
        self.name, self._answer = signalled.name, signalled.answer
        self._sends = [Sent("audio", f"{self.name}-a0")] if audio else []
        if video is not None:
            self._sends.append(Sent("video", f"{self.name}-v0", video.layers, video.frames_per_second))
        self.sources, self._negotiated, self._version = negotiated, negotiated, 0
        with _failures_of("page"):
            driver.get("data:text/html;base64," + base64.b64encode(PAGE.read_bytes()).decode())
        # The bridge is not told the browser's address: it would check it from all of its own, and be answered there.
        conference.complete(self.name, replace(transport_of(self.hear(others)), ip=""))
        self._wait("ICE", lambda: self._ask("state") == "connected", CONNECT_SECONDS)
        self._ask("listen", signalled.channel.url)
        if self._sends:
            self.sources = self._wait("encoder", self._chosen, ENCODE_SECONDS)
            conference.update(self.name, self.sources)

    def hear(self, others: Mapping[str, Sources]) -> str:
        """All that the rest of the conference sends now; the browser's answer. Whoever was heard before comes first."""
        self._version += 1
        sdp = offer(self._answer, self._negotiated, others, self._sends, self._version)
        sends = [sent.to_json(mid) for mid, sent in enumerate(self._sends)] if self._version == 1 else []
        answered: str = self._ask("answer", sdp, sends)
        return answered

    def say(self, message: Mapping[str, Any]) -> None:
        """Over the bridge channel."""
        self._ask("say", message)

    def stats(self) -> list[Stats]:
        """All of ``getStats()``, as https://www.w3.org/TR/webrtc-stats/ has them."""
        found: list[Stats] = self._ask("stats")
        return found

    def check(self) -> None:
        """Keeps it alive: a page that is not called for 5 s ends its part. Raises LoadError if it is not connected."""
        if (state := self._ask("state")) != "connected":
            raise LoadError(f"the browser: its connection is {state}")

    def leave(self) -> None:
        """It sends and receives nothing any more."""
        self._ask("leave")

    def _ask(self, name: str, *arguments: Any) -> Any:
        """What a function of the page answers, once its promise is kept. Any thread."""
        script = "jvbtune.call(arguments[0], arguments[1], arguments[2])"
        with _failures_of(name), self._lock:
            answer = self._driver.execute_async_script(script, name, list(arguments))
        if not isinstance(answer, dict) or "error" in answer:
            raise LoadError(f"the browser: {name}: {answer['error'] if answer else 'no answer'}")
        return answer.get("value")

    def _wait(self, step: str, look: Callable[[], T | None], seconds: float) -> T:
        ends = time.monotonic() + seconds
        while not (found := look()):
            self._allowed()
            if time.monotonic() > ends:
                raise LoadError(f"the browser: {step}: not done within {seconds:g} s")
            pause(LOOK_SECONDS)
        return found

    def _chosen(self) -> Sources | None:
        """The SSRCs, by the encoders' statistics; None while one of them has sent nothing."""
        out = [one for one in self.stats() if one["type"] == "outbound-rtp" and one.get("packetsSent")]
        audio = [int(one["ssrc"]) for one in out if one["kind"] == "audio"]
        layers = sorted((one for one in out if one["kind"] == "video"), key=lambda one: str(one.get("rid", "")))
        if len(audio) + len(layers) < sum(max(1, len(sent.layers)) for sent in self._sends):
            return None
        ssrcs = tuple((int(one["ssrc"]), int(one["rtxSsrc"])) for one in layers)
        return replace(self._negotiated, audio=audio[0] if audio else None, layers=ssrcs)


@contextmanager
def _failures_of(step: str) -> Iterator[None]:
    """A browser that refuses, is gone or does not answer is a LoadError."""
    from selenium.common.exceptions import WebDriverException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (WebDriverException, HTTPError) as error:
        raise LoadError(f"the browser: {step}: {first_line(error)}") from error
