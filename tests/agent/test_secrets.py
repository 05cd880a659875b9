"""Secrets stay on the host: what the agent tells of command lines, kernel parameters and recordings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvbtune.agent import bridge, provenance
from jvbtune.agent.capture.recording import without_secrets
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.redact import (
    KERNEL_PARAMETERS,
    PROPERTIES,
    REMOVED,
    masked,
    program,
    shown_command_line,
    shown_kernel_parameters,
    shown_options,
)
from jvbtune.protocol.agent import BridgeQuery, OfBridge
from jvbtune.protocol.codec import to_json
from jvbtune.protocol.messages import Nothing

SECRET = "hunter2-s3cr3t"

SECRET_OPTIONS = [
    f"-Dorg.jitsi.videobridge.xmpp.PASSWORD={SECRET}",
    f"-Dnewrelic.config.license_key={SECRET}",
    f"-Dconfig.file=https://user:{SECRET}@example.org/jvb.conf",
    f"-javaagent:/opt/agent.jar={SECRET}",
    f"-agentlib:jdwp=transport=dt_socket,secret={SECRET}",
    f"-XX:OnOutOfMemoryError=curl -u jvb:{SECRET} https://example.org",
    f"-XX:Flags={SECRET}",
    f"-Xlog:gc:file=/{SECRET}",
    f"-Xmx{SECRET}",
    f"--add-opens {SECRET}",
    f"@{SECRET}",
    SECRET,
]


@pytest.mark.parametrize("option", SECRET_OPTIONS)
def test_an_option_that_is_not_on_the_list_is_removed(option: str) -> None:
    assert SECRET not in " ".join(shown_options([option]))
    argv = ["/usr/bin/java", *([option] if option.startswith(("-", "@")) else []), "org.jitsi.videobridge.MainKt"]
    assert SECRET not in " ".join(shown_command_line(argv))


SHOWN = [
    "-Xmx3072m",
    "-Xms512m",
    "-XX:+UseG1GC",
    "-XX:-UsePerfData",
    "-XX:MaxGCPauseMillis=200",
    "-XX:+HeapDumpOnOutOfMemoryError",
    "-XX:HeapDumpPath=/tmp",
    "-Djdk.tls.namedGroups=secp256r1,x25519",
    "-Dconfig.file=/etc/jitsi/videobridge/jvb.conf",
    "-Dnet.java.sip.communicator.SC_HOME_DIR_NAME=videobridge",
    "-Djava.net.preferIPv4Stack=true",
    "-Xlog:gc*",
    "-server",
]


def test_what_bears_on_the_packet_rate_is_shown() -> None:
    assert shown_options(SHOWN) == SHOWN
    argv = ["java", *SHOWN, "-cp", "/usr/share/jitsi/jvb.jar:/lib/*", "org.jitsi.videobridge.MainKt"]
    assert shown_command_line([*argv, f"--secret={SECRET}", SECRET]) == [*argv, f"--secret={REMOVED}", REMOVED]
    jar = ["java", "-Xmx1g", "-jar", "/opt/jvb.jar"]
    assert shown_command_line([*jar, SECRET]) == [*jar, REMOVED]


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.text("abcXYZ.-_:=", max_size=30))
def test_no_value_under_an_unknown_name_is_shown(value: str, name: str) -> None:
    marked = f"{value}{SECRET}{value}"
    for option in (f"-D{name}={marked}", f"-{name}={marked}", f"{name}{marked}"):
        key = option[2:].partition("=")[0]
        if key not in PROPERTIES and SECRET not in key:
            assert SECRET not in " ".join(shown_options([option]))
    word = f"{name}={marked}"
    if name not in KERNEL_PARAMETERS:
        assert SECRET not in shown_kernel_parameters(word)


def test_kernel_parameters() -> None:
    text = (
        f"BOOT_IMAGE=/vmlinuz root=UUID=1 ro quiet isolcpus=2-3 mitigations=off ks=https://u:{SECRET}@h/ "
        f'rd.luks.key={SECRET} sysctl.net.core.rmem_max=10 init="sh {SECRET} ro" {SECRET}'
    )
    assert shown_kernel_parameters(text) == (
        f"{REMOVED} {REMOVED} ro quiet isolcpus=2-3 mitigations=off {REMOVED} {REMOVED} sysctl.net.core.rmem_max=10 "
        f"{REMOVED} {REMOVED}"
    )
    assert provenance.provenance(None, Nothing()).command_line == shown_kernel_parameters(
        Path("/proc/cmdline").read_text().strip()
    )


def test_free_text_and_commands_in_errors() -> None:
    assert SECRET not in masked(f'XMPP_PASSWORD={SECRET} apiKey: "{SECRET}" token = {SECRET}')
    assert masked("Unit x.service not found.") == "Unit x.service not found."
    assert program(["/usr/bin/curl", "-u", f"jvb:{SECRET}"]) == "curl"
    with pytest.raises(AgentFault) as caught:
        bridge.run(["sh", "-c", f"echo password={SECRET}; exit 3"])
    assert SECRET not in caught.value.message
    assert "status 3" in caught.value.message


@pytest.fixture
def bridges(tmp_path: Path) -> Iterator[list[int]]:
    """Two processes that look like bridges, with a password on the command line and in the environment."""
    script = tmp_path / "videobridge-for-test"
    script.write_text("import time\ntime.sleep(60)\n")
    java = tmp_path / "java"
    java.symlink_to(sys.executable)
    started = []
    for number in (1, 2):
        argv = [str(java), str(script), f"-Dorg.jitsi.PASSWORD={SECRET}", f"bridge{number}"]
        environment = {**os.environ, "JAVA_TOOL_OPTIONS": f"-Dx.PASSWORD={SECRET} -Xmx1g"}
        started.append(subprocess.Popen(argv, env=environment))
    time.sleep(0.3)
    yield [process.pid for process in started]
    for process in started:
        process.kill()
        process.wait()


def test_two_bridges_are_told_apart_without_their_command_lines(bridges: list[int]) -> None:
    with pytest.raises(AgentFault) as caught:
        bridge.find(None, OfBridge(BridgeQuery(match="videobridge-for-test")))
    assert SECRET not in f"{caught.value.message} {caught.value.hint}"
    assert all(f"pid {pid}: started by hand" in caught.value.message for pid in bridges)


def test_what_is_told_of_a_bridge_holds_no_secret(bridges: list[int]) -> None:
    found = to_json(bridge.find(None, OfBridge(BridgeQuery(match="bridge1"))))
    assert SECRET not in json.dumps(found)
    assert "-Xmx1g" in found["jvm_options"]
    assert f"-Dx.PASSWORD={REMOVED}" in found["jvm_options"]


SPIN = """
public class Spin {
    static volatile long sink;
    public static void main(String[] args) {
        long end = System.nanoTime() + 1_500_000_000L;
        while (System.nanoTime() < end) for (int i = 0; i < 1000; i++) sink += Long.toString(i).hashCode();
    }
}
"""


@pytest.mark.jvm
@pytest.mark.skipif(not (shutil.which("javac") and shutil.which("jfr")), reason="needs a JDK")
def test_a_recording_keeps_its_samples_and_nothing_of_the_host(tmp_path: Path) -> None:
    from jvbtune.flame.formats import jfr

    (tmp_path / "Spin.java").write_text(SPIN)
    subprocess.run(["javac", "Spin.java"], cwd=tmp_path, check=True, timeout=120)
    record = "-XX:StartFlightRecording:filename=r.jfr,settings=profile"
    argv = ["java", "-Xmx64m", record, f"-Dx.PASSWORD={SECRET}", "-cp", ".", "Spin", SECRET]
    environment = {**os.environ, "JVB_SECRET": SECRET}
    subprocess.run(argv, cwd=tmp_path, check=True, timeout=120, env=environment, capture_output=True)
    whole = (tmp_path / "r.jfr").read_bytes()
    assert whole.count(SECRET.encode()) >= 3  # it has them: system property, command line, environment
    stripped = without_secrets(whole)
    (tmp_path / "s.jfr").write_bytes(stripped)
    assert SECRET.encode() not in stripped
    assert str(tmp_path).encode() not in stripped
    assert len(stripped) == len(whole)
    samples = [list(jfr.open_recording(tmp_path / name).samples("cpu")) for name in ("r.jfr", "s.jfr")]
    assert samples[0] == samples[1] != []
    command = ["jfr", "print", "--events", "jdk.ExecutionSample", "s.jfr"]
    said = subprocess.run(command, cwd=tmp_path, check=True, timeout=120, capture_output=True, text=True).stdout
    assert said.count("jdk.ExecutionSample {") == len(samples[0])


@pytest.mark.parametrize("harm", [b"", b"FLR", b"FLR\0" + bytes(64), b"FLR\0" + b"\xff" * 200])
def test_a_damaged_recording_is_not_sent(harm: bytes) -> None:
    if harm:
        with pytest.raises(ValueError, match=r"damaged|finished|cut|missing"):
            without_secrets(harm)
    else:
        assert without_secrets(harm) == b""
