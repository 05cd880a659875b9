"""The documentation's reference is what the code says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

from jvbtune.inventory import file as inventory_file
from jvbtune.inventory.keys import KEYS as INVENTORY_KEYS
from jvbtune.load import mixfile as mix_file
from jvbtune.settings.catalogue import CATALOGUE
from jvbtune.sweep import experiment as experiment_file
from jvbtune.sweep.experiment import json_schema
from jvbtune.sweep.keys import KEYS as EXPERIMENT_KEYS
from jvbtune.trials.columns import COLUMNS
from jvbtune.trials.judge import Why
from tools import reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The pages by their names, of a process of its own: click keeps what earlier tests made of a command's help."""
    program = "import json; from tools import reference; print(json.dumps(reference.pages()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    pages: dict[str, str] = json.loads(done.stdout)
    return pages


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_is_what_the_code_makes(name: str, made: dict[str, str]) -> None:
    page = reference.DIRECTORY / name
    assert page.exists(), f"docs/reference/{name} is missing: run make reference"
    assert page.read_text() == made[name], f"docs/reference/{name} is out of date: run make reference"


def test_every_reason_not_to_use_a_trial_is_explained() -> None:
    assert set(reference.REASONS) == set(Why), "add the new reason to tools/reference.py"


@pytest.mark.parametrize(
    ("modules", "described"),
    [((experiment_file, mix_file), EXPERIMENT_KEYS), ((inventory_file,), INVENTORY_KEYS)],
    ids=["experiment", "jvbtune.toml"],
)
def test_every_key_of_a_file_is_described_and_none_besides(
    modules: tuple[ModuleType, ...], described: dict[str, dict[str, str]]
) -> None:
    models = {
        name: set(kind.model_fields)
        for module in modules
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__module__ == module.__name__
        if kind.model_fields
    }
    assert {name: set(keys) for name, keys in described.items()} == models
    assert all(text.endswith(".") for keys in described.values() for text in keys.values())


def test_the_published_schema_of_experiments_describes_each_key() -> None:
    schema = json_schema()
    for properties in (schema["properties"], *(one["properties"] for one in schema["$defs"].values())):
        assert all(value["description"] for value in properties.values())


def test_the_pages_name_every_setting_column_and_reason() -> None:
    made = reference.pages()
    assert all(f"## `{name}`" in made["settings.md"] for name in CATALOGUE)
    assert all(f"| `{column.name}` |" in made["columns.md"] for column in COLUMNS)
    assert all(f"| `{code.value}` |" in made["columns.md"] for code in Why)


def test_every_command_and_every_option_is_in_the_reference() -> None:
    text = reference.pages()["cli.md"]
    for name, command in reference.all_commands():
        assert re.search(rf"^##+ {name}$", text, re.MULTILINE)
        for parameter in command.params:
            assert all(option in text for option in parameter.opts if option.startswith("-"))


def test_links_of_the_documentation_lead_to_files() -> None:
    """mkdocs checks the links between its pages; these are the others, and those of the files beside docs/."""
    pages = [*DOCS.rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith(("http:", "https:", "mailto:")):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
