"""The document of ``jvbtune flame diff --format json``: types, from which its JSON Schema is generated.

Values are in ``unit`` unless a name says otherwise. ``null`` means not known, or not tested.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from jvbtune.flame.compare.facts import SideFacts

SCHEMA_VERSION: Literal[2] = 2

Method = Literal["welch", "poisson", "none"]


@dataclass(frozen=True)
class Row:
    """One frame on both sides, over all its places in the tree; a recursion counts once in a total."""

    frame: str
    kind: str
    self_a: float
    self_b: float
    total_a: float
    total_b: float
    delta: float  # of the total, B - A
    delta_low: float | None  # the interval of ``delta`` with confidence 1 - level
    delta_high: float | None
    p_value: float | None
    q_value: float | None  # corrected for all tests (Benjamini and Hochberg)
    significant: bool
    explains: float  # the part of the whole's difference that this frame explains and its callees do not


@dataclass(frozen=True)
class Totals:
    a: float
    b: float


@dataclass(frozen=True)
class Sides:
    a: SideFacts
    b: SideFacts


@dataclass(frozen=True)
class Test:
    """How significance was judged. With ``none`` nothing was tested, and ``note`` says why.

    Only what goes beyond the ``allowed_*`` relative differences is significant: unlike captures show those of one
    program too.
    """

    method: Method
    level: float
    allowed_whole: float
    allowed_frame: float
    note: str


@dataclass(frozen=True)
class Counts:
    """Numbers of frames. ``new`` and ``removed`` count significant ones; all of them if nothing was tested."""

    frames: int
    tested: int
    grown: int
    shrunk: int
    new: int
    removed: int


@dataclass(frozen=True)
class Document:
    """A comparison of two profiles."""

    schema_version: Literal[2]
    sides: Sides
    differs: tuple[str, ...]  # what differs besides the program, as far as the captures record it
    normalisation: str
    unit: str
    totals: Totals
    whole: Row
    test: Test
    counts: Counts
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def as_json(document: Document) -> dict[str, Any]:
    """The document as JSON has it."""
    return asdict(document)


def schema() -> dict[str, Any]:
    """The JSON Schema of ``as_json``."""
    from pydantic import TypeAdapter

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **TypeAdapter(Document).json_schema(mode="serialization"),
        "title": f"jvbtune flame diff, schema_version {SCHEMA_VERSION}",
    }
