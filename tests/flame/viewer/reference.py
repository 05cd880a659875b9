"""What the viewer must show, worked out from the stacks alone: plain, slow, and independent of trees and arrays.

A side is a mapping of stacks (tuples of names, root first, without the root) to counts.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

Stack = tuple[str, ...]
Side = Mapping[Stack, float]

MERGED = "⟨merged: {}⟩"


def random_side(seed: int, stacks: int = 60, *, recursion: bool = True, threads: int = 3) -> dict[Stack, float]:
    """Stacks with threads, kernel frames, recursion, shared callees and awkward names."""
    r = random.Random(seed)
    names = [
        *(
            f"org/jitsi/nlj/{word}.{verb}"
            for word in ("Node", "Queue", "Sender")
            for verb in ("process", "add", "send")
        ),
        *("java/lang/Thread.run", "EVP_CipherUpdate", "G1Scan::step", "a;b", "<init>", "x&y", "λ-call", "{{script}}"),
    ]
    kernel = ["[k]sendto", "[k]udp_sendmsg", "[k]ip_output"]
    out: dict[Stack, float] = defaultdict(float)
    while len(out) < stacks:
        depth = r.randrange(1, 9)
        stack = [f"thread {r.randrange(threads)}", *(r.choice(names) for _ in range(depth))]
        if not recursion:
            stack = list(dict.fromkeys(stack))
        if r.random() < 0.3:
            stack += kernel[: r.randrange(1, 4)]
        out[tuple(stack)] += r.randrange(1, 400)
    return dict(out)


def summed(slices: Iterable[Side]) -> dict[Stack, float]:
    out: dict[Stack, float] = defaultdict(float)
    for part in slices:
        for stack, count in part.items():
            out[stack] += count
    return dict(out)


def matches(pattern: str, name: str) -> bool:
    """Case counts only where the pattern holds a capital."""
    return re.search(pattern, name, 0 if re.search("[A-Z]", pattern) else re.IGNORECASE) is not None


def filtered(side: Side, *, hide: str = "", focus: str = "", merge: str = "", without: Sequence[str] = ()) -> Side:
    """The stacks that filters leave, as they are then shown."""
    out: dict[Stack, float] = defaultdict(float)
    for stack, count in side.items():
        if stack and stack[0] in without:
            continue
        if focus and not any(matches(focus, name) for name in stack):
            continue
        shown: list[str] = []
        for name in stack:
            if hide and matches(hide, name):
                continue
            if merge and matches(merge, name):
                name = MERGED.format(merge)
                if shown[-1:] == [name]:
                    continue
            shown.append(name)
        out[tuple(shown)] += count
    return dict(out)


def callees(side: Side, frame: str) -> Side:
    """What follows the outermost call of a frame."""
    return summed({stack[stack.index(frame) + 1 :]: count} for stack, count in side.items() if frame in stack)


def callers(side: Side, frame: str) -> Side:
    """What leads to the outermost call of a frame, the nearest caller first."""
    return summed(
        {tuple(reversed(stack[: stack.index(frame)])): count} for stack, count in side.items() if frame in stack
    )


def table(sides: Sequence[Side]) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    """By frame: totals of each side (recursion counted once) and what it spent itself."""
    names = {name for side in sides for stack in side for name in stack}
    return {
        name: (
            tuple(sum(count for stack, count in side.items() if name in stack) for side in sides),
            tuple(sum(count for stack, count in side.items() if stack[-1:] == (name,)) for side in sides),
        )
        for name in names
    }


def matched_shares(sides: Sequence[Side], pattern: str) -> list[float]:
    """Share of each side that lies in stacks with a match, in percent."""
    return [
        100
        * sum(count for stack, count in side.items() if any(matches(pattern, name) for name in stack))
        / sum(side.values())
        for side in sides
    ]


def layout(
    sides: Sequence[Side],
    scales: Sequence[float],
    mode: str,
    *,
    zoom: Stack = (),
    key: Callable[[str], object] = lambda name: (name.startswith("⟨merged"), name),
) -> dict[Stack, tuple[float, float]]:
    """Where each frame at and below ``zoom`` stands, as shares of the width: left and width, by path."""
    values: dict[Stack, float] = defaultdict(float)
    own: dict[Stack, list[float]] = defaultdict(lambda: [0.0] * len(sides))
    for s, side in enumerate(sides):
        for stack, count in side.items():
            own[stack][s] += count * scales[s]
    for stack, amounts in own.items():
        weight = {
            "a": amounts[0],
            "b": amounts[-1],
            "sum": sum(amounts),
            "delta": abs(amounts[-1] - amounts[0]),
        }[mode]
        for depth in range(len(stack) + 1):
            values[stack[:depth]] += weight
    children: dict[Stack, set[str]] = defaultdict(set)
    for path in values:
        if path:
            children[path[:-1]].add(path[-1])
    out: dict[Stack, tuple[float, float]] = {}

    def place(path: Stack, left: float) -> None:
        out[path] = (left / values[zoom], values[path] / values[zoom])
        for name in sorted(children[path], key=key):  # type: ignore[arg-type, return-value]
            place((*path, name), left)
            left += values[(*path, name)]

    place(zoom, 0.0)
    return out
