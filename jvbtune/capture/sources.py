"""What a user means by a side of a comparison: files, a capture's directory, its id, a capture of a run.

stacks.collapsed.gz      a file of any format that formats.read knows
a.gz,b.gz   'slice-*'    several files: the slices of one side
flamegraphs/ID           a capture's directory; or ID, or the beginning of one
RUN:CAPTURE              a capture of a run: its id, the beginning of one, lowest or highest (of its packet rates)
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jvbtune.capture.stored import Capture, is_capture, list_captures, load_capture
from jvbtune.errors import JvbtuneError, StoreError, UsageError
from jvbtune.flame.formats import path_title, read
from jvbtune.flame.model import Meta, Profile
from jvbtune.flame.names import ALL_RULES, NameRules
from jvbtune.flame.threads import SENTENCES, Threads, arrange_threads
from jvbtune.store import Run, open_run

#: How the command line calls the ways to show threads.
THREADS: dict[str, Threads] = {"split": "split", "merge": "pool", "drop": "drop"}


@dataclass(frozen=True)
class Reader:
    """Where sides are looked for, and how names and threads are read."""

    rules: NameRules = ALL_RULES
    threads: str = "merge"
    runs_dir: Path | None = None
    captures_dir: Path | None = None
    event: str | None = None  # which one, where a file holds several
    counts: str = "auto"  # what plain files of collapsed stacks hold: "samples", "weights", or by their sizes

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is done to names, for the head of a picture."""
        return (*self.rules.sentences, SENTENCES[THREADS[self.threads]])

    def side(self, references: Sequence[str]) -> tuple[str, list[Profile]]:
        """(label, profiles): all that the references name, as the slices of one side. Raises UsageError, StoreError,
        FormatError."""
        found = [part for reference in references for part in self._resolve(reference)]
        _refuse_twice(found)
        profiles: list[Profile] = []
        files = [part for part in found if isinstance(part, Path)]
        for part in found:
            if isinstance(part, Capture):
                profiles += self._arranged(part.profiles(self.rules))
        if files:
            metas = [_meta_beside(path) for path in files]
            profiles += self._arranged([self._counted(one) for one in read(files, self.rules, metas, event=self.event)])
        return _label(found), profiles

    def _counted(self, profile: Profile) -> Profile:
        """The profile with what the user says of its numbers, if it says nothing itself."""
        if self.counts == "auto" or profile.samples is not None or profile.meta.unit != "samples":
            return profile
        if self.counts == "samples":
            return replace(profile, samples=profile.counts)
        return replace(profile, meta=replace(profile.meta, unit="weights"))

    def capture(self, capture: Capture) -> list[Profile]:
        """The slices of a capture."""
        return self._arranged(capture.profiles(self.rules))

    def _arranged(self, profiles: list[Profile]) -> list[Profile]:
        return arrange_threads(profiles, THREADS[self.threads], self.rules)

    def _resolve(self, reference: str) -> list[Path | Capture]:
        path = Path(reference)
        there = os.path.exists(path)  # of a list that is too long for a name, Path.exists raises
        if there and (path.is_dir() or is_capture(path)):
            return [_capture_in(path)]
        if there:  # a file, a pipe
            return [path]
        if "," in reference:
            return [part for one in reference.split(",") if one for part in self._resolve(one)]
        if any(sign in reference for sign in "*?["):
            matches = sorted(glob.glob(reference))
            if not matches:
                raise UsageError(f"{reference}: no file matches")
            return [part for one in matches for part in self._resolve(one)]
        if ":" in reference:
            run, _, name = reference.rpartition(":")
            return [capture_of(open_run(run, self.runs_dir), name)]
        return [self._by_id(reference)]

    def _by_id(self, reference: str) -> Capture:
        from jvbtune.capture.store import captures_directory

        where = captures_directory(self.captures_dir)
        found = [capture for capture in list_captures([where], damaged=[]) if capture.id.startswith(reference)]
        exact = [capture for capture in found if capture.id == reference]
        if len(exact or found) == 1:
            return (exact or found)[0]
        if found:
            raise UsageError(
                f"{reference!r} is the beginning of {len(found)} captures",
                hint="One of: " + ", ".join(capture.id for capture in found[:8]),
            )
        raise UsageError(
            f"{reference}: neither a file, nor a capture in {where}",
            hint="Give a file of stacks, a capture's directory or id, several by commas, or RUN:CAPTURE.",
        )


