"""Writes docs/reference/ from the code: `make reference`. A test fails when a page there is not what this makes.

python -m tools.reference          write the pages
python -m tools.reference --check  exit with 1 if a page is out of date
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from jvbtune import errors
from jvbtune.cli import COMMANDS, LazyGroup, cli
from jvbtune.fit.limits import Limits
from jvbtune.inventory import file as inventory_file
from jvbtune.inventory.keys import KEYS as INVENTORY_KEYS
from jvbtune.load import mixfile as mix_file
from jvbtune.observe.columns import NETWORK
from jvbtune.observe.columns import QUANTITIES as OBSERVED
from jvbtune.settings.catalogue import CATALOGUE, PERF_SETTINGS, Setting
from jvbtune.sweep import experiment as experiment_file
from jvbtune.sweep.keys import KEYS as EXPERIMENT_KEYS
from jvbtune.trials.columns import COLUMNS, Column
from jvbtune.trials.judge import Why
from jvbtune.trials.names import ALIASES

ROOT = Path(__file__).parents[1]
DIRECTORY = ROOT / "docs/reference"
WIDTH = 100
MADE = "<!-- Made by `make reference`. Do not edit. -->\n"


def pages() -> dict[str, str]:
    """{file name below docs/reference: text}."""
    return {name: page(name) for name in PAGES}


def page(name: str) -> str:
    """The text of one page below docs/reference."""
    return MADE + PAGES[name]().rstrip() + "\n"


# --- commands


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """(full name, command) of every command, groups before their members, in the order of `--help`."""

    def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield name, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for member in command.list_commands(context):
                found = command.get_command(context, member)
                assert found is not None
                yield from walk(f"{name} {member}", found)

    return walk("jvbtune", cli)


def help_of(name: str, command: click.Command) -> str:
    """What `NAME --help` prints on a terminal of ``WIDTH`` columns."""
    context = click.Context(
        command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=["-h", "--help"]
    )
    return command.get_help(context)


def commands() -> str:
    parts = ["# Commands\n\nEvery command with what its `--help` prints.\n"]
    for name, command in all_commands():
        level = "##" if name.count(" ") < 2 else "###"
        parts.append(f"{level} {name}\n\n```text\n{help_of(name, command)}\n```\n")
    return "\n".join(parts)


# --- TOML files


def experiment() -> str:
    text = """# Experiment files
An experiment file says what a sweep is to find out: `jvbtune sweep --host HOST FILE`. It is TOML. jvbtune refuses a
file
with an unknown key or a value out of range, and names the line. `jvbtune sweep --schema` prints the JSON Schema, with
which an editor completes and checks the file.

