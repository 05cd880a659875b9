"""Conferences on a bridge by COLIBRI v2 over its private HTTP interface (jitsi-xmpp-extensions' JSON form)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import LoadError
from jvbtune.load.media import AUDIO_LEVEL_ID, OPUS_PAYLOAD_TYPE
from jvbtune.load.media.codecs import CODECS, Codec
from jvbtune.load.media.rtp import ABS_SEND_TIME_ID, DESCRIPTOR_ID, MID_ID, RED, TRANSPORT_CC_ID
from jvbtune.protocol.worker import Remote

PATH = "/colibri/v2/conferences/"
STATS_ID = "jvbtune"
ICE_NAMESPACE = "urn:xmpp:jingle:transports:ice-udp:1"
AUDIO_LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
TRANSPORT_CC_URI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
DESCRIPTOR_URI = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"
ABS_SEND_TIME_URI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"


def medias(
    *,
    video: bool,
    transport_cc: bool,
    codec: str = "vp8",
    red: bool = False,
    mids: bool = False,
    remb: bool = False,
) -> list[dict[str, Any]]:
    """Payload types and header extensions, as Jicofo offers them (its ``codec`` configuration): of video VP8 and the
    ``codec`` that is sent."""
    congestion = [{"type": "transport-cc"}] if transport_cc else []
    redundant = {"name": "red", "id": str(RED), "channels": "2", "clockrate": "48000", "parameters": {}, "rtcp-fbs": []}
    tagged = [{"uri": TRANSPORT_CC_URI, "id": TRANSPORT_CC_ID}] if transport_cc else []
    tagged += [{"uri": MID_URI, "id": MID_ID}] if mids else []
    audio = {
        "type": "audio",
        "payload-types": [
            *([redundant] if red else []),
            {
                "name": "opus",
                "id": str(OPUS_PAYLOAD_TYPE),
                "channels": "2",
                "clockrate": "48000",
                "parameters": {"minptime": "10"},
                "rtcp-fbs": congestion,
            },
        ],
        "rtp-hdrexts": [{"uri": AUDIO_LEVEL_URI, "id": AUDIO_LEVEL_ID}, *tagged],
        "extmap-allow-mixed": True,
    }
    if not video:
        return [audio]
    feedback = [{"type": "ccm", "subtype": "fir"}, {"type": "nack"}, {"type": "nack", "subtype": "pli"}, *congestion]
    feedback += [{"type": "goog-remb"}] if remb else []
    described = [{"uri": DESCRIPTOR_URI, "id": DESCRIPTOR_ID}] if codec == "av1" else []
    offered = [entry for name in dict.fromkeys(("vp8", codec)) for entry in _payload_types(CODECS[name], feedback)]
    return [
        audio,
        {
            "type": "video",
            "payload-types": offered,
            "rtp-hdrexts": [{"uri": ABS_SEND_TIME_URI, "id": ABS_SEND_TIME_ID}, *tagged, *described],
            "extmap-allow-mixed": True,
        },
    ]


def _payload_types(codec: Codec, feedback: list[dict[str, str]]) -> list[dict[str, Any]]:
    of, apt = str(codec.payload_type), {"apt": str(codec.payload_type)}
    return [
        {"name": codec.name, "id": of, "clockrate": "90000", "parameters": {}, "rtcp-fbs": feedback},
        {"name": "rtx", "id": str(codec.rtx_type), "clockrate": "90000", "parameters": apt, "rtcp-fbs": []},
    ]


@dataclass(frozen=True)
class Sources:
    """What an endpoint will send. ``layers``: (SSRC, SSRC of its RTX), lowest first; one of a scalable ``codec``."""

    audio: int | None = None
    layers: tuple[tuple[int, int], ...] = ()
    desktop: bool = False
    clients: bool = False  #: negotiates video, to send or to receive it
    transport_cc: bool = False
    codec: str = "vp8"  #: of video, also if it only receives
    red: bool = False  #: likewise of audio
    rewriting: bool = False  #: the bridge may send it others' media under SSRCs of its own, which its channel tells
    mids: bool = False  #: and mark it with mids, which the channel tells too
    remb: bool = False  #: in place of transport-cc

    def to_json(self, name: str) -> list[dict[str, Any]]:
        """As Jicofo signals them to a bridge."""
        found: list[dict[str, Any]] = []
        if self.audio is not None:
            found.append({"type": "audio", "id": f"{name}-a0", "sources": [{"ssrc": self.audio, "name": f"{name}-a0"}]})
        if self.layers:
            source = f"{name}-v0"
            groups = [{"semantics": "FID", "sources": list(layer)} for layer in self.layers]
            if len(self.layers) > 1:
                groups.insert(0, {"semantics": "SIM", "sources": [primary for primary, _ in self.layers]})
            kind = {"videoType": "DESKTOP"} if self.desktop else {}
            ssrcs = [ssrc for layer in self.layers for ssrc in layer]
            found.append(
                {
                    "type": "video",
                    "id": source,
                    "sources": [{"ssrc": ssrc, "name": source, **kind} for ssrc in ssrcs],
                    "ssrc-groups": groups,
                }
            )
        return found


@dataclass(frozen=True)
class LocalTransport:
    """An endpoint's own side. ``ip`` is empty: it is not known yet."""

    ufrag: str
    password: str
    ip: str
    port: int
    fingerprint: str


