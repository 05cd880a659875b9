"""The data model of profiles: arrays throughout, shared by readers, comparison, writers and the viewer.

    files ─▶ Profile (one per slice) ─▶ merge ─▶ Tree (one or two sides) ─▶ viewer, table, SVG

A ``Profile`` is what one file says, before anything is derived. A ``Tree`` is what one picture shows: every stack of
every side merged into one call tree, in preorder. A tree's root holds all that its inputs hold: ``tree.total[s, 0]``
equals the sum of the counts of side ``s``, always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


SECONDS_PER_UNIT = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


class Kind(IntEnum):
    """What a frame is. The values are written into viewers and files: append, never renumber."""

    OTHER = 0
    JAVA = 1  # compiled by C2, or a tier that nobody recorded
    INTERPRETED = 2
    INLINED = 3
    C1 = 4
    KERNEL = 5
    NATIVE = 6  # C, or a symbol of a library
    CPP = 7
    GC = 8  # the collector's own work
    JIT = 9  # the compilers' own work
    PYTHON = 10
    THREAD = 11  # a thread, or a pool of them, as the first frame of a stack
    ROOT = 12

    @property
    def label(self) -> str:
        """The kind's name in output."""
        return {Kind.CPP: "C++", Kind.GC: "GC", Kind.JIT: "JIT", Kind.C1: "C1"}.get(self, self.name.lower())


@dataclass(frozen=True)
class Frames:
    """The table of frames: ``names[i]`` is of kind ``kinds[i]`` (uint8, values of ``Kind``). Pairs are unique."""

    names: tuple[str, ...]
    kinds: UInt8

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Meta:
    """What is known of a capture. ``None`` means that nobody recorded it; a comparison then cannot use it."""

    title: str = ""
    engine: str | None = None  # "async-profiler", "perf", "jfr", "py-spy"
    event: str | None = None  # "cpu", "ctimer", "wall", "alloc", "lock"
    unit: str = "samples"  # of the counts: "samples", "ns", "us", "ms", "s", "bytes"
    interval_ns: float | None = None  # CPU (or wall) time that one sample stands for
    seconds: float | None = None  # wall-clock length of the capture
    packets: float | None = None  # received + sent by the bridge meanwhile
    cpu_seconds: float | None = None  # of the process meanwhile, by the kernel's account
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def seconds_per_unit(self) -> float | None:
        """Seconds of CPU (for wall: of time) of one count; None where counts are no time or nobody knows."""
        if self.unit == "samples":
            return self.interval_ns * 1e-9 if self.interval_ns else None
        return SECONDS_PER_UNIT.get(self.unit)

    @property
    def units_per_sample(self) -> float:
        """Counts that one sample of the profiler adds: what Poisson noise needs. 1 where nobody knows."""
        if self.unit == "samples" or not self.interval_ns or self.seconds_per_unit is None:
            return 1.0
        return self.interval_ns * 1e-9 / self.seconds_per_unit

    @property
    def packet_rate_pps(self) -> float | None:
        return self.packets / self.seconds if self.packets is not None and self.seconds else None


