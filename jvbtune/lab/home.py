"""The bridge's home directory (``jitsi-videobridge.jar``, ``lib/``): a real one, or the lab's own, built by Maven."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zipfile
from importlib import resources
from pathlib import Path

from jvbtune.errors import JvbtuneError, UsageError

JAR = "jitsi-videobridge.jar"
REAL_MAIN_CLASS = "org.jitsi.videobridge.MainKt"
BUILD_TIMEOUT_SECONDS = 900


def check_home(home: Path) -> Path:
    """``home`` where it is laid out like the Debian package's /usr/share/jitsi-videobridge. Raises UsageError."""
    if not (home / JAR).is_file() or not (home / "lib").is_dir():
        raise UsageError(f"{home} is not a bridge's home: it needs {JAR} and lib/")
    return home.absolute()


def main_class(home: Path) -> str:
    """The manifest's Main-Class, else the real bridge's."""
    with zipfile.ZipFile(home / JAR) as jar:
        try:
            manifest = jar.read("META-INF/MANIFEST.MF").decode()
        except KeyError:
            return REAL_MAIN_CLASS
    unfolded = manifest.replace("\r\n ", "").replace("\n ", "")
    for line in unfolded.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "Main-Class" and value.strip():
            return value.strip()
    return REAL_MAIN_CLASS


def lab_home() -> Path:
    """The lab's own bridge, built where it is not, or where its sources changed. Raises JvbtuneError."""
    sources = Path(str(resources.files("jvbtune.lab"))) / "bridge"
    if not (sources / "pom.xml").is_file():
        raise JvbtuneError(f"{sources}: the sources of the lab's bridge are missing from this installation")
    directory = sources
    if not os.access(sources, os.W_OK) or "site-packages" in sources.parts:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        directory = cache / "jvbtune" / f"lab-bridge-{_digest(sources)[:12]}"
        if not directory.exists():
            shutil.copytree(sources, directory, ignore=shutil.ignore_patterns("target"))
    stamp, digest = directory / "target" / "built", _digest(directory)
    home = directory / "target" / "home"
    if not (home / JAR).is_file() or not stamp.is_file() or stamp.read_text() != digest:
        build(directory)
        stamp.write_text(digest)
    return check_home(home)


def build(directory: Path) -> None:
    """``mvn package``; Maven's last lines are in the error."""
    if shutil.which("mvn") is None:
        raise JvbtuneError("Maven is missing: it builds the lab's bridge", hint="apt-get install maven")
    done = subprocess.run(
        ["mvn", "--batch-mode", "--quiet", "-DskipTests", "package"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise JvbtuneError("the lab's bridge cannot be built", hint=(done.stdout + done.stderr)[-3000:])


def _digest(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted([directory / "pom.xml", *(directory / "src" / "main").rglob("*")]):
        if path.is_file():
            digest.update(str(path.relative_to(directory)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
