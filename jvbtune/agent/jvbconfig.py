"""What a running bridge was configured with, for the controller to parse: files, properties, environment variables.

The agent has no HOCON parser, so it sends files as they are, less their secrets, and the controller asks for those that
they include. Of the environment and of the ``-D`` properties only those leave the host that are asked for by name.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import stat
from typing import Any

from jvbtune.agent.bridge import command_line, find_pid
from jvbtune.agent.errors import AgentFault
from jvbtune.protocol import agent as protocol
from jvbtune.protocol.codec import to_json
from jvbtune.protocol.peers import Served

MAX_FILE_BYTES = 1 << 20
MAX_FILES = 64
MAX_NAMES = 512
SECRET = r"passw|secret|token|credential|api[-_]?key|private[-_]?key|\bkey\b"
_SECRET_NAME = re.compile(SECRET, re.IGNORECASE)
_SECRET_KEY = re.compile(SECRET.encode(), re.IGNORECASE)
#: Each is tried once at each place, so that no text takes longer than its length.
_KEY = re.compile(rb'("[^"\n]*"|(?<![\w.-])[\w.-]+)[ \t]*(?:[=:]|\+=)[ \t]*')
_VALUE = re.compile(rb'"""[\s\S]*?"""|(?:"(?:[^"\\\n]|\\.)*"|\$\{[^}\n]{0,1000}\}|[^\s,{}\[\]#"$])+')


def read(agent: Any, arguments: protocol.ReadConfig) -> protocol.ConfigRead:
    """``bridge.config``."""
    pid = find_pid(to_json(arguments.bridge))
    properties = system_properties(pid)
    environment = _environment(pid)
    names, paths = arguments.names[:MAX_NAMES], arguments.files
    if len(paths) > MAX_FILES:
        raise AgentFault("bridge", f"the bridge's configuration includes more than {MAX_FILES} files")
    return protocol.ConfigRead(
        pid=pid,
        directory=_link(f"/proc/{pid}/cwd"),
        files={path: _content(pid, path) for path in paths},
        properties=_named(properties, names),
        environment=_named(environment, names),
        argument_files=any(argument.startswith("@") for argument in _jvm_arguments(command_line(pid))),
    )


def system_properties(pid: int) -> dict[str, str]:
    """``-D`` of a JVM, as it reads them: of what stands in two places the later counts (JNI's Arguments::parse)."""
    environment = _environment(pid)
    options = [
        *_words(environment.get("JAVA_TOOL_OPTIONS", "")),
        *_words(environment.get("JDK_JAVA_OPTIONS", "")),
        *_jvm_arguments(command_line(pid)),
        *_words(environment.get("_JAVA_OPTIONS", "")),
    ]
    found = {}
    for option in options:
        if option.startswith("-D"):
            name, _, value = option[2:].partition("=")
            found[name] = value
    return found


def redacted(content: bytes) -> bytes:
    """The values of keys that name a secret become ``"removed"``; all else stays where it is."""
    parts, kept, at = [], 0, 0
    while key := _KEY.search(content, at):
        at = key.end()
        value = _VALUE.match(content, at) if _SECRET_KEY.search(key[1]) else None
        if value is not None:
            parts += [content[kept:at], b'"removed"']
            kept = at = value.end()
    return b"".join([*parts, content[kept:]])


def _named(values: dict[str, str], names: list[str]) -> dict[str, str]:
    return {name: "removed" if _SECRET_NAME.search(name) else values[name] for name in names if name in values}


def _jvm_arguments(argv: list[str]) -> list[str]:
    """Up to the main class or the jar's name."""
    options, previous = [], ""
    for argument in argv[1:]:
        if argument.startswith(("-", "@")):
            options.append(argument)
        elif previous not in ("-cp", "-classpath", "--class-path", "-p", "--module-path"):
            break
        previous = argument
    return options


def _words(text: str) -> list[str]:
    """As the JVM splits its variables: at blanks, quotes of either kind, no escapes."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    try:
        return list(lexer)
    except ValueError:
        return text.split()


def _environment(pid: int) -> dict[str, str]:
    try:
        with open(f"/proc/{pid}/environ", encoding="utf-8", errors="replace") as file:
            entries = file.read().split("\0")
    except OSError:
        return {}
    return {name: value for name, separator, value in (entry.partition("=") for entry in entries) if separator}


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _content(pid: int, path: str) -> str | protocol.Unreadable | None:
    """A regular file as the bridge sees it, without its secrets."""
    if not path.startswith("/"):
        return protocol.Unreadable("its path is not absolute")
    inside = f"/proc/{pid}/root{path}"
    try:
        descriptor = os.open(inside, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return protocol.Unreadable(os.strerror(error.errno or 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return protocol.Unreadable("is not a file")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        return protocol.Unreadable(f"is larger than {MAX_FILE_BYTES >> 20} MiB")
    return base64.b64encode(redacted(content)).decode()


OPERATIONS = (Served(protocol.BRIDGE_CONFIG, read),)
