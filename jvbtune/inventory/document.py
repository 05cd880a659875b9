"""A document of an inventory: read within bounds, and walked with the path of each key, for messages.

Such a document can hold secrets in clear (Terraform's sensitive values, Ansible's variables). So nothing is taken of it
but the keys that are asked for, and no message ever shows a value.
"""

from __future__ import annotations

import ipaddress
import json
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jvbtune.errors import ConfigError
from jvbtune.inventory.destination import name_fault
from jvbtune.text import clean

MAX_BYTES = 64 << 20
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Node:
    """A value at a path. ``value`` None: it is missing or null."""

    value: Any
    file: str
    path: str = ""

    def fail(self, message: str, hint: str | None = None) -> ConfigError:
        """An error at this place."""
        return ConfigError(message, file=self.file, key=self.path or None, hint=hint)

    def get(self, key: str) -> Node:
        """A key of an object; missing in None. Raises ConfigError if this is no object."""
        return Node(self._object().get(key), self.file, self._below(key))

    def items(self) -> list[tuple[str, Node]]:
        """The keys of an object; none of None. Raises ConfigError if this is no object."""
        return [(key, Node(value, self.file, self._below(key))) for key, value in self._object().items()]

    def each(self) -> list[Node]:
        """The values of a list; none of None. Raises ConfigError if this is no list."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.fail(f"is {kind_of(self.value)}, not a list")
        return [Node(value, self.file, f"{self.path}[{index}]") for index, value in enumerate(self.value)]

    def all(self, path: str) -> list[Node]:
        """Every value at a dotted path that is not missing; ``*`` stands for each value of a list."""
        found = [self]
        for part in path.split("."):
            found = [one for node in found for one in (node.each() if part == "*" else [node.get(part)])]
            found = [node for node in found if node.value is not None]
        return found

    def text(self) -> str | None:
        """Text on one line, a number or a truth value as text; None if it is missing or empty. Raises ConfigError."""
        if self.value is None:
            return None
        if isinstance(self.value, bool):
            return str(self.value).lower()
        if not isinstance(self.value, str | int | float):
            raise self.fail(f"is {kind_of(self.value)}, not text")
        return clean(str(self.value)) or None

    def name(self) -> str:
        """The name of a host. Raises ConfigError for what ssh or a terminal could take for something else."""
        if not isinstance(self.value, str):
            raise self.fail("is missing" if self.value is None else f"is {kind_of(self.value)}, not a name")
        if (fault := name_fault(self.value)) is not None:
            raise self.fail(f"is not the name of a host: it {fault}")
        return self.value

    def address(self) -> str | None:
        """An IP address in its usual form; None if it is missing or empty. Raises ConfigError."""
        if self.value is None or self.value == "":
            return None
        try:
            if not isinstance(self.value, str):
                raise ValueError
            return str(ipaddress.ip_address(self.value))
        except ValueError:
            raise self.fail("is not an IP address") from None

    def _object(self) -> dict[str, Any]:
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.fail(f"is {kind_of(self.value)}, not an object")
        return self.value

    def _below(self, key: str) -> str:
        shown = key if _PLAIN_KEY.fullmatch(key) else json.dumps(clean(key, 60), ensure_ascii=False)
        return f"{self.path}.{shown}" if self.path else shown


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    words = {bool: "true or false", str: "text", list: "a list", dict: "an object", type(None): "null"}
    return words.get(type(value), "a number")


def read_bounded(path: Path) -> bytes:
    """A file or a pipe, of at most ``MAX_BYTES``. Raises ConfigError."""
    try:
        with path.open("rb") as stream:
            if stat.S_ISDIR(path.stat().st_mode):
                raise ConfigError("is a directory", file=path)
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from error
    refuse_large(data, str(path))
    return data


def refuse_large(data: bytes, file: str) -> None:
    """Raises ConfigError for more than ``MAX_BYTES``."""
    if len(data) > MAX_BYTES:
        raise ConfigError(f"is larger than {MAX_BYTES >> 20} MiB, the most that jvbtune reads", file=file)


def decode(data: bytes, file: str) -> str:
    """The bytes as text. Raises ConfigError."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "An inventory is text in UTF-8: JSON, TOML, or INI and YAML of Ansible."
        raise ConfigError(f"not UTF-8: {error.reason}", file=file, line=line, hint=hint) from error


def looks_like_json(text: str) -> bool:
    """Whether it begins as an object, or as a list of objects, lists or texts. A section of TOML or INI does not."""
    return re.match(r"\s*(\{|\[[\s\[]*([{\]\"]|$))", text) is not None


def parse_json(text: str, file: str) -> list[Node]:
    """The JSON documents that follow each other in a text, as Terragrunt prints them. Raises ConfigError."""
    decoder = json.JSONDecoder(object_pairs_hook=_once_each)
    documents: list[Node] = []
    position = _skip_blank(text, 0)
    while position < len(text):
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            cut = " It ends too early." if error.pos >= len(text.rstrip()) or "Unterminated" in error.msg else ""
            raise ConfigError(f"not JSON: {error.msg}.{cut}", file=file, line=error.lineno) from None
        except _Twice as error:
            raise ConfigError(f"an object has the key {clean(str(error), 60)!r} twice", file=file) from None
        except (RecursionError, ValueError) as error:
            deep = isinstance(error, RecursionError)
            what = "it is nested too deeply" if deep else "a number has too many digits"
            raise ConfigError(f"not JSON that jvbtune reads: {what}", file=file) from None
        documents.append(Node(value, file))
        position = _skip_blank(text, position)
    if len(documents) > 1:
        documents = [Node(one.value, file, f"document {number}") for number, one in enumerate(documents, 1)]
    return documents


class _Twice(Exception):
    """A key that an object has twice: parsers differ in which they take."""


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        raise _Twice(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return found


def _skip_blank(text: str, position: int) -> int:
    blank = re.compile(r"\s*").match(text, position)
    return blank.end() if blank else position
