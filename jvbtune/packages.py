"""The profilers' own packages: by name and version from Maven Central, by Maven, held to a known hash, cached.

Apache-2.0 both. Where there is no Maven or no network, the jar can be put into the cache by hand; it is checked alike.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from jvbtune.errors import CaptureError
from jvbtune.store.atomic import write_bytes

TIMEOUT_SECONDS = 180


@dataclass(frozen=True)
class Package:
    """A jar of Maven Central."""

    group: str
    name: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}.jar"

    @property
    def coordinates(self) -> str:
        return f"{self.group}:{self.name}:{self.version}"


ASYNC_PROFILER = Package(
    "tools.profiler", "async-profiler", "4.6", "a5d3d9f4582c2033fa9db518046e73ef97219801f3e7542b82e3e09261ebe493"
)
JFR_CONVERTER = Package(
    "tools.profiler", "jfr-converter", "4.5", "d8a5452b26adb11a2a0abf0c53799a6fd60dbccb0647efa5a734e3c46ced3df4"
)
#: uname -m -> where in the jar the library is; it runs on glibc and on musl.
LIBRARIES = {"x86_64": "linux-x64/libasyncProfiler.so", "aarch64": "linux-arm64/libasyncProfiler.so"}


def cache_directory() -> Path:
    """``$XDG_CACHE_HOME/jvbtune/packages``, or below ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jvbtune" / "packages"


def fetch(package: Package) -> Path:
    """The package's jar, fetched at the first call. Raises CaptureError where it cannot be had, or is another one."""
    path = cache_directory() / package.file_name
    if not path.exists():
        _download(package, path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise CaptureError(
            f"{path} has sha256 {found}, and {package.coordinates} has {package.sha256}",
            hint="Delete it, and look where it came from.",
        )
    return path


def _download(package: Package, path: Path) -> None:
    maven = shutil.which("mvn")
    by_hand = f"Or put the jar of {package.coordinates} there by hand: {path}"
    if maven is None:
        raise CaptureError(f"Maven (mvn) is needed once, to fetch {package.coordinates}", hint=by_hand)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        argv = [maven, "--batch-mode", "--quiet", "dependency:copy", f"-Dartifact={package.coordinates}"]
        try:
            done = subprocess.run(
                [*argv, f"-DoutputDirectory={directory}"],
                cwd=directory,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            text = f"Maven did not fetch {package.coordinates} within {TIMEOUT_SECONDS} s"
            raise CaptureError(text, hint=by_hand) from None
        jar = Path(directory, package.file_name)
        if done.returncode != 0 or not jar.exists():
            said = (done.stdout + done.stderr).strip().splitlines()
            text = f"Maven cannot fetch {package.coordinates}: {said[0] if said else 'it does not say why'}"
            raise CaptureError(text, hint=by_hand)
        write_bytes(path, jar.read_bytes())


def profiler_library(machine: str) -> tuple[bytes, str]:
    """(content, sha256) of async-profiler's library for a machine, as ``uname -m`` calls it."""
    if machine not in LIBRARIES:
        raise CaptureError(f"async-profiler has no library for {machine}: only for {', '.join(LIBRARIES)}")
    with zipfile.ZipFile(fetch(ASYNC_PROFILER)) as jar:
        content = jar.read(LIBRARIES[machine])
    return content, hashlib.sha256(content).hexdigest()
