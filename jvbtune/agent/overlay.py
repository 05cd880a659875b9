"""The bridge's configuration with assignments added, by a bind mount over it: the file itself is never touched.

A copy with the assignments is put into /run/jvbtune, which is a tmpfs, and mounted over the configuration file.
Revert is an unmount; a reboot leaves nothing. The alternative, ``JAVA_TOOL_OPTIONS`` in a systemd drop-in under /run,
works for systemd units only. A bind mount works for units, commands and containers alike: engines bind a volume with
all that is mounted below it at each start, so for a container it lies over a file of the host (``target``). Editors
that replace the file meanwhile get EBUSY rather than lose a change.
"""

from __future__ import annotations

import ctypes
import errno
import glob
import hashlib
import json
import os
import re

from jvbtune.agent.containers import container_id, host_file
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.journal import DIRECTORY as STATE
from jvbtune.agent.rundir import DIRECTORY
from jvbtune.agent.settings import ICE4J_BUFFER, LEGACY_ICE4J_BUFFER

MS_BIND = 4096
MNT_DETACH = 2
MARK = "# added by jvbtune for the time of a sweep; the file below this mount is untouched"


_TOKEN = re.compile(r'"""[\s\S]*?"{3,}|"(?:[^"\\\n]|\\.)*"|(?://|#)[^\n]*|[{}\[\]]|[^\s{}\[\]"#/\ufeff]+|/|"')


def overlaid(path: str, content: bytes, assignments: dict[str, str]) -> bytes:
    """A configuration with assignments that win; in the syntax that its name stands for, as Typesafe Config takes it.

    Bytes that are no UTF-8 stay as they are: a bridge reads them as replacement characters. Raises AgentFault for a
    file to which nothing can be added.
    """
    if path.endswith(".json"):
        return _json_with(path, content, assignments)
    if path.endswith(".properties"):
        lines = [MARK, *(f"{name} = {value}" for name, value in sorted(assignments.items()))]
        return content + ("\n" + "\n".join(lines) + "\n").encode()
    if b"\0" in content or content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _refusal(path, "it is not UTF-8, which is all that a bridge reads")
    text = content.decode("utf-8", "surrogateescape")
    try:
        return with_assignments(text, assignments).encode("utf-8", "surrogateescape")
    except ValueError as error:
        raise _refusal(path, str(error)) from error


def _refusal(path: str, why: str) -> AgentFault:
    return AgentFault(
        "tuning",
        f"{ICE4J_BUFFER} cannot be swept, because nothing can be added to {path}: {why}",
        "Mend the file, or leave the setting out of the experiment.",
    )


def _json_with(path: str, content: bytes, assignments: dict[str, str]) -> bytes:
    """JSON as Typesafe Config has it: no comments, and no key twice."""
    try:
        root = json.loads(content.decode("utf-8-sig"))
    except ValueError as error:
        raise _refusal(path, "it is not JSON in UTF-8, as its name says") from error
    if not isinstance(root, dict):
        raise _refusal(path, "it is no JSON object")
    for name, value in assignments.items():
        *parents, last = name.split(".")
        inside = root
        for parent in parents:
            if not isinstance(inside.get(parent), dict):
                inside[parent] = {}
            inside = inside[parent]
        inside[last] = int(value) if value.isdecimal() else value
    return json.dumps(root, indent=2, ensure_ascii=False).encode()


def with_assignments(text: str, assignments: dict[str, str]) -> str:
    """HOCON with assignments at its end, where the last one wins; inside the braces where the root has them.

    Raises ValueError where the end of the text is inside of something.
    """
    lines = [MARK, *(f"{name} = {value}" for name, value in sorted(assignments.items()))]
    block = "\n" + "\n".join(lines) + "\n"
    end = root_brace(text)
    return text + block if end is None else text[:end] + block + text[end:]


def root_brace(text: str) -> int | None:
    """Where the brace closes that is around the whole; None: there is none. Comments and strings are passed over."""
    depth, first, root, end = 0, True, False, None
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token.startswith(("//", "#")):
            continue
        if token == '"':
            raise ValueError(f"line {_line(text, match)} has a quote that is not closed")
        if first:
            if token == "[":
                raise ValueError("its root is a list")
            first, root = False, token == "{"
        depth += token in ("{", "[")
        depth -= token in ("}", "]")
        if depth < 0:
            raise ValueError(f"line {_line(text, match)} closes a brace that was not opened")
        if root and depth == 0 and end is None:
            end = match.start()
    if depth:
        raise ValueError("a brace is not closed")
    return end


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1


