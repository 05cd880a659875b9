"""The SVG: boxes as wide as their values, colours as the change, and well-formed whatever the names."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from jvbtune.flame.compare import merge
from jvbtune.flame.formats import read, svg, write
from jvbtune.flame.model import Meta, Profile
from tests.flame.files import write as save
from tests.flame.test_round_trip import profile_of

SVG = "{http://www.w3.org/2000/svg}"


def boxes(text: str) -> list[tuple[str, float, float, float, str]]:
    """(tooltip, x, y, width, fill) of every box."""
    found = []
    for group in ElementTree.fromstring(text).iter(f"{SVG}g"):
        title, box = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None
        assert box is not None
        place = (float(box.attrib[name]) for name in ("x", "y", "width"))
        found.append((title.text or "", *place, box.attrib["fill"]))
    return found


@pytest.fixture
def sides(tmp_path: Path) -> list[Profile]:
    a = save(tmp_path / "a", "m;x 40\nm;y 40\nm 10\nn 10\n")
    b = save(tmp_path / "b", "m;x 10\nm;y 40\nm 10\nm;new 40\n")
    return read([a, b])


def test_widths_are_shares_and_callees_lie_within_their_caller(sides: list[Profile]) -> None:
    found = {title.split(" (")[0]: place for title, *place in boxes(svg.render(merge([[sides[0]]])))}
    room = svg.WIDTH - 2 * svg.MARGIN
    for name, share in {"all": 1, "m": 0.9, "x": 0.4, "y": 0.4, "n": 0.1}.items():
        assert found[name][2] == pytest.approx(room * share, abs=0.5), name
    m, x, y = found["m"], found["x"], found["y"]
    assert m[0] <= min(x[0], y[0])
    assert max(x[0] + x[2], y[0] + y[2]) <= m[0] + m[2] + 0.5
    assert x[1] == y[1] == m[1] - svg.ROW


def test_two_sides_are_one_picture_with_the_change_as_colour(sides: list[Profile]) -> None:
    found = {
        title.split(" (")[0]: (title, fill) for title, *_, fill in boxes(svg.render(merge([[sides[0]], [sides[1]]])))
    }
    assert {"x", "y", "new", "n"} <= set(found), "frames of one side only are in the picture"
    assert found["x"][1] == svg.DIVERGING[0], "a quarter of what it was"
    assert found["new"][1] == svg.DIVERGING[-1]
    assert found["y"][1] == svg.GREY
    assert "not significant" in found["y"][0]
    assert "change -30" in found["x"][0]


def test_the_root_says_both_totals(sides: list[Profile]) -> None:
    title = boxes(svg.render(merge([[sides[0]], [sides[1]]])))[0][0]
    assert title.startswith("all")
    assert title.count("of 100") == 2


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a & b", 'q"uote', "\x01\x1b\ud800", "ü" * 500])
def test_names_are_text(name: str, tmp_path: Path) -> None:
    write(profile_of([([name, "f"], None, 3)], Meta()), tmp_path / "p.svg")
    text = (tmp_path / "p.svg").read_text()
    assert len(boxes(text)) == 3
    assert "<script" not in text


def test_boxes_too_narrow_to_see_are_left_out_and_the_picture_says_so(tmp_path: Path) -> None:
    rows = [([f"f{i}", "g"], None, 1.0) for i in range(20_000)] + [(["wide"], None, 20_000.0)]
    write(profile_of(rows, Meta()), tmp_path / "p.svg")
    text = (tmp_path / "p.svg").read_text()
    assert [title.split(" (")[0] for title, *_ in boxes(text)] == ["all", "wide"]
    assert "are not drawn" in text
    assert "of 40,000" in text


def test_flame_diff_writes_it(tmp_path: Path) -> None:
    save(tmp_path / "a", "m;x 4000\nm;y 4000\n")
    save(tmp_path / "b", "m;x 1000\nm;y 4000\n")
    argv = [
        sys.executable,
        "-m",
        "jvbtune",
        "flame",
        "diff",
        str(tmp_path / "a"),
        str(tmp_path / "b"),
        "--format",
        "svg",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert {"all", "m", "x", "y"} == {title.split(" (")[0] for title, *_ in boxes(done.stdout)}
