"""Captures on disk: a directory with ``capture.json`` and one file of stacks for each slice.

``docs/architecture.md`` lists the fields. ``capture.json`` is written last, so that a directory without one is a
capture that was never finished.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from jvbtune.errors import FormatError, JvbtuneError, StoreError
from jvbtune.flame.formats import read
from jvbtune.flame.model import Meta, Profile
from jvbtune.flame.names import ALL_RULES, NameRules
from jvbtune.protocol.codec import ProtocolError, without_halves

SCHEMA_VERSION = 1
DOCUMENT = "capture.json"
LAST_MOMENT = 253402300799.0
LARGEST = 1e18  #: no count, time or rate is larger; an integer of JSON may be too large for a float


@dataclass(frozen=True)
class Slice:
    """One stretch of a capture. ``None``: not known."""

    file: str
    started_unix: float
    seconds: float
    samples: float | None = None
    packets: float | None = None  # in_packets + out_packets: of the bridge meanwhile
    in_packets: float | None = None
    out_packets: float | None = None
    cpu_seconds: float | None = None  # of the process meanwhile
    thread_cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    profiler: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Capture:
    """One capture. ``document`` is the whole of its capture.json."""

    path: Path
    id: str
    host: str
    created_unix: float
    engine: str
    event: str
    unit: str
    interval_ns: float | None
    kernel_frames: bool
    lost: tuple[str, ...]
    run_id: str | None
    step: str | None
    intended_pps: float | None
    slices: tuple[Slice, ...]
    document: Mapping[str, Any]

    @property
    def title(self) -> str:
        load = "" if self.intended_pps is None else f" at {self.intended_pps:.0f} pps"
        step = "" if self.step is None else f", {self.step}"
        return f"{self.host} {self.engine} {self.event}{load}{step} ({self.id})"

    @property
    def packet_rate_pps(self) -> float | None:
        """Over all slices; None where a slice's packets are not known."""
        packets = [one.packets for one in self.slices]
        known = [count for count in packets if count is not None]
        seconds = sum(one.seconds for one in self.slices)
        return sum(known) / seconds if len(known) == len(packets) and seconds > 0 else None

    def metas(self) -> list[Meta]:
        """What is known of each slice."""
        names = ("id", "host", "kernel_frames", "run_id", "step", "settings", "intended_pps", "target", "arguments")
        common = {name: self.document.get(name) for name in names}
        return [
            Meta(
                title=f"{self.title}, slice {number} of {len(self.slices)}" if len(self.slices) > 1 else self.title,
                engine=self.engine,
                event=self.event,
                unit=self.unit,
                interval_ns=self.interval_ns,
                seconds=one.seconds,
                packets=one.packets,
                cpu_seconds=one.cpu_seconds,
                extra={
                    **common,
                    "slice": one.file,
                    "samples": one.samples,
                    "in_packets": one.in_packets,
                    "out_packets": one.out_packets,
                    "thread_cpu_seconds": one.thread_cpu_seconds,
                },
            )
            for number, one in enumerate(self.slices, 1)
        ]

    def profiles(self, rules: NameRules = ALL_RULES) -> list[Profile]:
        """One Profile per slice, all sharing one table of stacks."""
        paths = [self.path / one.file for one in self.slices]
        profiles = read(paths, rules, self.metas(), may_be_empty=True)
        for one, path, profile in zip(self.slices, paths, profiles, strict=True):
            if one.samples and not len(profile):
                raise FormatError(f"the file is empty, but the capture says {one.samples:.0f} samples", file=path)
        return profiles


def load_capture(path: Path | str) -> Capture:
    """The capture in a directory (or of its capture.json).

    Raises StoreError where there is none, FormatError where capture.json is damaged or names a slice that is missing.
    """
    directory = Path(path)
    if directory.name == DOCUMENT:
        directory = directory.parent
    file = directory / DOCUMENT
    try:
        content = file.read_bytes()
        document = without_halves(content, json.loads(content))
    except (FileNotFoundError, NotADirectoryError):
        hint = f"A capture is a directory with {DOCUMENT}."
        raise StoreError(f"there is no capture in {directory}", hint=hint) from None
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError, ProtocolError) as error:
        raise FormatError(f"this is no JSON: {error}", file=file) from None
    return _Reader(directory, document).capture()


def is_capture(path: Path | str) -> bool:
    """Whether a path given by the user is a capture rather than a file of stacks."""
    path = Path(path)
    return (path / DOCUMENT).is_file() if path.is_dir() else path.name == DOCUMENT


