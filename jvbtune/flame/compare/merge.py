"""Profiles of one or more sides, each of one or more slices, merged into one tree with its table and its test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jvbtune.errors import UsageError
from jvbtune.flame.compare import samples
from jvbtune.flame.compare.drift import drifts
from jvbtune.flame.compare.judge import Judge, moments_of, why_untested
from jvbtune.flame.compare.likeness import likeness
from jvbtune.flame.compare.normalise import SAME_LENGTH, exposures, normalisations, refuse_unlike
from jvbtune.flame.compare.order import Table, sort_stacks
from jvbtune.flame.compare.restarts import observations, several, summed
from jvbtune.flame.compare.trie import Trie, build, by_frame, outermost, totals
from jvbtune.flame.model import (
    Float64,
    FrameTable,
    Kind,
    Normalisation,
    Profile,
    Side,
    Tree,
    added_up,
)

LEVEL = 0.05

#: Totals further apart than this are rather of unlike things than of unlike loads.
UNLIKELY_RATIO = 100.0

#: Shares of the JIT compilers further apart than this are of JVMs that are not equally warm.
UNLIKE_WARMTH = 0.05


def merge(
    sides: Sequence[Sequence[Profile]],
    *,
    labels: Sequence[str] | None = None,
    normalise: str | None = None,
    level: float = LEVEL,
    force: bool = False,
    rules: Sequence[str] = (),
) -> Tree:
    """One tree of all sides; two sides are also tested against each other at the false-discovery rate ``level``.

    Each side is the slices of a capture, or several captures alike, of which each is then one slice. Threads are frames
    where ``formats.threads.arrange_threads`` made them so, and are not told apart else. ``rules``: what was done to
    names, in words. Raises UsageError where captures do not compare (unlike engines or events, unless ``force``), or
    where the metadata does not permit ``normalise``.
    """
    if not 0 < level < 1:
        raise UsageError(f"a false-discovery rate lies between 0 and 1: {level:g}")
    named = [label_of(slices, labels[i] if labels else "", i) for i, slices in enumerate(sides)]
    forced = refuse_unlike(named, [[profile.meta for profile in slices] for slices in sides], force=force)
    notes = list(forced)
    whole = tuple(side_of(slices, label) for slices, label in zip(sides, named, strict=True))
    permitted = normalisations(whole, normalise)
    if normalise is None and len(sides) > 1:
        notes += _absolute(whole, permitted[0])
    if permitted[0].name == "samples" and (apart := _apart(whole)) > UNLIKELY_RATIO:
        notes.append(
            f"The totals are {apart:.3g}-fold apart: the files may count different things, say samples and ns."
        )
    profiles = [profile for slices in sides for profile in slices]
    table, weighted = sort_stacks(profiles)
    trie = build(table)
    rows = iter(weighted)
    slice_self = tuple(
        summed([next(rows).by_stack(len(table)) for _ in slices], observations([one.meta for one in slices]))
        for slices in sides
    )
    whole = tuple(_with_unit(*each, permitted[0]) for each in zip(whole, slice_self, strict=True))
    self_ = np.zeros((len(sides), len(trie.frame)))
    total = np.empty_like(self_)
    for s, values in enumerate(slice_self):
        self_[s, trie.end_node] = values.sum(axis=0)
        total[s] = totals(trie, values.sum(axis=0))
        total[s, 0] = whole[s].total
    outer = outermost(trie.frame, trie.subtree)
    frames = len(table.frames)
    table_self = np.stack([by_frame(row, trie.frame, frames) for row in self_])
    table_total = np.stack([by_frame(row[outer], trie.frame[outer], frames) for row in total])
    if len(sides) == 2:
        notes += _drifting(trie, slice_self, whole, permitted[0])
    notes += _unequally_warm(trie, table, total)
    judged = None
    if len(sides) == 2:
        alike = likeness(whole)
        notes += alike.notes
        why = why_untested(sides, whole, named, forced, alike)
        moments = moments_of(sides, whole, weighted, len(table))
        judged = Judge(trie, table, outer, slice_self, whole, permitted[0], level, moments, alike, why)
    return Tree(
        frames=table.frames,
        frame=trie.frame,
        parent=trie.parent,
        depth=trie.depth,
        subtree=trie.subtree,
        self_=self_,
        total=total,
        sides=whole,
        normalisations=permitted,
        table=FrameTable(table_self, table_total, judged.frames(table_total) if judged and judged.tests else None),
        self_nodes=trie.end_node,
        slice_self=slice_self,
        moments=judged.moments if judged else (),
        significance=judged.nodes(total) if judged and judged.tests else None,
        test=judged.info if judged else None,
        rules=tuple(rules),
        notes=tuple(notes),
    )


def _with_unit(side: Side, slice_self: Float64, chosen: Normalisation) -> Side:
    """The side with the weight of one effective sample, from the scatter of its slices where the file has none."""
    if side.per_sample is not None:
        return side
    return replace(side, per_sample=samples.per_sample_of_scatter(list(slice_self), exposures(side, chosen)))


def _unequally_warm(trie: Trie, table: Table, total: Float64) -> list[str]:
    """A note where the compilers of a JVM took much more of one side than of another."""
    compiler = (table.frames.kinds[trie.frame] == Kind.JIT).astype(np.int32)
    if not compiler.any() or total[:, 0].min() <= 0:
        return []
    tops = (compiler > 0) & outermost(compiler, trie.subtree)
    shares = total[:, tops].sum(axis=1) / total[:, 0]
    if shares.max() - shares.min() < UNLIKE_WARMTH:
        return []
    return [
        f"The JIT compilers took {shares.min():.0%} of one side and {shares.max():.0%} of another: the JVMs were not "
        "equally warm, and much of the difference is that. Let them warm up alike."
    ]


def _drifting(trie: Trie, slice_self: Sequence[Float64], sides: Sequence[Side], chosen: Normalisation) -> list[str]:
    """A note on each side whose slices drift."""
    frame = trie.frame[trie.end_node]
    notes = []
    for side, values in zip(sides, slice_self, strict=True):
        if side.captures > 1:  # they are given in any order
            continue
        by_leaf = np.stack([by_frame(row, frame, int(trie.frame.max()) + 1) for row in values])
        if side.per_sample and drifts(by_leaf / side.per_sample, exposures(side, chosen)):
            notes.append(
                f"The slices of {side.meta.title} that follow one another are more alike than others: something drifts "
                "(a JVM that still warms up?), and the noise is larger than these slices show."
            )
    return notes


def _absolute(sides: Sequence[Side], chosen: Normalisation) -> list[str]:
    """A note where values are relative to nothing, and the lengths are unknown or differ."""
    lengths = [side.meta.seconds for side in sides]
    known = [length for length in lengths if length]
    if len(known) < len(lengths):
        why = "The length of the captures and their load are unknown"
    elif max(known) > (1 + SAME_LENGTH) * min(known):
        why = "The captures are not equally long, and their load is unknown"
    else:
        return []
    if chosen.name != "samples" and (chosen.name != "seconds" or len(known) == len(lengths)):
        return []
    return [
        f"{why}: {chosen.unit} are compared as they are, so that of two captures of one program the longer one has "
        "more of everything. --normalise share compares shares."
    ]


def _apart(sides: Sequence[Side]) -> float:
    totals = [side.total for side in sides]
    return max(totals) / min(totals) if min(totals) > 0 else 1.0


def label_of(slices: Sequence[Profile], label: str, index: int) -> str:
    """A side's name in heads and messages."""
    return label or (slices[0].meta.title if slices else "") or f"side {'ABCDEFGH'[index % 8]}"


