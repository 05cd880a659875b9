"""A tree as a static SVG flamegraph: for a document or a pull request, where the viewer's page cannot go.

With two sides a box is as wide as both together, each in the normalisation chosen, and its colour says what changed:
blue for less, orange for more, full at double or half; grey where the change is not significant. Text is escaped,
there is no script, and every box says its figures as a tooltip.
"""

from __future__ import annotations

import math
import re
import textwrap
from html import escape
from typing import BinaryIO

import numpy as np

from jvbtune.flame.model import Float64, Kind, Tree

WIDTH, ROW, LINE, MARGIN = 1200, 17, 18, 12
CHARACTER = 6.6  # width of one, in pixels, at the size of font below
NARROWEST = 0.4  # boxes below this many pixels are not drawn, nor what they call

# The colours of the viewer's light theme.
DIVERGING = ("#1f5fa8", "#6ea6d7", "#dcdcd6", "#f2ae62", "#bf5409")
GREY = "#e4e4e0"
KIND_COLOURS = {
    Kind.JAVA: "#8fb8de",
    Kind.INLINED: "#f0b27a",
    Kind.C1: "#a5cf9f",
    Kind.INTERPRETED: "#d7a3c4",
    Kind.KERNEL: "#e6d07d",
    Kind.NATIVE: "#9ccfcc",
    Kind.CPP: "#c4b2e0",
    Kind.GC: "#d9b99b",
    Kind.JIT: "#b7c27e",
    Kind.PYTHON: "#e69f96",
}


def render(tree: Tree) -> str:
    """The picture of a tree of one side or two."""
    factors = np.asarray(tree.chosen.factors)
    values = tree.total * factors[:, None]
    width = values.sum(axis=0)
    boxes = []
    scale = (WIDTH - 2 * MARGIN) / width[0] if width[0] > 0 else 0.0
    depth_drawn = 0
    starts = {-1: 0.0}  # where the next callee of a node begins
    node = 0
    while node < len(tree) and scale:
        parent = int(tree.parent[node])
        x = starts[parent]
        starts[parent] = x + width[node]
        if width[node] * scale < NARROWEST:
            node += int(tree.subtree[node])
            continue
        starts[node] = x
        depth = int(tree.depth[node])
        depth_drawn = max(depth_drawn, depth)
        boxes.append((node, MARGIN + x * scale, depth, width[node] * scale))
        node += 1
    said = [*_wrapped(_names(tree), 15, "#000"), *_wrapped(_figures(tree), 11, "#444")]
    noted = _wrapped(_notes(tree), 11, "#666")
    base = MARGIN + LINE * (len(said) + 1) + 8 + depth_drawn * ROW  # the top of the root
    height = base + ROW + 8 + LINE * len(noted) + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *_lines(said, MARGIN),
        *_legend(tree, MARGIN + LINE * len(said)),
        *(_box(tree, values, node, x, base - depth * ROW, w) for node, x, depth, w in boxes),
        *_lines(noted, base + ROW + 8),
        "</svg>",
        "",
    ]
    return "\n".join(lines)


def write(tree: Tree, out: BinaryIO) -> None:
    out.write(render(tree).encode(errors="backslashreplace"))


def _names(tree: Tree) -> str:
    return " against ".join(side.meta.title or "profile" for side in reversed(tree.sides))


def _figures(tree: Tree) -> str:
    totals = " against ".join(f"{side.total:,.10g}" for side in reversed(tree.sides))
    said = f"total {totals} {tree.sides[0].meta.unit}"
    if len(tree.sides) == 2:
        said += f"; compared in {tree.chosen.unit}; width: both sides together"
        if tree.test:
            said += f"; grey: not significant ({tree.test.method}, false-discovery rate {tree.test.level:g})"
    return said


def _notes(tree: Tree) -> str:
    notes = [f"Boxes narrower than {NARROWEST:g} px are not drawn.", *tree.notes]
    return " ".join([*notes, tree.test.note] if tree.test else notes)


def _wrapped(text: str, size: int, colour: str) -> list[tuple[str, int, str]]:
    """A text as lines of (text, size of font, colour)."""
    room = int((WIDTH - 2 * MARGIN) / (CHARACTER * size / 11))
    return [(line, size, colour) for line in textwrap.wrap(text, room)]


