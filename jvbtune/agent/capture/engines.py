"""The engines that run on a host: async-profiler, perf, JFR. Each takes a Session through its slices."""

from __future__ import annotations

import base64
import re
import shutil
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Callable

from jvbtune.agent.capture.inside import PREFIX, Inside
from jvbtune.agent.capture.meter import Meter, between
from jvbtune.agent.capture.perf import BYTES_PER_SAMPLE, SPOOL_DIRECTORY, CodeMap, Recording
from jvbtune.agent.capture.probe import Target, foreign_profiler
from jvbtune.agent.capture.recording import without_secrets
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.procfs import usable_cores
from jvbtune.protocol import inside as helper
from jvbtune.protocol.agent import SliceTaken
from jvbtune.protocol.capture import Run
from jvbtune.protocol.messages import Refused

#: A slice's profiler stops by itself this long after the slice should have ended.
GRACE_SECONDS = 5
JFR_START_SECONDS = 60  # the first start of a JVM takes seconds, on a busy one many
MEMORY_LIMIT = "128m"  # of async-profiler's call traces, in the JVM's process
LIBRARY_BYTES, RESULT_BYTES = 1 << 20, 6 << 20
ALLOC_INTERVAL_BYTES, LOCK_INTERVAL_NS = 512 << 10, 10_000
AWAY = "the bridge's JVM ended during the capture"


@dataclass
class Session:
    """One capture under way."""

    agent: Any
    jvm: Target
    inside: Inside
    meter: Meter
    arguments: Run
    directories: list[str]
    library: tuple[str, str, bytes] | None
    created_unix: float = field(default_factory=time.time)
    stopped: threading.Event = field(default_factory=threading.Event)
    slices: list[dict[str, Any]] = field(default_factory=list)
    off: list[dict[str, Any]] = field(default_factory=list)  #: windows without a profiler, one before each slice
    files: dict[str, bytes] = field(default_factory=dict)
    told: str = ""  #: the profiler's arguments
    version: str = ""
    log: str = ""
    recordings: list[Recording] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.arguments.slices

    @property
    def seconds(self) -> float:
        return self.arguments.slice_seconds

    def hold(self) -> dict[str, Any]:
        """One window: counters at its edges, and a watch on the JVM in between."""
        first = self.meter.read()
        end = first.mono + self.seconds
        while True:
            left = end - time.monotonic()
            if left <= 0:
                break
            if self.stopped.wait(min(0.25, left)):
                raise AgentFault("capture", "the capture was broken off")
            if not self.jvm.alive():
                raise AgentFault("capture", AWAY)
        return between(first, self.meter.read())

    def hold_off(self) -> None:
        """The window without a profiler that a slice's cost is measured against."""
        if self.arguments.measure_cost:
            self.off.append(self.hold())

    def finished(self, measured: dict[str, Any]) -> None:
        self.slices.append(measured)
        self.agent.emit(SliceTaken(len(self.slices), self.count, measured["seconds"]))

    def place(self, needed_bytes: int, *, with_library: bool) -> tuple[str, str]:
        """(library, directory for results), as the JVM sees them."""
        name, sha256, content = self.library if with_library and self.library else ("", "", b"")
        if with_library and not content:
            raise AgentFault("capture", "the profiler's library was not sent")
        own = PREFIX + (sha256[:12] or "jfr")
        looked = self.inside.call(helper.LOOK, helper.Look(self.directories, needed_bytes, own))
        if looked.directory is None:
            reasons = "\n".join(f"  {path} {why}" for path, why in looked.refused.items())
            what = "the profiler's library and its results" if with_library else "a recording"
            raise AgentFault("capture", f"there is no place for {what} where the JVM can use them:\n{reasons}")
        packed = base64.b64encode(content).decode()
        self.inside.call(helper.CLEAR, helper.Clear(self.directories))
        place = helper.Place(looked.directory, own, library=name or "none", sha256=sha256, content=packed)
        made = self.inside.call(helper.PLACE, place)
        return made.library, made.out

    def jcmd(self, command: str, timeout_seconds: float = 60.0) -> str:
        answer = self.inside.call(helper.ASK, helper.Ask(["jcmd", command], timeout_seconds))
        if answer.code != 0:
            raise AgentFault("capture", f"{command.split()[0]}: {answer.text.strip()[-500:]}")
        return answer.text

    def close(self) -> None:
        for recording in self.recordings:
            recording.kill()
        self.recordings = []