def added_up(metas: Sequence[Meta], title: str | None = None) -> Meta:
    """What is known of several slices as one: lengths, CPU and packets are sums, and the rest is the first one's.

    A sum of which one part is not known is not known.
    """
    first = metas[0]
    packets = {
        name: _sum([_number(meta.extra.get(name)) for meta in metas])
        for name in ("in_packets", "out_packets")
        if name in first.extra
    }
    return replace(
        first,
        title=first.title if title is None else title,
        extra={**first.extra, **packets},
        seconds=_sum([meta.seconds for meta in metas]),
        packets=_sum([meta.packets for meta in metas]),
        cpu_seconds=_sum([meta.cpu_seconds for meta in metas]),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(sum(known)) if len(known) == len(values) else None


@dataclass(frozen=True, eq=False)
class Stacks:
    """A table of stacks: stack ``i`` is ``flat[offsets[i]:offsets[i + 1]]``, root first, as indices into ``frames``."""

    frames: Frames
    flat: Int32
    offsets: Int64  # len = stacks + 1

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def names(self, index: int) -> tuple[str, ...]:
        """The names of one stack, root first."""
        return tuple(self.frames.names[i] for i in self.flat[self.offsets[index] : self.offsets[index + 1]])


@dataclass(frozen=True, eq=False)
class Profile:
    """One file, or one slice of a capture: rows of stack, thread and count.

    Row ``i`` says: stack ``stack[i]`` of ``stacks`` was seen ``counts[i]`` times (or weighs so many of ``meta.unit``),
    in thread ``threads[thread[i]]`` (-1: not recorded). Slices read together share one table of stacks.
    """

    stacks: Stacks
    stack: Int32
    counts: Float64
    thread: Int32
    threads: tuple[str, ...] = ()
    meta: Meta = field(default_factory=Meta)
    samples: Float64 | None = None  # of each row, where counts are weights; None: the file does not hold them

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def total(self) -> float:
        return float(self.counts.sum())


@dataclass(frozen=True)
class Side:
    """One side of a picture: its metadata as a whole (lengths and packets are sums), and each slice's own.

    Of several captures, each is one slice: the slices of one capture say nothing of what differs between restarts.
    """

    meta: Meta
    slices: tuple[Meta, ...]  # at least one
    slice_totals: tuple[float, ...]  # of the counts of each slice, in meta.unit
    per_sample: float | None = None  # counts that one effective sample adds (compare/samples.py); None: not known
    grouped: tuple[int, ...] = ()  # of several captures: how many slices each has, which here are one

    @property
    def total(self) -> float:
        return float(sum(self.slice_totals))

    @property
    def captures(self) -> int:
        """How many it is known to consist of."""
        return len(self.grouped) or 1

    @property
    def all_slices(self) -> int:
        """How many slices there are, those of several captures too."""
        return sum(self.grouped) or len(self.slices)


@dataclass(frozen=True)
class Normalisation:
    """A way to make sides comparable: value = count * factors[side], in ``unit``."""

    name: str  # "samples", "seconds", "share", "packets", or "FACTOR_A:FACTOR_B"
    unit: str  # "samples", "CPU seconds", "%", "µs of CPU per packet", …
    factors: tuple[float, ...]  # one for each side


@dataclass(frozen=True)
class Significance:
    """The outcome of a test over rows (nodes of a tree, or frames of a table); arrays have one value a row.

    ``p_value`` and ``q_value`` (Benjamini-Hochberg over all tested rows) are NaN where a row was not tested.
    ``significant`` is ``q_value <= level``. ``low`` and ``high`` enclose the delta of the row's total, B - A, in the
    unit of the normalisation that was tested, with confidence ``1 - level``.
    """

    p_value: Float64
    q_value: Float64
    significant: Bool
    low: Float64
    high: Float64


@dataclass(frozen=True)
class TestInfo:
    """How significance was judged, for the head of a picture."""

    method: str  # "welch" (moderated: compare/significance.py), "poisson", or "none": nothing was tested
    level: float  # false-discovery rate
    normalisation: str  # the one that was tested
    note: str  # for people, e.g. that a Poisson interval is a lower bound on the noise, or why nothing was tested
    # Relative differences that unlike captures may show without a difference of the program (compare/likeness.py):
    # of the whole, and of a frame. Only what goes beyond them is significant.
    allowed_whole: float = 0.0
    allowed_frame: float = 0.0


@dataclass(frozen=True)
class FrameTable:
    """One row for each frame of ``Tree.frames``, merged over all call sites; recursion is counted once in totals."""

    self_: Float64  # (sides, frames), counts
    total: Float64  # (sides, frames), counts
    significance: Significance | None = None


@dataclass(frozen=True)
class Tree:
    """A merged call tree of one or two sides, in preorder: node 0 is the root, a node's subtree follows it directly.

    Values are counts as the files gave them; multiply by a normalisation's factor of the side to show them. A node that
    one side lacks has 0 there, so that frames of one side only are in the same picture.
    """

    frames: Frames  # frames.names[frame[0]] is "all", of kind ROOT
    frame: Int32  # (nodes,)
    parent: Int32  # (nodes,), -1 for the root
    depth: Int32  # (nodes,), 0 for the root
    subtree: Int32  # (nodes,) nodes in the subtree, itself included
    self_: Float64  # (sides, nodes)
    total: Float64  # (sides, nodes)
    sides: tuple[Side, ...]
    normalisations: tuple[Normalisation, ...]  # what the metadata permits; the first is the one chosen
    table: FrameTable
    self_nodes: Int32  # ascending: the nodes with a value of their own on any side
    slice_self: tuple[
        Float64, ...
    ]  # for each side (slices, len(self_nodes)); sums over slices are self_[side, self_nodes]
    moments: tuple[Float64, ...] = ()  # Σ w² by self node, for each side; (): every sample of a side weighs the same
    significance: Significance | None = None  # by node
    test: TestInfo | None = None
    columns: Mapping[str, Float64] = field(default_factory=dict)  # further values by node, e.g. "elasticity"; NaN: none
    rules: Sequence[str] = ()  # the normalisation rules of names that were applied, in words, for the head
    notes: Sequence[str] = ()  # further remarks for the head, e.g. that unlike engines were forced together

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def chosen(self) -> Normalisation:
        return self.normalisations[0]
