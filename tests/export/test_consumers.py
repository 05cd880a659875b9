"""Each export is read by what reads it in production: Terraform, cloud-init, a shell, Typesafe Config, Ansible."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from click.testing import CliRunner

from jvbtune.cli.export import command as export_command
from jvbtune.errors import NoRecommendation
from jvbtune.export import RENDERERS, export, write_files
from jvbtune.export.ansible import ROLE, TASKS
from jvbtune.export.jvb_conf import thresholds
from jvbtune.export.pool import pool
from jvbtune.lab.home import lab_home
from jvbtune.result import RunResult
from tests.apply.results import buffer_of, of_host, simulated, with_result

BUFFER_BYTES = 1 << 20
ORACLE = Path(__file__).parent / "oracle" / "Values.java"
#: ``make test`` unpacks it there.
CLOUD_INIT = Path(__file__).parents[2] / ".cache/cloud-init/cloud-init"
JAVA = pytest.mark.skipif(shutil.which("java") is None, reason="needs a JDK")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    found = with_result(simulated(tmp_path_factory.mktemp("runs")), buffer_of(BUFFER_BYTES))
    return replace(found, provenance=replace(found.provenance, heap_mib=3072, collector="G1GC"))


@pytest.fixture
def written(result: RunResult, tmp_path: Path) -> Callable[[str], Path]:
    """Writes the files of a format; the directory."""

    def write(format_name: str) -> Path:
        directory = tmp_path / format_name
        write_files(export(result, format_name), directory)
        return directory

    return write


def _run(*argv: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=120, check=False, cwd=cwd, env={**os.environ, **environment}
    )


def _needs(*programs: str) -> str:
    found = next((path for path in map(shutil.which, programs) if path), None)
    if found is None:
        pytest.skip(f"needs {' or '.join(programs)}")
    return found


@JAVA
@pytest.mark.lab
def test_typesafe_config_reads_the_hocon_of_bridge_and_jicofo(
    result: RunResult, written: Callable[[str], Path]
) -> None:
    files = [
        written("jvb-conf") / "jvbtune.conf",
        written("docker") / "custom-jvb.conf",
        written("jicofo") / "jvbtune-jicofo.conf",
    ]
    done = _run("java", "-XX:TieredStopAtLevel=1", "-cp", f"{lab_home()}/lib/*", str(ORACLE), *map(str, files))
    assert done.returncode == 0, done.stderr
    bridge, container, jicofo = map(json.loads, done.stdout.splitlines())
    found = thresholds(result)
    assert bridge == container
    load = bridge["videobridge"]["load-management"]
    assert load["load-measurements"] == {
        "load-measurement": "packet-rate",
        "packet-rate": {
            "load-threshold": int(found.load_threshold_pps),
            "recovery-threshold": int(found.recovery_threshold_pps),
        },
    }
    stress = found.average_participant_stress
    assert stress is not None
    assert load["average-participant-stress"] == pytest.approx(stress, abs=1e-5)
    assert jicofo["jicofo"]["bridge"] == {
        "stress-threshold": 0.8,
        "max-bridge-participants-per-interval": int(0.2 / stress),
    }


def test_docker_sets_of_jicofos_variables_only_the_one_that_has_effect(written: Callable[[str], Path]) -> None:
    lines = (written("docker") / "jicofo.env").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["BRIDGE_STRESS_THRESHOLD=0.8"]


def test_terraform_validates_the_variable_and_plans_with_its_values(
    result: RunResult, written: Callable[[str], Path]
) -> None:
    program, module = _needs("terraform", "tofu"), written("terraform")
    (module / "main.tf").write_text(
        'output "threshold" { value = var.jvbtune_by_machine_type["unknown"].load_threshold_pps }\n'
        'output "buffer" { value = var.jvbtune_by_machine_type["unknown"].sysctls["net.core.rmem_max"] }\n'
        'output "jvb_conf" { value = var.jvbtune_by_machine_type["unknown"].jvb_conf }\n'
    )
    checked = _run(program, "validate", "-no-color", cwd=module)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    _run(program, "apply", "-auto-approve", "-no-color", cwd=module)
    output = _run(program, "output", "-json", cwd=module)
    values = {name: one["value"] for name, one in json.loads(output.stdout).items()}
    assert values["threshold"] == int(thresholds(result).load_threshold_pps)
    assert values["buffer"] == str(BUFFER_BYTES)
    assert values["jvb_conf"] == export(result, "jvb-conf")["jvbtune.conf"]
    document = json.loads((module / "jvbtune.auto.tfvars.json").read_text())
    document["jvbtune_by_machine_type"]["unknown"]["load_threshold_pps"] = "many"
    (module / "jvbtune.auto.tfvars.json").write_text(json.dumps(document))
    assert _run(program, "plan", "-no-color", cwd=module).returncode != 0


def test_cloud_init_takes_the_user_data_and_it_holds_the_script(written: Callable[[str], Path]) -> None:
    path = written("cloud-init") / "jvbtune-cloud-init.yaml"
    data = yaml.safe_load(path.read_text())
    [file] = data["write_files"]
    assert file["content"] == (written("startup") / "jvbtune-startup.sh").read_text()
    assert data["runcmd"] == [[file["path"]]]
    program = _needs(str(CLOUD_INIT), "cloud-init")
    done = _run(program, "schema", "--config-file", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    path.write_text(path.read_text().replace("permissions:", "permission:"))
    assert _run(program, "schema", "--config-file", str(path)).returncode != 0


def test_shells_and_shellcheck_take_the_start_up_script(written: Callable[[str], Path]) -> None:
    path = str(written("startup") / "jvbtune-startup.sh")
    for argv in (["sh", "-n", path], ["bash", "-n", path], [_needs("shellcheck"), path]):
        done = _run(*argv)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_kubernetes_objects_are_of_the_apis_schema(
    result: RunResult, written: Callable[[str], Path], tmp_path: Path
) -> None:
    directory = written("kubernetes")
    config, daemons = yaml.safe_load_all((directory / "jvbtune-kubernetes.yaml").read_text())
    for document in (config, daemons):
        kubernetes_validate.validate(document, "1.30", strict=True)
    assert config["data"]["60-jvbtune.conf"] == export(result, "sysctl")["60-jvbtune.conf"]
    pod = daemons["spec"]["template"]["spec"]
    assert pod["tolerations"] == [{"operator": "Exists"}], "nodes of bridges often have taints"
    [write] = pod["initContainers"]
    assert write["command"][:2] == ["sh", "-ec"]
    for found, left in ((212992, BUFFER_BYTES), (BUFFER_BYTES << 1, BUFFER_BYTES << 1)):
        (tmp_path / "rmem_max").write_text(f"{found}\n")
        command = write["command"][2].replace("/proc/sys/net/core", str(tmp_path))
        assert _run("sh", "-ec", command).returncode == 0
        assert int((tmp_path / "rmem_max").read_text()) == left, "a node keeps a larger cap"
    nodes = yaml.safe_load((directory / "jvbtune-gke-nodes.yaml").read_text())
    assert nodes == {"linuxConfig": {"sysctl": {"net.core.rmem_max": str(BUFFER_BYTES)}}}
    daemons["spec"]["template"]["spec"]["containers"] = "none"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(daemons, "1.30", strict=True)


@pytest.mark.parametrize("where", ["header", "documentation"])
def test_the_config_map_can_be_mounted_as_it_is_written_down(written: Callable[[str], Path], where: str) -> None:
    """The snippet of the header, and of docs/export.md, in a pod template: the API's schema takes it."""
    text = (written("kubernetes") / "jvbtune-kubernetes.yaml").read_text()
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    if where == "documentation":
        lines = (Path(__file__).parents[2] / "docs/export.md").read_text().splitlines()
    begin = next(at for at, line in enumerate(lines) if line.strip() == "spec:")
    end = next(
        at for at in range(begin, len(lines)) if lines[at].strip() == "name: jvbtune" and "configMap" in lines[at - 1]
    )
    snippet = yaml.safe_load("\n".join(lines[begin : end + 1]))["spec"]
    snippet["containers"][0]["image"] = "jitsi/jvb"
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "jvb"}, "spec": snippet}, "1.30", strict=True
    )
    [config] = [one for one in yaml.safe_load_all(text) if one["kind"] == "ConfigMap"]
    [volume], [mount] = snippet["volumes"], snippet["containers"][0]["volumeMounts"]
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    assert mount["name"] == volume["name"]
    assert mount["subPath"] in config["data"]


