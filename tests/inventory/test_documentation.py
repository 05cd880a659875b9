"""Each example of docs/inventory.md is one that jvbtune accepts, and its tables name what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from jvbtune.inventory import load_inventory
from jvbtune.inventory.file import _File
from jvbtune.inventory.sources import FORMS, own, terraform
from jvbtune.toml import parse_toml

PAGE = (Path(__file__).parents[2] / "docs/inventory.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


@pytest.mark.parametrize("text", blocks("toml"), ids=range(len(blocks("toml"))))
def test_an_example_of_jvbtune_toml(text: str) -> None:
    assert parse_toml(text, _File, file="docs/inventory.md").source


def test_the_example_of_the_own_form_and_its_keys(tmp_path: Path) -> None:
    (text,) = blocks("json")
    (tmp_path / "hosts.json").write_text(text)
    assert load_inventory(tmp_path / "hosts.json").host("jvb-eu-1").groups == ("jvb",)
    assert json.loads(text)[0].keys() <= own.KEYS.keys()
    assert all(f"`{key}`" in PAGE for key in own.KEYS)


def test_every_form_has_an_example_and_every_resource_is_named() -> None:
    assert {form for text in blocks("toml") for form in re.findall(r'format = "(.+?)"', text)} == set(FORMS)
    unsaid = {"google_compute_instance_from_template", "aws_spot_instance_request"}
    assert all(f"`{kind}`" in PAGE for kind in terraform.RESOURCES if kind not in unsaid)
