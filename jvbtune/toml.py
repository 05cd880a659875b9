"""TOML files of the user's, validated; every fault is told with its file, line and key.

``tomllib`` gives values without their places, so the places are found again in the text: only when there is a fault.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from jvbtune.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)
#: So many are looked for in the text; a table of thousands of unknown keys is one mistake.
MOST_FAULTS = 100
Key = str | int

_BARE_OR_QUOTED = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = rf"{_BARE_OR_QUOTED}(?:\s*\.\s*{_BARE_OR_QUOTED})*"
_TABLE = re.compile(rf"^\s*(\[\[?)\s*({_DOTTED})\s*\]\]?")
_ASSIGNMENT = re.compile(rf"^\s*({_DOTTED})\s*=")
_PART = re.compile(_BARE_OR_QUOTED)


def load_toml(path: Path, model: type[Model]) -> Model:
    """Read ``path`` as ``model``. Raises ConfigError with the file, the line and the key of each fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8: {error.reason} at byte {error.start}", file=path) from error
    return parse_toml(text, model, file=path)


def parse_toml(text: str, model: type[Model], *, file: Path | str) -> Model:
    """Like ``load_toml``, of a text that was read from ``file``."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        message = str(error).split(" (at ")[0]
        raise ConfigError(f"not TOML: {message}", file=file, line=int(place[1]) if place else None) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or nested hundreds deep
        what = "it is nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"
        raise ConfigError(f"not TOML that jvbtune reads: {what}", file=file) from error
    try:
        return model.model_validate(data, context={"directory": Path(file).parent})
    except ValidationError as error:
        raise _config_error(error, text, model, file) from error


def _config_error(error: ValidationError, text: str, model: type[BaseModel], file: Path | str) -> ConfigError:
    faults = []
    places = _lines_of_keys(text)
    for fault in error.errors(include_url=False)[:MOST_FAULTS]:
        where = _keys(fault["loc"])
        faults.append((_line_of(places, where), where, _say(fault, model)))
    faults.sort(key=lambda item: (item[0] or 0, [str(key) for key in item[1]]))
    line, where, message = faults[0]
    others = [f"{file}:{ln}: {dotted(keys)}: {said}" for ln, keys, said in faults[1:10]]
    return ConfigError(message, file=file, line=line, key=dotted(where) or None, hint="\n".join(others) or None)


def _keys(location: Sequence[Key]) -> tuple[Key, ...]:
    """The keys of the file in a pydantic location: without the names of union members and validators."""
    return tuple(key for key in location if isinstance(key, int) or not re.search(r"[\[(]|^(int|str|float|bool)$", key))


def _say(fault: Any, model: type[BaseModel]) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        known = _known_keys(model, fault["loc"][:-1])
        unknown = str(fault["loc"][-1])
        close = difflib.get_close_matches(unknown, known, n=1)
        message = "unknown key" + (f"; did you mean {close[0]}?" if close else "")
        if not close and known:
            message += f"; known here: {', '.join(known)}"
        return message
    if fault["type"] == "missing":
        return "is missing"
    return message[:1].lower() + message[1:] + (f" (it is {fault['input']!r})" if _is_scalar(fault["input"]) else "")


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)


def _known_keys(model: type[BaseModel], location: Sequence[Key]) -> list[str]:
    current: type[BaseModel] | None = model
    for key in location:
        if isinstance(key, int) or current is None:
            continue
        field = current.model_fields.get(key)
        current = _model_in(field.annotation) if field is not None else current
    return [field.alias or name for name, field in current.model_fields.items()] if current is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def dotted(keys: Sequence[Key]) -> str:
    """``("settings", 1, "values")`` as ``settings[1].values``."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def locate(text: str, keys: Sequence[Key]) -> int | None:
    """The 1-based line of a key, or of the nearest table around it that is written in the text."""
    return _line_of(_lines_of_keys(text), keys)


def _line_of(places: Sequence[tuple[int, tuple[Key, ...]]], keys: Sequence[Key]) -> int | None:
    best: tuple[int, int] | None = None
    for line, found in places:
        depth = _common(found, keys)
        if depth == len(found) and depth > 0 and (best is None or depth > best[0]):
            best = (depth, line)
    return best[1] if best else None


def _common(found: Sequence[Key], keys: Sequence[Key]) -> int:
    depth = 0
    for one, other in zip(found, keys, strict=False):
        if one != other:
            break
        depth += 1
    return depth


def _lines_of_keys(text: str) -> list[tuple[int, tuple[Key, ...]]]:
    """(line, keys) of every table header and assignment; strings of several lines are passed over."""
    places: list[tuple[int, tuple[Key, ...]]] = []
    table: tuple[Key, ...] = ()
    counts: dict[tuple[Key, ...], int] = {}
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if inside is not None:
            if line.count(inside) % 2 == 1:
                inside = None
            continue
        header = _TABLE.match(line)
        assignment = None if header else _ASSIGNMENT.match(line)
        if header:
            names = _resolve(_parts(header[2]), counts)
            if header[1] == "[[":
                counts[names] = counts.get(names, -1) + 1
                names = (*names, counts[names])
            table = names
            places.append((number, table))
        elif assignment:
            places.append((number, (*table, *_parts(assignment[1]))))
        for quote in ('"""', "'''"):
            if line.count(quote) % 2 == 1:
                inside = quote
    return places


def _resolve(parts: tuple[Key, ...], counts: dict[tuple[Key, ...], int]) -> tuple[Key, ...]:
    """Put the index of the array of tables that is open into a header such as ``[settings.more]``."""
    resolved: tuple[Key, ...] = ()
    for index, part in enumerate(parts):
        resolved = (*resolved, part)
        if index < len(parts) - 1 and resolved in counts:
            resolved = (*resolved, counts[resolved])
    return resolved


def _parts(text: str) -> tuple[Key, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(text))
