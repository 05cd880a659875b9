"""What a sent video packet costs a worker, against C, pion and aiortc, all in one run; and how many one core sends.

The first table is CPU (user and system) of a packet, to a socket of loopback that nobody reads, rounds of all ways in
turn, the median of each. C writes, protects and sends frames of six packets by sendmmsg(2), with the libsrtp that
jvbtune uses, and counts nothing. jvbtune's figures are of whole workers: frames, extensions, pacing, RTCP reports,
lateness and counts by stream and kind. C, ``pion`` and ``aiortc``, without their encoders, send in a loop that never
waits: so does "without waiting". The others wait for each tick of a millisecond, and find the processor's caches cold.

The second table is how many cameras one worker holds: what leaves more than 2 ms late may be 1 %.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pylibsrtp
from pylibsrtp import Policy, Session

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.cameras import Cameras, Held, resident_bytes  # noqa: E402
from jvbtune.load import native  # noqa: E402

ROUNDS = 5
#: So many take a second or more, as the others' rounds do: a machine is faster for a tenth of one.
PACKETS = 600_000
FRAME_PACKETS, PACKET_BYTES = 6, 1066  # of 1.5 Mbit/s at 30 frames a second
FRAME_BYTES = 6250
#: Amounts of cameras that a worker holds, in C and in Python, each with at least a quarter of a core to spare.
CAMERAS, PYTHONS_CAMERAS = 600, 100
SOCKETS = 100
STEPS = (200, 300, 400, 500, 600, 620, 700, 800)
MAX_LATE_RATIO = 0.01
ENDPOINTS = 2000

Way = Callable[[], float]
Found = TypeVar("Found")


def _in_c(library: ctypes.CDLL, port: int, many: int, segmented: bool) -> float:
    """By so many sockets, each with keys of its own, as clients have."""
    profile = Policy.SRTP_PROFILE_AEAD_AES_128_GCM
    ffi, lib = pylibsrtp._binding.ffi, pylibsrtp._binding.lib
    protect = int(ffi.cast("uintptr_t", ffi.addressof(lib, "srtp_protect")))
    with contextlib.ExitStack() as stack:
        sessions, descriptors = [], []
        for _ in range(many):
            sessions.append(
                Session(Policy(key=os.urandom(28), ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile))
            )
            out = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            out.connect(("127.0.0.1", port))
            descriptors.append(out.fileno())
        keys = [int(ffi.cast("uintptr_t", session._srtp[0])) for session in sessions]
        found: float = library.send_all(
            (ctypes.c_int * many)(*descriptors), ctypes.c_void_p(protect), (ctypes.c_void_p * many)(*keys),
            ctypes.c_long(many), ctypes.c_long(PACKETS), FRAME_PACKETS, PACKET_BYTES, int(segmented),
        )  # fmt: skip
    if found < 0:
        raise OSError("the reference in C failed")
    return found / 1e9


def _apart(function: Callable[..., Found], *arguments: Any) -> Found:
    """By a process of its own, as a worker is one."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _hold(many: int, seconds: float) -> Held:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    gc.disable()  # as in a worker
    with Cameras(many) as cameras:
        cameras.hold(1.5)
        return cameras.hold(seconds)


def _rush(many: int) -> float:
    """Without waiting."""
    gc.disable()
    with Cameras(many) as cameras:
        cameras.hold(1.0)
        return cameras.rush(3.0)


def _jvbtune(compiled: bool) -> float:
    before = os.environ.get("JVBTUNE_NATIVE")
    if not compiled:
        os.environ["JVBTUNE_NATIVE"] = "0"
    try:
        return _apart(_hold, CAMERAS if compiled else PYTHONS_CAMERAS, 2.0).cpu_per_packet
    finally:
        os.environ.pop("JVBTUNE_NATIVE", None)
        if before is not None:
            os.environ["JVBTUNE_NATIVE"] = before


def _program(argv: list[str], port: int, packets: int) -> float:
    done = subprocess.run(
        [*argv, str(port), str(packets), str(FRAME_BYTES)], capture_output=True, text=True, check=True
    )
    return float(done.stdout) / 1e9


def _built(argv: list[str], **options: Any) -> bool:
    try:
        subprocess.run(argv, check=True, capture_output=True, timeout=300, **options)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"left out: {' '.join(argv[:4])} … failed ({error.__class__.__name__})")
        return False
    return True


def _ways(directory: Path, port: int) -> dict[str, Way]:
    """By the names that are printed."""
    ways: dict[str, Way] = {}
    library = directory / "reference.so"
    if _built(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "senders/reference.c")]):
        loaded = ctypes.CDLL(str(library))
        loaded.send_all.restype = ctypes.c_double
        ways["C, libsrtp and sendmmsg"] = lambda: _in_c(loaded, port, 1, False)
        ways["C, by 100 sockets"] = lambda: _in_c(loaded, port, SOCKETS, False)
        ways["C, with UDP_SEGMENT"] = lambda: _in_c(loaded, port, 1, True)
    if native.library() is not None:
        ways["jvbtune, without waiting"] = lambda: _apart(_rush, SOCKETS)
        ways["jvbtune"] = lambda: _jvbtune(True)
    ways["jvbtune, Python only"] = lambda: _jvbtune(False)
    shutil.copytree(HERE / "senders/pion", directory / "pion")
    if shutil.which("go") is None:
        print("left out: pion, since there is no Go")
    elif _built(["go", "build", "-o", str(directory / "pion/sender"), "."], cwd=directory / "pion"):
        ways["pion (Go)"] = lambda: _program([str(directory / "pion/sender")], port, PACKETS)
    python = directory / "aiortc/bin/python"
    if _built([sys.executable, "-m", "venv", str(directory / "aiortc")]) and _built(
        [str(python), "-m", "pip", "install", "--quiet", "aiortc"]
    ):
        ways["aiortc"] = lambda: _program([str(python), str(HERE / "senders/with_aiortc.py")], port, PACKETS // 3)
    return ways


def _costs() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="jvbtune-bench-") as directory,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
    ):
        sink.bind(("127.0.0.1", 0))
        ways = _ways(Path(directory), sink.getsockname()[1])
        rounds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                rounds[name].append(way())
    costs = {name: statistics.median(found) for name, found in rounds.items()}
    reference = costs.get("C, libsrtp and sendmmsg")
    for name, seconds in costs.items():
        of_c = f"   {reference / seconds:5.0%} of C" if reference else ""
        print(f"{name:<26} {seconds * 1e6:6.2f} µs a packet{of_c}   {1 / seconds:9,.0f} a second of CPU")


def _rates() -> None:
    for many in STEPS:
        held = _apart(_hold, many, 4.0)
        print(
            f"{many:4} cameras {held.packets_per_second:9,.0f} packets a second   {held.cpu_ratio:4.0%} of a core   "
            f"{held.late_ratio:6.2%} later than 2 ms"
        )
        if held.late_ratio > 10 * MAX_LATE_RATIO:
            break


def _memory() -> None:
    each = _apart(resident_bytes, ENDPOINTS)
    print(f"memory of a client with camera and microphone: {each / 1000:.0f} kB")


def main() -> None:
    _costs()
    _rates()
    _memory()


if __name__ == "__main__":
    main()
