"""The dashboards as files: valid for Grafana, legible, and made of quantities that exist."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from jvbtune.cli import cli
from jvbtune.errors import UsageError
from jvbtune.export.grafana import dashboards, render
from jvbtune.export.grafana.model import Datasource, Panel, Series
from jvbtune.export.grafana.sdk import JSONEncoder, models
from jvbtune.observe import columns

FILES = render(list(Datasource))
SCHEMA = Path(__file__).with_name("grafana_schema") / "dashboard.jsonschema.json"
#: Grafana's identifiers of units (packages/grafana-data/src/valueFormats/categories.ts).
UNITS = {"percentunit", "none", "short", "pps", "bps", "bytes", "ms", "\u00b5s"}


def schema() -> dict[str, Any]:
    """The schema has an object wherever Grafana's own definition says "anything" (``_`` of CUE): a matcher's options
    and an override's value are strings and numbers in every dashboard that Grafana itself saves."""
    read: dict[str, Any] = json.loads(SCHEMA.read_text())
    definitions = read["definitions"]
    for definition, name in (("MatcherConfig", "options"), ("DynamicConfigValue", "value")):
        assert definitions[definition]["properties"][name]["type"] == "object"
        definitions[definition]["properties"][name] = {}
    return read


def panels(text: str) -> Iterator[dict[str, Any]]:
    return (panel for panel in json.loads(text)["panels"] if panel["type"] != "row")


@pytest.mark.parametrize("name", FILES)
def test_it_is_valid_by_the_schema_of_grafana(name: str) -> None:
    jsonschema.Draft7Validator(schema()).validate(json.loads(FILES[name]))


@pytest.mark.parametrize("breaking", ["type", "unit", "variable"])
def test_the_schema_finds_a_fault(breaking: str) -> None:
    read = copy.deepcopy(json.loads(FILES["jvbtune-cluster-prometheus.json"]))
    if breaking == "type":
        read["panels"][1]["type"] = 7
    elif breaking == "unit":
        read["panels"][1]["fieldConfig"]["defaults"]["unit"] = ["bps"]
    else:
        del read["templating"]["list"][0]["name"]
    assert not jsonschema.Draft7Validator(schema()).is_valid(read)


@pytest.mark.parametrize("name", FILES)
def test_the_sdk_reads_what_it_wrote(name: str) -> None:
    read = json.loads(FILES[name])
    again = json.loads(JSONEncoder().encode(models.Dashboard.from_json(read)))
    for placed in (*again["annotations"]["list"], *again["links"]):
        assert placed.pop("placement") == "inControlsMenu"  # a default of Grafana 12's, which the files leave out
    assert again == read


@pytest.mark.parametrize("name", FILES)
def test_grafana_10_imports_it_without_a_form(name: str) -> None:
    """No ``__inputs``: the data source is a variable. No number of its own: that is the server's."""
    read = json.loads(FILES[name])
    assert read["schemaVersion"] == 39
    assert "__inputs" not in read
    assert "id" not in read
    assert 8 <= len(read["uid"]) <= 40
    assert [one["name"] for one in read["templating"]["list"]] == ["datasource", "region", "machine_type", "host"]
    for variable in read["templating"]["list"][1:]:
        assert variable["multi"]
        assert variable["includeAll"]
        assert variable["allValue"] == ".*"
    assert any(one["target"].get("tags") == ["jvbtune"] for one in read["annotations"]["list"])


@pytest.mark.parametrize("name", FILES)
def test_panels_fill_the_grid_and_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    widths: dict[int, int] = {}
    ids = []
    for panel in json.loads(FILES[name])["panels"]:
        at = panel["gridPos"]
        ids.append(panel["id"])
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not taken & cells, panel["title"]
        taken |= cells
        widths[at["y"]] = widths.get(at["y"], 0) + at["w"]
    assert len(set(ids)) == len(ids)
    if "prometheus" in name:  # some panels are not there for InfluxDB
        assert set(widths.values()) == {24}


@pytest.mark.parametrize("name", FILES)
def test_each_panel_says_what_it_shows_and_what_to_do(name: str) -> None:
    for panel in panels(FILES[name]):
        assert panel["description"].count(".") >= 1, panel["title"]
        assert len(panel["description"].split()) >= 9, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        references = [target["refId"] for target in panel["targets"]]
        assert references == sorted(set(references))
        legends = [target.get("legendFormat") or target.get("alias") for target in panel["targets"]]
        assert all(legends)
        assert len(set(legends)) == len(legends), panel["title"]


def test_titles_are_unique_in_a_dashboard() -> None:
    for text in FILES.values():
        titles = [panel["title"] for panel in panels(text)]
        assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", FILES)
def test_each_query_selects_by_all_variables(name: str) -> None:
    for panel in panels(FILES[name]):
        for target in panel["targets"]:
            query = target.get("expr") or target["query"]
            selections = [query]
            if "expr" in target:  # but what a rule has for a host or a machine type, which the query gives to hosts
                selections = [one for one in re.findall(r"\{[^}]*\}", query) if '!=""' not in one]
            for selection in selections:
                for variable in ("$region", "$machine_type", "$host"):
                    assert variable in selection, (panel["title"], query)


def test_what_observe_writes_is_named_as_observe_names_it() -> None:
    metrics = {one.metric for one in columns.BY_NAME.values()}
    for name, text in FILES.items():
        if "prometheus" in name:
            for panel in panels(text):
                for target in panel["targets"]:
                    assert set(re.findall(r"\bjvbtune_\w+", target["expr"])) <= metrics


def test_influxdb_lacks_only_what_is_not_stored_there() -> None:
    missing = [
        panel.title for spec in dashboards() for row in spec.rows for panel in row.panels if not _in_influxdb(panel)
    ]
    assert missing == ["Hosts worse than their kind", "Heap", "Open files"]


def _in_influxdb(panel: Panel) -> bool:
    return any(isinstance(series, Series) and series.in_influxdb for series in panel.series)


def test_the_measurement_is_the_operators() -> None:
    texts = render([Datasource.INFLUXDB], "exec_meet")
    for text in texts.values():
        assert '\\"exec_meet\\"' in text
        assert "jitsi_stats" not in text
    assert texts.keys() == {"jvbtune-cluster-influxdb.json", "jvbtune-host-influxdb.json"}


@pytest.mark.parametrize("name", ["", 'a"b', "a\nb", "a\\", "$host", "a;b"])
def test_a_measurement_cannot_end_its_quotes(name: str) -> None:
    with pytest.raises(UsageError, match="measurement"):
        render([Datasource.INFLUXDB], name)


def test_export_writes_both_by_default(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["export", "--format", "grafana", "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == FILES


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format", "grafana", "latest"], "need no run"),
        (["--format", "grafana", "--group", "c2-standard-4"], "need no run"),
        (["--format", "grafana", "--measurement", 'a"b'], "cannot be the name"),
        (["--format", "sysctl", "--datasource", "influxdb"], "--format grafana"),
        (["--format", "sysctl", "--measurement", "jitsi"], "telegraf or grafana"),
    ],
)
def test_export_refuses(options: list[str], words: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["export", "-o", str(tmp_path), *options])
    assert isinstance(done.exception, UsageError)
    assert words in str(done.exception)
    assert list(tmp_path.iterdir()) == []
