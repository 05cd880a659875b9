"""Cameras of VP8 and microphones whose frames are made and sent in C (send.c), the others in Python.

The structures are send.c's, field by field. Python owns them and may write what it is asked to change in them (key
frames, layers); C has the state of each stream and counts what was sent, which ``settle`` books.
"""

from __future__ import annotations

import ctypes
import time
import weakref

from jvbtune.load.calendar import SENT_AT_ONCE, TICK_SECONDS, Calendar
from jvbtune.load.camera import BURST_SECONDS, MIN_KEY_FRAME_SECONDS, Source, streams
from jvbtune.load.client import Client, Microphone
from jvbtune.load.media.codecs import KIND_OF
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.rtp import OPUS, RED
from jvbtune.load.media.speech import DTX_SECONDS, Floor
from jvbtune.load.media.video import CLOCK_RATE as VIDEO_CLOCK
from jvbtune.load.media.video import HISTORY_SECONDS, PAY_BACK_RATIO, Retransmits
from jvbtune.load.media.vp8 import MAX_FRAGMENT_BYTES, Vp8Layer, contents, packets
from jvbtune.load.native import CompiledOutbox, CompiledPort, failure, library, outbox
from jvbtune.protocol import worker as messages
from jvbtune.protocol.worker import LATENESS_EDGES_US

_HISTORY = 64
#: C keeps so many frames of a layer, which is what a NACK can ask for.
MAX_FRAMES_PER_SECOND = (_HISTORY - 2) / HISTORY_SECONDS
_NOBODY = -1

_i32, _i64, _f64, _ptr = ctypes.c_int32, ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
_u8, _u16, _u32 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32
_Ask = ctypes.CFUNCTYPE(None, _i32, _f64)


class _Floor(ctypes.Structure):
    _fields_ = (("until", _f64), ("speaker", _i32), ("number", _i32))


class _Made(ctypes.Structure):
    _fields_ = (
        ("timestamp", _u32), ("bytes", _i32), ("sequence", _u16), ("picture", _u16), ("tl0", _u8), ("base", _u8),
        ("key", _u8), ("unused", _u8),
    )  # fmt: skip


class _Layer(ctypes.Structure):
    _fields_ = (
        ("sizes", _ptr), ("contents", _ptr * 3), ("content_bytes", _i32 * 3), ("cycle", _i32), ("least_bytes", _i32),
        ("key_bytes", _i32), ("most_bytes", _i32), ("turn", _i64), ("debt", _i64), ("index", _i64),
        ("key_frames", _i64), ("packets", _i64), ("octets", _i64), ("taken", _i64), ("recorded", _i64), ("ssrc", _u32),
        ("timestamp", _u32), ("sequence", _u16), ("picture", _u16), ("tl0", _u8), ("type", _u8), ("active", _u8),
        ("key_wanted", _u8), ("history", _Made * _HISTORY),
    )  # fmt: skip


class _Camera(ctypes.Structure):
    _fields_ = (
        ("port", _ptr), ("layers", _ptr), ("many", _i64), ("frame_seconds", _f64), ("bytes_per_second", _f64),
        ("paid", _f64), ("last_key_seconds", _f64), ("pacing", _i64), ("key_wanted", _i64),
    )  # fmt: skip


class _Microphone(ctypes.Structure):
    _fields_ = (
        ("port", _ptr), ("floor", _ptr), ("fronts", _ptr * 2), ("payload", _ptr), ("front_bytes", _i32 * 2),
        ("step_seconds", _f64), ("since_sent", _f64), ("packets", _i64), ("octets", _i64), ("taken", _i64),
        ("number", _i32), ("payload_bytes", _i32), ("ssrc", _u32), ("timestamp", _u32), ("before", _u32),
        ("sequence", _u16), ("type", _u8), ("opus", _u8), ("red", _u8), ("dtx", _u8), ("has_before", _u8),
    )  # fmt: skip


class _Terms(ctypes.Structure):
    _fields_ = (
        ("ask", _Ask), ("edges_us", _ptr), ("late", _ptr), ("tick_seconds", _f64), ("burst_seconds", _f64),
        ("key_seconds", _f64), ("pay_back_ratio", _f64), ("dtx_seconds", _f64), ("latest_us", _f64), ("unsent", _i64),
        ("edges", _i32), ("at_once", _i32),
    )  # fmt: skip


def _address(data: bytes) -> int:
    """Where they are, for as long as somebody keeps them."""
    return ctypes.cast(ctypes.c_char_p(data), _ptr).value or 0


