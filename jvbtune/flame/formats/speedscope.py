"""speedscope's JSON (https://www.speedscope.app/file-format-schema.json), sampled and evented.

The file knows no kinds: where a frame's kind does not follow from its name, the name carries the suffix that it has in
collapsed stacks. Several profiles in one file are its threads, as py-spy and speedscope itself write them.

The format has no place for numbers of samples or for a sampling interval. jvbtune writes both beside it, in ``jvbtune``
of the document and of each profile. Of other programs' files (py-spy's), weights of time that are all the same are
those of one sample each.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NoReturn

import numpy as np

from jvbtune import __version__
from jvbtune.errors import FormatError
from jvbtune.flame.formats.streams import Input
from jvbtune.flame.formats.table import Rows, StackTable
from jvbtune.flame.formats.text import shown
from jvbtune.flame.model import SECONDS_PER_UNIT, Kind, Meta, Profile
from jvbtune.flame.names import split_suffix, with_needed_suffix

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
UNITS = {
    "none": "samples",
    "nanoseconds": "ns",
    "microseconds": "us",
    "milliseconds": "ms",
    "seconds": "s",
    "bytes": "bytes",
}
NAMES_OF_UNITS = {unit: name for name, unit in UNITS.items()}
#: So many equal weights are one interval, and no coincidence.
ENOUGH_WEIGHTS = 10
NO_THREAD = "no thread recorded"

_PY_SPY_THREAD = re.compile(r'^(?:Process \d+ )?Thread (\w+) "(.*)"$')


def _label(found: re.Match[str]) -> str:
    return f"{found[2] or 'thread'} tid={found[1]}"


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


class SpeedscopeReader:
    """Reads one file of speedscope's."""

    def __init__(self, table: StackTable) -> None:
        self.table = table

    def read(self, stream: Input) -> Rows:
        self.file = stream.path
        text = stream.read_all()
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", 1)
            content = text.split(b"\n")[line - 1] if line <= text.count(b"\n") + 1 else b""
            why = f"this is no JSON: {error}: {shown(content)}"
            raise FormatError(why, file=self.file, line=line) from None
        shared = document.get("shared") if isinstance(document, dict) else None
        frames = shared.get("frames") if isinstance(shared, dict) else None
        profiles = document.get("profiles") if isinstance(document, dict) else None
        if not isinstance(frames, list) or not isinstance(profiles, list) or not profiles:
            raise FormatError(
                "JSON, but not of speedscope: shared.frames or profiles is missing",
                file=self.file,
                hint=f"speedscope's files follow {SCHEMA}",
            )
        self.numbers = [self._frame(frame, index) for index, frame in enumerate(frames)]
        units = {str(profile.get("unit")) for profile in profiles if isinstance(profile, dict)}
        if len(units) != 1 or not units <= set(UNITS):
            named = ", ".join(sorted(units))
            raise FormatError(f"units of profiles must be one of {', '.join(UNITS)}, not {named}", file=self.file)
        stacks: list[int] = []
        counts: list[float] = []
        threads: list[int] = []
        labels: list[str] = []
        for index, profile in enumerate(profiles):
            thread = -1
            name = str(profile.get("name", ""))
            if name != NO_THREAD and (len(profiles) > 1 or name != document.get("name")):
                labels.append(_PY_SPY_THREAD.sub(_label, name))
                thread = len(labels) - 1
            before = len(stacks)
            for stack, weight in self._rows(profile, f"profiles[{index}]"):
                stacks.append(stack)
                counts.append(weight)
            threads += [thread] * (len(stacks) - before)
        unit = UNITS[units.pop()]
        interval_ns, samples = self._told(document, profiles, len(counts))
        equal = len(counts) >= ENOUGH_WEIGHTS and counts[0] > 0 and len(set(counts)) == 1
        if samples is None and unit in SECONDS_PER_UNIT and equal:
            samples = [1.0] * len(counts)
            interval_ns = interval_ns or counts[0] * SECONDS_PER_UNIT[unit] * 1e9
        return Rows(stacks, counts, threads, labels, Meta(unit=unit, interval_ns=interval_ns), samples)

    def _told(
        self, document: Mapping[str, Any], profiles: list[Any], rows: int
    ) -> tuple[float | None, list[float] | None]:
        """The interval, and the number of samples of each row, that jvbtune wrote; None where it did not."""
        beside = document.get("jvbtune")
        interval_ns = beside.get("interval_ns") if isinstance(beside, dict) else None
        samples: list[float] = []
        for profile in profiles:
            ours = profile.get("jvbtune")
            samples += ours["samples"] if isinstance(ours, dict) and isinstance(ours.get("samples"), list) else []
        if not all(map(_is_count, samples)) or not (interval_ns is None or _is_count(interval_ns)):
            self._refuse("jvbtune", "interval_ns and samples must be numbers of 0 or above", beside)
        return interval_ns or None, samples if rows and len(samples) == rows else None

    def _refuse(self, where: str, why: str, content: object) -> NoReturn:
        raise FormatError(f"{where}: {why}: {shown(json.dumps(content).encode())}", file=self.file)

    def _frame(self, frame: Any, index: int) -> bytes:
        name = frame.get("name") if isinstance(frame, dict) else None
        if not isinstance(name, str) or not name:
            self._refuse(f"shared.frames[{index}]", "a frame without a name", frame)
        file = frame.get("file")
        if (
            isinstance(file, str)
            and (file.endswith((".py", ".pyx")) or file.startswith("<"))
            and not name.endswith(")")
        ):
            name = f"{name} ({file}:{frame['line']})" if frame.get("line") else f"{name} ({file})"
        return self.table.frame(*split_suffix(name))

    def _number(self, index: Any, where: str) -> bytes:
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(self.numbers):
            self._refuse(where, f"no frame has this number, there are {len(self.numbers)}", index)
        return self.numbers[index]

    def _rows(self, profile: Mapping[str, Any], where: str) -> Iterator[tuple[int, float]]:
        if profile.get("type") == "sampled":
            return self._sampled(profile, where)
        if profile.get("type") == "evented":
            return self._evented(profile, where)
        return self._refuse(where, 'type must be "sampled" or "evented"', profile.get("type"))

    def _sampled(self, profile: Mapping[str, Any], where: str) -> Iterator[tuple[int, float]]:
        samples, weights = profile.get("samples"), profile.get("weights")
        if not isinstance(samples, list) or not isinstance(weights, list) or len(samples) != len(weights):
            self._refuse(where, "samples and weights must be lists of one length", None)
        for index, (sample, weight) in enumerate(zip(samples, weights, strict=True)):
            if not isinstance(sample, list):
                self._refuse(f"{where}.samples[{index}]", "a sample must be a list of frames' numbers", sample)
            if not _is_count(weight):
                self._refuse(f"{where}.weights[{index}]", "a weight must be a number of 0 or above", weight)
            numbers = [self._number(frame, f"{where}.samples[{index}]") for frame in sample]
            yield self.table.stack(b"".join(numbers)), float(weight)

    def _evented(self, profile: Mapping[str, Any], where: str) -> Iterator[tuple[int, float]]:
        """Frames open and close; what passes between two events is the time of the innermost frame that is open."""
        events = profile.get("events")
        if not isinstance(events, list):
            self._refuse(where, "events must be a list", events)
        self_time: dict[bytes, float] = {}
        open_frames: list[int] = []
        stack = [b""]  # of the open frames, and of each of their callers
        last = -math.inf
        for index, event in enumerate(events):
            at = event.get("at") if isinstance(event, dict) else None
            here = f"{where}.events[{index}]"
            if isinstance(at, bool) or not isinstance(at, int | float) or not last <= at < math.inf:
                self._refuse(here, "at must be a number, and not before that of the event before", event)
            if open_frames:
                self_time[stack[-1]] = self_time.get(stack[-1], 0.0) + (at - last)
            last = at
            frame = event.get("frame")
            number = self._number(frame, here)
            if event.get("type") == "O":
                open_frames.append(frame)
                stack.append(stack[-1] + number)
            elif event.get("type") == "C" and open_frames and open_frames[-1] == frame:
                open_frames.pop()
                stack.pop()
            else:
                self._refuse(here, "frames must open (O), and close (C) in the opposite order", event)
        if open_frames:
            self._refuse(where, "a frame is never closed", open_frames[-1])
        for frames, weight in self_time.items():
            yield self.table.stack(frames), weight


