"""The session of a browser: Chromium takes the offer whole, and its answer gives what COLIBRI needs."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from jvbtune.errors import LoadError
from jvbtune.load.browser import PAGE
from jvbtune.load.browser.session import Sent, offer, transport_of
from jvbtune.load.colibri import Answer, Sources, endpoint_json
from jvbtune.load.mix import VP8_LAYERS
from jvbtune.protocol.worker import Remote

FINGERPRINT = ":".join(["AB"] * 32)
ANSWER = Answer(Remote("bridge", "b" * 24, FINGERPRINT), (("192.0.2.1", 10000),), ())
OTHERS = {
    "one": Sources(audio=11, layers=((21, 22), (23, 24), (25, 26)), clients=True),
    "two": Sources(audio=12, clients=True),
    "three": Sources(clients=True),
}
ANSWERED = (
    "v=0\r\na=candidate:1 1 tcp 1 192.0.2.2 9 typ host\r\n"
    "a=candidate:2 1 udp 2113937151 192.0.2.2 4000 typ host generation 0\r\n"
    f"a=ice-ufrag:u+/x\r\na=ice-pwd:{'p' * 24}\r\na=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:active\r\n"
)


def sections(sdp: str) -> list[list[str]]:
    return [["m=" + part.split("\r\n")[0], *part.split("\r\n")[1:-1]] for part in sdp.split("m=")[1:]]


@pytest.mark.parametrize("codec", ["vp8", "vp9", "av1"])
def test_each_source_has_a_section_with_what_the_bridge_sends_it_under(codec: str) -> None:
    sdp = offer(ANSWER, Sources(clients=True, transport_cc=True, codec=codec), OTHERS)
    found = sections(sdp)
    assert [section[0].split()[0] for section in found] == ["m=audio", "m=audio", "m=video"]
    assert "a=group:BUNDLE 0 1 2\r\n" in sdp
    assert "a=ssrc-group:FID 21 22" in found[2]
    assert "a=msid:one-v0 one-v0" in found[2]
    assert ("a=rtpmap:41 AV1/90000" in found[2]) == (codec == "av1")
    assert ("a=fmtp:101 profile-id=0" in found[2]) == (codec == "vp9")
    assert {"a=rtpmap:100 VP8/90000", "a=fmtp:96 apt=100", "a=rtcp-fb:100 nack pli"} <= set(found[2])
    for section in found:
        assert {"a=setup:actpass", "a=rtcp-mux", "a=ice-ufrag:bridge"} <= set(section)
        assert "a=candidate:1 1 udp 2130706431 192.0.2.1 10000 typ host" in section


def test_the_transport_is_read_from_the_answer() -> None:
    transport = transport_of(ANSWERED)
    assert (transport.ufrag, transport.password, transport.fingerprint) == ("u+/x", "p" * 24, FINGERPRINT)
    assert (transport.ip, transport.port) == ("192.0.2.2", 4000)


def test_a_browser_that_hides_its_address_is_found_by_its_checks() -> None:
    hidden = ANSWERED.replace("udp 2113937151 192.0.2.2", "udp 2113937151 0b1d9f2c.local")
    transport = transport_of(hidden)
    assert (transport.ufrag, transport.ip) == ("u+/x", "")
    sent = endpoint_json("e", transport, Sources(clients=True))["transport"]["transport"]
    assert (sent["candidates"], sent["ufrag"]) == ([], "u+/x")
    with pytest.raises(LoadError, match="no fingerprint"):
        transport_of(hidden.replace("fingerprint", "finger"))


def test_what_a_browser_sends_has_a_section_that_the_bridge_takes_it_in() -> None:
    video = Sent("video", "me-v0", VP8_LAYERS, 30.0)
    sends = [Sent("audio", "me-a0"), video]
    first = sections(offer(ANSWER, Sources(clients=True), {}, sends))
    later = sections(offer(ANSWER, Sources(clients=True), OTHERS, sends, 2))
    assert [section[0].split()[0] for section in later] == ["m=audio", "m=video", "m=audio", "m=audio", "m=video"]
    assert later[:2] == first
    assert all("a=recvonly" in section for section in first)
    assert {"a=rid:0 recv", "a=rid:2 recv", "a=simulcast:recv 0;1;2"} <= set(first[1])
    assert not any(line.startswith("a=ssrc") for section in first for line in section)
    told = video.to_json(1)
    assert (told["mid"], told["width"], told["height"]) == ("1", 1280, 720)
    assert told["layers"][0] == {"height": 180, "bitsPerSecond": 200_000}


def test_an_endpoint_without_a_transport_leaves_ice_to_the_bridge() -> None:
    assert endpoint_json("x", None, Sources(clients=True))["transport"] == {"ice-controlling": True}


@pytest.mark.browser
@pytest.mark.parametrize("codec", ["vp8", "vp9", "av1"])
def test_chromium_takes_every_section_and_codec(browser: Browser, codec: str) -> None:
    sdp = offer(ANSWER, Sources(clients=True, transport_cc=True, codec=codec, red=True), OTHERS)
    page = browser.new_page()
    page.goto(PAGE.as_uri())
    answered = page.evaluate("sdp => jvbtune.answer(sdp)", sdp)
    page.close()
    offered, taken = sections(sdp), sections(answered)
    assert len(taken) == len(offered)
    for before, after in zip(offered, taken, strict=True):
        assert before[0].split()[3:] == after[0].split()[3:], "all payload types"
        assert "a=recvonly" in after
        assert "a=setup:active" in after
        wanted = {line for line in before if line.startswith("a=extmap:")}
        assert wanted <= set(after), "all header extensions"