def side_of(slices: Sequence[Profile], label: str) -> Side:
    """The slices of a side as a whole. Raises UsageError where they do not add up."""
    if not slices:
        raise UsageError(f"{label}: no profile")
    metas = tuple(profile.meta for profile in slices)
    for what, values in (
        ("units", {meta.unit for meta in metas}),
        ("sampling intervals", {meta.interval_ns for meta in metas}),
    ):
        if len(values) > 1:
            raise UsageError(
                f"{label}: its files do not add up, they have unlike {what}: {', '.join(map(str, values))}",
                hint="The files of one side are the slices of one capture, or captures taken alike.",
            )
    for profile in slices:
        if len(profile) and not float(profile.counts.min()) >= 0:
            raise UsageError(
                f"{profile.meta.title or label}: holds counts below 0",
                hint="A difference of profiles is no profile: give the two that it was made of.",
            )
    groups = observations(metas)
    moments = [samples.second_moments(profile) for profile in slices]
    known = [one for one in moments if one is not None]
    totals = tuple(sum(slices[index].total for index in group) for group in groups)
    unit = samples.per_sample(sum(totals), float(sum(one.sum() for one in known)))
    return Side(
        added_up(metas, label),
        tuple(added_up([metas[index] for index in group]) for group in groups),
        totals,
        unit if len(known) == len(moments) else None,
        tuple(map(len, groups)) if several(metas) else (),
    )