# -- async-profiler -------------------------------------------------------------------------------------------------


class _AsyncProfiler:
    """The library in the JVM, by its agent arguments (arguments.cpp)."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.library, self.out = session.place(LIBRARY_BYTES + RESULT_BYTES, with_library=True)

    def command(self, options: str) -> None:
        """Raises AgentFault with what the profiler wrote into its log."""
        log = f"{self.out}/log"
        self.session.inside.call(helper.REMOVE, helper.OfPath(log))
        code = self.session.inside.call(helper.LOAD, helper.Load(self.library, f"{options},log={log}")).code
        try:
            said = self.session.inside.read_file(log).decode("utf-8", "replace").strip()
        except Refused:
            said = ""
        if code != 0:
            raise AgentFault("capture", f"async-profiler: {said or f'code {code}'}", _hint(said))
        if "incomplete" in said:
            raise AgentFault("capture", f"the result in {self.out} is incomplete: the target's disk is full")
        if said and said not in self.session.log:
            self.session.log += said + "\n"

    def ask(self, action: str) -> str:
        path = f"{self.out}/answer"
        self.command(f"{action},file={path}")
        text = self.session.inside.read_file(path).decode("utf-8", "replace")
        self.session.inside.call(helper.REMOVE, helper.OfPath(path))
        return text

    def metrics(self) -> dict[str, int]:
        found = {name: int(value) for name, value in re.findall(r"^(\w+) (\d+)$", self.ask("metrics"), re.M)}
        if "samples_total" not in found:
            raise AgentFault("capture", f"async-profiler cannot write into {self.out}: the target's disk is full")
        return found

    def check_whole(self, content: bytes, metrics: dict[str, int]) -> None:
        """A full disk cuts the profiler's output without a word of it: the counts are held against its own metrics."""
        counted = sum(int(line.rpartition(b" ")[2]) for line in content.splitlines() if line)
        taken = metrics["samples_total"] - metrics["samples_skipped_total"]
        lost = taken - metrics.get("calltracestorage_overflows_total", 0) - counted
        if lost > max(2, 0.01 * taken) or (content and not content.endswith(b"\n")):
            raise AgentFault(
                "capture",
                f"the result in {self.out} is incomplete, {counted} of {taken} samples: the target's disk is full",
            )

    def refuse_foreign(self) -> None:
        """Somebody else's session is asked for, and never touched."""
        found = foreign_profiler(self.session.jvm, self.library.split("/")[-2])
        hint = "It is not ours to stop. Wait until it ends, or stop it where it was started."
        for path in found["libraries"]:
            answer = f"{self.out}/answer"
            try:
                self.session.inside.call(helper.LOAD, helper.Load(path, f"status,file={answer}"))
                said = self.session.inside.read_file(answer).decode("utf-8", "replace").strip()
                self.session.inside.call(helper.REMOVE, helper.OfPath(answer))
            except Refused as error:
                raise AgentFault(
                    "capture",
                    f"another profiler ({path}) is loaded in the bridge's JVM and cannot be asked: {error}",
                    "It may be at work: it goes with a restart of the bridge. Or use --engine perf.",
                ) from error
            if "running" in said:
                raise AgentFault("capture", f"somebody else profiles the bridge's JVM ({path}): {said}", hint)
        if found["perf_descriptors"] or "running" in self.ask("status"):
            raise AgentFault("capture", "somebody else profiles the bridge's JVM", hint)

    def start_options(self, seconds: float) -> str:
        arguments = self.session.arguments
        options = ["start", "quiet", f"timeout={int(seconds) + 1 + GRACE_SECONDS}", f"memlimit={MEMORY_LIMIT}"]
        interval = arguments.interval_ns
        several = len(arguments.events) > 1
        for event in arguments.events:
            if event == "cpu":
                options += [f"event={arguments.event}", f"interval={interval}"]
            elif event == "wall":
                options += [f"wall={interval}", "nobatch"] if several else ["event=wall", f"interval={interval}"]
            elif event == "alloc":
                options.append(f"alloc={ALLOC_INTERVAL_BYTES}")
            elif event == "lock":
                options.append(f"lock={LOCK_INTERVAL_NS}")
        options += ["threads", "ann"]
        return ",".join(options)

    def transfer(self) -> str:
        """For each session anew: the profiler closes the connection when it stops."""
        if not self.session.arguments.transfer:
            return ""
        path = f"{self.out}/descriptors"
        self.session.inside.call(helper.SERVE, helper.OfPath(path))
        return f",fdtransfer={path}"

    def arm(self, on: bool) -> None:
        stop = [["load", self.library, "true", "stop"]] if on else []
        self.session.inside.call(helper.ARM, helper.Arm(stop, files=[]))