@dataclass(frozen=True)
class Answer:
    """The bridge's side of an endpoint, and where it takes media."""

    remote: Remote
    candidates: tuple[tuple[str, int], ...]
    channels: tuple[str, ...] = ()  #: URLs of its bridge channel, as the bridge advertises them


def endpoint_json(name: str, transport: LocalTransport | None, sources: Sources) -> dict[str, Any]:
    """An endpoint to be created; the client's transport goes with it, so that one round trip is enough. A client that
    needs the bridge's side first has none yet: then the bridge leads ICE, as with Jicofo."""
    optional = {"ssrc-rewriting": sources.rewriting, "rtp-mid-demux": sources.mids}
    capabilities = ["source-names", "private-address-connectivity", *(name for name, on in optional.items() if on)]
    return {
        "create": True,
        "id": name,
        "stats-id": STATS_ID,
        "capabilities": capabilities,
        "medias": medias(
            video=sources.clients,
            transport_cc=sources.transport_cc,
            codec=sources.codec,
            red=sources.red,
            mids=sources.mids,
            remb=sources.remb,
        ),
        "transport": _transport_json(name, transport) if transport is not None else {"ice-controlling": True},
        "sources": sources.to_json(name),
    }


def relay_json(name: str, transport: LocalTransport, endpoints: Mapping[str, Sources]) -> dict[str, Any]:
    """A relay to be created on the bridge that answers, as Jicofo signals it: ``endpoints`` are on the other bridge,
    the one that begins ICE and DTLS and connects the channel."""
    transport_cc = any(sources.transport_cc for sources in endpoints.values())
    offered = next(iter(endpoints.values()), Sources())
    return {
        "create": True,
        "id": name,
        "mesh-id": "0",
        "medias": medias(video=True, transport_cc=transport_cc, codec=offered.codec, red=offered.red),
        "transport": {**_transport_json(name, transport), "use-unique-port": False},
        "endpoints": [
            {"create": True, "id": one, "stats-id": STATS_ID, "sources": sources.to_json(one)}
            for one, sources in endpoints.items()
        ],
    }


