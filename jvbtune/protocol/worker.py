"""What the generator asks of its worker processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional

from jvbtune.protocol.messages import Nothing, Operation


@dataclass(frozen=True)
class SetUp:
    """The first request: the one address that the worker may send to, and its bounds."""

    address: str
    port: int
    bind_address: Optional[str]
    max_pps: float
    lease_seconds: float  #: it ends when nobody said for so long that its controller lives


@dataclass(frozen=True)
class Alive:
    """The controller lives, and holds its lease on the host, for so long from now."""

    seconds: float


@dataclass(frozen=True)
class Clock:
    """The clocks of the worker's machine."""

    unix: float
    mono: float


@dataclass(frozen=True)
class Names:
    """Of endpoints."""

    endpoints: list[str]


@dataclass(frozen=True)
class Open:
    """Names of new endpoints; ``clients``: they take part in meetings, with video, feedback and a channel; ``peers``:
    of them, the bridges at the other end of relays."""

    endpoints: List[str]
    clients: bool = False
    peers: List[str] = field(default_factory=list)


@dataclass(frozen=True)
class OwnEnd:
    """ICE credentials and address of an endpoint."""

    ufrag: str
    password: str
    ip: str
    port: int


@dataclass(frozen=True)
class Opened:
    endpoints: dict[str, OwnEnd]
    fingerprint: str


@dataclass(frozen=True)
class ChannelAt:
    """The bridge channel of an endpoint: its URL, and the address that it was looked up and allowed as."""

    url: str
    address: str
    port: int


@dataclass(frozen=True)
class Remote:
    """The bridge's side of the transport, as it was signalled."""

    ufrag: str
    password: str
    fingerprint: str
    channel: Optional[ChannelAt] = None
    ssrcs: List[int] = field(default_factory=list)  #: of the bridge itself: what it pads and probes with


@dataclass(frozen=True)
class Begin:
    """Begin ICE with what the bridge signalled, at once: a JVB's single port only answers checks, and its side of ICE
    fails where none comes within 5 s."""

    endpoints: dict[str, Remote]
    within_seconds: float


@dataclass(frozen=True)
class Connect:
    """Answered when all that have begun are connected or failed."""

    endpoints: list[str]
    within_seconds: float  #: from now on, whenever they began


@dataclass(frozen=True)
class Connected:
    """``failed``: endpoint -> why."""

    failed: dict[str, str]


@dataclass(frozen=True)
class SenderOf:
    """The stream of an endpoint; ``receivers``: to how many the bridge sends it."""

    endpoint: str
    ssrc: int
    stream_pps: float
    payload_bytes: int
    receivers: int


@dataclass(frozen=True)
class Senders:
    senders: list[SenderOf]


@dataclass(frozen=True)
class Microphone:
    """``number``: of those that speak in the conference. ``floor_seed``: of who speaks when, the same for them all."""

    ssrc: int
    number: int
    speakers: int
    floor_seed: int
    stream_pps: float
    payload_bytes: int
    dtx: bool
    red: bool = False


@dataclass(frozen=True)
class Layer:
    ssrc: int
    rtx_ssrc: int
    height: int
    bits_per_second: float


@dataclass(frozen=True)
class Camera:
    """``name``: of the source, as it was signalled. ``layers``: lowest first; of a codec with all layers under one SSRC
    they share it, and have the bit rate of all up to that one together. ``max_height``: what it sends at most until the
    bridge says something else; -1: all layers."""

    name: str
    seed: int
    frames_per_second: float
    layers: List[Layer]
    desktop: bool = False
    max_height: int = -1
    codec: str = "vp8"


@dataclass(frozen=True)
class View:
    """What a client asks the bridge for: one camera large, the others small; heights of 0: none."""

    stage_height: int
    tile_height: int
    last_n: int


@dataclass(frozen=True)
class Participant:
    """What an endpoint does in its meeting. ``cameras``: names of the others' sources that it may ask for."""

    endpoint: str
    receives: int  #: how many hear its microphone
    microphone: Optional[Microphone]
    camera: Optional[Camera]
    view: Optional[View]
    cameras: List[str]
    transport_cc: bool
    rtcp: bool
    nack_ratio: float = 0.0
    remb: bool = False


@dataclass(frozen=True)
class Watched:
    """A camera on the bridge under test, for those behind a relay. ``number``: of its owner's microphone, -1: none."""

    name: str
    ssrc: int  #: of its lowest layer
    number: int


@dataclass(frozen=True)
class Peer:
    """The bridge at the other end of a relay, with its participants: the first ones have the microphones, and of
    these the cameras."""

    endpoint: str
    ssrc: int  #: of the bridge's own RTCP
    participants: int
    receives: int  #: how many hear its microphones
    speakers: int
    floor_seed: int
    microphones: List[Microphone]
    cameras: List[Camera]
    watched: List[Watched]
    stage_height: int  #: at which its participants see the one who speaks; 0: not at all
    small_height: int  #: and the others
    rtcp: bool


