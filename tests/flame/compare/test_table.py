"""The table for scripts has exactly the promised fields; that for people stays a table whatever frames are called."""

from __future__ import annotations

import json

import jsonschema
import pytest

from jvbtune.flame.compare import merge
from jvbtune.flame.document import Document, as_json, schema
from jvbtune.flame.model import Meta
from jvbtune.flame.table import Rank, as_markdown, document, grown
from tests.flame.compare.build import Counts, profile

A = {("main", "read"): 600, ("main", "parse"): 300, ("main", "old"): 100}
B = {("main", "read"): 600, ("main", "parse"): 600, ("main", "new"): 120}


def compared(a: Counts = A, b: Counts = B, rank: Rank = "explains", **meta: float) -> Document:
    return document(merge([[profile(a, Meta(title="a", **meta))], [profile(b, Meta(title="b", **meta))]]), rank)


def test_json_has_exactly_the_promised_fields() -> None:
    found = as_json(compared())
    assert list(found) == [
        *("schema_version", "sides", "differs", "normalisation", "unit", "totals", "whole", "test", "counts"),
        *("rows", "notes"),
    ]
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
            "delta",
            "delta_low",
            "delta_high",
            "p_value",
            "q_value",
            "significant",
            "explains",
        ]
    by_frame = {row["frame"]: row for row in found["rows"]}
    assert set(by_frame) == {"main", "read", "parse", "old", "new"}
    assert [by_frame["parse"][key] for key in ("self_a", "self_b", "total_a", "total_b")] == [300, 600, 300, 600]
    assert [by_frame["main"][key] for key in ("self_a", "self_b", "total_a", "total_b")] == [0, 0, 1000, 1320]
    assert (by_frame["old"]["total_b"], by_frame["new"]["total_a"]) == (0, 0)
    assert by_frame["parse"]["significant"] is True
    assert by_frame["read"]["significant"] is False


def test_values_are_in_the_unit_of_the_normalisation() -> None:
    found = as_json(compared(interval_ns=1e6, packets=10_000.0))
    assert found["unit"] == "µs of CPU per packet"
    assert found["totals"] == pytest.approx({"a": 100, "b": 132})
    assert sum(row["self_b"] for row in found["rows"]) == pytest.approx(132)


def test_what_was_not_tested_is_null() -> None:
    found = as_json(compared({("a",): 100, ("b",): 3}, {("a",): 100, ("b",): 4}))
    assert {row["frame"]: row["p_value"] is None for row in found["rows"]} == {"a": False, "b": True}


def test_frames_named_like_the_root_are_rows() -> None:
    assert [row.frame for row in compared({("all", "x"): 5}, {("all", "x"): 5}).rows] == ["all", "x"]


def test_markdown_survives_any_name_and_shows_what_changed_first() -> None:
    nasty = "a|b `c`\n| <img src=x> |"
    text = as_markdown(compared({("f", nasty): 500, ("f", "g"): 100}, {("f", nasty): 500, ("f", "g"): 300}))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert all(line.replace("\\|", "").count("|") == 11 for line in lines)
    assert "significant" in lines[2]
    assert "<img" not in text.replace("\\<", "")
    assert "lower bound" in text


def test_new_and_removed_frames_are_called_so() -> None:
    text = as_markdown(compared())
    assert "+120, new" in text
    assert "-100, removed" in text


def test_only_significant_growth_beyond_the_limit_fails() -> None:
    assert {row.frame for row in grown(compared(), 5)} == {"all", "main", "parse", "new"}
    assert {row.frame for row in grown(compared(), 20)} == {"all", "main", "parse"}
    assert grown(compared(), 40) == []
    assert grown(compared(A, A), 0) == []
    assert grown(compared(B, {key: count * 0.5 for key, count in B.items()}), 0) == []


def test_an_interval_stands_beside_each_tested_delta() -> None:
    row = next(row for row in compared().rows if row.frame == "parse")
    assert row.delta_low is not None
    assert row.delta_high is not None
    assert row.delta_low < row.delta < row.delta_high
    assert row.p_value is not None


def test_a_file_of_weights_without_samples_is_not_tested_and_says_why() -> None:
    cycles = {(f"f{i}",): 1e6 * (i + 1) + 7 for i in range(30)}
    found = compared(cycles, {stack: 1.5 * count for stack, count in cycles.items()})
    assert found.test.method == "none"
    assert "weights" in found.test.note
    assert not any(row.significant for row in (found.whole, *found.rows))


def test_unlike_intervals_are_not_tested() -> None:
    sides = [[profile(A, Meta(title="a", interval_ns=1e7))], [profile(B, Meta(title="b", interval_ns=3e6))]]
    found = document(merge(sides))
    assert found.test.method == "none"
    assert "10 ms" in found.test.note
    assert any("3 ms" in one for one in found.differs)


def test_the_kernels_account_sets_the_whole() -> None:
    """At a coverage of 73 and 98 % the same program costs the same per packet."""
    metas = [Meta(title=t, event="cpu", interval_ns=1e7, packets=1e4, cpu_seconds=c) for t, c in (("a", 10), ("b", 10))]
    counts = [{("f",): 730.0}, {("f",): 980.0}]
    found = document(merge([[profile(c, m)] for c, m in zip(counts, metas, strict=True)]))
    assert found.totals.a == pytest.approx(1000)
    assert found.totals.b == pytest.approx(1000)
    assert found.sides.a.sampled_ratio == pytest.approx(0.73)


def test_the_parts_that_frames_explain_add_up_and_go_to_the_deepest() -> None:
    found = compared(
        {("run", "send", "copy"): 1000, ("run", "read"): 1000}, {("run", "send", "copy"): 2000, ("run", "read"): 1000}
    )
    assert found.rows[0].frame == "copy"
    assert found.rows[0].explains == 1000
    assert sum(row.explains for row in found.rows) + found.whole.explains == pytest.approx(found.whole.delta)


def test_real_output_is_held_against_the_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    for found in (compared(), compared(interval_ns=1e6, packets=1e4), compared({("a",): 1.5}, {("a",): 2.5})):
        text = json.dumps(as_json(found), allow_nan=False)
        jsonschema.Draft202012Validator(schema()).validate(json.loads(text))
    wrong = {**json.loads(text), "rows": [{"frame": 1}]}
    assert not jsonschema.Draft202012Validator(schema()).is_valid(wrong)