def _hint(said: str) -> str | None:
    if "No access to perf events" in said or "Perf events unavailable" in said:
        return "Use --allow-sysctls, or --event ctimer (without kernel frames)."
    return None


def async_profiler(session: Session) -> None:
    """Slices of one event as collapsed stacks, or one recording of several events."""
    if any("-XX:-EnableDynamicAgentLoading" in text for text in session.jvm.options):
        raise AgentFault(
            "capture",
            "the bridge's JVM runs with -XX:-EnableDynamicAgentLoading: it loads no profiler",
            "Take that option away and restart the bridge, or use --engine perf.",
        )
    profiler = _AsyncProfiler(session)
    session.version = profiler.ask("version").strip()
    profiler.refuse_foreign()
    if len(session.arguments.events) > 1:
        _one_recording(session, profiler)
        return
    counter = ",total" if session.arguments.events[0] in ("alloc", "lock") else ""
    options = profiler.start_options(session.seconds)
    session.told = options
    for index in range(session.count):
        session.hold_off()
        profiler.arm(True)
        begun = time.monotonic()
        profiler.command(options + profiler.transfer())
        measured = session.hold()
        late = time.monotonic() - begun > int(session.seconds) + 1 + GRACE_SECONDS
        measured["profiler"] = profiler.metrics()
        name = f"slice-{index:02}.collapsed"
        profiler.command(f"stop,collapsed,threads,ann,file={profiler.out}/{name}{counter}")
        profiler.arm(False)
        if late:
            raise AgentFault("capture", "the host was too busy: a slice was ended by its own time-out")
        content = session.files[name] = session.inside.read_file(f"{profiler.out}/{name}")
        if not counter:
            profiler.check_whole(content, measured["profiler"])
        session.inside.call(helper.REMOVE, helper.OfPath(f"{profiler.out}/{name}"))
        measured["file"] = name
        session.finished(measured)


def _one_recording(session: Session, profiler: _AsyncProfiler) -> None:
    """Several events at once: only async-profiler's JFR output holds them."""
    path = f"{profiler.out}/recording.jfr"
    session.told = profiler.start_options(session.seconds * session.count)
    profiler.arm(True)
    profiler.command(f"{session.told}{profiler.transfer()},jfr,file={path}")
    for _ in range(session.count):
        session.finished({**session.hold(), "recording": "recording.jfr"})
    session.slices[-1]["profiler"] = profiler.metrics()
    profiler.command(f"stop,jfr,file={path}")
    profiler.arm(False)
    session.files["recording.jfr"] = _without_secrets(session.inside.read_file(path))


# -- perf -----------------------------------------------------------------------------------------------------------


def perf(session: Session) -> None:
    """perf record by the host's root; the JVM writes its map of compiled code after each slice."""
    command = str(session.arguments.perf)
    interval = session.arguments.interval_ns
    map_path = f"/tmp/perf-{session.jvm.own_pid}.map"
    samples = session.count * session.seconds * usable_cores(session.jvm.pid) * 1e9 / interval
    free = shutil.disk_usage(SPOOL_DIRECTORY).free
    if free < 2 * samples * BYTES_PER_SAMPLE:
        raise AgentFault("capture", f"{SPOOL_DIRECTORY} has {free >> 20} MiB free, too little for perf's samples")
    stale = session.inside.call(helper.REMOVE, helper.OfPath(map_path)).removed
    if stale:
        session.log += f"a stale {map_path} was deleted\n"
    session.inside.call(helper.ARM, helper.Arm(stop=[], files=[map_path]))
    session.version = session.arguments.perf_version or ""
    session.told = f"-e cpu-clock -c {interval} -g"
    maps = []
    for _ in range(session.count):
        session.hold_off()
        recording = Recording(command, session.jvm.pid, interval, session.seconds + GRACE_SECONDS)
        session.recordings.append(recording)
        recording.enable()
        measured = session.hold()
        recording.stop()
        session.jcmd("Compiler.perfmap")
        maps.append(CodeMap(session.inside.read_file(map_path).decode("utf-8", "replace")))
        session.inside.call(helper.REMOVE, helper.OfPath(map_path))
        session.finished(measured)
    for index, (recording, code) in enumerate(zip(session.recordings, maps)):
        if len(code) == 0:
            raise AgentFault("capture", f"the JVM wrote no compiled method into {map_path}: is its disk full?")
        text, count = recording.fold(command, code)
        name = f"slice-{index:02}.collapsed"
        session.files[name] = text.encode()
        session.slices[index].update(file=name, profiler={"samples_total": count, "compiled_methods": len(code)})