@pytest.mark.parametrize(("name", "text"), [("terraform", "the key in"), ("autoscaler", "is unknown")])
def test_a_run_that_does_not_know_its_machine_type_says_what_to_do(
    result: RunResult, name: str, text: str, tmp_path: Path
) -> None:
    unlabelled = "".join(export(result, name).values())
    assert text in unlabelled
    assert "no label machine_type" in unlabelled
    labelled = replace(result, labels={"machine_type": "c5.xlarge"})
    assert "no label machine_type" not in "".join(export(labelled, name).values())
    assert "c5.xlarge" in "".join(export(labelled, name).values())
    simulated(tmp_path)
    done = CliRunner().invoke(export_command, ["latest", "--runs-dir", str(tmp_path), "--format", name])
    assert "Label the host in your inventory" in done.stderr


def test_a_pool_takes_the_machine_type_of_whichever_host_has_the_label(result: RunResult) -> None:
    known = replace(result, provenance=replace(result.provenance, cpu="Xeon", cores=4.0))
    pooled = pool([of_host(known, "a", 1.1, machine_type="c5.xlarge"), of_host(known, "b")])
    [key] = json.loads(export(pooled, "terraform")["jvbtune.auto.tfvars.json"])["jvbtune_by_machine_type"]
    assert key == "c5.xlarge"


#: What jitsi-autoscaler takes of a group (src/instance_group.ts).
SCALING_OPTIONS = {
    "minDesired",
    "maxDesired",
    "desiredCount",
    "scaleUpQuantity",
    "scaleDownQuantity",
    "scaleUpThreshold",
    "scaleDownThreshold",
    "scalePeriod",
    "scaleUpPeriodsCount",
    "scaleDownPeriodsCount",
}


