"""What a frame is called and what it is: kinds, and the rules that make names comparable between captures.

A JVM numbers its lambdas, hidden classes and threads as they come, and recompiles methods while it is measured; a
profiler writes all of that into its file. Left as it is, one method is several frames, and a difference between two
captures shows numbers that changed instead of code that did. ``RULES`` takes it out of the names; every rule has a
sentence for the user, and can be switched off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from jvbtune.agent.procfs import thread_group
from jvbtune.errors import UsageError
from jvbtune.flame.model import Kind

#: The suffixes by which async-profiler's ``-a`` tells what a frame is.
KIND_OF_SUFFIX = {
    "_[0]": Kind.INTERPRETED,
    "_[j]": Kind.JAVA,
    "_[i]": Kind.INLINED,
    "_[k]": Kind.KERNEL,
    "_[1]": Kind.C1,
}
SUFFIX_OF_KIND = {kind: suffix for suffix, kind in KIND_OF_SUFFIX.items()}

JAVA_KINDS = frozenset({Kind.JAVA, Kind.INTERPRETED, Kind.INLINED, Kind.C1})

# Classes of HotSpot's own, by the beginning of their names.
_GC_FRAME = re.compile(
    r"(?:G1(?!Code)|Z(?:Mark|Heap|Driver|Reloc|Barrier|Load|Page|Worker|Stat|Unmap|Director|Generation)|Shenandoah"
    r"|PS(?:Parallel|Scavenge|Promotion|Card|Young|Old|Mark|Adjust)|Par(?:Scan|Mark|Compact|allelGC)|GC(?:Task|Cause|Heap)"
    r"|MarkSweep|DefNew|ReferenceProcessor|StringDedup|GenericTaskQueue|TaskTerminator|CardTable|HeapRegion"
    r"|CollectedHeap)\w*(?:<.*>)?::"
)
_JIT_FRAME = re.compile(
    r"(?:C[12]Compiler|CompileBroker|CompileTask|CompileQueue|CompilationPolicy|Compilation|Compile|Compiler"
    r"|Phase[A-Z]\w*|Parse|\w*CallGenerator|ParseGenerator|Matcher|GraphBuilder|GraphKit|LinearScan\w*|LIR_?\w*"
    r"|IRScope|BlockBegin|GlobalValueNumbering|ci[A-Z]\w*|ConnectionGraph|SuperWord|IdealLoopTree|RegMask"
    r"|JVMState|InlineTree|Scheduling|BytecodeEscapeAnalyzer|MethodLiveness)::"
)
_GC_THREAD = re.compile(
    r"(?:G1[ _](?:Conc|Main|Service|Refine|Young)|GC[ _](?:Thread|task)|Gang[ _]worker|Par(?:allel)?[ _]?GC"
    r"|Concurrent[ _]Mark|[ZX](?:Worker|Driver|Director|Stat|Uncommit|Unmap)|Shenandoah|CMS[ _])"
)
_JIT_THREAD = re.compile(r"C[12][ _]Compiler|JVMCI[ _]|Sweeper[ _]thread")

# ``java/lang/Thread.run``, ``java.lang.Thread.run``, ``void java.lang.Thread.run`` (perf map), ``Main.main``.
_RETURNS = r"^(?:[\w$./]+(?:\[\])* )?"
_SLASHED = re.compile(r"[^\s/\[\]().:]+/[^\s:]*\.[^\s./]+$")
_DOTTED = re.compile(
    _RETURNS + r"(?:[a-z_][\w$]*\.)+[A-Z$_][\w$]*"
    r"(?:\$\$Lambda\S*|[./+]0x[0-9a-f]+\S*)?\.(?:[\w$]+|<init>|<clinit>)$"
)
_UNPACKAGED = re.compile(_RETURNS + r"[A-Z][\w$]*\.(?:[a-z_$][\w$]*|<init>|<clinit>)$")
_PYTHON = re.compile(r"[^\s(]+ \((?:[^()]*\.pyx?|<[^()]*>)(?::\d+)?\)$")
_CPP = re.compile(r"[-+]\[|operator[ (]|non-virtual thunk to |_ZN?[A-Z0-9]")
# What agents write for perf: perf-map-agent's ``Lorg/x/Y;::m`` (``Lorg/x/Y;.m`` of old ones), and ``Lorg/x/Y;m()V`` of
# the kernel's jvmti agent (tools/perf/jvmti). Collapsed stacks have a colon for the semicolon, and those of
# stackcollapse-perf.pl no L: ``org/x/Y:::m``, ``:.m``, ``:m``. A single colon stands in names of many languages: only
# two packages and a class with a capital letter make it Java.
_NUMBERS = r"(?:[.+/](?:0x[0-9a-f]+|\d+))*"
_AGENT = re.compile(
    rf"(?:L(?P<typed>(?:[\w$-]+/)*[\w$-]+{_NUMBERS});(?:::|\.)?"
    rf"|(?:L(?=[a-z]))?(?P<bare>(?:[\w$-]+/)+[\w$-]+{_NUMBERS}:::|(?:[a-z_][\w$]*/){{2,}}[A-Z$_][\w$-]*{_NUMBERS}:\.?))"
    r"(?P<method>[^\W\d][\w$-]*|<(?:cl)?init>|\$[\w$-]*)(?:\([^)]*\)\S*)?$"
)
_NOTHING = frozenset({"", "[unknown]", "[no stack]", "[not_walkable]", "[deoptimization]"})


def kind_of(name: str) -> Kind:
    """What a frame is by its name alone, where no suffix tells it."""
    if (";" in name or ":" in name) and _AGENT.match(name):
        return Kind.JAVA
    if "::" not in name:
        if "/" in name and _SLASHED.match(name if " " not in name else name.rpartition(" ")[2]):
            return Kind.JAVA
        if "." in name and (_DOTTED.match(name) or _UNPACKAGED.match(name)):
            return Kind.JAVA
        if "(" in name and _PYTHON.match(name):
            return Kind.PYTHON
        if _GC_THREAD.match(name):
            return Kind.GC
        if _JIT_THREAD.match(name):
            return Kind.JIT
        if name in _NOTHING or name.startswith("0x"):
            return Kind.OTHER
        return Kind.CPP if _CPP.match(name) else Kind.NATIVE
    if _GC_FRAME.match(name):
        return Kind.GC
    return Kind.JIT if _JIT_FRAME.match(name) else Kind.CPP


def split_suffix(name: str) -> tuple[str, Kind]:
    """A name of a collapsed file without its suffix, and its kind."""
    kind = KIND_OF_SUFFIX.get(name[-4:])
    if kind is None:
        return name, kind_of(name)
    name = name[:-4]
    if kind is Kind.INLINED:  # of C++ too: perf and async-profiler write one suffix for both
        by_name = kind_of(name)
        return name, kind if by_name in JAVA_KINDS else by_name
    return name, kind


def with_suffix(name: str, kind: Kind) -> str:
    """The name as a collapsed file has it: what ``split_suffix`` takes apart again."""
    return name + SUFFIX_OF_KIND.get(kind, "")


def with_needed_suffix(name: str, kind: Kind) -> str:
    """The name for a format that knows no kinds: with its suffix where the kind does not follow from the name."""
    return name if kind_of(name) is kind and name[-4:] not in KIND_OF_SUFFIX else with_suffix(name, kind)


@dataclass(frozen=True)
class Rule:
    """One rule: a name to switch it off by, and a sentence for the user.

    ``apply`` is asked only for names that have one of ``marks`` in them: most names have none.
    """

    name: str
    sentence: str
    apply: Callable[[str, Kind], tuple[str, Kind]]
    marks: tuple[str, ...]


def _java(*substitutions: tuple[str, str]) -> Callable[[str, Kind], tuple[str, Kind]]:
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in substitutions]

    def apply(name: str, kind: Kind) -> tuple[str, Kind]:
        if kind in JAVA_KINDS:
            for pattern, replacement in compiled:
                name = pattern.sub(replacement, name)
        return name, kind

    return apply


def _tiers(name: str, kind: Kind) -> tuple[str, Kind]:
    return name, Kind.JAVA if kind in JAVA_KINDS else kind


_NUMBERED = re.compile(r"\$\$Lambda|[./+]0x[0-9a-f]+")


def _slashes(name: str, kind: Kind) -> tuple[str, Kind]:
    if kind not in JAVA_KINDS or ("/" in name and name.count(".") == 1) or not _DOTTED.match(name):
        return name, kind
    returned, space, owner = name.rpartition(" ")
    owner, dot, method = owner.rpartition(".")
    numbered = _NUMBERED.search(owner)
    end = numbered.start() if numbered else len(owner)
    return returned + space + owner[:end].replace(".", "/") + owner[end:] + dot + method, kind


def _agents(name: str, kind: Kind) -> tuple[str, Kind]:
    found = _AGENT.match(name) if kind in JAVA_KINDS else None
    if not found:
        return name, kind
    owner = found["typed"] or found["bare"].rstrip(":.")
    return f"{owner}.{found['method']}", kind


_CLONE = re.compile(r"(?:\.(?:isra|constprop|part|cold|lto_priv|llvm|localalias)(?:\.\d+)*)+$")


def _clones(name: str, kind: Kind) -> tuple[str, Kind]:
    return (_CLONE.sub("", name) or name if kind not in JAVA_KINDS else name), kind


_VERSION = re.compile(r"@@?[A-Z]\w*_[\w.]+$")


def _symbol_versions(name: str, kind: Kind) -> tuple[str, Kind]:
    return (_VERSION.sub("", name) or name if kind is Kind.NATIVE else name), kind


_ADDRESS = re.compile(r"\[?0x[0-9a-f]+\]?$")


def _addresses(name: str, kind: Kind) -> tuple[str, Kind]:
    return ("[unknown]", kind) if _ADDRESS.match(name) else (name, kind)


RULES: tuple[Rule, ...] = (
    Rule(
        "jit-tiers",
        "A Java method is one frame, whether it was interpreted, compiled or inlined when it was seen.",
        _tiers,
        marks=("",),
    ),
    Rule(
        "perf-agents",
        "A method that perf knows from an agent in the JVM (Lorg/x/Y;::m, Lorg/x/Y;m()V) is written as others are.",
        _agents,
        marks=(";", ":"),
    ),
    Rule(
        "return-types",
        "The type that a method returns, which the JVM's perf map puts before its name, is left out.",
        _java((r"^[\w$./]+(?:\[\])* (?=\S+$)", "")),
        marks=(" ",),
    ),
    Rule(
        "package-slashes",
        "Packages are written with slashes, whichever way the profiler writes them.",
        _slashes,
        (".",),
    ),
    Rule(
        "lambda-numbers",
        "Lambdas lose the number and address that the JVM gave their class; those that one class makes are one.",
        _java((r"\$\$Lambda(?:[$/.+](?:0x[0-9a-f]+|\d+))+", "$$Lambda")),
        marks=("$$Lambda",),
    ),
    Rule(
        "lambda-forms",
        "Method-handle glue (LambdaForm$MH, $DMH and their like) loses its numbers.",
        _java((r"(LambdaForm\$[A-Za-z]+)\d*(?:[/.+](?:0x[0-9a-f]+|\d+))*(?=\.)", r"\1")),
        marks=("LambdaForm$",),
    ),
    Rule(
        "hidden-classes",
        "Hidden classes lose the address in their names.",
        _java((r"[/.+]0x[0-9a-f]{4,}(?:/\d+)?(?=\.)", "")),
        marks=("0x",),
    ),
    Rule(
        "generated-classes",
        "Proxies, reflection's accessors and classes of byte-code generators lose their running numbers.",
        _java(
            (r"\bjdk/proxy\d+/", "jdk/proxy/"),
            (r"(\$Proxy|Generated(?:Method|Constructor|SerializationConstructor)Accessor)\d+", r"\1"),
            (r"(\$\$(?:FastClassBy|EnhancerBy|KeyFactoryBy)\w*?CGLIB\$\$)[0-9a-f]+", r"\1"),
            (r"(\$ByteBuddy\$)\w+", r"\1"),
        ),
        marks=("$Proxy", "jdk/proxy", "Accessor", "CGLIB", "ByteBuddy"),
    ),
    Rule(
        "compiler-clones",
        "A function that the C compiler cloned or split (.isra.0, .constprop.0, .part.0, .cold) is the function.",
        _clones,
        marks=(".",),
    ),
    Rule("symbol-versions", "Symbols of libraries lose their version (@@GLIBC_2.17).", _symbol_versions, ("@",)),
    Rule("addresses", "An address without a symbol is [unknown].", _addresses, ("0x",)),
)
_TID = re.compile(r" tid=\w+$")
THREAD_RULE = Rule(
    "thread-ids",
    "A thread's name goes without the id that the system gave the thread.",
    lambda name, kind: (_TID.sub("", name), kind),
    marks=(" tid=",),
)
RULE_NAMES = (*(rule.name for rule in RULES), THREAD_RULE.name)


@dataclass(frozen=True)
class NameRules:
    """The rules in force: all but those in ``off``. Raises UsageError for a rule that does not exist."""

    off: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.off) - set(RULE_NAMES))
        if unknown:
            raise UsageError(f"no rule of names is called {unknown[0]!r}", hint=f"There are: {', '.join(RULE_NAMES)}.")

    @classmethod
    def none(cls) -> NameRules:
        """No rule at all: names and kinds as the file has them."""
        return cls(frozenset(RULE_NAMES))

    @classmethod
    def without(cls, names: Iterable[str]) -> NameRules:
        return cls(frozenset(names))

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """Those applied to frames, in order."""
        return tuple(rule for rule in RULES if rule.name not in self.off)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was done to the names, for the head of a picture."""
        return tuple(rule.sentence for rule in (*RULES, THREAD_RULE) if rule.name not in self.off)

    def frame(self, name: str, kind: Kind) -> tuple[str, Kind]:
        """A frame's identity: what is one frame has one (name, kind)."""
        for rule in self.rules:
            for mark in rule.marks:
                if mark in name:
                    name, kind = rule.apply(name, kind)
                    break
        return name, kind

    def thread(self, label: str) -> str:
        """The name under which a thread is shown."""
        return label if THREAD_RULE.name in self.off else _TID.sub("", label)


#: All rules in force.
ALL_RULES = NameRules()


def pool_of(label: str) -> str:
    """The pool that a thread belongs to: its name without its numbers, as the agent's samples call it."""
    return thread_group(_TID.sub("", label))
