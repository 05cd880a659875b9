"""Containers as their engine's command line shows them: which engine has one, its mounts, its configuration outside.

A bridge in a container has its files behind a mount namespace that ends with its next restart. What lasts is outside:
the directories of the host that are mounted into it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import Any

from jvbtune.agent.errors import AgentFault, NotRunning
from jvbtune.agent.procfs import TICKS_PER_SECOND, read_text, start_ticks

#: In the order in which they are tried. docker's command line may be there without its daemon, or be podman itself.
ENGINES = ("docker", "podman")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"
ENGINE_TIMEOUT_SECONDS = 20.0
_SCOPE = re.compile(r"(?:^|/)(docker|libpod)[-/]([0-9a-f]{64})(?:\.scope)?(?=/|$)", re.M)


def container_id(pid: int) -> str | None:
    """The id of the container of docker or podman that a process is in, from its control group; None: in none."""
    found = _SCOPE.findall(read_text(f"/proc/{pid}/cgroup") or "")
    return str(found[-1][1]) if found else None


def inspect(name: str) -> tuple[str, dict[str, Any]]:
    """(engine, what it says of the container). Raises AgentFault with each engine's answer where none knows it."""
    answers = []
    for engine in ENGINES:
        program = shutil.which(engine, path=f"{os.environ.get('PATH', '')}:{PATH}")
        if program is None:
            answers.append(f"{engine}: not on this host")
            continue
        try:
            done = subprocess.run(
                [program, "inspect", "--type=container", name],
                capture_output=True,
                text=True,
                timeout=ENGINE_TIMEOUT_SECONDS,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode == 0:
                return program, dict(json.loads(done.stdout)[0])
            answers.append(f"{engine}: {_last_line(done.stderr)}")
        except (OSError, subprocess.TimeoutExpired, ValueError, LookupError, TypeError) as error:
            answers.append(f"{engine}: {error}")
    raise AgentFault(
        "bridge",
        f"no container engine of this host knows the container {name} ({'; '.join(answers)})",
        "Is bridge.control right in jvbtune.toml? For a container of another user or another engine give the commands: "
        'control = { commands = { restart = ["…"] } }.',
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "no answer"


def engine_of(name: str) -> str:
    """The program whose ``restart`` restarts the container. Raises AgentFault."""
    return inspect(name)[0]


def init_pid(name: str) -> int:
    """The container's first process, as the host counts it. Raises AgentFault where it is not running."""
    _, found = inspect(name)
    pid = int((found.get("State") or {}).get("Pid") or 0)
    if pid <= 0:
        raise NotRunning("bridge", f"the container {name} is not running", "Start it.")
    return pid


def host_file(name: str, pid: int, inside: str) -> str:
    """The file of the host by which the bridge's configuration can be added to, so that its next start reads it.

    ``inside`` is the configuration as the container names it. Containers write it again at each start, often onto a
    tmpfs: what lasts is a file that it includes (docker-jitsi-meet: ``custom-jvb.conf`` below the mounted /config).
    Raises AgentFault with the way out.
    """
    _, found = inspect(name)
    mounts = {
        str(mount["Destination"]): str(mount["Source"])
        for mount in found.get("Mounts") or ()
        if mount.get("Type") == "bind" or mount.get("Source", "").startswith("/")
    }
    text = read_text(f"/proc/{pid}/root{inside}") or ""
    included = [os.path.normpath(os.path.join(os.path.dirname(inside), path)) for path in _includes(text)]
    missing, changed = [], []
    for path in reversed(included):  # the last one wins
        for candidate in _outside(path, mounts):
            if not os.path.isfile(candidate):
                missing.append(candidate)
            elif _same(candidate, f"/proc/{pid}/root{path}"):
                return candidate
            else:
                changed.append(candidate)
    direct = _mounted(inside, mounts)
    first = int((found.get("State") or {}).get("Pid") or 0)
    if direct is not None and os.path.isfile(direct) and not _written_between(direct, first, pid):
        return direct
    raise AgentFault(
        "tuning",
        f"the container {name} writes {inside} again at each start, so that nothing can be added to it",
        _way_out(missing, changed),
    )


def _way_out(missing: list[str], changed: list[str]) -> str:
    if changed:
        return f"{changed[0]} was changed since the container started: restart the container, then sweep again."
    if missing:
        return f"Make an empty file that it includes, restart the container, then sweep again: touch {missing[0]}"
    return (
        "Let it include a file of a directory that is mounted from the host (docker-jitsi-meet: custom-jvb.conf, "
        "mounted below /config), or leave the setting out of the experiment."
    )


def _includes(text: str) -> list[str]:
    """The files that a HOCON text includes by name, in order; resources of the class path are none."""
    text = re.sub(r"(?m)^\s*(?://|#).*$", "", text)
    pattern = r'(?m)(?:^|[\s{,])include\s+(?:required\s*\(\s*)?(?:file\s*\(\s*)?"([^"\n]+)"'
    return [path for path in re.findall(pattern, text) if "://" not in path]


def _mounted(path: str, mounts: dict[str, str]) -> str | None:
    """A path of the container as the host has it; None: it lies on no mount of a directory or file of the host."""
    for destination in sorted(mounts, key=len, reverse=True):
        if path == destination or path.startswith(destination.rstrip("/") + "/"):
            return os.path.normpath(mounts[destination] + path[len(destination.rstrip("/")) :])
    return None


def _outside(path: str, mounts: dict[str, str]) -> list[str]:
    """Where on the host an included file may come from: its own mount, or one that is copied from at the start."""
    direct = _mounted(path, mounts)
    if direct is not None:
        return [direct]
    # The mount of the configuration first: a file that is missing is best made there.
    directories = sorted(mounts.items(), key=lambda mount: mount[0] != "/config")
    return [os.path.join(source, os.path.basename(path)) for _, source in directories if os.path.isdir(source)]


def _same(outside: str, inside: str) -> bool:
    try:
        with open(outside, "rb") as one, open(inside, "rb") as other:
            return one.read() == other.read()
    except OSError:
        return False


def _written_between(path: str, first: int, last: int) -> bool:
    """Whether a file was written between the starts of two processes, give or take a second; unknown counts as yes."""
    begun, ended = start_unix(first), start_unix(last)
    return begun is None or ended is None or begun - 1 <= os.stat(path).st_mtime <= ended + 1


def start_unix(pid: int) -> float | None:
    """When a process was started, by the wall clock."""
    ticks, stat = start_ticks(pid), read_text("/proc/stat") or ""
    booted = re.search(r"^btime (\d+)", stat, re.M)
    return None if ticks is None or booted is None else int(booted[1]) + ticks / TICKS_PER_SECOND
