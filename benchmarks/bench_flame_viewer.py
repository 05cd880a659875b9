"""The viewer of a large comparison in a headless Chromium: size of the file, time until one can use it, search, redraw.

python benchmarks/bench_flame_viewer.py

The pair is that of the other flame benchmarks: two captures of 96,000 stacks, 41 deep. "Ready" is counted from the
start of the navigation to the first frame painted with the whole tree decoded, with totals and table; it is the median
of several loads. Search is typing a pattern that was not searched before, to the end of the frame that shows it.
A pair of a million stacks a side follows: its picture is pruned, its table is not.
"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.flame_workload import CallGraph, write_collapsed_pair
from jvbtune.flame.compare import merge
from jvbtune.flame.formats import read
from jvbtune.flame.model import Frames, Kind, Meta, Profile, Stacks
from jvbtune.flame.viewer import render_html

LIMIT_MB = 6.0
LIMIT_READY_MS = 1000.0
LIMIT_STEP_MS = 50.0
LOADS = 7
PATTERNS = ("Packet", "queue", "Srtp|Ice", r"^org/ice4j", r"Pool\w+\.cache", "[0-9]7$", "Buffer.*Node", "kotlin/.*9")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
METAS = [
    Meta(title=title, engine="async-profiler", event="cpu", interval_ns=10e6, seconds=60.0, packets=packets)
    for title, packets in (("before", 2.0e6), ("after", 2.1e6))
]

#: Resolves once the frame that is due has been painted.
PAINTED = "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"


def measure(browser: Browser, path: Path) -> dict[str, float]:
    """Medians in ms."""
    ready, search, redraw, zoom = [], [], [], []
    for load in range(LOADS):
        page = browser.new_page(viewport={"width": 1400, "height": 900}, offline=True)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=true]", timeout=120_000)
        ready.append(float(page.evaluate("jvbtune.timing.painted")))
        assert "CPU per packet" in page.inner_text("#sums")
        if load == 0:
            for pattern in PATTERNS:
                search.append(
                    page.evaluate(
                        f"""async (pattern) => {{
                            const input = document.getElementById('search');
                            const began = performance.now();
                            input.value = pattern;
                            input.dispatchEvent(new Event('input'));
                            return await {PAINTED} - began;
                        }}""",
                        pattern,
                    )
                )
            page.fill("#search", "")
            for _ in range(15):
                began = "const began = performance.now(); jvbtune.viewer.drawPictures();"
                redraw.append(page.evaluate(f"(() => {{ {began} return performance.now() - began; }})()"))
                zoom.append(
                    page.evaluate(
                        f"""async () => {{
                            const {{ viewer }} = jvbtune;
                            const began = performance.now();
                            const wide = viewer.panes.list[0].picture.boxes;
                            viewer.zoomTo('main', wide.node[Math.min(2, wide.count - 1)]);
                            return await {PAINTED} - began;
                        }}"""
                    )
                )
        page.close()
    median = statistics.median
    return {"ready": median(ready), "search": median(search), "redraw": median(redraw), "zoom": median(zoom)}


def random_profiles(number: int, depth: int = 41, seed: int = 1) -> list[Profile]:
    """As ``write_collapsed_pair`` makes them, without files: for a size whose text would take minutes."""
    graph = CallGraph(random.Random(seed))
    callees = np.array(graph.callees, np.int32)
    r = np.random.default_rng(seed)
    wanted = number + number // 10
    paths = np.zeros((1, depth), np.int32)
    while len(paths) < wanted:
        # Each stack branches off from an earlier one about half-way up.
        new = paths[r.integers(0, len(paths), min(len(paths) * 2, wanted))]
        branch = r.integers(4, depth - 2, len(new))
        for level in range(1, depth):
            pick = np.minimum(r.exponential(2, len(new)).astype(int), callees.shape[1] - 1)
            new[:, level] = np.where(level < branch, new[:, level], callees[new[:, level - 1], pick])
        paths = np.unique(np.concatenate([paths, new]), axis=0)
    paths = paths[r.permutation(len(paths))[:wanted]]
    frames = Frames(tuple(graph.names), np.full(len(graph.names), Kind.JAVA, np.uint8))
    stacks = Stacks(frames, paths.reshape(-1), np.arange(0, wanted * depth + 1, depth, dtype=np.int64))
    thread = np.full(number, -1, np.int32)
    counts = [1.0 + r.exponential(5, number).astype(int) for _ in METAS]
    places = [np.arange(number, dtype=np.int32), np.arange(wanted - number, wanted, dtype=np.int32)]
    return [Profile(stacks, *row, thread, meta=meta) for *row, meta in zip(places, counts, METAS, strict=True)]


def report(name: str, browser: Browser, directory: Path, pair: list[Profile]) -> tuple[float, dict[str, float]]:
    tree = merge([[profile] for profile in pair])
    began = time.perf_counter()
    html = render_html(tree, title=name)
    seconds = time.perf_counter() - began
    path = directory / "picture.html"
    path.write_text(html, encoding="utf-8")
    megabytes = path.stat().st_size / 1e6
    found = measure(browser, path)
    print(
        f"{name:22s} {len(tree):12,d} {seconds:8.2f} {megabytes:6.2f} {found['ready']:9.0f} {found['search']:8.0f} "
        f"{found['redraw']:8.0f} {found['zoom']:8.0f}"
    )
    return megabytes, found


def main() -> int:
    print("pair                          nodes encode s     MB  ready ms   search   redraw     zoom  (medians)")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as name:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        directory = Path(name)
        a, b = directory / "a.collapsed", directory / "b.collapsed"
        write_collapsed_pair(a, b)
        megabytes, found = report("96,000 stacks a side", browser, directory, read([a, b], metas=METAS))
        failed = (
            megabytes > LIMIT_MB
            or found["ready"] > LIMIT_READY_MS
            or max(found["search"], found["redraw"]) > LIMIT_STEP_MS
        )
        report("1,000,000 stacks a side", browser, directory, random_profiles(1_000_000))
        browser.close()
    print(f"limits of the first: {LIMIT_MB:g} MB, {LIMIT_READY_MS:g} ms until ready, {LIMIT_STEP_MS:g} ms each step")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