def write(profile: Profile, out: BinaryIO) -> None:
    """A sampled profile for each thread. A unit that speedscope does not know is written as none."""
    stacks = profile.stacks
    frames = [
        {"name": with_needed_suffix(name, Kind(kind))}
        for name, kind in zip(stacks.frames.names, stacks.frames.kinds, strict=True)
    ]
    unit = NAMES_OF_UNITS.get(profile.meta.unit, "none")
    profiles = []
    for thread in np.unique(profile.thread) if len(profile) else (-1,):
        rows = np.flatnonzero(profile.thread == thread)
        samples = [stacks.flat[stacks.offsets[i] : stacks.offsets[i + 1]].tolist() for i in profile.stack[rows]]
        weights = numbers(profile.counts[rows].tolist())
        one_of_none = thread < 0 and not profile.threads
        name = profile.meta.title or "profile" if one_of_none else NO_THREAD if thread < 0 else profile.threads[thread]
        one = {
            "type": "sampled",
            "name": name,
            "unit": unit,
            "startValue": 0,
            "endValue": sum(weights),
            "samples": samples,
            "weights": weights,
        }
        if profile.samples is not None:
            one["jvbtune"] = {"samples": numbers(profile.samples[rows].tolist())}
        profiles.append(one)
    document = {
        "$schema": SCHEMA,
        "name": profile.meta.title or "profile",
        "exporter": f"jvbtune {__version__}",
        "activeProfileIndex": 0,
        "shared": {"frames": frames},
        "profiles": profiles,
    }
    if profile.meta.interval_ns:
        document["jvbtune"] = {"interval_ns": profile.meta.interval_ns}
    out.write(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace"))


def numbers(values: Sequence[float]) -> list[int | float]:
    """Whole numbers as integers, as a reader expects them."""
    return [int(value) if value.is_integer() else value for value in values]