# -- JFR ------------------------------------------------------------------------------------------------------------

#: Only what is asked for; NativeMethodSample would mix threads that wait in accept() with those that work.
_JFC = """<?xml version="1.0" encoding="UTF-8"?>
<configuration version="2.0" label="jvbtune" provider="jvbtune">
{events}
</configuration>
"""
_JFR_EVENTS = {
    "cpu": ("jdk.ExecutionSample", {"period": "{interval_ms} ms"}),
    "alloc": ("jdk.ObjectAllocationSample", {"throttle": "300/s", "stackTrace": "true"}),
    "lock": ("jdk.JavaMonitorEnter", {"threshold": "1 ms", "stackTrace": "true"}),
}


def jfr_settings(events: list[str], interval_ns: int) -> str:
    """The .jfc file: these events and no other."""
    texts = []
    for event in events:
        name, values = _JFR_EVENTS[event]
        told = {"enabled": "true", **values}
        settings = "".join(
            f'<setting name="{key}">{value.format(interval_ms=max(1, round(interval_ns / 1e6)))}</setting>'
            for key, value in told.items()
        )
        texts.append(f'  <event name="{name}">{settings}</event>')
    return _JFC.format(events="\n".join(texts))


def jfr(session: Session) -> None:
    """One recording by the JVM's own recorder, which the controller cuts into slices; where the cost is measured, one
    for each slice, so that there are windows without."""
    apart = session.arguments.measure_cost
    total = session.seconds * (1 if apart else session.count)
    _, out = session.place(RESULT_BYTES + int(total * (256 << 10)), with_library=False)
    text = jfr_settings(session.arguments.events, session.arguments.interval_ns)
    session.inside.call(helper.WRITE, helper.Write(f"{out}/jvbtune.jfc", base64.b64encode(text.encode()).decode()))
    session.told, session.version = text, "JFR"
    for index in range(session.count if apart else 1):
        session.hold_off()
        name = f"recording-{index:02}.jfr" if apart else "recording.jfr"
        for measured in _recorded(session, out, name, total, 1 if apart else session.count):
            session.finished({**measured, "recording": name})


def _recorded(session: Session, out: str, file: str, seconds: float, windows: int) -> list[dict[str, Any]]:
    """The windows of one recording; it ends by itself where nobody ends it."""
    name, path = f"jvbtune-{int(session.created_unix)}", f"{out}/{file}"
    session.inside.call(helper.ARM, helper.Arm(stop=[["jcmd", f"JFR.stop name={name}"]], files=[]))
    duration = int(seconds) + 1 + GRACE_SECONDS + JFR_START_SECONDS
    session.jcmd(
        f"JFR.start name={name} settings={out}/jvbtune.jfc filename={path} duration={duration}s maxsize=200m",
        2.0 * JFR_START_SECONDS,
    )
    measured = [session.hold() for _ in range(windows)]
    said = session.jcmd(f"JFR.stop name={name} filename={path}", 2.0 * JFR_START_SECONDS)
    session.inside.call(helper.ARM, helper.Arm(stop=[], files=[]))
    try:
        session.files[file] = _without_secrets(session.inside.read_file(path))
    except Refused as error:
        raise AgentFault("capture", f"JFR wrote no recording: {said.strip()}") from error
    session.inside.call(helper.REMOVE, helper.OfPath(path))
    return measured


def _without_secrets(content: bytes) -> bytes:
    try:
        return without_secrets(content)
    except ValueError as error:
        raise AgentFault("capture", f"the JFR recording cannot be used: {error}") from error


ENGINES: dict[str, Callable[[Session], None]] = {"async-profiler": async_profiler, "perf": perf, "jfr": jfr}
