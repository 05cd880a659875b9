"""CSV files as people have them: each is read right, or refused with its line, its column and the way out."""

import json
from pathlib import Path
from typing import Any

import pytest

from jvbtune.errors import FormatError, UsageError
from jvbtune.trials.csvfile import parse_csv, read_csv
from jvbtune.trials.names import parse_column_options

CASES = sorted(path.parent for path in (Path(__file__).parent / "cases").glob("*/expected.json"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_file_is_read_or_refused(case: Path) -> None:
    """expected.json: ``columns`` (option), and ``rows`` with ``renamed``, or what the ``error`` says."""
    expected: dict[str, Any] = json.loads((case / "expected.json").read_text())
    columns = parse_column_options(expected.get("columns", []))
    if "error" in expected:
        with pytest.raises(FormatError) as refused:
            read_csv(case / "input.csv", columns)
        said = str(refused.value)
        assert f"input.csv:{expected['line']}: " in said if expected["line"] else "input.csv: " in said
        for words in expected["error"]:
            assert words in said, said
        return
    found = read_csv(case / "input.csv", columns)
    assert found.trials.to_dicts() == expected["rows"]
    assert dict(found.renamed) == expected.get("renamed", {})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("in_pps", "is not NAME=COLUMN"),
        ("=x", "is not NAME=COLUMN"),
        ("in_pss=x", "did you mean in_pps?"),
    ],
)
def test_a_column_option_that_means_nothing_is_refused(given: str, says: str) -> None:
    with pytest.raises(UsageError, match=r".") as refused:
        parse_column_options([given])
    assert says in str(refused.value)


def test_a_column_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        parse_column_options(["in_pps=a", "in_pps=b"])


@pytest.mark.parametrize(
    "name",
    [
        "packet_rate_download",
        "Packet_Rate_Download",
        "jitsi_jvb_incoming_packet_rate",
        'jitsi_jvb_incoming_packet_rate{instance="jvb1:8080",job="jvb"}',
        "jitsi_packet_rate_download",
        "jitsi_colibri_packet_rate_download",
        "exec_meet.packet_rate_download",
        "exec_meet.mean_packet_rate_download",
        "jitsi_stats.mean {host: jvb1}.packet_rate_download",
        "mean(packet_rate_download)",
        "In PPS",
        "in-pps",
    ],
)
def test_names_of_jvb_and_its_exporters(name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    found = parse_csv(f"{quoted},out_pps\n1,2\n", Path("f"))
    assert found.trials["in_pps"].to_list() == [1.0]
    assert found.renamed_in_words().endswith(" is in_pps")


def test_what_is_not_used_is_named_with_what_it_may_have_been() -> None:
    from jvbtune.trials.names import likely_columns

    found = parse_csv("in_pps,out_pps,cpu_core,note\n1,2,3,4\n", Path("f"))
    assert likely_columns(found.ignored) == ["cpu_core (did you mean cpu_cores?)", "note"]


def test_no_control_character_of_a_file_reaches_a_message() -> None:
    with pytest.raises(FormatError) as refused:
        parse_csv('"\x1b[31mx",y\n1,2\n', Path("f"))
    assert "\x1b" not in str(refused.value)
    with pytest.raises(FormatError) as refused:
        parse_csv("in_pps\n\x1b[31m\n", Path("f"))
    assert "\x1b" not in str(refused.value)
