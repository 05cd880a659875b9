"""Profiles of the bridge's JVM: what can be had here, and the taking of them in slices.

Whatever ends a capture early (the link, the agent, the JVM), each slice has a time-out of its own inside of the
profiler; the helper (``capture.inside``) stops and deletes the moment the agent is gone. One capture a machine.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import gzip
import hashlib
import os
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

from jvbtune.agent.bridge import find_pid
from jvbtune.agent.capture import probe as probe_of
from jvbtune.agent.capture.engines import ENGINES, Session
from jvbtune.agent.capture.inside import PREFIX, Inside
from jvbtune.agent.capture.meter import Meter
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.redact import shown_options
from jvbtune.protocol import capture as messages
from jvbtune.protocol import inside as helper
from jvbtune.protocol.agent import OfBridge
from jvbtune.protocol.codec import build, to_json
from jvbtune.protocol.messages import Refused
from jvbtune.protocol.peers import Served

LOCK = "/run/jvbtune-capture.lock"
#: Where a library may be mapped from and results be written, tried in this order after the JVM's own.
DIRECTORIES = ("/tmp", "/run", "/dev/shm", "/var/tmp")
PIECE_BYTES = 512 << 10
MAX_SECONDS = 3600


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """One capture at a time on this machine; the lock ends with its holder, and its file with the capture."""
    path = LOCK if os.access(os.path.dirname(LOCK), os.W_OK) else f"/tmp/jvbtune-capture-{os.geteuid()}.lock"
    descriptor = _lock(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)  # while it is held: whoever opened it before looks again whether it is still this file
        os.close(descriptor)


def _lock(path: str) -> int:
    """A descriptor that holds the lock of the file that has this name now."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise AgentFault("capture", "another capture is under way on this machine", "Wait until it ends.") from None
        except FileNotFoundError:
            pass
        os.close(descriptor)


@contextlib.contextmanager
def _inside(jvm: probe_of.Target) -> Iterator[Inside]:
    try:
        inside = Inside(os.path.abspath(sys.argv[0]), jvm.pid, jvm.own_pid, jvm.uid, jvm.gid)
    except Refused as error:
        raise AgentFault("capture", str(error), "The agent must run as root, or as the JVM's own user.") from error
    try:
        with inside:
            yield inside
    except Refused as error:
        if not jvm.alive():
            raise AgentFault("capture", "the bridge's JVM ended during the capture") from error
        raise AgentFault("capture", str(error)) from error


def directories(jvm: probe_of.Target) -> list[str]:
    """The JVM's temporary directory first, the one of its configuration last (a container's volume)."""
    own = [option.partition("=")[2] for option in jvm.options if option.startswith("-Djava.io.tmpdir=")]
    config = [os.path.dirname(o.partition("=")[2]) for o in jvm.options if o.startswith("-Dconfig.file=")]
    return [path for path in (*own, *DIRECTORIES, *config) if path.startswith("/") and "," not in path]


def probe(agent: Any, arguments: OfBridge) -> messages.Probe:
    """``capture.probe``: what each engine could do here; nothing is started.

    It costs the JVM its attach listener thread (once) and two diagnostic commands.
    """
    jvm = probe_of.target(find_pid(to_json(arguments.bridge)))
    found = probe_of.machine(jvm.pid)
    with _only_one(), _inside(jvm) as inside:
        version = _jcmd(inside, "VM.version")
        flags = _jcmd(inside, "VM.flags").split()
        places = inside.call(helper.LOOK, helper.Look(directories(jvm), needed_bytes=4 << 20, name=PREFIX + "x"))
        cleared = inside.call(helper.CLEAR, helper.Clear(directories(jvm))).cleared
    if cleared:
        agent.log(f"an earlier capture, killed with its helper, had left {', '.join(cleared)}: deleted")
    return messages.Probe(
        **found,
        pid=jvm.pid,
        uid=jvm.uid,
        own_pid=jvm.own_pid,
        jvm_version=_version(version),
        jvm_flags=shown_options(flags),
        jvm_may_perf=probe_of.jvm_may(jvm, found),
        place=places.directory,
        refused_places=places.refused,
        foreign=build(messages.ForeignProfiler, probe_of.foreign_profiler(jvm, PREFIX)),
    )


def _jcmd(inside: Inside, command: str) -> str:
    answer = inside.call(helper.ASK, helper.Ask(["jcmd", command]))
    if answer.code != 0:
        raise AgentFault("capture", f"{command}: {answer.text.strip()}")
    return answer.text


def _version(text: str) -> str:
    """``VM.version``: ``OpenJDK 64-Bit Server VM version 17.0.15+6-Debian-1deb12u1`` and ``JDK 17.0.15``."""
    match = re.search(r"version (\S+)", text)
    return match[1] if match else text.strip()


def library(agent: Any, arguments: messages.Library) -> messages.Held:
    """``capture.library``."""
    content = base64.b64decode(arguments.content)
    found = hashlib.sha256(content).hexdigest()
    if found != arguments.sha256:
        raise AgentFault("capture", f"{arguments.name} arrived with sha256 {found}, not {arguments.sha256}")
    agent.state["capture.library"] = (arguments.name, found, content)
    return messages.Held(len(content))


def run(agent: Any, arguments: messages.Run) -> messages.Taken:
    """``capture.run``: one capture, start to end. An event reports each slice."""
    slices, seconds = arguments.slices, arguments.slice_seconds
    if not 1 <= slices <= 200 or seconds < 0.5 or slices * seconds > MAX_SECONDS:
        raise AgentFault("usage", f"{slices} slices of {seconds:g} s: a capture is at most {MAX_SECONDS} s long")
    engine = ENGINES.get(arguments.engine)
    if engine is None:
        raise AgentFault("usage", f"unknown engine {arguments.engine!r}; known are {', '.join(ENGINES)}")
    query = to_json(arguments.bridge)
    jvm = probe_of.target(find_pid(query))
    agent.state.pop("capture.files", None)
    with _only_one(), _inside(jvm) as inside:
        session = Session(
            agent=agent,
            jvm=jvm,
            inside=inside,
            meter=Meter(jvm.pid, query),
            arguments=arguments,
            directories=directories(jvm),
            library=agent.state.get("capture.library"),
        )

        def stop() -> None:
            session.stopped.set()
            session.close()
            inside.close()

        agent.shutdown_hooks.append(stop)
        try:
            engine(session)
        finally:
            session.close()
            agent.shutdown_hooks.remove(stop)
    agent.state["capture.files"] = {name: gzip.compress(content, 6, mtime=0) for name, content in session.files.items()}
    return messages.Taken(
        slices=session.slices,
        off=session.off,
        arguments=session.told,
        engine_version=session.version,
        log=session.log,
        files={name: len(content) for name, content in agent.state["capture.files"].items()},
        created_unix=session.created_unix,
        ended_unix=time.time(),
    )


def fetch(agent: Any, arguments: messages.Fetch) -> messages.Piece:
    """``capture.fetch``: a piece of a result, compressed by gzip."""
    content = (agent.state.get("capture.files") or {}).get(arguments.name)
    if content is None:
        raise AgentFault("capture", f"there is no result {arguments.name!r}")
    piece = content[arguments.offset : arguments.offset + PIECE_BYTES]
    return messages.Piece(len(content), base64.b64encode(piece).decode())


OPERATIONS = (
    Served(messages.PROBE, probe),
    Served(messages.LIBRARY, library),
    Served(messages.RUN, run),
    Served(messages.FETCH, fetch),
)