def _refuse_twice(found: Sequence[Path | Capture]) -> None:
    """What is named twice on one side would count as two observations that agree."""
    seen: set[str] = set()
    for part in found:
        name = os.path.realpath(part.path if isinstance(part, Capture) else part)
        if name in seen and not os.path.exists(name):
            continue  # a pipe has no name of its own
        if name in seen:
            raise UsageError(f"{name} is named twice on one side", hint="Give each capture and each file once.")
        seen.add(name)


def captures_of(run: Run, damaged: list[JvbtuneError] | None = None) -> list[Capture]:
    """The captures of a run, by packet rate, unknown ones first. ``damaged``: as of ``list_captures``."""
    return sorted(list_captures([run.path / "captures"], damaged), key=lambda c: (c.packet_rate_pps or 0.0, c.id))


def capture_of(run: Run, name: str) -> Capture:
    """The capture of a run by its id, the beginning of one, ``lowest`` or ``highest``. Raises StoreError."""
    captures = captures_of(run)
    if not captures:
        raise StoreError(
            f"{run.path}: the run has no captures", hint="An experiment takes them where it says so: [profile]."
        )
    if name in ("lowest", "highest"):
        known = [capture for capture in captures if capture.packet_rate_pps is not None]
        if not known:
            raise StoreError(f"{run.path}: no capture of the run knows its packet rate")
        return known[0 if name == "lowest" else -1]
    found = [capture for capture in captures if capture.id == name]
    found = found or [capture for capture in captures if capture.id.startswith(name)]
    if len(found) != 1:
        ids = ", ".join(capture.id for capture in (found or captures)[:8])
        what = f"{name!r} is the beginning of {len(found)} captures" if found else f"there is no capture {name!r}"
        raise StoreError(f"{run.path}: {what}", hint=f"One of: lowest, highest, {ids}")
    return found[0]


def choose(captures: Sequence[Capture], run: str, step: str | None, event: str | None) -> list[Capture]:
    """Those of one step and one event. Raises UsageError where that is not clear, or nothing is left."""
    if not captures:
        raise UsageError(
            f"{run}: the run has no captures", hint="An experiment takes them where it says so: [profile]."
        )
    steps = sorted({capture.step or "" for capture in captures})
    wanted = step if step is not None else "baseline" if "baseline" in steps else steps[0] if len(steps) == 1 else None
    if wanted not in steps:
        raise UsageError(f"{run}: which step? Captures are of: {', '.join(steps)}", hint="Choose one: --step STEP")
    captures = [capture for capture in captures if (capture.step or "") == wanted]
    events = sorted({capture.event for capture in captures})
    chosen = event if event is not None else "cpu" if "cpu" in events else events[0] if len(events) == 1 else None
    if chosen not in events:
        raise UsageError(f"{run}: which event? Captures are of: {', '.join(events)}", hint="Choose one: --event EVENT")
    return [capture for capture in captures if capture.event == chosen]


def _capture_in(path: Path) -> Capture:
    if not is_capture(path):
        hint = f"A capture of this run: {path}:CAPTURE" if (path / "manifest.json").is_file() else None
        raise UsageError(
            f"{path}: a directory, but no capture", hint=hint or "A capture is a directory with capture.json."
        )
    return load_capture(path)


def _meta_beside(path: Path) -> Meta | None:
    """What the capture that a file is a slice of knows of it; None for a file that is no slice."""
    if not is_capture(path.parent):
        return None
    capture = load_capture(path.parent)
    return next((m for one, m in zip(capture.slices, capture.metas(), strict=True) if one.file == path.name), None)


def _label(found: Sequence[Path | Capture]) -> str:
    names = [part.title if isinstance(part, Capture) else path_title(part) for part in found]
    if len(names) <= 2:
        return " and ".join(names)
    return f"{names[0]} and {len(names) - 1} more"
