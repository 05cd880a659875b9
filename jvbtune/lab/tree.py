"""The Debian host that labs of the kinds systemd and container boot: built from packages at the first use, and cached.

One tree serves all labs: each has it read-only below a layer of its own. A tree is known by the hash of its recipe
(``debian/tree.sh``), is built beside its place, and gets its name when it is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

from jvbtune.errors import JvbtuneError

BUILD_TIMEOUT_SECONDS = 900
RECIPES = Path(str(resources.files("jvbtune.lab"))) / "debian"


def trees_directory() -> Path:
    """``$XDG_CACHE_HOME/jvbtune/lab-trees``, or below ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jvbtune" / "lab-trees"


def tree_path() -> Path:
    """Where the tree of the present recipe is, or will be."""
    digest = hashlib.sha256((RECIPES / "tree.sh").read_bytes()).hexdigest()
    return trees_directory() / f"bookworm-{digest[:12]}"


def lab_tree(say: Callable[[str], None] = lambda text: None) -> Path:
    """The tree: ``host/``, ``images/``. Built if it is not there. Raises JvbtuneError with the end of the log."""
    path = tree_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path.parent / "lock"):
        if not path.is_dir():
            say("Building the Debian host for labs from packages. This takes two to three minutes, once…")
            _build(path)
    return path


def _build(path: Path) -> None:
    if shutil.which("debootstrap") is None:
        raise JvbtuneError("debootstrap is missing: it builds the lab's host", hint="apt-get install debootstrap")
    for leftover in path.parent.glob("building-*"):  # of a build that was killed; the lock is ours
        shutil.rmtree(leftover)
    aside = Path(tempfile.mkdtemp(prefix="building-", dir=path.parent))
    aside.chmod(0o755)
    # It ends with this process, and all of its own with it.
    argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--"]
    argv += ["sh", str(RECIPES / "tree.sh"), str(aside)]
    log = path.parent / "build.log"
    try:
        with log.open("wb") as output:
            done = subprocess.run(
                [*argv, *_mirror()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=BUILD_TIMEOUT_SECONDS,
                check=False,
            )
        if done.returncode != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise JvbtuneError(f"the lab's host cannot be built; the whole log is {log}", hint=tail)
        aside.rename(path)
    except subprocess.TimeoutExpired:
        raise JvbtuneError(
            f"the lab's host was not built within {BUILD_TIMEOUT_SECONDS} s; see {log}",
            hint="Can this machine reach its Debian mirror?",
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _mirror() -> list[str]:
    """The mirror that this machine's own apt uses for bookworm; else debootstrap's default."""
    argv = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)"]
    try:
        done = subprocess.run([*argv, "Created-By: Packages"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    for line in done.stdout.splitlines():
        fields = line.split()
        if fields[1:] == ["bookworm", "main", "Debian"] and fields[0].startswith(("http://", "https://")):
            return [fields[0]]
    return []


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One builder at a time."""
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