@dataclass(frozen=True)
class Participants:
    """``pps``: what the bridge is expected to carry for them at most."""

    participants: List[Participant]
    pps: float
    peers: List[Peer] = field(default_factory=list)


@dataclass(frozen=True)
class Start:
    stream_pps: float
    burst_packets: int


@dataclass(frozen=True)
class Started:
    senders: int
    pps: float


@dataclass(frozen=True)
class Quiet:
    drain_seconds: float


@dataclass(frozen=True)
class Hold:
    """``begin_mono``: when to begin, on the monotonic clock of the worker's machine."""

    seconds: float
    begin_mono: float


@dataclass(frozen=True)
class KindCounts:
    """Packets of one kind of stream in a window: ``audio``, ``video``, ``rtx`` or ``rtcp``.

    ``expected``: that receivers should have got. Of audio, what was sent, to each. Of video, what the bridge forwarded:
    the span of its own sequence numbers. Of others, what they got.
    """

    sent: int
    expected: int
    received: int
    duplicated: int = 0
    reordered: int = 0


@dataclass(frozen=True)
class MeetingCounts:
    """What the clients and the bridge said to each other in a window."""

    transport_feedback_sent: int
    transport_feedback_received: int
    key_frame_requests: int
    key_frames: int
    nacks_sent: int
    nacks_received: int
    retransmitted: int
    channel_messages: int
    channels_closed: int  #: by the bridge, so far
    active_layers: int
    forwarded_streams: int
    relayed_in: int = 0  #: packets that the bridges at the other end of relays sent, RTCP included,
    relayed_out: int = 0  #: and got
    mapped_sources: int = 0  #: of all clients, that the bridge sends under SSRCs of its own,
    unmapped_streams: int = 0  #: and streams that came to such clients under no SSRC that they were told
    mids_checked: int = 0  #: of sampled packets for which the bridge told a mid,
    mids_wrong: int = 0  #: and those without it
    remb_sent: int = 0  #: bandwidth that clients estimated,
    remb_received: int = 0  #: and that the bridge did


@dataclass(frozen=True)
class Measured:
    """Of a window: counts of packets, and how well the generator kept its schedule."""

    started_unix: float
    duration_seconds: float
    sent_packets: int
    unsent_packets: int
    expected_packets: int
    received_packets: int
    reordered_packets: int
    overflows: int
    drain_seconds: float
    lateness_p99_ms: float
    lateness_max_ms: float
    cpu_ratio: float


@dataclass(frozen=True)
class Window(Measured):
    """What a worker sent and saw in a window. ``delays_us``: of the sampled packets, each delay once, in order;
    ``delay_counts``: how many packets had it. So the line does not grow with the length of the window."""

    delays_us: list[int]
    delay_counts: list[int]
    kinds: Dict[str, KindCounts] = field(default_factory=dict)  #: of meetings: by kind of stream
    meetings: Optional[MeetingCounts] = None
    lateness_us: List[int] = field(default_factory=list)  #: packets by ``LATENESS_EDGES_US``
    silent_endpoints: List[str] = field(default_factory=list)  #: that never got a packet of media


@dataclass(frozen=True)
class StreamCount:
    """Packets of one stream that an endpoint sent or received since it was opened."""

    endpoint: str
    ssrc: int
    packets: int


@dataclass(frozen=True)
class EndpointCount:
    """Of one endpoint since it was opened: what arrived of media, retransmissions included, and RTCP, which only
    clients of meetings count."""

    port: int
    media_received: int
    rtcp_sent: int
    rtcp_received: int


@dataclass(frozen=True)
class Streams:
    """All that the open endpoints sent and received, exactly, until that time of the machine's clock. ``received``:
    only clients of meetings tell streams apart."""

    until_ns: int
    sent: List[StreamCount]
    received: List[StreamCount]
    endpoints: Dict[str, EndpointCount]


#: Upper edges of the lateness histogram, in µs, twelve a decade from 50 µs to 1 s; one more bin is above them.
LATENESS_EDGES_US = tuple(round(50 * 10 ** (number / 12)) for number in range(53))

SET_UP = Operation("set_up", SetUp, Nothing)
ALIVE = Operation("alive", Alive, Nothing)
CLOCK = Operation("clock", Nothing, Clock)
OPEN = Operation("open", Open, Opened)
BEGIN = Operation("begin", Begin, Nothing)
CONNECT = Operation("connect", Connect, Connected)
SENDERS = Operation("senders", Senders, Nothing)
JOIN = Operation("join", Participants, Nothing)
START = Operation("start", Start, Started)
PAUSE = Operation("pause", Nothing, Nothing)
QUIET = Operation("quiet", Nothing, Quiet)
RESUME = Operation("resume", Nothing, Nothing)
WINDOW = Operation("window", Hold, Window)
STREAMS = Operation("streams", Nothing, Streams)
CLOSE = Operation("close", Names, Nothing)
