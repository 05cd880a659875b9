"""All meetings of a worker: what each client receives, and the account of a window. ``calendar.py`` has them send.

Sockets are read in batches some 40 times a second: the kernel's timestamps keep the time of each arrival.
"""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import numpy.typing as npt
from pylibsrtp import Error as SrtpError

from jvbtune.load.arrived import Arrived
from jvbtune.load.calendar import GOLDEN, KINDS, Calendar
from jvbtune.load.client import Client
from jvbtune.load.feedback import unwrap
from jvbtune.load.lateness import Lateness
from jvbtune.load.media import sent_ns
from jvbtune.load.media.codecs import KIND_OF, stamp_in_payload
from jvbtune.load.native.calendar import calendar
from jvbtune.load.received import Media, Receiver
from jvbtune.load.relay import RelayPeer
from jvbtune.load.traffic import ALL_THERE_SECONDS, MAX_BEHIND_TICKS, QUIET_SECONDS, Counted
from jvbtune.protocol import worker as messages

DRAIN_SECONDS = 0.024
DRAINED_AT_ONCE = 8
ACCOUNT_SECONDS = 1.0
RTX_TYPES = [payload_type for payload_type, kind in KIND_OF.items() if kind == "rtx"]

Ints = npt.NDArray[np.int64]


