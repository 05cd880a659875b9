"""Profiles from mappings of stacks to counts, each with a table of its own, as if read from a file of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jvbtune.flame.model import Frames, Kind, Meta, Profile, Stacks

Counts = Mapping[tuple[str, ...], float]


def profile(counts: Counts, meta: Meta | None = None) -> Profile:
    names = list(dict.fromkeys(name for stack in counts for name in stack))
    number = {name: i for i, name in enumerate(names)}
    return Profile(
        Stacks(
            Frames(tuple(names), np.full(len(names), Kind.JAVA, dtype=np.uint8)),
            np.array([number[name] for stack in counts for name in stack], dtype=np.int32),
            np.cumsum([0, *(len(stack) for stack in counts)]),
        ),
        np.arange(len(counts), dtype=np.int32),
        np.array(list(counts.values()), dtype=np.float64),
        np.full(len(counts), -1, dtype=np.int32),
        (),
        meta or Meta(),
    )
