"""Captures of a simulated program whose truth is known: what the statistics of comparing are held against.

Each stack costs CPU of its own: a fixed part, and a part that grows with the packet rate by a power. A capture samples
that, slice by slice, with the noise of a real one: sampling itself, a factor that all stacks of a slice share, one that
each method has alone, a few methods that come in bursts, and what lasts from one slice to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from jvbtune.flame.model import Bool, Float64, Frames, Int32, Kind, Meta, Profile, Stacks

PLANTED = "org/example/Planted.method"


@dataclass(frozen=True, eq=False)
class Program:
    """CPU of stack ``i`` at ``x`` packets/s, in cores: ``fixed_cores[i] + us_per_packet[i] · x / 10⁶ ·
    (x / reference_pps) ** (exponent[i] − 1)``."""

    stacks: Stacks
    fixed_cores: Float64
    us_per_packet: Float64
    exponent: Float64
    reference_pps: float

    def cores(self, packet_rate_pps: float) -> Float64:
        """By stack."""
        growth = (packet_rate_pps / self.reference_pps) ** (self.exponent - 1)
        cores: Float64 = self.fixed_cores + self.us_per_packet * packet_rate_pps * 1e-6 * growth
        return cores

    def through(self, frame: str) -> Bool:
        """The stacks that hold a frame."""
        number = self.stacks.frames.names.index(frame)
        stack = np.repeat(np.arange(len(self.stacks)), np.diff(self.stacks.offsets))
        return np.bincount(stack[self.stacks.flat == number], minlength=len(self.stacks)) > 0

    def changed(self, frame: str, ratio: float) -> Program:
        """The same program in which all that goes through ``frame`` costs ``ratio`` times as much."""
        by_stack = np.where(self.through(frame), ratio, 1.0)
        return replace(self, fixed_cores=self.fixed_cores * by_stack, us_per_packet=self.us_per_packet * by_stack)


@dataclass(frozen=True)
class Noise:
    """Relative standard deviations from slice to slice. ``lasting``: correlation of the common factor of one slice with
    that of the next."""

    common: float = 0.0
    alone: float = 0.0  # of each method
    bursts: float = 0.0  # of every tenth method, on top
    lasting: float = 0.0

    def factors(self, rng: np.random.Generator, slices: int, leaf: Int32, frames: int) -> Float64:
        """(slices, stacks); stacks of one leaf share theirs."""
        shared = np.empty(slices)
        state = rng.normal()
        for k in range(slices):
            shared[k] = state
            state = self.lasting * state + np.sqrt(1 - self.lasting**2) * rng.normal()
        own = _gamma(rng, self.alone, (slices, frames))
        own[:, ::10] *= _gamma(rng, self.bursts, own[:, ::10].shape)
        factors: Float64 = np.exp(self.common * shared)[:, None] * own[:, leaf]
        return factors


def _gamma(rng: np.random.Generator, deviation: float, shape: tuple[int, ...]) -> Float64:
    """Of mean 1 and the given standard deviation."""
    return rng.gamma(deviation**-2, deviation**2, shape) if deviation > 0 else np.ones(shape)


def program(
    seed: int = 1,
    *,
    stacks: int = 400,
    depth: int = 24,
    methods: int = 600,
    cores: float = 1.0,
    reference_pps: float = 20_000.0,
    planted_share: float = 0.05,
) -> Program:
    """A program whose CPU is in proportion to the packet rate, ``cores`` at the reference. ``PLANTED`` is the leaf of
    some stacks and holds ``planted_share`` of the CPU."""
    rng = np.random.default_rng(seed)
    callees = rng.integers(1, methods, (methods, 6))
    paths: list[tuple[int, ...]] = [(0,)]
    seen: set[tuple[int, ...]] = set()
    while len(seen) < stacks:
        path = list(paths[int(rng.integers(len(paths)))][: int(rng.integers(1, depth))])
        while len(path) < int(rng.integers(depth // 2, depth)):
            path.append(int(callees[path[-1], min(5, int(rng.exponential(1.5)))]))
        if tuple(path) not in seen:
            seen.add(tuple(path))
            paths.append(tuple(path))
    chosen = sorted(seen)
    cost = rng.exponential(1.0, stacks) ** 2
    planted = rng.permutation(stacks)[: max(1, stacks // 20)]
    cost[planted] *= planted_share / (1 - planted_share) * np.delete(cost, planted).sum() / cost[planted].sum()
    for i in planted:
        chosen[i] = (*chosen[i], methods)
    names = tuple(f"org/example/C{number % 97}.m{number}" for number in range(methods))
    frames = Frames((*names, PLANTED), np.full(methods + 1, Kind.JAVA, dtype=np.uint8))
    table = Stacks(
        frames,
        np.array([method for path in chosen for method in path], dtype=np.int32),
        np.concatenate([[0], np.cumsum([len(path) for path in chosen])]),
    )
    us_per_packet = cost / cost.sum() * cores / reference_pps * 1e6
    return Program(table, np.zeros(stacks), us_per_packet, np.ones(stacks), reference_pps)


def capture(
    of: Program,
    rng: np.random.Generator,
    *,
    packet_rate_pps: float | None = None,
    slices: int = 6,
    seconds: float = 10.0,
    interval_ns: float = 1e7,
    noise: Noise = Noise(),
    title: str = "",
    lost: Float64 | None = None,
) -> list[Profile]:
    """One profile a slice. ``lost``: by frame, the share of a leaf's samples that the profiler does not get."""
    rate = of.reference_pps if packet_rate_pps is None else packet_rate_pps
    cores = of.cores(rate)
    leaf = of.stacks.flat[of.stacks.offsets[1:] - 1]
    expected = cores * seconds / (interval_ns * 1e-9)
    factors = noise.factors(rng, slices, leaf, len(of.stacks.frames))
    kept = 1.0 - lost[leaf] if lost is not None else 1.0
    meta = Meta(
        title=title,
        engine="async-profiler",
        event="cpu",
        interval_ns=interval_ns,
        seconds=seconds,
        packets=rate * seconds,
    )
    return [
        profile(
            of.stacks,
            rng.poisson(expected * row * kept),
            replace(meta, cpu_seconds=float((expected * row).sum()) * interval_ns * 1e-9),
        )
        for row in factors
    ]


def profile(stacks: Stacks, counts: Sequence[int] | Float64, meta: Meta) -> Profile:
    """Counts of all stacks of a table; no thread is recorded."""
    seen = np.asarray(counts, dtype=np.float64)
    rows = np.flatnonzero(seen)
    return Profile(stacks, rows.astype(np.int32), seen[rows], np.full(len(rows), -1, dtype=np.int32), (), meta)


def weighted(one: Profile, rng: np.random.Generator, *, mean: float, deviation: float, unit: str = "cycles") -> Profile:
    """The same capture as an event's weights: each sample of a row adds a weight of its own, log-normal with a relative
    standard ``deviation``; ``samples`` keeps the numbers."""
    sigma = np.sqrt(np.log1p(deviation**2))
    each = mean * np.exp(sigma * rng.normal(size=int(one.counts.sum())) - sigma**2 / 2)
    row = np.repeat(np.arange(len(one.counts)), one.counts.astype(int))
    weights = np.bincount(row, weights=np.maximum(1.0, each.round()), minlength=len(one.counts))
    return replace(
        one, counts=weights.astype(np.float64), samples=one.counts, meta=Meta(title=one.meta.title, unit=unit)
    )
