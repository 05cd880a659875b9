"""Synthetic profiles of the size that hurts: made by a seeded generator, the same bytes on every machine.

The call tree is a random walk over a call graph in which each method calls a few others, the first far oftener than
the last (as in real programs), so that the merged tree has about 1.8 million nodes for 96,000 stacks.
"""

from __future__ import annotations

import random
from pathlib import Path

PACKAGES = ("org/jitsi/nlj", "org/ice4j", "java/util", "sun/nio/ch", "kotlin")
WORDS = ("Packet", "Queue", "Node", "Ice", "Peer", "Srtp", "Stats", "Task", "Buffer", "Socket", "Pool", "Cache")


POOLS = ("Global_IO_poolp", "Global_CPU_pool", "ice4j.Harvester", "Global_schedule")


class CallGraph:
    """Methods by number, and whom each may call."""

    def __init__(self, random_: random.Random, methods: int = 6000, callees: int = 8) -> None:
        self.random = random_
        self.names = [self._name(number) for number in range(methods)]
        self.callees = [[random_.randrange(methods) for _ in range(callees)] for _ in range(methods)]

    def _name(self, number: int) -> str:
        pick = self.random.choice
        method = pick(WORDS).lower() + pick(WORDS)
        return f"{pick(PACKAGES)}/{pick(WORDS)}{pick(WORDS)}.{method}{number}"

    def walk(self, path: list[int], depth: int) -> list[int]:
        """Goes on from a path until it is ``depth`` deep."""
        path = list(path)
        while len(path) < depth:
            callees = self.callees[path[-1]]
            path.append(callees[min(int(self.random.expovariate(0.5)), len(callees) - 1)])
        return path


def stacks(graph: CallGraph, number: int, depth: int) -> list[list[int]]:
    """Different stacks, each branching off from an earlier one about half-way up."""
    found: dict[tuple[int, ...], None] = {}
    paths: list[list[int]] = [graph.walk([0], depth)]
    while len(found) < number:
        earlier = paths[graph.random.randrange(len(paths))]
        path = graph.walk(earlier[: graph.random.randrange(4, depth - 2)], depth)
        key = tuple(path)
        if key not in found:
            found[key] = None
            paths.append(path)
    return paths[-number:]


def write_collapsed_pair(a: Path, b: Path, *, number: int = 96_000, depth: int = 41, seed: int = 1) -> None:
    """Two captures of one program: nine stacks of ten are in both, with other counts."""
    random_ = random.Random(seed)
    graph = CallGraph(random_)
    shared = number * 9 // 10
    paths = stacks(graph, number + (number - shared), depth)
    lines = [";".join(graph.names[method] for method in path) for path in paths]
    for file, chosen in ((a, lines[:number]), (b, lines[number - shared :])):
        order = list(chosen)
        random_.shuffle(order)
        with file.open("w") as out:
            out.writelines(f"{line} {1 + int(random_.expovariate(0.2))}\n" for line in order)


def write_perf_script(file: Path, *, samples: int = 52_600, depth: int = 31, seed: int = 2) -> None:
    """Text as ``perf script`` prints it: return addresses belong to call sites, the leaf's address is anywhere in it.

    Some stacks are hotter than others, as in the captures of a real bridge (there, of 1,024 samples, 361 stacks are
    different): half the samples fall on a quarter of the stacks.
    """
    random_ = random.Random(seed)
    graph = CallGraph(random_)
    paths = stacks(graph, samples // 2, depth)
    with file.open("w") as out:
        for sample in range(samples):
            path = paths[int(len(paths) * random_.random() ** 2)]
            pool = POOLS[sample % len(POOLS)]
            out.write(
                f"{pool:<15}  4242/{4300 + sample % 40}  [{sample % 2:03}] "
                f"{1000 + sample / 997:.6f}:   10101010 cpu-clock:pppH: \n"
            )
            below = -1
            for level, method in enumerate(reversed(path)):
                offset = random_.randrange(4096) if level == 0 else (below * 7919 + method) % 2048
                below = method
                module = "[kernel.kallsyms]" if level < 5 else "/tmp/perf-4242.map"
                base = 0xFFFFFFFF81000000 if level < 5 else 0x7F4580000000
                symbol = graph.names[method].rpartition("/")[2] if level < 5 else graph.names[method]
                out.write(f"\t{base + method * 4096 + offset:>16x} {symbol}+0x{offset:x} ({module})\n")
            out.write("\n")
