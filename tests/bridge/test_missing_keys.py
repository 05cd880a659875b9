"""A bridge that does not report its packet rate is not one that carried no packets."""

import json
from pathlib import Path
from typing import Any

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.recorder import NotReportedError, append_rows, record

#: A host whose bridge answers these paths; what is not there is a 404.
ANSWERS: dict[str, dict[str, Any]] = {
    "metrics-without-rates": {
        "/metrics": {"conferences": 1, "stress": 0.02, "participants": 4, "healthy": True},
    },
    "both-without-rates": {"/colibri/stats": {"participants": 4}, "/metrics": {"stress": 0.02}},
    "statistics-off": {"/colibri/stats": {}},
    "one-way-only": {"/colibri/stats": {"packet_rate_download": 300}},
    "null": {"/colibri/stats": {"packet_rate_download": None, "packet_rate_upload": None}},
    "text": {"/colibri/stats": {"packet_rate_download": "many", "packet_rate_upload": "300"}},
    "truth": {"/colibri/stats": {"packet_rate_download": True, "packet_rate_upload": False}},
}


class Answering(BridgeClient):
    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def raw(self, method: str, path: str, body: Any = None, **_: Any) -> tuple[int, bytes]:
        return (200, json.dumps(self.answers[path]).encode()) if path in self.answers else (404, b"")


def rows(answers: dict[str, Any], keys: dict[str, str] | None = None) -> list[dict[str, Any]]:
    client = Answering(answers)
    return list(record("h", client, every_seconds=0.01, seconds=0.005, told=lambda _: None, keys=keys))


@pytest.mark.parametrize("name", ANSWERS)
def test_it_is_said_which_keys_are_missing_and_no_file_is_left(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotReportedError) as refused:
        append_rows(
            tmp_path / "prod.csv",
            record("h", Answering(ANSWERS[name]), every_seconds=0.01, seconds=0.005, told=lambda _: None),
        )
    said = str(refused.value)
    assert "h: the bridge does not report its packet rate: " in said
    assert ("packet_rate_upload" in said) or ("outgoing_packet_rate" in said)
    assert "--column in_pps=KEY" in said
    assert not (tmp_path / "prod.csv").exists() or (tmp_path / "prod.csv").read_text() == ""


def test_what_colibri_does_not_report_metrics_may() -> None:
    (row,) = rows(
        {
            "/colibri/stats": {"participants": 3},
            "/metrics": {"incoming_packet_rate": 5, "outgoing_packet_rate": 20, "local_endpoints": 4},
        }
    )
    assert (row["in_pps"], row["out_pps"], row["relay_pps"], row["endpoints"]) == (5, 20, None, 4)


def test_zero_is_a_packet_rate() -> None:
    (row,) = rows({"/colibri/stats": {"packet_rate_download": 0, "packet_rate_upload": 0}})
    assert (row["in_pps"], row["out_pps"], row["endpoints"]) == (0, 0, None)


def test_keys_of_another_name() -> None:
    answers = {"/colibri/stats": {"rx": 5, "tx": 20, "relay_rx": 1}}
    (row,) = rows(answers, {"in_pps": "rx", "out_pps": "tx", "relay_in_pps": "relay_rx"})
    assert (row["in_pps"], row["out_pps"], row["relay_pps"]) == (5, 20, 1)
