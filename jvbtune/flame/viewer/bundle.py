"""Joins the viewer's template, style and scripts into one page.

The scripts are ES modules, so that an editor, a type checker and Node.js can read each by itself. A module script
cannot be loaded from ``file://``; so they are joined here, in the order of their imports, into one plain script. Their
top-level names are unique across the modules; ``tests/flame/viewer`` holds that.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

ENTRY = "main.js"

_IMPORT = re.compile(r"^import \{[^}]*\} from '\./(?P<module>[\w.]+)';\n", re.MULTILINE)
_EXPORT_LIST = re.compile(r"^export \{[^}]*\};\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const|let)\b)", re.MULTILINE)


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def module_order(entry: str = ENTRY) -> list[str]:
    """The modules that ``entry`` needs, each after those it imports. Modules that import each other are allowed as long
    as they use each other's names only later, inside functions."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(module: str) -> None:
        if module in seen:
            return
        seen.add(module)
        for match in _IMPORT.finditer(_read(f"js/{module}")):
            visit(match["module"])
        order.append(module)

    visit(entry)
    return order


@cache
def script() -> str:
    """All modules as one plain script."""
    parts = []
    for module in module_order():
        source = _IMPORT.sub("", _read(f"js/{module}"))
        parts.append(_EXPORT.sub("", _EXPORT_LIST.sub("", source)))
    joined = "\n".join(parts)
    if re.search(r"^(?:import|export)\b", joined, re.MULTILINE):
        raise ValueError("the viewer's scripts use a form of import or export that the bundler does not know")
    return f"'use strict';\n(() => {{\n{joined}}})();\n"


@cache
def style() -> str:
    return _read("viewer.css")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") + "'"


@cache
def policy() -> str:
    """No network, no plug-ins, no other script than ours."""
    own = f"script-src {_hash(script())}; style-src {_hash(style())}; img-src data: blob:"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def page(**values: str) -> str:
    """The template with its places filled: ``title``, ``version``, ``meta`` and ``data``, already escaped."""
    filled = values | {"script": script(), "style": style(), "policy": policy()}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: filled[match[1]], _read("template.html"))