def _transport_json(name: str, transport: LocalTransport) -> dict[str, Any]:
    return {
        "ice-controlling": False,
        "transport": {
            "xmlns": ICE_NAMESPACE,
            "ufrag": transport.ufrag,
            "pwd": transport.password,
            "rtcp-mux": True,
            "candidates": [
                {
                    "generation": "0",
                    "component": "1",
                    "protocol": "udp",
                    "port": str(transport.port),
                    "ip": transport.ip,
                    "foundation": "1",
                    "id": name,
                    "priority": "2130706431",
                    "type": "host",
                    "network": "0",
                }
            ]
            if transport.ip
            else [],
            "fingerprints": [{"fingerprint": transport.fingerprint, "hash": "sha-256", "setup": "active"}],
        },
    }


class Conference:
    """One conference on the bridge: the first endpoint creates it."""

    def __init__(self, client: BridgeClient, meeting_id: str) -> None:
        self._client, self.meeting_id = client, meeting_id
        self.created = False

    def add(self, name: str, transport: LocalTransport | None, sources: Sources) -> Answer:
        """Create one endpoint: a bridge takes one a request. Without its transport, that follows by ``complete``.
        Raises BridgeError, LoadError."""
        endpoint = endpoint_json(name, transport, sources)
        if self.created:
            answer = self._client.request("PATCH", PATH + self.meeting_id, {"endpoints": [endpoint]})
        else:
            body = {
                "meeting-id": self.meeting_id,
                "name": f"{self.meeting_id}@jvbtune.invalid",
                "create": True,
                "endpoints": [endpoint],
            }
            answer = self._client.request("POST", PATH, body)
            self.created = True
        return parse_answer(answer)

    def complete(self, name: str, transport: LocalTransport) -> None:
        """The transport of an endpoint that was created without one. Raises BridgeError."""
        later = {"id": name, "transport": _transport_json(name, transport)}
        self._client.request("PATCH", PATH + self.meeting_id, {"endpoints": [later]})

    def update(self, name: str, sources: Sources) -> None:
        """What an endpoint sends, once that is known. Raises BridgeError."""
        later = {"id": name, "sources": sources.to_json(name)}
        self._client.request("PATCH", PATH + self.meeting_id, {"endpoints": [later]})

    def add_relay(self, name: str, transport: LocalTransport, endpoints: Mapping[str, Sources]) -> Answer:
        """Create the relay to the bridge ``name``, with the endpoints there; the conference has an endpoint already.
        Raises BridgeError, LoadError."""
        relay = relay_json(name, transport, endpoints)
        answer = self._client.request("PATCH", PATH + self.meeting_id, {"relays": [relay]})
        return parse_answer(answer, "relays")

    def expire(self) -> None:
        if self.created:
            self._client.request("PATCH", PATH + self.meeting_id, {"expire": True})
            self.created = False


def parse_answer(answer: Any, of: str = "endpoints") -> Answer:
    """The bridge's transport of the one endpoint (or of ``relays``) in an answer. Raises LoadError."""
    try:
        transport = answer[of][0]["transport"]["transport"]
        fingerprint = next(f["fingerprint"] for f in transport["fingerprints"] if f["hash"].lower() == "sha-256")
        candidates = tuple(
            (str(c["ip"]), int(c["port"]))
            for c in transport["candidates"]
            if str(c["protocol"]).lower() == "udp" and str(c["component"]) == "1"
        )
        channels = tuple(str(url) for url in transport.get("web-sockets") or ())
        own = [source.get("ssrc") for media in answer.get("sources") or () for source in media.get("sources") or ()]
        ssrcs = [ssrc & 0xFFFFFFFF for ssrc in own if isinstance(ssrc, int)]
        return Answer(Remote(transport["ufrag"], transport["pwd"], fingerprint, ssrcs=ssrcs), candidates, channels)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise LoadError(f"the bridge's COLIBRI answer has no transport: {str(answer)[:300]}") from error


class Signalling(Protocol):
    """How a conference is set up: on a bridge, or on the sink of a calibration."""

    def add(self, name: str, transport: LocalTransport, sources: Sources) -> Answer:
        """Create one endpoint. Raises JvbtuneError."""

    def expire(self) -> None: ...
