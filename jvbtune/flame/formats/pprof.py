"""pprof's profile.proto (https://github.com/google/pprof/blob/main/proto/profile.proto), always gzipped on disk.

Only values whose type is called so (``samples/count``) are numbers of samples: the counts of a heap or mutex profile
(``inuse_objects/count``) are estimates that were scaled up.

pprof knows no kinds: where a frame's kind does not follow from its name, the name carries the suffix that it has in
collapsed stacks. The thread is the sample's label ``thread``. Values are whole numbers.
"""

from __future__ import annotations

from typing import BinaryIO

from jvbtune.errors import FormatError
from jvbtune.flame.formats import protobuf
from jvbtune.flame.formats.perf_lines import is_kernel
from jvbtune.flame.formats.protobuf import Value, field, packed
from jvbtune.flame.formats.streams import Input
from jvbtune.flame.formats.table import Rows, StackTable
from jvbtune.flame.model import SECONDS_PER_UNIT, Kind, Meta, Profile
from jvbtune.flame.names import split_suffix, with_needed_suffix

# Field numbers of profile.proto.
SAMPLE_TYPE, SAMPLE, MAPPING, LOCATION, FUNCTION, STRINGS = range(1, 7)
DURATION, PERIOD_TYPE, PERIOD, DEFAULT_TYPE = 10, 11, 12, 14
THREAD_LABELS = ("thread", "thread_name", "thread name")
#: Types of values that count the profiler's samples, in "count".
SAMPLES = ("samples", "sample")
#: The type of values that are no time and of no known event, in what jvbtune writes.
UNNAMED = "value"
#: Types of values, as Go's profiles, fgprof and others call them, to jvbtune's names of events.
EVENTS = {
    **dict.fromkeys(("delay", "contentions"), "lock"),
    **dict.fromkeys(("time", "wall-time"), "wall"),
    **dict.fromkeys(("alloc_space", "alloc_objects", "alloc-space", "alloc-samples"), "alloc"),
    "cpu-time": "cpu",
    UNNAMED: "",
}
UNITS = {
    "nanoseconds": "ns",
    "microseconds": "us",
    "milliseconds": "ms",
    "seconds": "s",
    "bytes": "bytes",
}
NAMES_OF_UNITS = {unit: name for name, unit in UNITS.items()} | {"samples": "count"}


class _Message:
    """The fields of one message, by number."""

    def __init__(self, data: bytes) -> None:
        self.fields: dict[int, list[Value]] = {}
        for number, value in protobuf.fields(data):
            self.fields.setdefault(number, []).append(value)

    def integer(self, number: int) -> int:
        value = self.fields.get(number, [0])[-1]
        if not isinstance(value, int):
            raise ValueError(f"field {number} should be a number")
        return value

    def integers(self, number: int) -> list[int]:
        return [one for value in self.fields.get(number, []) for one in protobuf.repeated(value)]

    def bytes(self, number: int) -> list[bytes]:
        values = self.fields.get(number, [])
        if not all(isinstance(value, bytes) for value in values):
            raise ValueError(f"field {number} should be bytes")
        return [value for value in values if isinstance(value, bytes)]

    def messages(self, number: int) -> list[_Message]:
        return [_Message(value) for value in self.bytes(number)]