def test_the_autoscalers_group_has_its_keys_and_thresholds_in_stress(result: RunResult, written: Any) -> None:
    document = json.loads((written("autoscaler") / "jvbtune-autoscaler-group.json").read_text())
    [group] = document["groupEntries"]
    options = group["scalingOptions"]
    assert set(options) <= SCALING_OPTIONS
    assert group["type"] == "JVB"
    assert 0 < options["scaleDownThreshold"] < options["scaleUpThreshold"] < 0.8
    assert f"{0.3 * thresholds(result).load_threshold_pps:.0f} pps" in group["tags"]["jvbtune_why"]
    assert all(isinstance(value, str) for value in group["tags"].values())


@pytest.mark.parametrize(
    ("file", "variable", "expected"),
    [
        ("infra-configuration.yml", "jvb_load_threshold", lambda r: int(thresholds(r).load_threshold_pps)),
        ("infra-configuration.yml", "jvb_udp_buffer_size", lambda _: BUFFER_BYTES),
        (
            "ansible-role-jitsi.yml",
            "jitsi_jvb_custom_config_extension",
            lambda r: "".join(
                f"{line}\n" for line in export(r, "jvb-conf")["jvbtune.conf"].splitlines() if not line.startswith("#")
            ),
        ),
    ],
)
def test_ansible_reads_the_variables_of_the_communitys_roles(
    result: RunResult, written: Any, file: str, variable: str, expected: Callable[[RunResult], Any]
) -> None:
    path = written("ansible") / "vars" / file
    program = str(Path(sys.executable).with_name("ansible"))
    argv = [program, "localhost", "-i", "localhost,", "-c", "local", "-m", "debug", "-a", f"var={variable}"]
    done = _run(*argv, "-e", f"@{path}", ANSIBLE_CALLBACK_RESULT_FORMAT="json", ANSIBLE_NOCOLOR="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.partition("=>")[2])[variable] == expected(result)


def test_the_jvms_drop_in_is_refused_if_its_values_are_not_known(result: RunResult, written: Any) -> None:
    text = (written("jvm") / "jvbtune.env").read_text()
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        "VIDEOBRIDGE_MAX_MEMORY=3072m",
        "VIDEOBRIDGE_GC_TYPE=G1GC",
    ]
    unknown = replace(result.provenance, heap_mib=None, collector="G1GC; rm -rf /")
    with pytest.raises(NoRecommendation):
        export(replace(result, provenance=unknown), "jvm")


@pytest.mark.parametrize("name", sorted(set(RENDERERS) - {"json"}))
def test_every_file_says_where_it_comes_from_why_and_how_to_undo_it(result: RunResult, name: str) -> None:
    for path, text in export(result, name).items():
        if path.removeprefix(f"{ROLE}/") in TASKS:
            continue  # the same for every run
        if path.endswith(".tfvars.json"):
            [value] = json.loads(text)["jvbtune_by_machine_type"].values()
            assert result.id in value["run"]
            assert value["why"]
            assert value["undo"]
        elif path.endswith(".json"):
            [entry] = json.loads(text)["groupEntries"]
            assert result.id in entry["tags"]["jvbtune_from"]
            assert entry["tags"]["jvbtune_undo"]
        else:
            for part in ("Written by jvbtune", result.id, "Why:", "To undo:"):
                assert part in text, path


HOSTILE = (
    "2.1\nkernel.core_pattern = |/tmp/x\x1b[2J\u2028- hosts: all\r\"${x}\" JVBTUNE_END\n{{ lookup('pipe','id') }} # "
)


def _effective(path: str, text: str) -> Any:
    """What a consumer acts on: values of JSON and YAML, lines that are no comments."""
    if path.endswith(".json"):
        document = json.loads(text)
        entries = document.get("groupEntries") or list(document.values())
        for entry in entries:
            for told in ("run", "why", "sysctl_conf", "jvb_conf", "tags"):
                [value] = entry.values() if set(entry) == {"unknown"} else [entry]
                value.pop(told, None)
        return [list(entry.values()) for entry in entries]
    if path.endswith((".yml", ".yaml")):
        plain = "".join(f"{line}\n" for line in text.splitlines() if not line.lstrip().startswith("#"))
        return list(yaml.safe_load_all(plain))
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("name", sorted(set(RENDERERS) - {"json"}))
def test_what_a_host_says_of_itself_stays_in_comments_and_texts(result: RunResult, name: str) -> None:
    strings = {"kernel", "os", "cpu", "jvb_version", "java", "jvbtune_version"}
    hostile = replace(result, provenance=replace(result.provenance, **dict.fromkeys(strings, HOSTILE)))
    plain = export(result, name)
    for path, text in export(hostile, name).items():
        assert not {"\x1b", "\u2028", "\r"} & set(text), path
        assert _effective(path, text) == _effective(path, plain[path]), path
        for line in text.splitlines():
            assert not line.startswith(("kernel.core_pattern", "- hosts", "JVBTUNE_END\n")), path
