"""The table for scripts has exactly the promised fields; that for people stays a table whatever frames are called."""

from __future__ import annotations

import math

import pytest

from jvbtune.flame.compare import merge
from jvbtune.flame.model import Meta, Tree
from jvbtune.flame.table import as_json, as_markdown, grown, rows
from tests.flame_compare.build import Counts, profile

A = {("main", "read"): 600, ("main", "parse"): 300, ("main", "old"): 100}
B = {("main", "read"): 600, ("main", "parse"): 600, ("main", "new"): 120}


def tree(a: Counts = A, b: Counts = B, normalise: str | None = None, **meta: float) -> Tree:
    return merge([[profile(a, Meta(title="a", **meta))], [profile(b, Meta(title="b", **meta))]], normalise=normalise)


def test_json_has_exactly_the_promised_fields() -> None:
    found = as_json(tree())
    assert list(found) == ["schema_version", "unit", "totals", "rows"]
    assert found["totals"] == {"a": 1000, "b": 1320}
    assert found["unit"] == "samples"
    for row in found["rows"]:
        assert list(row) == [
            "frame",
            "kind",
            "self_a",
            "self_b",
            "total_a",
            "total_b",
            "p_value",
            "significant",
        ]
    by_frame = {row["frame"]: row for row in found["rows"]}
    assert set(by_frame) == {"main", "read", "parse", "old", "new"}
    assert [by_frame["parse"][key] for key in ("self_a", "self_b", "total_a", "total_b")] == [300, 600, 300, 600]
    assert [by_frame["main"][key] for key in ("self_a", "self_b", "total_a", "total_b")] == [0, 0, 1000, 1320]
    assert (by_frame["old"]["total_b"], by_frame["new"]["total_a"]) == (0, 0)
    assert by_frame["parse"]["significant"] is True
    assert by_frame["read"]["significant"] is False


def test_values_are_in_the_unit_of_the_normalisation() -> None:
    found = as_json(tree(interval_ns=1e6, packets=10_000.0))
    assert found["unit"] == "µs of CPU per packet"
    assert found["totals"] == pytest.approx({"a": 100, "b": 132})
    assert sum(row["self_b"] for row in found["rows"]) == pytest.approx(132)


def test_what_was_not_tested_is_null() -> None:
    found = as_json(tree({("a",): 100, ("b",): 3}, {("a",): 100, ("b",): 4}))
    assert {row["frame"]: row["p_value"] is None for row in found["rows"]} == {"a": False, "b": True}


def test_frames_named_like_the_root_are_rows() -> None:
    assert [row.frame for row in rows(tree({("all", "x"): 5}, {("all", "x"): 5}))] == ["all", "x"]


def test_markdown_survives_any_name_and_shows_what_changed_first() -> None:
    nasty = "a|b `c`\n| <img src=x> |"
    text = as_markdown(tree({("f", nasty): 500, ("f", "g"): 100}, {("f", nasty): 500, ("f", "g"): 300}))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert all(line.replace("\\|", "").count("|") == 10 for line in lines)
    assert "significant" in lines[2]
    assert "<img" not in text.replace("\\<", "")
    assert "lower bound" in text


def test_new_and_gone_frames_are_called_so() -> None:
    text = as_markdown(tree())
    assert "+120, new" in text
    assert "-100, gone" in text


def test_only_significant_growth_beyond_the_limit_fails() -> None:
    assert {row.frame for row in grown(tree(), 5)} == {"all", "main", "parse", "new"}
    assert {row.frame for row in grown(tree(), 20)} == {"all", "main", "parse"}
    assert grown(tree(), 40) == []
    assert grown(tree(A, A), 0) == []
    assert grown(tree(B, {key: count * 0.5 for key, count in B.items()}), 0) == []


def test_an_interval_stands_beside_each_tested_delta() -> None:
    row = next(row for row in rows(tree()) if row.frame == "parse")
    assert row.low < row.delta < row.high
    assert not math.isnan(row.p_value)