Several files come with jvbtune and are ready to use by name: [the first sweep](../first-sweep.md#which-experiment)
lists them, with their times and what each gives. A small file of your own:

```toml
schema_version = 1
name = "backlog"
blocks = 4

[load.auto]
start_pps = 5000

[load.mix]
participants = 8
senders = 4

[durations]
warm_up_seconds = 6
max_warm_up_seconds = 90
settle_seconds = 1
trial_seconds = 12
extend_seconds = 12

[[settings]]
name = "net.core.netdev_max_backlog"
values = [1000, 10000]
```

Run it with `--dry-run` first: it prints the steps, what changes on the host, and how long the sweep takes.
"""
    tables = [
        ("The file itself", "Experiment"),
        ("[load]", "LoadSection"),
        ("[load.mix] and [[load.other_mixes]]", "MixSection"),
        ("[load.mix.video]", "VideoSection"),
        ("[[load.mix.video.layers]]", "LayerSection"),
        ("[load.mix.remote]", "RemoteSection"),
        ("[load.auto]", "AutoLevels"),
        ("[load.burst]", "BurstSection"),
        ("[durations]", "Durations"),
        ("[[settings]]", "SettingSection"),
        ("[limits]", "LimitsSection"),
        ("[stop]", "StopSection"),
        ("[profile]", "ProfileSection"),
    ]
    return text + _toml_tables(tables, vars(mix_file) | vars(experiment_file), EXPERIMENT_KEYS)


def inventory() -> str:
    text = """# jvbtune.toml
`jvbtune.toml` says where your bridges are. jvbtune takes the file that `--inventory` or `$JVBTUNE_INVENTORY` names,
else
the one in the working directory, else `~/.config/jvbtune/jvbtune.toml`. Only `media_address` is usually needed:

```toml
[hosts.jvb-eu-1.bridge]
media_address = "203.0.113.7"
```

A fleet has much in common, and `[defaults]` holds it:

```toml
[defaults.bridge]
media_port = 10000
control = { systemd = "jitsi-videobridge2" }

[hosts.jvb-eu-1.bridge]
media_address = "203.0.113.7"

[hosts.jvb-us-1]
ssh = "jvb-us-1.example.org"
labels = { region = "us-east-1" }

[hosts.jvb-us-1.bridge]
media_address = "198.51.100.4"
control = { container = "jvb" }
```

`[[source]]` adds the hosts of another inventory: Terraform, Ansible, a cloud, Kubernetes, or any program that prints
JSON. [Inventories](../inventory.md) has an example of each.

How jvbtune reaches a host (user, port, keys, jump hosts) comes from your OpenSSH configuration. A name that is not in
the
file is taken as an alias of that configuration. jvbtune refuses unknown keys in the file and names the line.
"""
    tables = [
        ("The file itself", "_File"),
        ("[hosts.NAME] and [defaults]", "_Host"),
        ("[[source]]", "_Source"),
        ("[hosts.NAME.bridge]", "_Bridge"),
        ("[hosts.NAME.bridge.control]", "_Control"),
        ("[hosts.NAME.bridge.control.commands]", "_Commands"),
        ("[hosts.NAME.generator]", "_Generator"),
    ]
    return text + _toml_tables(tables, vars(inventory_file), INVENTORY_KEYS)


def _toml_tables(tables: list[tuple[str, str]], models: Mapping[str, Any], keys: dict[str, dict[str, str]]) -> str:
    parts = []
    for title, name in tables:
        model: type[BaseModel] = models[name]
        rows = [
            f"| `{key}` | {_kind(field)} | {_default(field, name)} | {_cell(keys[name][key])} |"
            for key, field in model.model_fields.items()
        ]
        heading = title if title[0] != "[" else f"`{title}`".replace(" and ", "` and `")
        parts.append(f"## {heading}\n\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n")
        parts.append("\n".join(rows) + "\n\n")
    return "\n" + "".join(parts)


_NAMES = {float: "number", int: "whole number", str: "text", bool: "true or false", Path: "path"}


def _kind(field: Any) -> str:
    """The type and the range of a key, in words."""
    text = _type_in_words(field.annotation)
    bounds = _bounds(field.metadata) or _bounds(_inner_metadata(field.annotation))
    return f"{text}{bounds}"


def _type_in_words(annotation: Any) -> str:
    if annotation in _NAMES:
        return _NAMES[annotation]
    if isinstance(annotation, type):
        return "table" if issubclass(annotation, BaseModel) else annotation.__name__
    arguments = [a for a in getattr(annotation, "__args__", ()) if a is not type(None) and a is not Ellipsis]
    origin = getattr(annotation, "__origin__", None)
    if str(annotation).startswith("typing.Literal"):
        return " or ".join(f"`{value}`" if isinstance(value, str) else str(value) for value in arguments)
    if origin is tuple:
        return "list of " + _plural(_type_in_words(arguments[0]))
    if origin is dict:
        return "table"
    if hasattr(annotation, "__metadata__"):
        return _type_in_words(annotation.__origin__)
    return " or ".join(dict.fromkeys(_type_in_words(argument) for argument in arguments))


def _plural(text: str) -> str:
    return {"text": "texts", "table": "tables", "number": "numbers", "whole number": "whole numbers"}.get(text, text)


def _inner_metadata(annotation: Any) -> list[Any]:
    found = list(getattr(annotation, "__metadata__", ()))
    for argument in getattr(annotation, "__args__", ()):
        found += _inner_metadata(argument)
    return [each for one in found for each in (getattr(one, "metadata", None) or [one])]


def _bounds(metadata: list[Any]) -> str:
    words = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = []
    for name, sign in words.items():
        values = [getattr(one, name) for one in metadata if getattr(one, name, None) is not None]
        found += [f"{sign} {value if isinstance(value, int) else format(value, 'g')}" for value in values[:1]]
    return f", {', '.join(found)}" if found else ""


def _default(field: Any, model: str) -> str:
    if field.is_required():
        return "required"
    value = field.get_default()
    if model == "LimitsSection":
        value = getattr(Limits, next(k for k, f in experiment_file.LimitsSection.model_fields.items() if f is field))
    if value is None or isinstance(value, BaseModel) or value in ((), {}, ""):
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"`{list(value)}`".replace("'", '"')
    return f"{value:g}" if isinstance(value, float) else f"`{value}`" if isinstance(value, str) else str(value)


# --- settings, columns


def settings() -> str:
    swept = [setting for setting in CATALOGUE.values() if setting.name not in PERF_SETTINGS]
    text = """# Settings that can be swept
`[[settings]]` in an experiment file takes these names. jvbtune reads each value back after it writes it, and checks the
receive buffer at the bridge's socket.
"""
    listed = "\n".join(
        f"| [`{setting.name}`](#{_anchor(setting.name)}) | {_cell(setting.meaning)} | {setting.unit} |"
        for setting in swept
    )
    text += f"\n| setting | meaning | unit |\n| --- | --- | --- |\n{listed}\n\n"
    text += "".join(_setting(setting) for setting in swept)
    text += "## Settings of `jvbtune profile`\n\n"
    text += "`jvbtune profile --allow-sysctls` may change these two while it profiles. No sweep takes them.\n\n"
    return text + "".join(_setting(CATALOGUE[name], "###") for name in PERF_SETTINGS)


_EFFECT = {
    "live": "at once",
    "restart": "when the bridge creates its sockets: jvbtune restarts it",
}
_SCOPE = {
    "host": "the whole host, also if the bridge runs in a container",
    "namespace": "the network namespace of the bridge",
    "bridge": "the bridge's configuration",
}


def _setting(setting: Setting, level: str = "##") -> str:
    count = "" if setting.count == 1 else f" ({setting.count} numbers, each)"
    rows = [
        ("takes effect", _EFFECT[setting.takes_effect]),
        ("belongs to", _SCOPE[setting.scope]),
        ("range", f"{_number(setting.minimum)} to {_number(setting.maximum)} {setting.unit}{count}"),
        ("counter that shows its limit", setting.counter),
        ("checked by", setting.verified_by),
    ]
    table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows)
    note = f"{setting.note}\n\n" if setting.note else ""
    return f"{level} `{setting.name}`\n\n{setting.meaning}\n\n{note}| | |\n| --- | --- |\n{table}\n\n"


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


def _anchor(name: str) -> str:
    return re.sub(r"[^\w\s-]", "", name).strip().lower().replace(" ", "-")


#: Why a trial is not used, for people who read `invalid_codes`.
REASONS: dict[Why, str] = {
    Why.GENERATOR_LIMITED: "The generator, not the bridge, was the limit.",
    Why.BRIDGE_RESTARTED: "The bridge's process changed during the trial.",
    Why.STEAL: "The hypervisor took CPU from the host.",
    Why.THROTTLED: "The bridge met its CPU quota, of which others used over 10 %.",
    Why.CLOCK: "The clocks of host and controller could not be matched closely enough.",
    Why.OTHER_TENANTS: "Other processes used the bridge's cores.",
    Why.FREQUENCY: "The clock rate of the cores changed.",
    Why.SETTINGS: "At the end of the trial, a setting did not have the value of the step.",
    Why.BUFFER: "The socket did not have the receive buffer of the step.",
    Why.SETTINGS: "A setting of the step was no longer in force at the end of the trial.",
    Why.SAMPLES: "Too few samples of the host arrived.",
    Why.COUNTS: "Generator and bridge count different numbers of packets.",
    Why.NOT_COUNTED: "The bridge's counters could not be read.",
    Why.NOT_MEASURED: "A figure that the fit needs is missing.",
    Why.NOT_PROFILED: "The profile of a profiled trial failed.",
    Why.COMPILING: "The JVM's compilers were still at work.",
    Why.UNSTEADY: "CPU changed in the course of the trial.",
    Why.BASELINE_DRIFT: "The baseline changed between the blocks.",
}


def columns() -> str:
    text = """# Columns of a trial
A run has one row for each trial. `jvbtune fit FILE.csv` reads the columns marked *csv*, `show --json` lists
those
marked *shown*, and `trials.parquet` in the run's directory has all of them. A ratio is 0 to 1. An empty cell means that
nobody measured the value.

A CSV of your own needs `bridge_pps` (or `in_pps` and `out_pps`); each other column makes more statements possible.
The last
column of the table says what is impossible without it.

| column | type | unit | csv | shown | meaning | without it |
| --- | --- | --- | --- | --- | --- | --- |
"""
    text += "\n".join(_column(column) for column in COLUMNS)
    text += """

## Names and numbers of other tools
`jvbtune fit FILE.csv` and `--history` also know these names, with the prefixes `jitsi_jvb_`, `jitsi_colibri_` and
`jitsi_`, with a measurement's name and an aggregate before them (`exec_meet.mean_packet_rate_download`), and with
labels behind them. `--column NAME=COLUMN` names any other column.

| in the file | column |
| --- | --- |
"""
    text += "\n".join(f"| {', '.join(f'`{a}`' for a in aliases)} | `{name}` |" for name, aliases in ALIASES.items())
    text += (
        "\n\n`relay_pps` is the sum of `relay_in_pps` and `relay_out_pps`. Columns may be separated by commas, "
        "semicolons or tabs, and decimals by a point or a comma, in UTF-8 or UTF-16. Packet rates may end in `k`, `M` "
        "or `pps`, and ratios in `%`. jvbtune refuses a number that can be read in two ways, such as `1,994`."
    )
    text += (
        "\n\n## Why a trial is not used\n\n`invalid_codes` holds codes; `invalid_because` says the same in words.\n\n"
    )
    text += "| code | meaning |\n| --- | --- |\n"
    return text + "\n".join(f"| `{code.value}` | {REASONS.get(code, '')} |" for code in Why)


def _column(column: Column) -> str:
    kind = {"String": "text", "Float64": "number", "Int64": "whole number", "Boolean": "true or false"}
    name = str(column.type)
    words = kind.get(name, "list of texts" if "String" in name else "list of whole numbers")
    without = column.missing or (f"`{column.default}`" if column.default else "")
    csv, shown = "yes" if column.csv else "", "yes" if column.shown else ""
    return (
        f"| `{column.name}` | {words} | {column.unit} | {csv} | {shown} | {_cell(column.meaning)} | {_cell(without)} |"
    )


# --- JSON, exit codes


def documents() -> str:
    text = """# JSON documents
Every command that reports has `--json`. The document goes to standard output and has a `schema_version`, which rises
when
a key changes its meaning or goes away. These commands print the JSON Schema of their document with `--schema`:

| command | keys at the top |
| --- | --- |
"""
    rows, others = [], []
    for name, command in all_commands():
        options = {option for parameter in command.params for option in parameter.opts}
        if "--schema" in options:
            schema = _schema(command)
            keys = ", ".join(f"`{key}`" for key in schema["properties"])
            rows.append(f"| `{name} --schema` | {keys} |")
        elif "--json" in options:
            others.append(f"`{name}`")
    text += "\n".join(rows)
    text += "\n\n`jvbtune sweep --schema` is the schema of [experiment files](experiment.md). `jvbtune sweep --json` "
    text += "prints the document of `jvbtune show --json`.\n\n"
    return text + f"These commands have `--json` and no schema yet: {', '.join(others)}."


def _schema(command: click.Command) -> dict[str, Any]:
    import json

    from click.testing import CliRunner

    done = CliRunner().invoke(command, ["--schema"], standalone_mode=False)
    assert done.exception is None, done.exception
    schema: dict[str, Any] = json.loads(done.stdout)
    return schema if "properties" in schema else schema["$defs"][schema["$ref"].rsplit("/", 1)[1]]


#: Exit code -> what it means, what to do.
CODES: dict[int, tuple[str, str]] = {
    0: ("The command did what it was asked to.", ""),
    1: ("Something failed.", "The message says what, where, and what to do."),
    2: (
        "The command line, `jvbtune.toml` or an experiment file is wrong.",
        "The message names the option or the line.",
    ),
    3: ("`jvbtune revert --check` found something to put back.", "Run `jvbtune revert --host HOST`."),
    4: ("`jvbtune fit` has a recommendation for some hosts and none for others.", "The reasons say what to run."),
    5: ("The data support no trustworthy recommendation.", "The reasons say what to run. Nothing is exported."),
    130: (
        "You interrupted the command, or nobody read its `--json-lines` any more. The host was put back first.",
        "`jvbtune sweep --resume latest` goes on.",
    ),
    141: ("Nobody read the output to its end, as with `jvbtune runs \\| head -1`.", ""),
}


def exit_codes() -> str:
    used = {0, 2, errors.CHANGES_PENDING, errors.SOME_HOSTS, errors.READER_GONE} | {
        error.exit_code for error in _error_classes()
    }
    assert used == set(CODES), f"exit codes {sorted(used)} are used, {sorted(CODES)} are documented"
    rows = "\n".join(f"| {code} | {meaning} | {todo} |" for code, (meaning, todo) in CODES.items())
    return (
        "# Exit codes\nThe same for every command, so that scripts can rely on them.\n\n"
        f"| code | meaning | what to do |\n| --- | --- | --- |\n{rows}\n\n"
        "`jvbtune flame diff --fail-above` uses 1 for a significant growth and 5 if nothing could be tested."
    )


def _error_classes() -> list[type[errors.JvbtuneError]]:
    def walk(kind: type[errors.JvbtuneError]) -> Iterator[type[errors.JvbtuneError]]:
        yield kind
        for below in kind.__subclasses__():
            yield from walk(below)

    return list(walk(errors.JvbtuneError))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# --- observed quantities


def observed() -> str:
    """docs/reference/observed.md."""
    text = """# Observed quantities
`jvbtune observe` writes these. InfluxDB fields and Parquet columns have the first name, in the given unit; Prometheus
has the second one, in base units (seconds, bytes, ratios of 0 to 1). Every series has the label `host` and the labels
of the inventory, such as `region`, `machine_type`, `cloud` and `group`. What is not known is absent.

`bridge`: the bridge reports it. `agent`: the kernel or the JVM, by jvbtune's agent. `interval`: computed over the time
since the sample before. `run`: from a run, or from `--capacity`. `observer`: jvbtune itself.
"""
    for title, quantities in (
        ("A host", OBSERVED),
        ("A network interface (label `interface`)", NETWORK),
    ):
        text += f"\n## {title}\n| InfluxDB, Parquet | unit | Prometheus | kind | from | meaning |\n"
        text += "| --- | --- | --- | --- | --- | --- |\n"
        text += "".join(
            f"| `{q.name}` | {q.unit} | `{q.metric}` | {q.kind} | {q.source} | {q.help} |\n" for q in quantities
        )
    return text


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": commands,
    "experiment.md": experiment,
    "jvbtune-toml.md": inventory,
    "settings.md": settings,
    "columns.md": columns,
    "observed.md": observed,
    "json.md": documents,
    "exit-codes.md": exit_codes,
}


def out_of_date() -> list[str]:
    """Names of the pages that are not what the code says."""
    return [name for name, text in pages().items() if not _same(DIRECTORY / name, text)]


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def main() -> int:
    for module, _ in COMMANDS.values():
        importlib.import_module(module.split(":")[0])
    assert isinstance(cli, LazyGroup)
    stale = out_of_date()
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"docs/reference/{name} is out of date: run make reference", file=sys.stderr)
        return 1 if stale else 0
    made = pages()
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (DIRECTORY / name).write_text(made[name])
        print(f"wrote docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
