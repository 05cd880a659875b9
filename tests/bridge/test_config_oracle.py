"""The same cases, answered by the libraries of a real bridge: ice4j, jicoco, Typesafe Config."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from jvbtune.agent.overlay import overlaid, with_legacy_name
from jvbtune.lab.home import JAR, lab_home
from tests.bridge.configs import CASES, load

KEY = "ice4j.harvest.udp.receive-buffer-size"
#: What only a bridge can fetch is not asked for here.
OFFLINE = [case for case in CASES if case.name not in ("url", "resource")]

#: Each with another syntax, or something that could win over what is added.
OVERLAID = ["bom-brace", "crlf", "include", "json-file", "json-form", "latin1", "legacy-in-conf", "legacy-file", "null"]

pytestmark = pytest.mark.lab


@pytest.fixture(scope="session")
def classpath(tmp_path_factory: pytest.TempPathFactory) -> str:
    home, out = lab_home(), tmp_path_factory.mktemp("oracle")
    source = Path(__file__).parent / "oracle" / "Asked.java"
    subprocess.run(["javac", "-cp", f"{home}/lib/*", "-d", str(out), str(source)], check=True)
    return f"{out}:{home}/{JAR}:{home}/lib/*"


def ask(classpath: str, case: Path, properties: dict[str, str]) -> str:
    """``asked 5``, ``asked null``, or nothing when the bridge would not start."""
    argv = ["java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", classpath]
    argv += [*(f"-D{name}={value}" for name, value in properties.items()), "Asked"]
    environment = {"PATH": os.environ["PATH"], **load(case)["environment"]}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=case, env=environment, timeout=60, check=False)
    return done.stdout.strip()


@pytest.mark.parametrize("case", OFFLINE, ids=lambda case: case.name)
def test_a_bridge_agrees(classpath: str, case: Path) -> None:
    document = load(case)
    said = ask(classpath, case, document["properties"])
    if not document.get("starts", True):
        assert said == ""
    else:
        assert said == f"asked {document['asked_bytes']}".replace("None", "null")


@pytest.mark.parametrize("name", OVERLAID)
def test_an_overlay_wins_over_everything(classpath: str, name: str, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == name)
    there = tmp_path / "there"
    shutil.copytree(case, there)
    path = there / load(case)["properties"]["config.file"]
    path.write_bytes(overlaid(str(path), path.read_bytes(), with_legacy_name({KEY: "1234567"})))
    assert ask(classpath, there, load(case)["properties"]) == "asked 1234567"
