"""Find the bridge on a host: its process, its JVM, its configuration, its media sockets, how it is controlled."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

from jvbtune.agent.containers import container_id, init_pid
from jvbtune.agent.errors import AgentFault, NotRunning
from jvbtune.agent.namespaces import same_network
from jvbtune.agent.procfs import read_text, start_ticks, usable_cores
from jvbtune.agent.redact import masked, program, shown_command_line, shown_options
from jvbtune.agent.sockdiag import sockets_of
from jvbtune.protocol import agent as protocol
from jvbtune.protocol.codec import build, to_json
from jvbtune.protocol.peers import Served

#: In the command line of a JVB, however it was started (jvb.sh, docker-jitsi-meet's finish script, by hand).
SIGNATURES = ("org.jitsi.videobridge.Main", "jitsi-videobridge.jar")


def find(agent: Any, arguments: protocol.OfBridge) -> protocol.BridgeFound:
    """``bridge.find``."""
    query = to_json(arguments.bridge)
    return build(protocol.BridgeFound, describe(find_pid(query), query))


def find_pid(arguments: dict[str, Any]) -> int:
    """The pid of the one bridge that the arguments mean. Raises AgentFault where there is none or more than one, of
    its kind NotRunning where it is known that it does not run."""
    if arguments.get("pid_file"):
        return _from_pid_file(str(arguments["pid_file"]))
    control = arguments.get("control") or {}
    if control.get("systemd"):
        return _from_unit(str(control["systemd"]), arguments.get("match"))
    if control.get("container"):
        return _from_container(str(control["container"]))
    candidates = running(arguments.get("match"))
    if arguments.get("config_file") and len(candidates) > 1:
        candidates = [pid for pid in candidates if _reads(pid, str(arguments["config_file"]))] or candidates
    # A shell that was given the command line, and waits for it, is not the bridge.
    shells = {parent(pid) for pid in candidates}
    candidates = [pid for pid in candidates if pid not in shells]
    if not candidates:
        raise NotRunning(
            "bridge",
            "no Jitsi Videobridge is running on this host",
            "If it runs under another command line, give bridge.match or bridge.pid_file in jvbtune.toml.",
        )
    if len(candidates) > 1:
        listing = "\n".join(f"  {_distinguishing(pid)}" for pid in candidates)
        raise AgentFault(
            "bridge",
            f"{len(candidates)} bridges are running on this host:\n{listing}",
            "Give each an entry of its own in jvbtune.toml with what tells it from the others: bridge.control (or "
            "bridge.config_file, bridge.pid_file, bridge.match), and its own bridge.http_port and bridge.media_port.",
        )
    return candidates[0]


def _distinguishing(pid: int) -> str:
    """One line on what tells a bridge from others on its host; never its command line, which may hold a password."""
    control = found_control(pid)
    how = "" if control is None else ", ".join(f"{kind} {name}" for kind, name in control.items())
    config = _config_file(pid, jvm_options(pid)) or "no configuration file"
    return f"pid {pid}: {how or 'started by hand'}, {config}"


def _reads(pid: int, config_file: str) -> bool:
    """Whether a bridge's configuration is that file."""
    found = _config_file(pid, jvm_options(pid))
    try:
        return found is not None and os.path.samefile(found, config_file)
    except OSError:
        return False


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
        "argv": shown_command_line(argv),
        "jvm_options": shown_options(options),
        "java": _java(pid),
        "config_file": arguments.get("config_file") or _config_file(pid, options),
        "control": arguments.get("control") or found_control(pid),
        "namespaces": {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in ("net", "pid", "mnt")},
        "own_network_namespace": not same_network(pid),
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
    """How this process is controlled, read from its control group: a container, or a systemd unit; None: unknown.

    A unit is the bridge's only if its main process is the bridge or the bridge's parent: a bridge that was started from
    a login, by cron or in a pod lies in the unit of ssh, cron or k3s.
    """
    container = container_id(pid)
    if container:
        return {"container": container[:12]}
    text = read_text(f"/proc/{pid}/cgroup") or ""
    units = re.findall(r"^(?:0:|\d+:name=systemd):/(?:[^\n]*/)?([^/\n]+)\.service(?:/[^\n]*)?$", text, re.M)
    for unit in reversed(units):
        if main_process(unit) in (pid, parent(pid)):
            return {"systemd": unit}
    return None


def main_process(unit: str) -> int:
    """The main process of a systemd unit; 0: it has none, or there is no such unit, or no systemd that answers."""
    try:
        return _told_main_process(unit)
    except AgentFault:
        return 0


def _told_main_process(unit: str) -> int:
    """As ``main_process``. Raises AgentFault where systemd does not say it."""
    answer = run(["systemctl", "show", "--property=MainPID", "--value", "--", unit]).strip()
    if not answer.isdigit():
        raise AgentFault("bridge", f"systemd does not tell the main process of {unit}: {answer[:80]!r}")
    return int(answer)


def running(match: str | None) -> list[int]:
    """Every process of this host that looks like a bridge: one of its arguments has ``match`` in it, or a bridge's
    main class or archive."""
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
        raise NotRunning("bridge", f"{path} names process {pid}, which is not running", "Start the bridge.")
    return pid


def _from_unit(unit: str, match: str | None) -> int:
    main = _told_main_process(unit)
    if main == 0:
        raise NotRunning("bridge", f"the unit {unit} is not running", f"systemctl status {unit}")
    # jvb.sh starts the JVM as its child, or becomes it: the JVM is the one with the signature.
    for pid in running(match):
        if main in (pid, parent(pid)):
            return pid
    raise AgentFault(
        "bridge",
        f"the unit {unit} runs no Jitsi Videobridge: its main process is {main} ({program(command_line(main)[:1])})",
        "Name the bridge's unit by bridge.control in jvbtune.toml. A unit that starts a container is not its parent: "
        "name the container.",
    )


def parent(pid: int) -> int:
    text = read_text(f"/proc/{pid}/status") or ""
    match = re.search(r"^PPid:\s*(\d+)", text, re.M)
    return int(match[1]) if match else 0


def _from_container(name: str) -> int:
    first = init_pid(name)
    wanted, space = container_id(first), _namespace(first)
    if space == _namespace(os.getpid()):
        space = ""  # --pid=host: every process of the host is in it
    for pid in running(None):
        if pid == first or (container_id(pid) == wanted if wanted else _namespace(pid) == space):
            return pid
    raise AgentFault("bridge", f"no bridge is running in the container {name}")


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def run(argv: list[str], timeout_seconds: float = 30.0) -> str:
    """A command's output. Raises AgentFault where it fails.

    It has the umask of a service, not the agent's: it may be what starts the bridge.
    """
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_seconds,
            stdin=subprocess.DEVNULL,
            umask=0o022,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = error.strerror if isinstance(error, OSError) else f"no end within {timeout_seconds:g} s"
        raise AgentFault("bridge", f"{program(argv)}: {why}") from error
    if done.returncode != 0:
        text = masked((done.stderr or done.stdout).strip()[-500:])
        raise AgentFault("bridge", f"{program(argv)} failed with status {done.returncode}: {text}")
    return done.stdout


OPERATIONS = (Served(protocol.BRIDGE_FIND, find),)
