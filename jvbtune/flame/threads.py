"""Threads as the first frames of stacks: each for itself, merged by pool, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from jvbtune.flame.model import Frames, Int32, Int64, Kind, Profile, Stacks
from jvbtune.flame.names import ALL_RULES, NameRules, pool_of

Threads = Literal["split", "pool", "drop"]

SENTENCES: dict[Threads, str] = {
    "split": "Threads are told apart by their names.",
    "pool": "Threads are merged by pool: their names without their numbers.",
    "drop": "Threads are merged into one.",
}


def arrange_threads(profiles: Sequence[Profile], threads: Threads, rules: NameRules = ALL_RULES) -> list[Profile]:
    """The same profiles with their threads as first frames of kind THREAD ("split", "pool"), or without any ("drop").

    All profiles must share one table of stacks, as those that ``formats.read`` gave together do; those that come out
    share a new one. Rows, counts and totals stay what they were. A row without a recorded thread gets no frame.
    """
    if threads == "drop" or not any(profile.threads for profile in profiles):
        return [_without(profile, profile.stacks, profile.stack) for profile in profiles]
    stacks = profiles[0].stacks
    assert all(profile.stacks is stacks for profile in profiles), "profiles of different tables"
    shown = pool_of if threads == "pool" else rules.thread
    frame_of = {name: i for i, name in enumerate(dict.fromkeys(shown(t) for p in profiles for t in p.threads))}
    keys = [_keys(profile, [frame_of[shown(label)] for label in profile.threads]) for profile in profiles]
    unique, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    table = _prefixed(stacks, tuple(frame_of), unique)
    rows = np.split(inverse.astype(np.int32), np.cumsum([len(key) for key in keys])[:-1])
    return [_without(profile, table, stack) for profile, stack in zip(profiles, rows, strict=True)]


def _without(profile: Profile, stacks: Stacks, stack: Int32) -> Profile:
    return replace(profile, stacks=stacks, stack=stack, thread=np.full(len(profile), -1, np.int32), threads=())


def _keys(profile: Profile, frame_of_thread: list[int]) -> Int64:
    """``thread frame + 1`` above ``stack``; 0 above it where no thread is recorded."""
    frames = np.array([*frame_of_thread, -1], dtype=np.int64)[profile.thread] + 1
    return frames << 32 | profile.stack


def _prefixed(stacks: Stacks, names: tuple[str, ...], keys: Int64) -> Stacks:
    """A table with one stack for each key: its stack with its thread's frame before it."""
    thread, stack = keys >> 32, keys & 0xFFFFFFFF
    has_thread = (thread > 0).astype(np.int64)
    starts = stacks.offsets[stack]
    lengths = stacks.offsets[stack + 1] - starts
    offsets = np.zeros(len(keys) + 1, np.int64)
    np.cumsum(lengths + has_thread, out=offsets[1:])
    flat = np.empty(offsets[-1], np.int32)
    first = offsets[:-1][has_thread > 0]
    flat[first] = thread[has_thread > 0] - 1 + len(stacks.frames)
    rest = np.ones(len(flat), bool)
    rest[first] = False
    ends = np.cumsum(lengths)
    flat[rest] = stacks.flat[np.arange(int(lengths.sum())) + np.repeat(starts - (ends - lengths), lengths)]
    kinds = np.concatenate([stacks.frames.kinds, np.full(len(names), Kind.THREAD, np.uint8)])
    return Stacks(Frames(stacks.frames.names + names, kinds), flat, offsets)