def list_captures(directories: Iterable[Path | str], damaged: list[JvbtuneError] | None = None) -> list[Capture]:
    """The finished captures below directories that hold captures, newest first. Missing directories hold none.

    A damaged capture raises FormatError or StoreError; with ``damaged`` its error is added to that list instead.
    """
    found = []
    for directory in map(Path, directories):
        for file in sorted(directory.glob(f"*/{DOCUMENT}")):
            try:
                found.append(load_capture(file))
            except (FormatError, StoreError) as error:
                if damaged is None:
                    raise
                damaged.append(error)
    return sorted(found, key=lambda capture: (-capture.created_unix, capture.id))


class _Reader:
    """Takes fields out of capture.json, and says of each that is wrong what would be right."""

    def __init__(self, directory: Path, document: Any) -> None:
        self.directory = directory
        self.document: dict[str, Any] = document if isinstance(document, dict) else {}
        if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
            version = document.get("schema_version") if isinstance(document, dict) else None
            self.refuse(f"schema_version {version!r}, but this version of jvbtune reads {SCHEMA_VERSION}")

    def refuse(self, message: str) -> NoReturn:
        raise FormatError(message, file=self.directory / DOCUMENT)

    def text(self, name: str, default: str | None = None) -> str:
        value = self.document.get(name, default)
        if not isinstance(value, str):
            self.refuse(f"{name} must be a string, not {value!r}")
        return value

    def optional_text(self, name: str) -> str | None:
        return None if self.document.get(name) is None else self.text(name)

    def listed(self, name: str) -> list[Any]:
        value = self.document.get(name)
        if value is not None and not isinstance(value, list):
            self.refuse(f"{name} must be a list, not {value!r}")
        return value or []

    def mapping(self, source: Mapping[str, Any], name: str, where: str = "") -> dict[str, Any]:
        value = source.get(name)
        if value is not None and not isinstance(value, dict):
            self.refuse(f"{where}{name} must be an object, not {value!r}")
        return value or {}

    def moment(self, source: Mapping[str, Any], name: str, where: str = "") -> float:
        """Seconds since 1970, up to the year 9999."""
        value = self.needed(source, name, where)
        if value > LAST_MOMENT:
            self.refuse(f"{where}{name} must be seconds since 1970, not {value:g}")
        return value

    def number(self, source: Mapping[str, Any], name: str, where: str = "") -> float | None:
        value = source.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
            self.refuse(f"{where}{name} must be a number of 0 or above, not {value!r}")
        return float(value)

    def needed(self, source: Mapping[str, Any], name: str, where: str = "") -> float:
        value = self.number(source, name, where)
        if value is None:
            self.refuse(f"{where}{name} is missing")
        return value

    def capture(self) -> Capture:
        document = self.document
        slices = document.get("slices")
        if not isinstance(slices, list) or not slices or not all(isinstance(one, dict) for one in slices):
            self.refuse("slices must be a list of at least one slice")
        return Capture(
            path=self.directory,
            id=self.text("id"),
            host=self.text("host"),
            created_unix=self.moment(document, "created_unix"),
            engine=self.text("engine"),
            event=self.text("event"),
            unit=self.text("unit"),
            interval_ns=self.number(document, "interval_ns"),
            kernel_frames=bool(document.get("kernel_frames")),
            lost=tuple(map(str, self.listed("lost"))),
            run_id=self.optional_text("run_id"),
            step=self.optional_text("step"),
            intended_pps=self.number(document, "intended_pps"),
            slices=tuple(self.slice(one, f"slices[{index}].") for index, one in enumerate(slices)),
            document={**document, "target": self.mapping(document, "target"), "settings": document.get("settings")},
        )

    def slice(self, one: Mapping[str, Any], where: str) -> Slice:
        file = one.get("file")
        if not isinstance(file, str) or not file or Path(file).name != file:
            self.refuse(f"{where}file must be the name of a file beside {DOCUMENT}, not {file!r}")
        if not os.path.isfile(self.directory / file):  # false for a name that no file can have, too
            self.refuse(f"{where}file: {file} is missing")
        numbers = ("samples", "packets", "in_packets", "out_packets", "cpu_seconds")
        return Slice(
            file=file,
            started_unix=self.moment(one, "started_unix", where),
            seconds=self.needed(one, "seconds", where),
            thread_cpu_seconds=self.mapping(one, "thread_cpu_seconds", where),
            profiler=self.mapping(one, "profiler", where),
            **{name: self.number(one, name, where) for name in numbers},
        )