class Meetings:
    """See ``traffic.Traffic``. The clients that take part, by a number of their own."""

    def __init__(self, sends: Calendar | None = None) -> None:
        self.sending = False
        self.calendar = calendar() if sends is None else sends
        self._clients: dict[int, Client] = {}
        self._numbers: dict[str, int] = {}
        self._added = 0
        self._receiver = Receiver()
        self._groups: list[list[int]] = []
        self._turn = 0
        self._next_drain = 0.0
        self._next_account = 0.0
        self._unread: dict[int, list[Media]] = {}  #: not booked yet, by the first client of the group
        self._highest: dict[int, int] = {}  #: stream -> extended sequence number, at the last account,
        self._base: dict[int, int] = {}  #: and at the last edge
        self._kind: dict[int, str] = {}
        self._window: dict[int, Arrived] = {}
        self._received: dict[int, int] = {}  #: stream -> packets since its client takes part
        self._heard: set[int] = set()  #: clients that got media since they take part
        self.audio_received = self.media_received = 0
        self.delays_us = Counter[int]()  #: of sampled packets, how many had each
        self._counts_at_edge: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._clients)

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    # -- who takes part -----------------------------------------------------------------------------------------

    def join(self, client: Client, asked: messages.Participant) -> None:
        """It sends from the next start on, or at once when the others do."""
        client.take_part(asked, self.calendar)
        self._add(client)

    def relay(self, peer: RelayPeer, asked: messages.Peer) -> None:
        """Likewise the bridge at the other end of a relay, for all its participants."""
        peer.stand_in(asked, self.calendar)
        self._add(peer)

    def _add(self, client: Client) -> None:
        number = self._added
        self._added += 1
        self._clients[number] = client
        self._numbers[client.name] = number
        self._group()
        self.calendar.add(client, number * GOLDEN % 1)

    def leave(self, name: str) -> None:
        number = self._numbers.pop(name, None)
        if number is None:
            return
        self.account()  # the others move up to other groups: what they got until now would be booked after what follows
        self.calendar.remove(self._clients.pop(number))
        for table in (self._highest, self._base, self._kind, self._window, self._received):
            for stream in [stream for stream in table if stream >> 32 == number]:
                del table[stream]
        self._heard.discard(number)
        self._group()

    def _group(self) -> None:
        numbers = list(self._clients)
        self._groups = [numbers[at : at + DRAINED_AT_ONCE] for at in range(0, len(numbers), DRAINED_AT_ONCE)]

    # -- the loop -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Send from now on; streams go on where they were."""
        self.sending = True
        self.calendar.start()

    def step(self, now: float) -> None:
        """Sleep until the next tick, send what is due, read a group of sockets when it is its turn."""
        if self.sending:
            if self.calendar.next_tick > now:
                time.sleep(self.calendar.next_tick - now)
                now = time.monotonic()
            behind = 0
            while self.calendar.next_tick <= now and behind < MAX_BEHIND_TICKS:
                self.calendar.run()
                behind += 1
        else:
            time.sleep(min(0.002, max(0.0, self._next_drain - now)))
            now = time.monotonic()
        if now >= self._next_drain and self._groups:
            self._next_drain = now + DRAIN_SECONDS / len(self._groups)
            self._turn = (self._turn + 1) % len(self._groups)
            self._drain(self._groups[self._turn], now)
        if now >= self._next_account and self._unread:
            # a group at a time, each about once a second: to book all at once made packets wait that were due
            self._next_account = now + ACCOUNT_SECONDS / len(self._unread)
            self._book(self._unread.pop(next(iter(self._unread))))

    # -- receiving ----------------------------------------------------------------------------------------------

    def _drain(self, numbers: list[int], now: float) -> None:
        taken = [self._receiver.take(self._clients[number].socket.fileno(), number) for number in numbers]
        if any(taken):
            self._read(numbers[0])
        wall_ns = time.time_ns()
        for number in numbers:
            client = self._clients[number]
            again = client.service(now, wall_ns)
            self.calendar.send_now(client, again)
            client.counts["retransmitted"] += len(again)
        self.calendar.flush(wall_ns)

    def _read(self, group: int) -> None:
        media = self._receiver.read(self._other, self._sample)
        if not len(media.owner):
            return
        self.media_received += int(np.count_nonzero(~np.isin(media.payload_type, RTX_TYPES)))
        self.keep(group, media)
        tagged = np.flatnonzero(media.transport >= 0)
        if len(tagged):
            owners = media.owner[tagged]
            edges = np.flatnonzero(np.diff(owners)) + 1
            for rows in np.split(tagged, edges):
                client = self._clients.get(int(media.owner[rows[0]]))
                if client is not None and client.arrivals is not None:
                    client.arrivals.add(media.transport[rows], media.arrival_ns[rows], int(media.ssrc[rows[-1]]))

    def _other(self, number: int, data: bytes, arrival_ns: int) -> None:
        client = self._clients[number]
        if data[0] < 128:
            client.on_control(data)
        else:
            client.on_rtcp(data, max(0, time.time_ns() - arrival_ns) / 1e9 if arrival_ns else 0.0)

    def _sample(self, number: int, data: bytes, arrival_ns: int) -> None:
        client = self._clients[number]
        if client.inbound is None or KIND_OF.get(data[1] & 0x7F) not in ("audio", "video") or not arrival_ns:
            return
        try:
            plain = client.inbound.unprotect(data)
        except SrtpError:
            return
        client.check_mid(plain)
        stamp = stamp_in_payload(plain)
        found = sent_ns(plain, stamp) if stamp is not None else None
        if found is not None and found[2]:  # 0: a bridge restored it from a retransmission
            self.delays_us[(arrival_ns - found[2]) // 1000] += 1

    def keep(self, group: int, media: Media) -> None:
        """What clients of a group got, to be booked when it is their turn. ``group``: the number of its first one."""
        self._unread.setdefault(group, []).append(media)

    def account(self) -> None:
        """Book all that has come."""
        unread, self._unread = self._unread, {}
        if unread:
            self._book([media for group in unread.values() for media in group])

    def _book(self, unread: list[Media]) -> None:
        """By stream."""
        owner = np.concatenate([media.owner for media in unread])
        streams = owner << 32 | np.concatenate([media.ssrc for media in unread])
        sequences = np.concatenate([media.sequence for media in unread])
        types = np.concatenate([media.payload_type for media in unread])
        order = np.argsort(streams, kind="stable")
        ordered = streams[order]
        for rows in np.split(order, np.flatnonzero(np.diff(ordered)) + 1):
            stream = int(streams[rows[0]])
            client = self._clients.get(stream >> 32)
            if client is None:
                continue
            kind = KIND_OF.get(int(types[rows[0]]), "rtx")
            extended = unwrap(sequences[rows], self._highest.get(stream))
            self._highest[stream] = max(self._highest.get(stream, 0), int(extended.max()))
            self._kind[stream] = kind
            arrived = self._window.get(stream)
            if arrived is None:
                arrived = self._window[stream] = Arrived(len(self._window) * GOLDEN % 1)
            arrived.add(extended)
            self._received[stream] = self._received.get(stream, 0) + len(rows)
            client.got_media(len(rows))
            if kind == "audio":
                self.audio_received += len(rows)
            if kind != "rtx":
                self._heard.add(stream >> 32)
                if client.reports is not None:
                    client.reports.got(stream & 0xFFFFFFFF, sequences[rows])
            if kind == "video" and client.bandwidth is not None:
                client.bandwidth.got(stream & 0xFFFFFFFF, len(rows))
            if kind == "video":
                client.nack([stream & 0xFFFFFFFF] * len(rows), sequences[rows].tolist())

    # -- windows ------------------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        return len(self) > 0

    @property
    def unsent(self) -> int:
        self.calendar.settle()
        return self.calendar.unsent

    @property
    def lateness(self) -> Lateness:
        self.calendar.settle()
        return self.calendar.lateness

    @property
    def arrived_packets(self) -> int:
        return self.media_received

    def patience_seconds(self) -> float:
        return QUIET_SECONDS if self.missing() else ALL_THERE_SECONDS

    def counted(self) -> Counted:
        kinds = self.kinds()
        media = [kinds[kind] for kind in ("audio", "video")]
        return Counted(
            sent_packets=sum(kind.sent for kind in kinds.values()),
            expected_packets=sum(kind.expected for kind in media),
            received_packets=sum(kind.received for kind in media),
            reordered_packets=sum(kind.reordered for kind in media),
            delays_us=self.delays_us,
            silent_endpoints=self.silent(),
            kinds=kinds,
            meetings=self.counts(),
        )

    def poll(self, now: float) -> None:
        """Read all sockets, once."""
        for group in self._groups:
            self._drain(group, now)

    def streams(self) -> messages.Streams:
        """Repeated until nothing came while it was looked at."""
        while True:
            self._take_all()
            until_ns = time.time_ns()
            if not self._take_all():
                break
        self.account()
        self.calendar.settle()
        received = [
            messages.StreamCount(self._clients[stream >> 32].name, stream & 0xFFFFFFFF, packets)
            for stream, packets in self._received.items()
        ]
        total = Counter[str]()
        for stream in received:
            total[stream.endpoint] += stream.packets
        return messages.Streams(
            until_ns=until_ns,
            sent=[
                messages.StreamCount(client.name, ssrc, packets)
                for client in self._clients.values()
                for ssrc, packets in client.sent.items()
            ],
            received=received,
            endpoints={
                client.name: messages.EndpointCount(
                    client.address[1], total[client.name], client.counts["rtcp_sent"], client.counts["rtcp_received"]
                )
                for client in self._clients.values()
            },
        )

    def _take_all(self) -> bool:
        """Read all sockets, answer nothing; whether there was anything."""
        found = False
        for numbers in self._groups:
            for number in numbers:
                if self._receiver.take(self._clients[number].socket.fileno(), number):
                    self._read(numbers[0])
                    found = True
        return found

    def missing(self) -> int:
        """Packets that are not there yet, as far as one can know."""
        self.account()
        lost = sum(seen.expected - seen.received for seen in self.kinds().values())
        return max(0, lost)

    def begin(self) -> None:
        self.edge()

    def edge(self) -> None:
        """Count from here on."""
        self.account()
        self._base = dict(self._highest)
        self._window = {}
        self.calendar.edge()
        self.audio_received = 0
        self.delays_us = Counter()
        self._counts_at_edge = self._totals()

    def kinds(self) -> dict[str, messages.KindCounts]:
        """Of the window so far, by kind."""
        tallies = {kind: np.zeros(4, np.int64) for kind in KINDS}  # expected, received, duplicated, reordered
        for stream, arrived in self._window.items():
            tallies[self._kind[stream]] += arrived.counts(self._base.get(stream))
        counts = self._since_edge()
        found = {}
        for kind in KINDS:
            expected, received, duplicated, reordered = (int(number) for number in tallies[kind])
            sent = self.calendar.sent[kind]
            if kind == "audio":
                expected = self.calendar.audio_expected
            elif kind == "rtx":
                expected, reordered = received, 0
            elif kind == "rtcp":
                sent, expected = counts["rtcp_sent"], counts["rtcp_received"]
                received = expected
            found[kind] = messages.KindCounts(sent, expected, received, duplicated, reordered)
        return found

    def silent(self) -> list[str]:
        """The clients that never got a packet of media."""
        return [client.name for number, client in self._clients.items() if number not in self._heard]

    def counts(self) -> messages.MeetingCounts:
        counts = self._since_edge()
        cameras = [camera for client in self._clients.values() for camera in client.cameras]
        return messages.MeetingCounts(
            transport_feedback_sent=counts["feedback_sent"],
            transport_feedback_received=counts["feedback_received"],
            remb_sent=counts["remb_sent"],
            remb_received=counts["remb_received"],
            key_frame_requests=counts["key_requests"],
            key_frames=counts["key_frames"],
            nacks_sent=counts["nacks_sent"],
            nacks_received=counts["nacks_received"],
            retransmitted=counts["retransmitted"],
            channel_messages=counts["channel_messages"],
            channels_closed=sum(bool(c.channel and c.channel.failed) for c in self._clients.values()),
            active_layers=sum(sum(camera.active) for camera in cameras),
            forwarded_streams=sum(len(client.forwarded) for client in self._clients.values()),
            relayed_in=counts["relayed_in"],
            relayed_out=counts["relayed_out"],
            mapped_sources=sum(len(set(client.mapped.values())) for client in self._clients.values()),
            unmapped_streams=self._unmapped(),
            mids_checked=counts["mids_checked"],
            mids_wrong=counts["mids_wrong"],
        )

    def _unmapped(self) -> int:
        """What a browser would have no track for."""
        told = {number: client.told for number, client in self._clients.items() if client.mapped}
        return sum(
            stream >> 32 in told and stream & 0xFFFFFFFF not in told[stream >> 32]
            for stream, kind in self._kind.items()
            if kind != "rtx"
        )

    def _totals(self) -> dict[str, int]:
        self.calendar.settle()
        totals: dict[str, int] = {"key_frames": 0}
        for client in self._clients.values():
            for name, value in client.counts.items():
                totals[name] = totals.get(name, 0) + value
            for camera in client.cameras:
                totals["key_frames"] += sum(layer.key_frames for layer in camera.layers)
        return totals

    def _since_edge(self) -> dict[str, int]:
        return {name: value - self._counts_at_edge.get(name, 0) for name, value in self._totals().items()}
