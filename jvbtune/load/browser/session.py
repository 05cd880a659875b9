"""The session of a browser with a bridge as SDP (RFC 8866, RFC 8829), from and to what COLIBRI has of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jvbtune.errors import LoadError
from jvbtune.load.colibri import Answer, LocalTransport, Sources, medias
from jvbtune.load.media.rtp import OPUS

#: Parameters without which browsers take a payload type for another one.
_PROFILES = {"VP9": "profile-id=0", "AV1": "level-idx=5;profile=0;tier=0", "red": f"{OPUS}/{OPUS}"}


def offer(answer: Answer, own: Sources, others: Mapping[str, Sources]) -> str:
    """The bridge's offer to an endpoint with its ``own`` codecs: what the ``others`` send, each source in a section."""
    offered = {
        media["type"]: media
        for media in medias(video=own.clients, transport_cc=own.transport_cc, codec=own.codec, red=own.red)
    }
    sources = [(media, name, ssrcs) for media in offered for name, ssrcs in _sent(media, others)]
    mids = " ".join(str(mid) for mid in range(len(sources)))
    lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", f"a=group:BUNDLE {mids}", "a=extmap-allow-mixed"]
    for mid, (media, name, ssrcs) in enumerate(sources):
        lines += _section(mid, offered[media], answer, name, ssrcs)
    return "".join(f"{line}\r\n" for line in lines)


def _sent(media: str, others: Mapping[str, Sources]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Sources by their names: of video the SSRC that the bridge sends it under, which is of the lowest layer, and that
    of its retransmissions."""
    for name, sources in others.items():
        if media == "audio" and sources.audio is not None:
            yield f"{name}-a0", (sources.audio,)
        elif media == "video" and sources.layers:
            yield f"{name}-v0", sources.layers[0]


def _section(mid: int, media: dict[str, Any], answer: Answer, name: str, ssrcs: tuple[int, ...]) -> Iterator[str]:
    payload_types = media["payload-types"]
    yield f"m={media['type']} 9 UDP/TLS/RTP/SAVPF {' '.join(one['id'] for one in payload_types)}"
    yield from ("c=IN IP4 0.0.0.0", f"a=mid:{mid}", "a=rtcp-mux", "a=sendonly")
    yield f"a=ice-ufrag:{answer.remote.ufrag}"
    yield f"a=ice-pwd:{answer.remote.password}"
    yield f"a=fingerprint:sha-256 {answer.remote.fingerprint}"
    yield "a=setup:actpass"
    for number, (ip, port) in enumerate(answer.candidates, start=1):
        yield f"a=candidate:{number} 1 udp 2130706431 {ip} {port} typ host"
    for extension in media["rtp-hdrexts"]:
        yield f"a=extmap:{extension['id']} {extension['uri']}"
    for one in payload_types:
        channels = f"/{one['channels']}" if "channels" in one else ""
        yield f"a=rtpmap:{one['id']} {one['name']}/{one['clockrate']}{channels}"
        parameters = [f"{key}={value}" for key, value in one["parameters"].items()]
        parameters += [_PROFILES[one["name"]]] if one["name"] in _PROFILES else []
        if parameters:
            yield f"a=fmtp:{one['id']} {';'.join(parameters)}"
        for feedback in one["rtcp-fbs"]:
            yield f"a=rtcp-fb:{one['id']} {feedback['type']} {feedback.get('subtype', '')}".rstrip()
    yield f"a=msid:{name} {name}"
    if len(ssrcs) > 1:
        yield f"a=ssrc-group:FID {' '.join(map(str, ssrcs))}"
    for ssrc in ssrcs:
        yield f"a=ssrc:{ssrc} cname:{name}"


def transport_of(sdp: str) -> LocalTransport:
    """The browser's side, from its answer. Raises LoadError."""
    found = {
        name: re.search(rf"^a={pattern}\s*$", sdp, re.MULTILINE)
        for name, pattern in {
            "ufrag": r"ice-ufrag:(\S+)",
            "password": r"ice-pwd:(\S+)",
            "fingerprint": r"fingerprint:sha-256 (\S+)",
            "candidate": r"candidate:\S+ 1 udp \d+ ([\d.:a-fA-F]+) (\d+) typ host.*",
        }.items()
    }
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise LoadError(
            f"the browser's answer has no {missing[0]}",
            hint="Does it hide its addresses? Start Chromium with --disable-features=WebRtcHideLocalIpsWithMdns and "
            "--use-fake-ui-for-media-stream.",
        )
    values = {name: match.groups() for name, match in found.items() if match is not None}
    ip, port = values["candidate"]
    return LocalTransport(values["ufrag"][0], values["password"][0], ip, int(port), values["fingerprint"][0])
