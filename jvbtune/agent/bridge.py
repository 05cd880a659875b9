"""Find the bridge on a host: its process, its JVM, its configuration, its media sockets, how it is controlled."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

from jvbtune.agent.errors import AgentFault
from jvbtune.agent.procfs import read_text, start_ticks, usable_cores
from jvbtune.agent.sockdiag import sockets_of

#: In the command line of a JVB, however it was started (jvb.sh, docker-jitsi-meet's finish script, by hand).
SIGNATURES = ("org.jitsi.videobridge.Main", "jitsi-videobridge.jar")
DEFAULT_UNIT = "jitsi-videobridge2"


def find(agent: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """``bridge.find``: arguments ``pid_file, match, control, config_file``, each may be missing."""
    pid = find_pid(arguments)
    return describe(pid, arguments)


def find_pid(arguments: dict[str, Any]) -> int:
    """The pid of the one bridge that the arguments mean. Raises AgentFault where there is none or more than one."""
    if arguments.get("pid_file"):
        return _from_pid_file(str(arguments["pid_file"]))
    control = arguments.get("control") or {}
    if control.get("systemd"):
        return _from_unit(str(control["systemd"]))
    if control.get("container"):
        return _from_container(str(control["container"]))
    candidates = _matching(arguments.get("match"))
    if not candidates:
        raise AgentFault(
            "bridge",
            "no Jitsi Videobridge is running on this host",
            "If it runs under another command line, give bridge.match or bridge.pid_file in jvbtune.toml.",
        )
    if len(candidates) > 1:
        listing = "\n".join(f"  pid {pid}: {' '.join(command_line(pid))[:150]}" for pid in candidates)
        raise AgentFault(
            "bridge",
            f"{len(candidates)} bridges are running on this host:\n{listing}",
            "Say which one by bridge.pid_file or bridge.match in jvbtune.toml.",
        )
    return candidates[0]


def describe(pid: int, arguments: dict[str, Any]) -> dict[str, Any]:
    """All that is known of a running bridge."""
    argv = command_line(pid)
    options = jvm_options(pid, argv)
    started = start_ticks(pid)
    if started is None:
        raise AgentFault("bridge", f"the bridge's process {pid} is gone")
    try:
        sockets = sockets_of(pid)
    except OSError as error:
        raise AgentFault(
            "host", f"the bridge's sockets cannot be read: {error}", "The agent must run as root."
        ) from error
    return {
        "pid": pid,
        "start_ticks": started,
        "uid": os.stat(f"/proc/{pid}").st_uid,
        "argv": argv,
        "jvm_options": options,
        "java": _java(pid),
        "config_file": arguments.get("config_file") or _config_file(pid, options),
        "control": arguments.get("control") or found_control(pid),
        "namespaces": {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in ("net", "pid", "mnt")},
        "own_network_namespace": os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net"),
        "affinity": sorted(os.sched_getaffinity(pid)),
        "cores": usable_cores(pid),
        "sockets": sockets,
    }


def command_line(pid: int) -> list[str]:
    text = read_text(f"/proc/{pid}/cmdline") or ""
    return text.rstrip("\0").split("\0") if text else []


def jvm_options(pid: int, argv: list[str] | None = None) -> list[str]:
    """The JVM's options: from the command line up to the main class, and from JAVA_TOOL_OPTIONS and its like."""
    argv = command_line(pid) if argv is None else argv
    options = []
    previous = ""
    for argument in argv[1:]:
        if argument.startswith("-"):
            options.append(argument)
        elif previous not in ("-cp", "-classpath", "--class-path", "-jar", "-p", "--module-path"):
            break
        previous = argument
    environment = (read_text(f"/proc/{pid}/environ") or "").split("\0")
    for entry in environment:
        name, _, value = entry.partition("=")
        if name in ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"):
            options += value.split()
    return options


def _java(pid: int) -> dict[str, str]:
    """Version and vendor from the ``release`` file of the JVM's home."""
    try:
        home = os.path.dirname(os.path.dirname(os.readlink(f"/proc/{pid}/exe")))
    except OSError:
        return {}
    text = read_text(f"/proc/{pid}/root{home}/release") or ""
    values = dict(re.findall(r'^(\w+)="([^"]*)"', text, re.M))
    return {"home": home, "version": values.get("JAVA_VERSION", ""), "vendor": values.get("IMPLEMENTOR", "")}


