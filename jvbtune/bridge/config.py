"""What receive buffer a bridge asks for: its configuration, read as the bridge itself reads it.

JVB reads the file of ``-Dconfig.file``, then its own ``application.conf``, then system properties, then
``reference.conf``, each for what the one before it does not set (jicoco's ``JitsiConfig.loadNewConfig``; held against
those libraries by ``tests/bridge/test_config_oracle.py``). Of ice4j's two names for the buffer the legacy one wins
wherever it is set; JVB's ``Main`` makes system properties of the ``org.ice4j`` lines of the legacy properties file.
A value that is no integer counts as not set. ``-Dice4j.harvest…`` has no effect: ``application.conf`` comes before it.

Configurations hold passwords. Nothing of a file's text goes into a message, and nothing is stored.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import hocon

from jvbtune.agent.settings import ICE4J_BUFFER, INT_MAX, LEGACY_ICE4J_BUFFER
from jvbtune.errors import JvbtuneError
from jvbtune.settings.buffer import AskedBuffer
from jvbtune.settings.catalogue import DEFAULT_ICE4J_BUFFER_BYTES

#: The legacy file lies in LOCATION/NAME (jicoco's ReadOnlyConfigurationService); either may be in the environment.
LEGACY_LOCATION = "net.java.sip.communicator.SC_HOME_DIR_LOCATION"
LEGACY_NAME = "net.java.sip.communicator.SC_HOME_DIR_NAME"
LEGACY_FILE = "sip-communicator.properties"
CONFIG_FILE, OTHER_ROOTS = "config.file", ("config.resource", "config.url")

#: Where nothing is: a bridge does not find what is included by a ``config.file`` that is named without a directory.
NOWHERE = "/dev/null"

#: How often files are included, a file each time that it is; and how large a text may become by ``${…}`` that refer to
#: each other. Ten lines of eight each would be a billion times the first; a bridge's own are far below both.
MOST_INCLUDES, MOST_EXPANDED_BYTES = 200, 16 << 20

#: Asks the host: (files, names) -> the answer of the agent's ``bridge.config``.
Ask = Callable[[list[str], list[str]], Mapping[str, Any]]

_SUBSTITUTION = re.compile(r"\$\{([^}\n]{0,1000})\}")
_KEY = re.compile(r'(?<![\w-])([\w-]+)"?\s*(?:\+?=|[:{])')
_RELATIVE_FILE = re.compile(r'(\binclude\s+(?:required\s*\(\s*)?file\s*\(\s*")(?!/)([^"\n]*")')
_ELSEWHERE = re.compile(r"\binclude\s+(?:required\s*\(\s*)?(url|classpath|package)\s*\(")
_JAVA_NUMBER = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)[dDfF]?\s*")


@dataclass
class _Files:
    """Fetched once each; the text of what was fetched is for ``${…}`` only."""

    ask: Ask
    directory: str
    texts: dict[str, str] = field(default_factory=dict)
    reads: int = 0

    def read(self, path: str) -> str:
        """Text as Java decodes it. Raises FileNotFoundError, or Unreadable."""
        self.reads += 1
        if self.reads > MOST_INCLUDES:
            raise Unreadable(f"{path}: files are included more than {MOST_INCLUDES} times")
        if path not in self.texts:
            content = self.ask([path], [])["files"].get(path)
            if content is None:
                raise FileNotFoundError(path)
            if not isinstance(content, str):
                raise Unreadable(f"{path}: {content.get('error', 'cannot be read')}")
            raw = base64.b64decode(content)
            if b"\0" in raw:
                raise Unreadable(f"{path}: not UTF-8, which is all that a bridge reads")
            self.texts[path] = raw.decode("utf-8", "replace")
        inside = self.directory.rstrip("/") + "/"
        return _RELATIVE_FILE.sub(lambda match: match[1] + inside + match[2], self.texts[path])

    def names(self) -> list[str]:
        found: dict[str, None] = {}
        for text in self.texts.values():
            found.update(dict.fromkeys(name for name in _substituted(text) if name))
        return list(found)


def _substituted(text: str) -> list[str]:
    """The keys of ``${key}`` and ``${?key}``."""
    return [name.strip().removeprefix("?").strip() for name in _SUBSTITUTION.findall(text)]


def _refuse_growth(root: str | None, texts: Mapping[str, str]) -> None:
    """Substitutions of keys that have substitutions themselves multiply. With n of them, in the worst order (three in
    each line), a text grows by 3 to the power of n/3. Raises Unreadable if that may be too much."""
    text = "\n".join(texts.values())
    last = [name.rpartition(".")[2].strip('"') for name in _substituted(text)]
    keys = set(_KEY.findall(text))
    among_each_other = sum(name in keys for name in last)
    if len(text) * 3 ** min(among_each_other / 3, 100) > MOST_EXPANDED_BYTES:
        raise Unreadable(f"{root}: too many of its values refer to each other")


class Unreadable(Exception):
    """Why a configuration cannot be known; free of its text."""


def asked_buffer(ask: Ask, config_file: str | None = None) -> AskedBuffer:
    """What the bridge asks for at its next start. Never raises for a configuration that cannot be read.

    ``config_file``: the inventory's, for a bridge whose command line names none.
    """
    try:
        return _asked(ask, config_file)
    except Unreadable as why:
        return AskedBuffer(False, None, str(why))
    except JvbtuneError as error:
        return AskedBuffer(False, None, error.message)
    except Exception as error:  # of the parser: a sweep must not end by a configuration that the bridge can read
        return AskedBuffer(False, None, f"the bridge's configuration cannot be read ({type(error).__name__})")


def effective(ask: Ask, config_file: str | None, names: Sequence[str]) -> dict[str, str | None]:
    """What the bridge's configuration sets at its next start, as text; None: its own default holds.

    Raises Unreadable.
    """
    try:
        config, root, _ = _read(ask, config_file)
        return {name: _value(config, name, root) for name in names}
    except (hocon.ParseError, hocon.ResolveError, hocon.ConfigError) as error:
        raise Unreadable(f"the bridge's configuration cannot be read ({type(error).__name__})") from None


def channel_domains(ask: Ask, config_file: str | None) -> tuple[str, ...] | None:
    """Where the bridge says that its channel is, each ``name`` or ``name:port``: ``domain`` before ``domains`` of
    ``videobridge.websockets`` (WebsocketServiceConfig.kt). None: the configuration does not enable it.

    The legacy properties ``COLIBRI_WS_*`` are not read. Raises Unreadable.
    """
    try:
        config, root, _ = _read(ask, config_file)
        enabled = config.get_value("videobridge.websockets.enabled")
        if not isinstance(enabled, hocon.HoconScalar) or enabled.raw not in ("true", "yes", "on"):
            return None
        listed = config.get_value("videobridge.websockets.domains")
        many = listed.items if isinstance(listed, hocon.HoconArray) else []
        one = _value(config, "videobridge.websockets.domain", root)
        found = [one or "", *(item.raw for item in many if isinstance(item, hocon.HoconScalar))]
        return tuple(dict.fromkeys(name for name in found if name))
    except (hocon.ParseError, hocon.ResolveError, hocon.ConfigError) as error:
        raise Unreadable(f"the bridge's configuration cannot be read ({type(error).__name__})") from None


def _asked(ask: Ask, config_file: str | None) -> AskedBuffer:
    config, root, behind = _read(ask, config_file)
    for name in (LEGACY_ICE4J_BUFFER, ICE4J_BUFFER):
        written = _value(config, name, root)
        asked = _integer(written if written is not None else behind.get(name))
        if asked is not None:
            if asked <= 0:
                raise Unreadable(f"{name} is {asked}, with which no bridge starts")
            default = "by JVB's default" if name == ICE4J_BUFFER else "as a property"
            return AskedBuffer(True, asked, f"{name} {default}" if written is None else f"{name} in {root}")
    return AskedBuffer(True, None, f"{root}: {ICE4J_BUFFER} is not an integer, so the bridge asks for no buffer")


def _read(ask: Ask, config_file: str | None) -> tuple[hocon.Config, str | None, dict[str, str]]:
    """The configuration, resolved; the file that it begins with; and what stands behind it."""
    about = ask([], [CONFIG_FILE, *OTHER_ROOTS, LEGACY_ICE4J_BUFFER, ICE4J_BUFFER, LEGACY_LOCATION, LEGACY_NAME])
    properties, environment = dict(about["properties"]), dict(about["environment"])
    if about.get("argument_files"):
        raise Unreadable("the JVM takes options from an argument file (@file)")
    other = [name for name in OTHER_ROOTS if name in properties]
    if other:
        raise Unreadable(f"the bridge is configured by -D{other[0]}")
    files = _Files(ask, about.get("directory") or "/")
    properties = _legacy_properties(files, properties, environment) | properties
    root = properties.get(CONFIG_FILE) or config_file
    base = None
    if root:
        base = posixpath.dirname(root) and posixpath.dirname(posixpath.join(files.directory, root))
        root = posixpath.normpath(posixpath.join(files.directory, root))
    #: What a name stands for that the file does not set: the file is parsed with this very dictionary.
    behind: dict[str, str] = {}
    config = _parse(files, root, base or NOWHERE, behind) if root else hocon.from_map({})
    names = files.names()
    _refuse_growth(root, files.texts)
    if names:
        more = ask([], names)
        behind |= dict(more["environment"]) | dict(more["properties"])
    behind |= properties | {ICE4J_BUFFER: str(DEFAULT_ICE4J_BUFFER_BYTES)}
    return _resolved(files, root, config), root, behind


def _assignments(values: Mapping[str, Any]) -> list[str]:
    """Dotted names as java.util.Properties become a configuration: a name that continues another one hides it."""
    ordered = sorted(values, key=lambda name: name.count("."))
    return [
        f"{'.'.join(json.dumps(part) for part in name.split('.'))} = {json.dumps(values[name])}" for name in ordered
    ]


def _parse(files: _Files, path: str, base: str, behind: dict[str, str]) -> hocon.Config:
    """One file with what it includes below ``base``, not resolved. Raises Unreadable with the place of a fault."""
    try:
        text = files.read(path)
    except FileNotFoundError:
        raise Unreadable(f"{path} is not there") from None
    if path.endswith(".properties"):
        text = "\n".join(_assignments(java_properties(text)))
    try:
        return hocon.parse(text, base_dir=base, read_file=files.read, env=behind, resolve_substitutions=False)
    except (hocon.ParseError, hocon.ResolveError, hocon.ConfigError) as error:
        raise _unparsed(path, error, files) from None


def _resolved(files: _Files, root: str | None, config: hocon.Config) -> hocon.Config:
    """Values of other sections may stay open: they may refer to what JVB's own files set."""
    try:
        return config.resolve(allow_unresolved=True)
    except (hocon.ResolveError, hocon.ConfigError) as error:
        raise _unparsed(str(root), error, files) from None


