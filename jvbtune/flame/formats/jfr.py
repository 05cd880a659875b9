"""JFR recordings, of the JVM's own profiler and of async-profiler, through ``tools.profiler:jfr-converter``.

The converter is a jar of Maven Central's, got once by Maven and run by the ``java`` of this machine.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from jvbtune.errors import FormatError, UsageError
from jvbtune.flame.formats.collapsed import CollapsedReader
from jvbtune.flame.formats.streams import Input
from jvbtune.flame.formats.table import Rows
from jvbtune.flame.model import Meta

MAGIC = b"FLR\0"
TIMEOUT_SECONDS = 600
#: event -> (the converter's options, unit of what it counts)
EVENTS: dict[str, tuple[tuple[str, ...], str]] = {
    "cpu": (("--cpu",), "samples"),
    "cpu-time": (("--cpu-time",), "samples"),
    "wall": (("--wall",), "samples"),
    "alloc": (("--alloc", "--total"), "bytes"),
    "lock": (("--lock", "--total"), "ns"),
}


def read(stream: Input, collapsed: CollapsedReader, event: str | None) -> Rows:
    """One event of a recording; without ``event``, its execution samples.

    Raises FormatError where the recording is damaged, where no ``java`` is there to read it, or where it holds no such
    event.
    """
    if event is not None and event not in EVENTS:
        raise UsageError(f"no event of a JFR recording is called {event!r}", hint=f"There are: {', '.join(EVENTS)}.")
    options, unit = EVENTS[event] if event else ((), "samples")
    with tempfile.TemporaryDirectory(prefix="jvbtune-jfr-") as directory:
        recording = stream.path
        if stream.compression:
            recording = Path(directory, "recording.jfr")
            recording.write_bytes(stream.read_all())
        out = Path(directory, "stacks.collapsed")
        _convert(recording, out, options, stream.path)
        with Input(out) as text:
            if not text.peek():
                what = f"events of {event}" if event else "execution samples"
                raise FormatError(f"no {what} are in this recording", file=stream.path, hint="See --event.")
            rows = collapsed.read(text)
    return replace(rows, meta=Meta(event=event or "cpu", unit=unit))


def _convert(recording: Path, out: Path, options: tuple[str, ...], file: Path) -> None:
    from jvbtune.flame.capture.packages import JFR_CONVERTER, fetch

    java = shutil.which("java")
    if java is None:
        raise FormatError(
            "a JFR recording is read by a Java program, and there is no java here",
            file=file,
            hint="Install a Java runtime (apt-get install default-jre-headless), or give collapsed stacks.",
        )
    argv = [java, "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-jar", str(fetch(JFR_CONVERTER))]
    argv += ["-o", "collapsed", "--threads", *options, str(recording), str(out)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise FormatError(f"the recording was not converted within {TIMEOUT_SECONDS} s", file=file) from None
    if done.returncode != 0 or not out.exists():
        said = (done.stderr or done.stdout).strip().splitlines()
        raise FormatError(f"jfr-converter cannot read it: {said[0] if said else done.returncode}", file=file)
