"""Which slices of a side say one thing together: those of one capture, where the side has several.

Slices of one capture follow one another in one JVM. What differs between restarts of the bridge is the same for all of
them, so of a side of several captures each capture is one observation, as each restart is for a setting
(Hurlbert, "Pseudoreplication and the Design of Ecological Field Experiments", 1984).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jvbtune.flame.model import Float64, Meta

#: In a capture's metadata: which capture a slice is of, and of which host.
ID = "id"
HOST = "host"


def several(metas: Sequence[Meta]) -> bool:
    """Whether the slices of a side are of two captures or more, or of a capture and of files that are of none."""
    return any(meta.extra.get(ID) for meta in metas) and len(set(_sources(metas))) > 1


def observations(metas: Sequence[Meta]) -> list[list[int]]:
    """The slices of a side by what they are observations of, in their order: by captures where there are several, else
    each by itself. A file that is of no capture is one of its own."""
    found: dict[object, list[int]] = {}
    for index, source in enumerate(_sources(metas) if several(metas) else range(len(metas))):
        found.setdefault(source, []).append(index)
    return list(found.values())


def _sources(metas: Sequence[Meta]) -> list[object]:
    """What each slice was taken from: a capture of a host, or a file."""
    return [(meta.extra[ID], meta.extra.get(HOST)) if meta.extra.get(ID) else i for i, meta in enumerate(metas)]


def summed(rows: Sequence[Float64] | Float64, groups: Sequence[Sequence[int]]) -> Float64:
    """(observations, …) sums of what the slices have."""
    return np.stack([np.sum([rows[index] for index in group], axis=0) for group in groups])