def _unparsed(path: str, error: Exception, files: _Files) -> Unreadable:
    """The place of a fault; the parser's own words may quote a password."""
    elsewhere = [match[1] for text in files.texts.values() for match in [_ELSEWHERE.search(text)] if match]
    if elsewhere:
        return Unreadable(f"{path}: it includes something by {elsewhere[0]}(…), which only the bridge can read")
    line, column = getattr(error, "line", 0), getattr(error, "col", 0)
    where = getattr(error, "file", None) or path
    place = f"{where}:{line}:{column}" if line else str(where)
    return Unreadable(f"{place}: not HOCON that jvbtune can read")


def _value(config: hocon.Config, name: str, root: str | None) -> str | None:
    """The text of a value at a dotted path, empty for null, a boolean, a list; None: not set."""
    try:
        value = config.get_value(name)
    except hocon.NotResolvedError:
        raise Unreadable(f"{root}: {name} refers to a value that is not known") from None
    if value is None:
        return None
    plain = isinstance(value, hocon.HoconScalar) and value.value_type in ("number", "string")
    return value.raw if isinstance(value, hocon.HoconScalar) and plain else ""


def _integer(text: str | None) -> int | None:
    """As Config.getInt: numbers, also in quotes, less their fraction. None for what it takes for no integer."""
    match = _JAVA_NUMBER.fullmatch(text or "")
    number = None if match is None else Decimal(match[1])
    return int(number) if number is not None and abs(number) <= INT_MAX else None


