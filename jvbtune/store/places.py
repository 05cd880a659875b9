"""Where runs and captures are kept, so that they are found from any directory.

An option wins, then the environment, then the checkout around the working directory, then XDG's data directory. A
checkout that was written to is remembered in XDG's state directory: its runs are found from elsewhere, too.
"""

from __future__ import annotations

import os
from pathlib import Path

from jvbtune.store.atomic import write_bytes

#: A directory of experiment files tells a checkout from any other directory that happens to be called experiments.
MARK = "experiments/*.toml"
MOST_REMEMBERED = 20


def checkout(start: Path | None = None) -> Path | None:
    """The nearest directory at or above ``start`` (default: the working directory) with experiments; None: none."""
    try:
        begin = (start or Path.cwd()).absolute()
    except OSError:
        return None  # the working directory was deleted
    return next((one for one in (begin, *begin.parents) if next(one.glob(MARK), None) is not None), None)


def kept_in(explicit: Path | None, variable: str, in_checkout: str, name: str) -> Path:
    """The directory for what is called ``name``: ``explicit``, ``$variable``, ``in_checkout`` of a checkout, XDG's."""
    if explicit is not None:
        return explicit
    if from_environment := os.environ.get(variable):
        return Path(from_environment)
    if (around := checkout()) is not None:
        return around / in_checkout
    data_home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(data_home) / "jvbtune" / name


def remember(directory: Path) -> None:
    """Note a directory of runs. If the note cannot be written, only the shortcut is lost."""
    found = [directory.absolute(), *(one for one in remembered() if one != directory.absolute())][:MOST_REMEMBERED]
    try:
        _note().parent.mkdir(parents=True, exist_ok=True)
        write_bytes(_note(), "".join(f"{one}\n" for one in found).encode())
    except OSError:
        return


def remembered() -> list[Path]:
    """Directories of runs that were written to, the newest first, as far as they are still there."""
    try:
        lines = _note().read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [Path(line) for line in lines if line.startswith("/") and Path(line).is_dir()]


def state_directory() -> Path:
    """Where jvbtune keeps what it found out for this user."""
    state_home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return Path(state_home) / "jvbtune"


def _note() -> Path:
    return state_directory() / "runs-directories"