class PprofReader:
    """Reads one profile. Of several types of values, the default is read, else the last, as pprof itself does."""

    def __init__(self, table: StackTable, event: str | None = None) -> None:
        self.table = table
        self.event = event

    def read(self, stream: Input) -> Rows:
        try:
            return self._read(_Message(stream.read_all()), stream)
        except (ValueError, IndexError, KeyError) as error:
            why = f"this is no profile of pprof, or a damaged one: {error}"
            raise FormatError(why, file=stream.path) from None

    def _read(self, message: _Message, stream: Input) -> Rows:
        self.strings = [text.decode(errors="backslashreplace") for text in message.bytes(STRINGS)]
        types = [(self.strings[one.integer(1)], self.strings[one.integer(2)]) for one in message.messages(SAMPLE_TYPE)]
        if not types or not self.strings or self.strings[0]:
            raise ValueError("sample types or strings are missing")
        names = [name for name, _ in types]
        wanted = self.event or self.strings[message.integer(DEFAULT_TYPE)] or names[-1]
        if wanted not in names:
            raise FormatError(f"no values of {wanted}; there are: {', '.join(names)}", file=stream.path)
        column = names.index(wanted)
        counts_samples = next((i for i, (name, unit) in enumerate(types) if name in SAMPLES and unit == "count"), None)
        unit = types[column][1]
        unit = UNITS.get(unit, wanted if unit == "count" else unit) if column != counts_samples else "samples"
        period_type = message.messages(PERIOD_TYPE)
        period_unit = self.strings[period_type[-1].integer(2)] if period_type else ""
        periodic = _event(self.strings[period_type[-1].integer(1)]) if period_type else None
        locations = self._locations(message)
        threads: dict[str, int] = {}
        rows: list[tuple[int, int, int]] = []
        samples: list[int] = []
        for number, sample in enumerate(message.messages(SAMPLE)):
            values = sample.integers(2)
            if len(values) != len(types):
                raise ValueError(f"sample {number} has {len(values)} values, and there are {len(types)} types of them")
            value = protobuf.signed(values[column])
            if value < 0:
                raise ValueError(f"sample {number} has the value {value}: a difference, not a profile")
            stack = b"".join(locations[location] for location in reversed(sample.integers(1)))
            label = self._thread(sample)
            thread = -1 if label is None else threads.setdefault(label, len(threads))
            rows.append((self.table.stack(stack), thread, value))
            if counts_samples is not None:
                samples.append(max(protobuf.signed(values[counts_samples]), 0))
        period, length = message.integer(PERIOD), protobuf.signed(message.integer(DURATION))
        event = periodic if column == counts_samples else _event(wanted)
        timed = period_unit == "nanoseconds" and period > 0 and periodic in (None, event)
        return Rows(
            [stack for stack, _, _ in rows],
            [value for _, _, value in rows],
            [thread for _, thread, _ in rows],
            tuple(threads),
            Meta(
                event=event,
                unit=unit,
                interval_ns=float(period) if timed else None,
                seconds=length / 1e9 if length > 0 else None,
            ),
            samples if counts_samples is not None else None,
        )

    def _thread(self, sample: _Message) -> str | None:
        for label in sample.messages(3):
            if self.strings[label.integer(1)] in THREAD_LABELS and label.integer(2):
                return self.strings[label.integer(2)]
        return None

    def _locations(self, message: _Message) -> dict[int, bytes]:
        """The frames of each location, root first: the last of its lines is the caller of those inlined into it."""
        functions = {one.integer(1): self.strings[one.integer(2)] for one in message.messages(FUNCTION)}
        mappings = {one.integer(1): self.strings[one.integer(5)] for one in message.messages(MAPPING)}
        found = {}
        for location in message.messages(LOCATION):
            names = [functions[line.integer(1)] for line in reversed(location.messages(4))]
            if not any(names):
                file = mappings.get(location.integer(2), "").rpartition("/")[2].strip("[]")
                names = [f"[{file}]" if file else f"0x{location.integer(3):x}"]
            in_kernel = is_kernel(mappings.get(location.integer(2), "").encode(errors="backslashreplace"), False)
            found[location.integer(1)] = b"".join(
                self.table.frame(name, Kind.KERNEL if in_kernel else kind)
                for name, kind in (split_suffix(name or "[unknown]") for name in names)
            )
        return found


def _event(name: str) -> str | None:
    """An event as jvbtune calls it; None where it has no name."""
    return EVENTS.get(name, name) or None


class _Strings(dict[str, int]):
    def __missing__(self, text: str) -> int:
        number = self[text] = len(self)
        return number


def write(profile: Profile, out: BinaryIO) -> None:
    """Values in the profile's own unit, behind the numbers of samples where it has them, as Go's profiles are.

    Raises FormatError for fractional weights.
    """
    if (profile.counts % 1).any() or (profile.counts >= 2**63).any():
        raise FormatError(
            "pprof holds whole numbers only, and this profile has fractional weights",
            hint="Write it as speedscope or as collapsed stacks.",
        )
    strings = _Strings({"": 0})
    meta, stacks = profile.meta, profile.stacks
    name = "samples" if meta.unit == "samples" else meta.event or ("cpu" if meta.unit in SECONDS_PER_UNIT else UNNAMED)
    types = [(name, NAMES_OF_UNITS.get(meta.unit, meta.unit))]
    values = [profile.counts]
    if profile.samples is not None and meta.unit != "samples" and not (profile.samples % 1).any():
        types.insert(0, ("samples", "count"))
        values.insert(0, profile.samples)
    parts = [field(SAMPLE_TYPE, field(1, strings[name]) + field(2, strings[unit])) for name, unit in types]
    thread_key = strings["thread"]
    used: dict[int, None] = {}
    for stack, thread, *numbers in zip(profile.stack, profile.thread, *values, strict=True):
        frames = stacks.flat[stacks.offsets[stack] : stacks.offsets[stack + 1]].tolist()
        used.update(dict.fromkeys(frames))
        sample = packed(1, [frame + 1 for frame in reversed(frames)]) + packed(2, map(int, numbers))
        if thread >= 0:
            sample += field(3, field(1, thread_key) + field(2, strings[profile.threads[thread]]))
        parts.append(field(SAMPLE, sample))
    for frame in used:  # a location and a function for each frame
        number = strings[with_needed_suffix(stacks.frames.names[frame], Kind(stacks.frames.kinds[frame]))]
        parts.append(field(LOCATION, field(1, frame + 1) + field(4, field(1, frame + 1))))
        parts.append(field(FUNCTION, field(1, frame + 1) + field(2, number) + field(3, number)))
    if meta.interval_ns or meta.event:
        unit = "nanoseconds" if meta.interval_ns else "count"
        parts.append(field(PERIOD_TYPE, field(1, strings[meta.event or "cpu"]) + field(2, strings[unit])))
    if meta.interval_ns:
        parts.append(field(PERIOD, round(meta.interval_ns)))
    if meta.seconds:
        parts.append(field(DURATION, round(meta.seconds * 1e9)))
    parts += [field(STRINGS, text.encode(errors="backslashreplace")) for text in strings]
    out.write(b"".join(parts))