def _legacy_properties(files: _Files, properties: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """The ``org.ice4j`` lines of the legacy properties file, where there is one."""
    location, name = (environment.get(key) or properties.get(key) for key in (LEGACY_LOCATION, LEGACY_NAME))
    if not location or not name:
        return {}
    path = posixpath.normpath(posixpath.join(files.directory, location, name, LEGACY_FILE))
    try:
        found = java_properties(files.read(path))
    except FileNotFoundError:
        return {}
    finally:
        files.texts.pop(path, None)  # it has no substitutions
    return {key: value.strip() for key, value in found.items() if key.startswith("org.ice4j")}


def java_properties(text: str) -> dict[str, str]:
    """``java.util.Properties``: comments, continued lines, ``=``, ``:`` or a blank between key and value, escapes."""
    lines: list[str] = []
    continued = False
    for line in text.splitlines():
        line = line.lstrip(" \t\f")
        if continued:
            lines[-1] += line
        elif not line or line[0] in "#!":
            continue
        else:
            lines.append(line)
        continued = (len(lines[-1]) - len(lines[-1].rstrip("\\"))) % 2 == 1
        if continued:
            lines[-1] = lines[-1][:-1]
    found = {}
    for line in lines:
        match = re.match(r"((?:\\.|[^\\=:\s])*)\s*[=:]?\s*(.*)", line, re.DOTALL)
        if match:
            found[_unescaped(match[1])] = _unescaped(match[2])
    return found


def _unescaped(text: str) -> str:
    plain = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
    return re.sub(
        r"\\(u[0-9a-fA-F]{4}|.)",
        lambda match: chr(int(match[1][1:], 16)) if len(match[1]) == 5 else plain.get(match[1], match[1]),
        text,
    )
