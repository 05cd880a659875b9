"""Words that jvbtune's texts do not use, with the reason for each, and where texts for users come from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from tools import reference

ROOT = Path(__file__).parents[2]
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "flamegraphs/README.md",
    ROOT / "experiments/runs/README.md",
    ROOT / "jvbtune/lab/bridge/README.md",
)
COMMENTED = (*sorted((ROOT / "experiments").glob("*.toml")), *sorted((ROOT / "playbooks").glob("*.yml")))


@dataclass(frozen=True)
class Habit:
    """``pattern``: what is found. ``write``: what to write instead, and why."""

    pattern: str
    write: str


_VERB = r"(?:is|are|was|were|has|have|had|does|do|can|cannot)\b"
_PLACE = "if, when: where is a place, not a condition"

HABITS = (
    Habit(r"\b(?:is|are|was|were|be|been) (?:told|said)\b(?! apart)", "is reported, jvbtune reports"),
    Habit(r"\bunless told otherwise\b", "by default"),
    Habit(r"\bdear(?:er|est)?\b", "expensive: CPU is not dear"),
    Habit(r"\banew\b", "again: anew is literary"),
    Habit(r"\bmeanwhile\b", "in the meantime, during the trial: it says which time"),
    Habit(r"\bcarr(?:y|ies|ied)\b", "supports, sustains, handles, is enough for: data and bridges carry nothing"),
    Habit(r"\b(?!left\b|leave\b|leaves\b|let\b|not\b)\w+ alone\b", "only: alone after a noun is a calque"),
    Habit(r"\bstands? (?!still|for\b|against\b)", "is: figures do not stand"),
    Habit(r"\bwhat (?:stands|lies) \w+", "is: figures neither stand nor lie"),
    Habit(r"\btakes? away\b|\btaken away\b", "remove, removed"),
    Habit(r"\bin the form in which\b", "as"),
    Habit(r"\bso (?:often|many|much) (?:a|that it)\b", "the number and its unit"),
    Habit(r"\bcomes? about\b", "is made, comes from"),
    Habit(r"\bheld? against\b", "compared with, checked against"),
    Habit(r"\bof whose\b|\bwhose first\b", "two sentences"),
    Habit(r"\bnothing of\b", "no part of, none of: nothing of the bridge is a calque"),
    Habit(r"\bholds? real conferences\b", "run real conferences against the bridge"),
    Habit(r"\bfor which packets\b", "traffic mix"),
    Habit(r"\bas it (?:were|comes)\b", "nothing: leave it out"),
    Habit(rf"(?<!, )\bwhere (?:there|it|that|they|this|these) {_VERB}", _PLACE),
    Habit(rf"(?<!, )\bwhere (?:the|an?|no|nobody|somebody|nothing|something) \w+(?: \w+)? {_VERB}", _PLACE),
    Habit(r"\bExit code \d where\b", _PLACE),
)  # fmt: skip

#: Help of an option is a noun with its unit, or an order: no fragment.
HELP_HABITS = (
    Habit(r"^Of (?:a|the|all|each|one)\b", "a noun: 'Trial length, in seconds.'"),
    Habit(r"^(?:Between|Above|Where|Also where)\b", "what it is, with its unit: 'Seconds between samples.'"),
    Habit(r"^(?:\w+ ){0,2}so (?:often|many)\b", "what it is, with its unit: 'Seconds between rows.'"),
    Habit(r"[^.:)]$", "a sentence that ends"),
)


@dataclass(frozen=True)
class Text:
    """One text and where it is from."""

    where: str
    text: str


def pages() -> Iterator[Text]:
    """The lines of the documentation, without code."""
    for page in PAGES:
        fenced = False
        for number, line in enumerate(page.read_text().splitlines(), 1):
            fenced ^= line.startswith("```")
            if not fenced and not line.startswith("    "):
                yield Text(f"{page.relative_to(ROOT)}:{number}", re.sub(r"`[^`]*`", "`…`", line))
    for path in COMMENTED:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if "#" in line:
                yield Text(f"{path.relative_to(ROOT)}:{number}", line.split("#", 1)[1].strip())


def helps() -> Iterator[Text]:
    """Each command's help, as one line, and the generated reference."""
    for name, command in reference.all_commands():
        yield Text(f"{name} --help", " ".join((command.help or "").split()))
    for made, text in reference.pages().items():
        if made != "cli.md":
            for line in text.splitlines():
                yield Text(f"docs/reference/{made}", re.sub(r"`[^`]*`", "`…`", line))


def options() -> Iterator[Text]:
    """Each option's help."""
    for name, command in reference.all_commands():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                yield Text(f"{name} {parameter.opts[-1]}", parameter.help or "")


def strings(package: Path = ROOT / "jvbtune") -> Iterator[Text]:
    """The sentences among the package's string literals, without docstrings."""
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for line, text in sentences(tree):
            yield Text(f"{path.relative_to(ROOT)}:{line}", text)


def sentences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of each string literal with at least three words that is no docstring; fields of f-strings as …."""
    passed = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [str(one.value) if isinstance(one, ast.Constant) else "…" for one in node.values]
            passed.update(id(one) for one in node.values)
            text = "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed:
            text = node.value
        else:
            continue
        if len(text.split()) >= 3:
            yield node.lineno, " ".join(text.split())


def found(text: Text, habits: Iterable[Habit] = HABITS) -> list[str]:
    """A line for each habit in a text."""
    return [
        f"{text.where}: {match[0]!r}: write {habit.write}\n    {text.text.strip()[:160]}"
        for habit in habits
        if (match := re.search(habit.pattern, text.text, re.IGNORECASE))
    ]
