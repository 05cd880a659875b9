"""Conferences on a bridge by COLIBRI v2 over its private HTTP interface (jitsi-xmpp-extensions' JSON form)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import LoadError
from jvbtune.load.endpoint import Remote
from jvbtune.load.media import AUDIO_LEVEL_ID, OPUS_PAYLOAD_TYPE

PATH = "/colibri/v2/conferences/"
ICE_NAMESPACE = "urn:xmpp:jingle:transports:ice-udp:1"
AUDIO_LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
MEDIA = [
    {
        "type": "audio",
        "payload-types": [
            {
                "name": "opus",
                "id": str(OPUS_PAYLOAD_TYPE),
                "channels": "2",
                "clockrate": "48000",
                "parameters": {"minptime": "10"},
                "rtcp-fbs": [],
            }
        ],
        "rtp-hdrexts": [{"uri": AUDIO_LEVEL_URI, "id": AUDIO_LEVEL_ID}],
        "extmap-allow-mixed": True,
    }
]


@dataclass(frozen=True)
class LocalTransport:
    """An endpoint's own side."""

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


def endpoint_json(name: str, transport: LocalTransport, ssrcs: Sequence[int]) -> dict[str, Any]:
    """An endpoint to be created; the client's transport goes with it, so that one round trip is enough."""
    return {
        "create": True,
        "id": name,
        "stats-id": "jvbtune",
        "capabilities": ["source-names", "private-address-connectivity"],
        "medias": MEDIA,
        "transport": {
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
                ],
                "fingerprints": [{"fingerprint": transport.fingerprint, "hash": "sha-256", "setup": "active"}],
            },
        },
        "sources": [
            {"type": "audio", "id": f"{name}-a0", "sources": [{"ssrc": ssrc, "name": f"{name}-a0"}]} for ssrc in ssrcs
        ],
    }


class Conference:
    """One conference on the bridge: the first endpoint creates it."""

    def __init__(self, client: BridgeClient, meeting_id: str) -> None:
        self._client, self.meeting_id = client, meeting_id
        self.created = False

    def add(self, name: str, transport: LocalTransport, ssrcs: Sequence[int]) -> Answer:
        """Create one endpoint: a bridge takes one a request. Raises BridgeError, LoadError."""
        endpoint = endpoint_json(name, transport, ssrcs)
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

    def expire(self) -> None:
        if self.created:
            self._client.request("PATCH", PATH + self.meeting_id, {"expire": True})
            self.created = False


def parse_answer(answer: Any) -> Answer:
    """The bridge's transport of the one endpoint in an answer. Raises LoadError."""
    try:
        transport = answer["endpoints"][0]["transport"]["transport"]
        fingerprint = next(f["fingerprint"] for f in transport["fingerprints"] if f["hash"].lower() == "sha-256")
        candidates = tuple(
            (str(c["ip"]), int(c["port"]))
            for c in transport["candidates"]
            if str(c["protocol"]).lower() == "udp" and str(c["component"]) == "1"
        )
        return Answer(Remote(transport["ufrag"], transport["pwd"], fingerprint), candidates)
    except (KeyError, IndexError, TypeError, ValueError, StopIteration) as error:
        raise LoadError(f"the bridge's COLIBRI answer has no transport: {str(answer)[:300]}") from error