def _lines(lines: list[tuple[str, int, str]], top: float) -> list[str]:
    return [
        f'<text x="{MARGIN}" y="{top + LINE * (i + 1) - 4:.0f}" font-size="{size}" fill="{colour}">{_text(text)}</text>'
        for i, (text, size, colour) in enumerate(lines)
    ]


def _legend(tree: Tree, top: float) -> list[str]:
    if len(tree.sides) == 2:
        shades = [(_along(i / 8), "½ or less" if i == 0 else "2 or more" if i == 8 else "") for i in range(9)]
    else:
        present = set(tree.frames.kinds.tolist())
        shades = [(colour, kind.label) for kind, colour in KIND_COLOURS.items() if kind in present]
    lines = []
    x = float(MARGIN)
    for fill, label in shades:
        lines.append(f'<rect x="{x:.1f}" y="{top + 4:.0f}" width="12" height="11" fill="{fill}"/>')
        x += 12
        if label:
            lines.append(f'<text x="{x + 3:.1f}" y="{top + 13:.0f}" fill="#444">{_text(label)}</text>')
            x += len(label) * CHARACTER + 14
    return lines


def _box(tree: Tree, values: Float64, node: int, x: float, y: float, width: float) -> str:
    frame = int(tree.frame[node])
    name = tree.frames.names[frame]
    said = [f"{name} ({Kind(tree.frames.kinds[frame]).label})"]
    unit = tree.chosen.unit
    for side, whole in zip(values, values[:, 0], strict=True):
        share = side[node] / whole if whole > 0 else 0.0
        said.append(f"{side[node]:,.6g} {unit}, {share:.2%} of {whole:,.6g}")
    if len(tree.sides) == 2:
        delta = values[1, node] - values[0, node]
        said.append(f"change {delta:+,.6g} {unit}" + ("" if _significant(tree, node) else ", not significant"))
    fill = _fill(tree, values, node)
    shape = (
        f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(width - 0.4, 0.3):.2f}" height="{ROW - 1}" rx="1" fill="{fill}"/>'
    )
    text = _label(name, width - 6)
    if text:
        shape += f'<text x="{x + 3:.1f}" y="{y + 12.5:.1f}" fill="{_ink(fill)}">{_text(text)}</text>'
    return f"<g><title>{_text(chr(10).join(said))}</title>{shape}</g>"


def _significant(tree: Tree, node: int) -> bool:
    return tree.significance is None or bool(tree.significance.significant[node])


def _fill(tree: Tree, values: Float64, node: int) -> str:
    if len(tree.sides) == 1:
        return KIND_COLOURS.get(Kind(tree.frames.kinds[tree.frame[node]]), GREY)
    if not _significant(tree, node):
        return GREY
    before, after = float(values[0, node]), float(values[1, node])
    if before <= 0 or after <= 0:
        change = float(after > 0) - float(before > 0)
    else:
        change = max(-1.0, min(1.0, math.log2(after / before)))
    return _along((change + 1) / 2)


def _along(position: float) -> str:
    """The colour at 0…1 of the diverging scale."""
    place = min(position * (len(DIVERGING) - 1), len(DIVERGING) - 1.0001)
    low, high = DIVERGING[int(place)], DIVERGING[int(place) + 1]
    mixed = (
        int(low[i : i + 2], 16) + (int(high[i : i + 2], 16) - int(low[i : i + 2], 16)) * (place % 1) for i in (1, 3, 5)
    )
    return "#" + "".join(f"{round(channel):02x}" for channel in mixed)


def _ink(fill: str) -> str:
    """Black or white, whichever is easier to read on the fill."""
    channels = [int(fill[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000" if (light + 0.05) / 0.05 > 1.05 / (light + 0.05) else "#fff"


def _label(name: str, width: float) -> str:
    """A name for a box: whole where it fits, else without its package, else cut."""
    if len(name) * CHARACTER > width and "/" in name and "::" not in name:
        name = name.rpartition("/")[2]
    return _cut(name, width) if width > 2 * CHARACTER else ""


_NO_XML = re.compile("[^\\n\\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _text(text: str) -> str:
    """Text as XML; characters that XML cannot hold at all are shown as �."""
    return escape(_NO_XML.sub("�", text))


def _cut(text: str, width: float) -> str:
    room = int(width / CHARACTER)
    return text if len(text) <= room else text[: room - 1] + "…" if room > 1 else ""
