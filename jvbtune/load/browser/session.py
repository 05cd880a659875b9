"""The session of a browser with a bridge as SDP (RFC 8866, RFC 8829), from and to what COLIBRI has of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jvbtune.errors import LoadError
from jvbtune.load.colibri import Answer, LocalTransport, Sources, medias
from jvbtune.load.media.rtp import OPUS
from jvbtune.load.media.video import width_of
from jvbtune.load.mix import Layer

#: Parameters without which browsers take a payload type for another one.
_PROFILES = {"VP9": "profile-id=0", "AV1": "level-idx=5;profile=0;tier=0", "red": f"{OPUS}/{OPUS}"}
#: Browsers want them for simulcast, and leave them out of packets as soon as a receiver report came.
_OF_SIMULCAST = {13: "urn:ietf:params:rtp-hdrext:sdes:mid", 14: "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"}


@dataclass(frozen=True)
class Sent:
    """What a browser sends."""

    kind: str  #: "audio" | "video"
    name: str
    layers: tuple[Layer, ...] = ()  #: of video, lowest first
    frames_per_second: float = 0.0

    def to_json(self, mid: int) -> dict[str, Any]:
        """For ``answer`` of the page; ``mid``: its section, which is its place among all that the browser sends."""
        layers = [{"height": one.height, "bitsPerSecond": round(one.bitrate_kbps * 1000)} for one in self.layers]
        size = {"width": width_of(self.layers[-1].height), "height": self.layers[-1].height} if self.layers else {}
        camera = {"layers": layers, "framesPerSecond": self.frames_per_second, **size} if layers else {}
        return {"mid": str(mid), "kind": self.kind, "name": self.name, **camera}


def offer(
    answer: Answer, own: Sources, others: Mapping[str, Sources], sends: Sequence[Sent] = (), version: int = 1
) -> str:
    """The bridge's offer to an endpoint with its ``own`` codecs: a section for each thing that it ``sends``, and then
    one for each source of the ``others``. A later ``version`` has the sections of the one before, and may add some."""
    offered = {
        media["type"]: media
        for media in medias(video=own.clients, transport_cc=own.transport_cc, codec=own.codec, red=own.red)
    }
    sources = [(media, name, ssrcs) for media in offered for name, ssrcs in _sent(media, others)]
    mids = " ".join(map(str, range(len(sends) + len(sources))))
    lines = ["v=0", f"o=- 1 {version} IN IP4 0.0.0.0", "s=-", "t=0 0", f"a=group:BUNDLE {mids}", "a=extmap-allow-mixed"]
    for mid, sent in enumerate(sends):
        lines += [*_section(mid, offered[sent.kind], answer, "recvonly"), *_layers(sent)]
    for mid, (media, name, ssrcs) in enumerate(sources, start=len(sends)):
        lines += [*_section(mid, offered[media], answer, "sendonly"), *_streams(name, ssrcs)]
    return "".join(f"{line}\r\n" for line in lines)


def _sent(media: str, others: Mapping[str, Sources]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Sources by their names: of video the SSRC that the bridge sends it under, which is of the lowest layer, and that
    of its retransmissions."""
    for name, sources in others.items():
        if media == "audio" and sources.audio is not None:
            yield f"{name}-a0", (sources.audio,)
        elif media == "video" and sources.layers:
            yield f"{name}-v0", sources.layers[0]


def _section(mid: int, media: dict[str, Any], answer: Answer, direction: str) -> Iterator[str]:
    payload_types = media["payload-types"]
    yield f"m={media['type']} 9 UDP/TLS/RTP/SAVPF {' '.join(one['id'] for one in payload_types)}"
    yield from ("c=IN IP4 0.0.0.0", f"a=mid:{mid}", "a=rtcp-mux", f"a={direction}")
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


def _layers(sent: Sent) -> Iterator[str]:
    """The simulcast that the bridge takes (RFC 8853): the browser makes the SSRCs, and tells them in its statistics."""
    names = [str(number) for number in range(len(sent.layers))]
    if len(names) > 1:
        yield from (f"a=extmap:{number} {uri}" for number, uri in _OF_SIMULCAST.items())
        yield from (f"a=rid:{name} recv" for name in names)
        yield f"a=simulcast:recv {';'.join(names)}"


def _streams(name: str, ssrcs: tuple[int, ...]) -> Iterator[str]:
    yield f"a=msid:{name} {name}"
    if len(ssrcs) > 1:
        yield f"a=ssrc-group:FID {' '.join(map(str, ssrcs))}"
    for ssrc in ssrcs:
        yield f"a=ssrc:{ssrc} cname:{name}"


def transport_of(sdp: str) -> LocalTransport:
    """The browser's side, from its answer. A browser that hides its addresses, as without a right to a microphone, is
    found by the checks that it sends. Raises LoadError."""
    found = {
        name: re.search(rf"^a={pattern}\s*$", sdp, re.MULTILINE)
        for name, pattern in {
            "ufrag": r"ice-ufrag:(\S+)",
            "password": r"ice-pwd:(\S+)",
            "fingerprint": r"fingerprint:sha-256 (\S+)",
            "candidate": r"candidate:\S+ 1 udp \d+ ([\d.:a-fA-F]+) (\d+) typ host.*",
        }.items()
    }
    values = {name: match.groups() for name, match in found.items() if match is not None}
    missing = [name for name in ("ufrag", "password", "fingerprint") if name not in values]
    if missing:
        raise LoadError(f"the browser's answer has no {missing[0]}")
    ip, port = values.get("candidate", ("", "0"))
    return LocalTransport(values["ufrag"][0], values["password"][0], ip, int(port), values["fingerprint"][0])