def _config_file(pid: int, options: list[str]) -> str | None:
    """The HOCON file, as a path of the host: ``-Dconfig.file``, else the Debian package's."""
    for option in reversed(options):
        if option.startswith("-Dconfig.file="):
            return host_path(pid, option.partition("=")[2])
    for candidate in ("/etc/jitsi/videobridge/jvb.conf",):
        if os.path.exists(f"/proc/{pid}/root{candidate}"):
            return host_path(pid, candidate)
    return None


def host_path(pid: int, path: str) -> str:
    """A path of the bridge's as the host sees it: the same, where both see the same file."""
    inside = f"/proc/{pid}/root{path}"
    try:
        theirs, ours = os.stat(inside), os.stat(path)
        if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino):
            return path
    except OSError:
        pass
    return inside


def found_control(pid: int) -> dict[str, Any] | None:
    """How this process is controlled, read from its cgroup: a container, or a systemd unit; None: unknown."""
    text = read_text(f"/proc/{pid}/cgroup") or ""
    container = re.search(r"(?:docker|libpod|crio)[-/]([0-9a-f]{64})", text)
    if container:
        return {"container": container[1][:12]}
    unit = re.search(r"/system\.slice/([^/\n]+)\.service", text)
    return {"systemd": unit[1]} if unit else None


def _matching(match: str | None) -> list[int]:
    wanted = (match,) if match else SIGNATURES
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        argv = command_line(int(name))
        if not argv or (not match and "java" not in os.path.basename(argv[0])):
            continue
        if any(text in argument for text in wanted for argument in argv) and start_ticks(int(name)) is not None:
            found.append(int(name))
    return sorted(found)


def _from_pid_file(path: str) -> int:
    text = read_text(path)
    if text is None or not text.strip().isdigit():
        raise AgentFault("bridge", f"{path} does not hold the pid of a bridge", "Is the bridge running?")
    pid = int(text)
    if start_ticks(pid) is None:
        raise AgentFault("bridge", f"{path} names process {pid}, which is not running", "Start the bridge.")
    return pid


def _from_unit(unit: str) -> int:
    answer = run(["systemctl", "show", "--property=MainPID", "--value", unit])
    if not answer.strip().isdigit() or int(answer) == 0:
        raise AgentFault("bridge", f"the unit {unit} is not running", f"systemctl start {unit}")
    # jvb.sh starts the JVM as its child, or becomes it: the JVM is the one with the signature.
    main = int(answer)
    for pid in _matching(None):
        if pid == main or _parent(pid) == main:
            return pid
    return main


def _parent(pid: int) -> int:
    text = read_text(f"/proc/{pid}/status") or ""
    match = re.search(r"^PPid:\s*(\d+)", text, re.M)
    return int(match[1]) if match else 0


def _from_container(name: str) -> int:
    answer = run([container_engine(), "inspect", "--format", "{{.State.Pid}} {{.Id}}", name]).split()
    if len(answer) != 2 or answer[0] == "0":
        raise AgentFault("bridge", f"the container {name} is not running")
    for pid in _matching(None):
        if answer[1] in (read_text(f"/proc/{pid}/cgroup") or "") or _namespace(pid) == _namespace(int(answer[0])):
            return pid
    raise AgentFault("bridge", f"no bridge is running in the container {name}")


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def container_engine() -> str:
    """``docker`` or ``podman``, whichever is there."""
    for engine in ("docker", "podman"):
        for directory in os.environ.get("PATH", "/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin").split(":"):
            if os.access(os.path.join(directory, engine), os.X_OK):
                return engine
    raise AgentFault("bridge", "the bridge is in a container, but neither docker nor podman is on this host")


def run(argv: list[str], timeout_seconds: float = 30.0) -> str:
    """A command's output. Raises AgentFault where it fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_seconds, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AgentFault("bridge", f"{' '.join(argv)}: {error}") from error
    if done.returncode != 0:
        text = (done.stderr or done.stdout).strip()[-500:]
        raise AgentFault("bridge", f"{' '.join(argv)} failed with status {done.returncode}: {text}")
    return done.stdout


OPERATIONS = {"bridge.find": find}
