"""Tests mirror the package: a folder of tests has the name of a package, so that each is found."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "jvbtune"
#: Folders that mirror no package, each with the reason.
OTHERS = {
    "docs": "the documentation",
    "e2e": "whole commands against a lab",
    "real_bridge": "the same against a real bridge",
    "faults": "faults injected into agent and guard",
    "monitoring": "the dashboards against real servers",
    "fuzz": "changed inputs for everything that reads foreign data",
}


def test_a_folder_of_tests_has_the_name_of_a_package() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")} - {Path()}
    strange = [str(one) for one in sorted(folders) if one.parts[0] not in OTHERS and not (PACKAGE / one).is_dir()]
    assert not strange, "no package has this name: move the tests, or give a reason in OTHERS"


def test_a_folder_of_tests_is_a_package_of_its_own() -> None:
    """Else two modules of one name cannot be collected together."""
    missing = {str(path.parent) for path in TESTS.rglob("test_*.py") if not (path.parent / "__init__.py").exists()}
    assert not missing


def test_no_code_runs_between_fork_and_exec() -> None:
    """An interrupt in ``preexec_fn`` is swallowed, and a lock that another thread held at the fork is never free."""
    word = "preexec" + "_fn"
    sources = [*PACKAGE.rglob("*.py"), *TESTS.rglob("*.py"), *(TESTS.parent / "benchmarks").glob("*.py")]
    assert len(sources) > 300
    assert not [str(path) for path in sources if word in path.read_text().replace(f"``{word}``", "")]
