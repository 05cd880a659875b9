"""The bridge's configuration with assignments added, by a bind mount over it: the file itself is never touched.

A copy with the assignments is put into /run/jvbtune, which is a tmpfs, and mounted over the configuration file.
Revert is an unmount; a reboot leaves nothing. The alternative, ``JAVA_TOOL_OPTIONS`` in a systemd drop-in under /run,
works for systemd units only; a bind mount works for units, containers (Docker binds volumes with ``rbind`` at each
start) and commands alike. Editors that replace the file meanwhile get EBUSY rather than lose a change.
"""

from __future__ import annotations

import ctypes
import os
import re

from jvbtune.agent.errors import AgentFault
from jvbtune.agent.rundir import DIRECTORY

MS_BIND = 4096
MNT_DETACH = 2
MARK = "# added by jvbtune for the time of a sweep; the file below this mount is untouched"


def with_assignments(text: str, assignments: dict[str, str]) -> str:
    """HOCON with assignments at its end, where the last one wins; inside the braces where the root has them."""
    lines = [MARK, *(f"{name} = {value}" for name, value in sorted(assignments.items()))]
    block = "\n" + "\n".join(lines) + "\n"
    end = _root_brace(text)
    return text + block if end is None else text[:end] + block + text[end:]


def _root_brace(text: str) -> int | None:
    """Where the brace closes that is around the whole; None: there is none. Comments and strings are passed over."""
    depth, first = 0, True
    for match in re.finditer(r'"""[\s\S]*?"""|"(?:[^"\\\n]|\\.)*"|(?://|#)[^\n]*|[{}\[\]]|[^\s{}\[\]"#/]+|/', text):
        token = match.group()
        if token.startswith(("//", "#")):
            continue
        if first and token != "{":
            return None
        first = False
        depth += token in ("{", "[")
        depth -= token in ("}", "]")
        if depth == 0 and token == "}":
            return match.start()
    return None


def overlay_path(run_id: str) -> str:
    return os.path.join(DIRECTORY, f"overlay-{run_id}.conf")


def mount(config_file: str, run_id: str, assignments: dict[str, str]) -> None:
    """Put the overlay over the file, in place of one of the same run that may be there."""
    unmount(config_file, run_id)
    if not assignments:
        return
    if mounted(config_file) is not None and _is_overlay(mounted(config_file) or ""):
        raise AgentFault("tuning", f"another sweep's overlay lies over {config_file}: {mounted(config_file)}")
    try:
        with open(config_file, encoding="utf-8") as file:
            text = file.read()
        stat = os.stat(config_file)
        os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
        path = overlay_path(run_id)
        with open(path, "w", encoding="utf-8") as file:
            file.write(with_assignments(text, assignments))
        os.chown(path, stat.st_uid, stat.st_gid)
        os.chmod(path, stat.st_mode & 0o7777)
    except OSError as error:
        raise AgentFault("tuning", f"no overlay of {config_file}: {error.strerror}") from error
    _call("mount", path.encode(), config_file.encode(), b"none", ctypes.c_ulong(MS_BIND), None)


def unmount(config_file: str, run_id: str) -> bool:
    """Take the overlay of this run away; whether there was one. What others mounted there stays."""
    path = overlay_path(run_id)
    taken = False
    source = mounted(config_file)
    if source is not None and os.path.basename(source).removesuffix("//deleted") == os.path.basename(path):
        _call("umount2", config_file.encode(), MNT_DETACH)  # a process that has it open cannot hold us up
        taken = True
    if os.path.exists(path):
        os.unlink(path)
    return taken


def _is_overlay(source: str) -> bool:
    return os.path.basename(source).startswith("overlay-")


def mounted(path: str) -> str | None:
    """What is mounted over a file: its path in its own file system (mountinfo, proc(5)); None: nothing is."""
    wanted = os.path.realpath(path)
    found = None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.split(" ")
            if _unescaped(fields[4]) == wanted:
                found = _unescaped(fields[3])
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _call(name: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise AgentFault("tuning", f"{name} {arguments[0]!r}: {os.strerror(number)}", "The agent must run as root.")
