"""A result as it is kept with its run, read back by whoever tells or exports it, and as the JSON of ``show --json``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from jvbtune import __version__
from jvbtune.errors import StoreError
from jvbtune.result.derive import derive
from jvbtune.result.history import HISTORY
from jvbtune.result.model import SCHEMA_VERSION, RunResult
from jvbtune.store import Run
from jvbtune.trials.columns import SHOWN

FILE = "result.json"


def result_of(run: Run, *, refit: bool = False) -> RunResult:
    """The run's result: read where it is stored and still that of its trials, else derived (and stored if it can be).

    ``refit``: derived in any case.
    """
    basis = _basis(run)
    if not refit:
        stored = _read(run, basis)
        if stored is not None:
            return stored
    return store_result(run, derive(run), basis)


def store_result(run: Run, result: RunResult, basis: str | None = None) -> RunResult:
    """Store a result with its run, unless the directory cannot be written to. Returns what a reader gets."""
    document = to_json(result)
    try:
        run.write_derived(FILE, {"basis": basis or _basis(run), "result": document})
        run.trials().write_parquet(run.path / "trials.parquet")
    except OSError:
        pass
    return from_json(document)


def _basis(run: Run) -> str:
    """Fingerprint of what a result is derived from: the journal, the history, the version of jvbtune and columns."""
    digest = hashlib.sha256(f"{__version__} {SCHEMA_VERSION} {SHOWN} {run.status()}".encode())
    for name in ("journal.ndjson", HISTORY):
        path = run.path / name
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(run: Run, basis: str) -> RunResult | None:
    """None where nothing is stored, or something was stored of other trials, or by another version."""
    try:
        stored = json.loads((run.path / FILE).read_bytes())
        return from_json(stored["result"]) if stored.get("basis") == basis else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError, StoreError):
        return None


@cache
def adapter() -> TypeAdapter[RunResult]:
    return TypeAdapter(RunResult)


def to_json(document: Any) -> dict[str, Any]:
    """A result, or another document of this package, as plain JSON: enumerations as their values, tuples as lists,
    numbers that are not finite as null."""
    plain = _plain(document)
    assert isinstance(plain, dict)
    return plain


def from_json(document: Mapping[str, Any]) -> RunResult:
    """The inverse of ``to_json``. Raises StoreError where the document is no result of this version."""
    try:
        return adapter().validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StoreError(f"not a result of this version: {where}: {first['msg']}") from error


def schema_of(kind: Any, title: str) -> dict[str, Any]:
    """The JSON Schema of a document, made from its type."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **{key: value for key, value in TypeAdapter(kind).json_schema(mode="serialization").items() if key != "title"},
    }


@dataclasses.dataclass(frozen=True)
class Results:
    """The document of ``jvbtune fit --json``: a result for each host."""

    schema_version: int
    results: tuple[RunResult, ...]


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
