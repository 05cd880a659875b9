"""JFR recordings, the JVM's own and async-profiler's, cut into slices by jfr-converter."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from jvbtune.errors import CaptureError
from jvbtune.flame.capture.packages import JFR_CONVERTER, fetch

TIMEOUT_SECONDS = 180
#: event -> the converter's options. HotSpot's own samples carry other thread states than async-profiler's.
OPTIONS = {
    ("async-profiler", "cpu"): ("--cpu",),
    ("async-profiler", "ctimer"): ("--cpu",),
    ("async-profiler", "wall"): ("--wall",),
    ("async-profiler", "alloc"): ("--alloc", "--total"),
    ("async-profiler", "lock"): ("--lock", "--total"),
    ("jfr", "cpu"): (),
    ("jfr", "alloc"): ("--alloc", "--total"),
    ("jfr", "lock"): ("--lock", "--total"),
}


def collapsed(recording: Path, engine: str, event: str, from_unix: float, to_unix: float) -> bytes:
    """The collapsed stacks of one event between two moments of the host's clock, threads as first frames."""
    java = shutil.which("java")
    if java is None:
        raise CaptureError("a Java runtime is needed here to read JFR recordings", hint="apt-get install default-jre")
    out = recording.with_suffix(".collapsed")
    argv = [java, "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-jar", str(fetch(JFR_CONVERTER)), "-o", "collapsed"]
    argv += ["--threads", *OPTIONS[engine, event], "--from", str(round(from_unix * 1000))]
    argv += ["--to", str(round(to_unix * 1000)), str(recording), str(out)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise CaptureError(f"the recording could not be converted within {TIMEOUT_SECONDS} s") from None
    if done.returncode != 0 or not out.exists():
        said = (done.stderr or done.stdout).strip()[-500:]
        raise CaptureError(f"jfr-converter failed with status {done.returncode}: {said}")
    content = out.read_bytes()
    out.unlink()
    return content