class CompiledStream:
    """See ``camera.Reported``. ``now``: what C has of it."""

    def __init__(self, ssrc: int, now: _Layer | _Microphone) -> None:
        self.ssrc, self._state = ssrc, now
        self._booked = 0

    @property
    def timestamp(self) -> int:
        return int(self._state.timestamp)

    @property
    def packets(self) -> int:
        return int(self._state.packets)

    @property
    def octets(self) -> int:
        return int(self._state.octets)

    @property
    def kind(self) -> str:
        return KIND_OF[self._state.type]

    def to_book(self) -> int:
        """How many packets were sent since this was last asked."""
        before, self._booked = self._booked, int(self._state.taken)
        return self._booked - before


class CompiledLayer(CompiledStream, Retransmits):
    """See ``camera.Layer``. It goes on from where a new stream would begin."""

    rtx_type = Vp8Layer.rtx_type

    def __init__(self, stream: Vp8Layer, height: int, now: _Layer) -> None:
        super().__init__(stream.ssrc, now)
        sizes = stream.sizes
        self.rtx_ssrc, self.rtx_sequence = stream.rtx_ssrc, stream.rtx_sequence
        self._contents = contents(height)
        self._cycle = (_i32 * len(sizes.cycle))(*sizes.cycle)
        self.now = now
        now.sizes, now.cycle = ctypes.addressof(self._cycle), len(self._cycle)
        now.contents = (_ptr * 3)(*map(_address, self._contents))
        now.content_bytes = (_i32 * 3)(*map(len, self._contents))
        now.least_bytes, now.key_bytes, now.most_bytes = sizes.least_bytes, sizes.key_frame_bytes, MAX_FRAGMENT_BYTES
        now.ssrc, now.sequence, now.picture, now.tl0 = stream.ssrc, stream.sequence, stream.number, stream.tl0
        now.type, now.key_wanted = stream.payload_type, 1

    @property
    def key_frames(self) -> int:
        return int(self.now.key_frames)

    def repetition(self, sequence: int) -> Frame | None:
        now = self.now
        for back in range(min(_HISTORY, now.recorded)):
            made = now.history[(now.recorded - 1 - back) % _HISTORY]
            if (now.timestamp - made.timestamp) & 0xFFFFFFFF > HISTORY_SECONDS * VIDEO_CLOCK:
                return None
            at = (sequence - made.sequence) & 0xFFFF
            if at < -(-made.bytes // MAX_FRAGMENT_BYTES):
                content = self._contents[2 if made.key else made.base]
                parts = packets(content, made.bytes, bool(made.base), made.picture, made.tl0)
                return Frame(now.type, True, made.sequence, made.timestamp, self.ssrc, *parts).part(at, at + 1)
        return None


class CompiledCamera(Source):
    """Of VP8, from the moment when its client is added to a calendar."""

    def __init__(self, asked: messages.Camera) -> None:
        made = [stream for stream in streams(asked) if isinstance(stream, Vp8Layer)]
        self._layers = (_Layer * len(made))()
        self.now = _Camera(
            layers=ctypes.addressof(self._layers),
            many=len(made),
            frame_seconds=1 / asked.frames_per_second,
            last_key_seconds=-MIN_KEY_FRAME_SECONDS,
        )
        self.compiled = [
            CompiledLayer(stream, layer.height, now)
            for stream, layer, now in zip(made, asked.layers, self._layers, strict=True)
        ]
        super().__init__(asked, self.compiled)

    def request_key_frame(self) -> None:
        self.now.key_wanted = 1

    def constrain(self, max_height: int) -> None:
        super().constrain(max_height)
        for layer, on in zip(self._layers, self.active, strict=True):
            layer.active = on
        self.now.bytes_per_second = self._paced_bytes_per_second()


class CompiledMicrophone(CompiledStream):
    """See ``client.Microphone``; from the moment when its client is added to a calendar."""

    def __init__(self, asked: messages.Microphone, fronts: tuple[bytes, bytes], payload: bytes, floor: _Floor) -> None:
        self.step_seconds = 1 / asked.stream_pps
        self._fronts, self._payload, self._floor = fronts, payload, floor
        self.now = _Microphone(
            floor=ctypes.addressof(floor),
            fronts=(_ptr * 2)(*map(_address, fronts)),
            payload=_address(payload),
            front_bytes=(_i32 * 2)(*map(len, fronts)),
            step_seconds=self.step_seconds,
            since_sent=DTX_SECONDS,
            number=asked.number,
            payload_bytes=len(payload),
            ssrc=asked.ssrc,
            sequence=asked.ssrc & 0x7FFF,
            type=RED if asked.red else OPUS,
            opus=OPUS,
            red=asked.red,
            dtx=asked.dtx,
        )
        super().__init__(asked.ssrc, self.now)


class CompiledCalendar(Calendar):
    """As ``calendar.Calendar``."""

    def __init__(self, sends: CompiledOutbox, loaded: ctypes.CDLL) -> None:
        self._library = loaded
        self._edges = (_i32 * len(LATENESS_EDGES_US))(*LATENESS_EDGES_US)
        self._late = (_i64 * (len(LATENESS_EDGES_US) + 1))()
        self._known: list[tuple[Floor, _Floor]] = []  #: by their numbers in C
        self._by_seed: dict[int, _Floor] = {}
        self._raised: list[BaseException] = []  #: in ``ask``: C cannot pass it on
        known, raised = self._known, self._raised  # without the calendar itself: it would never be freed

        def ask(number: int, seconds: float) -> None:
            floor, now = known[number]
            try:
                speaker = floor.speaker(seconds)
            except BaseException as error:  # raised again behind C
                raised.append(error)
                return
            now.speaker, now.until = _NOBODY if speaker is None else speaker, floor.until

        self._terms = _Terms(
            ask=_Ask(ask),
            edges_us=ctypes.addressof(self._edges),
            late=ctypes.addressof(self._late),
            tick_seconds=TICK_SECONDS,
            burst_seconds=BURST_SECONDS,
            key_seconds=MIN_KEY_FRAME_SECONDS,
            pay_back_ratio=PAY_BACK_RATIO,
            dtx_seconds=DTX_SECONDS,
            edges=len(LATENESS_EDGES_US),
            at_once=SENT_AT_ONCE,
        )
        self._made = loaded.calendar_make(ctypes.addressof(self._terms))
        if not self._made:
            raise MemoryError("there is no memory for a calendar of what is to be sent")
        weakref.finalize(self, loaded.calendar_free, self._made)
        super().__init__(sends)

    # -- streams ------------------------------------------------------------------------------------------------

    def microphone(self, asked: messages.Microphone) -> Microphone:
        floor = self.floor(asked.floor_seed, asked.speakers)
        now = self._by_seed.get(asked.floor_seed)
        if now is None:
            now = self._by_seed[asked.floor_seed] = _Floor(until=0.0, speaker=_NOBODY, number=len(self._known))
            self._known.append((floor, now))
        speech = self._speech(asked)
        return CompiledMicrophone(asked, speech.fronts, speech.payload, now)

    def camera(self, asked: messages.Camera) -> Source:
        if asked.codec != "vp8" or asked.frames_per_second > MAX_FRAMES_PER_SECOND:
            return super().camera(asked)
        return CompiledCamera(asked)

    def _begin_to_speak(self, client: Client, microphone: Microphone, seconds: float) -> None:
        assert isinstance(microphone, CompiledMicrophone)
        microphone.now.port = _port(client)
        self._check(self._library.calendar_speak(self._made, self.tick, seconds, ctypes.addressof(microphone.now)))

    def _begin_to_film(self, client: Client, camera: Source, seconds: float) -> None:
        if not isinstance(camera, CompiledCamera):
            super()._begin_to_film(client, camera, seconds)
            return
        camera.now.port = _port(client)
        self._check(self._library.calendar_film(self._made, self.tick, seconds, ctypes.addressof(camera.now)))

    def remove(self, client: Client) -> None:
        super().remove(client)
        if client.port is not None:
            self._library.calendar_forget(self._made, _port(client))

    # -- sending and the account --------------------------------------------------------------------------------

    def run(self) -> None:
        status = self._library.calendar_run(self._made, self.tick, self.next_tick, time.time_ns())
        if self._raised:
            raise self._raised.pop()
        self._check(status)
        super().run()

    def _check(self, status: int) -> None:
        if status:
            raise failure(status)

    def settle(self) -> None:
        for client in self._clients:
            self._settle(client)
        self.unsent += self._terms.unsent
        self._terms.unsent = 0
        late = self.lateness
        for at, many in enumerate(self._late):
            if many:
                late.counts[at] += many
                self._late[at] = 0
        late.latest_us = max(late.latest_us, self._terms.latest_us)
        self._terms.latest_us = 0.0

    def _settle(self, client: Client) -> None:
        for stream in [*client.microphones, *(layer for camera in client.cameras for layer in camera.layers)]:
            if isinstance(stream, CompiledStream) and (sent := stream.to_book()):
                self._book(client, stream.ssrc, stream.kind, sent)


def _port(client: Client) -> int:
    assert isinstance(client.port, CompiledPort)
    return client.port.address


def calendar() -> Calendar:
    """The compiled one where there is one."""
    sends, loaded = outbox(), library()
    if loaded is None or not isinstance(sends, CompiledOutbox):
        return Calendar(sends)
    return CompiledCalendar(sends, loaded)