def check(config_file: str) -> None:
    """Before anything is touched. Raises AgentFault where no overlay of the file can be made."""
    try:
        with open(config_file, "rb") as file:
            overlaid(config_file, file.read(), {ICE4J_BUFFER: "1"})
    except OSError as error:
        raise AgentFault("tuning", f"no overlay of {config_file}: {error.strerror}") from error


def with_legacy_name(assignments: dict[str, str]) -> dict[str, str]:
    """The older name too: it wins over the newer one wherever an old configuration sets it."""
    asked = assignments.get(ICE4J_BUFFER)
    return assignments if asked is None else {**assignments, LEGACY_ICE4J_BUFFER: asked}


def target(pid: int, config_file: str) -> str:
    """The file of the host to lay the overlay over, so that the bridge's next start reads it.

    ``config_file`` is the bridge's as its process has it. Raises AgentFault, with the way out, where there is none.
    """
    prefix = f"/proc/{pid}/root/"
    if not config_file.startswith(prefix):
        return config_file
    inside, container = config_file[len(prefix) - 1 :], container_id(pid)
    if container is None:
        raise AgentFault(
            "tuning",
            f"the bridge's configuration {inside} lies in a mount namespace of its own, which ends with its restart",
            "Name the file of the host that it is made of by bridge.config_file in jvbtune.toml, or leave the setting "
            "out of the experiment.",
        )
    return host_file(container, pid, inside)


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
        with open(config_file, "rb") as file:
            changed = overlaid(config_file, file.read(), with_legacy_name(assignments))
        stat = os.stat(config_file)
        os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
        path = overlay_path(run_id)
        _write_private(path, changed, stat)
        with open(_digest_path(path), "w", encoding="ascii") as file:
            file.write(hashlib.sha256(changed).hexdigest())
    except OSError as error:
        raise AgentFault("tuning", f"no overlay of {config_file}: {error.strerror}") from error
    _call("mount", path.encode(), config_file.encode(), b"none", ctypes.c_ulong(MS_BIND), None)


def _write_private(path: str, content: bytes, like: os.stat_result) -> None:
    """A new file, root's alone until it is whole (a configuration holds passwords), then its original's."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fchown(file.fileno(), like.st_uid, like.st_gid)
        os.fchmod(file.fileno(), like.st_mode & 0o7777)


def unmount(config_file: str, run_id: str) -> bool:
    """Take the overlay of this run away; whether there was one. What others mounted there stays."""
    path = overlay_path(run_id)
    taken = False
    source = mounted(config_file)
    if source is not None and os.path.basename(source).removesuffix("//deleted") == os.path.basename(path):
        _call("umount2", config_file.encode(), MNT_DETACH)  # a process that has it open cannot hold us up
        taken = True
    if os.path.exists(path):
        _keep_edit(path, run_id)
        os.unlink(path)
    return taken


def edits(run_id: str) -> list[str]:
    """Where the copies are that somebody edited in place while they lay over the configuration."""
    return sorted(glob.glob(os.path.join(STATE, f"edited-{glob.escape(run_id)}-*.conf")))


def _keep_edit(path: str, run_id: str) -> None:
    """Whoever edits the configuration in place during a sweep edits the copy: it is not deleted. Raises OSError."""
    with open(path, "rb") as file:
        content = file.read()
    try:
        with open(_digest_path(path), encoding="ascii") as file:
            if file.read() == hashlib.sha256(content).hexdigest():
                return
    except FileNotFoundError:
        return  # it was never mounted
    number = len(edits(run_id)) + 1
    descriptor = os.open(
        os.path.join(STATE, f"edited-{run_id}-{number}.conf"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _digest_path(path: str) -> str:
    return path + ".sha256"


def lies_over(config_file: str) -> bool:
    """Whether an overlay of a sweep is mounted over the file."""
    source = mounted(config_file)
    return source is not None and _is_overlay(source)


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
        where = b" over ".join(part for part in arguments[:2] if isinstance(part, bytes)).decode(errors="replace")
        hint = "The agent must run as root." if number == errno.EPERM else None
        raise AgentFault("tuning", f"{name} {where}: {os.strerror(number)}", hint)
