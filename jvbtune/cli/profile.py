"""``jvbtune profile``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from jvbtune.cli.common import (
    Number,
    captures_dir_option,
    find_host,
    host_option,
    inventory_option,
    json_option,
    owner,
    print_json,
    put,
    say,
)
from jvbtune.text import counted

PAGE = "flamegraph.html"


@click.command("profile")
@host_option()
@click.option(
    "--seconds",
    type=Number(1, 3600),
    default=60.0,
    show_default=True,
    help="Length of all slices together, in seconds.",
)
@click.option(
    "--slices",
    type=click.IntRange(1, 200),
    default=6,
    show_default=True,
    help="Number of slices. A comparison takes their spread as the noise.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "async-profiler", "perf", "jfr"]),
    default="auto",
    show_default=True,
    help="Profiler. auto: the one that sees most on this host.",
)
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice(["cpu", "ctimer", "wall", "alloc", "lock"]),
    help="What to sample. Repeatable: several events use JFR, and each gets a capture. Default: cpu.",
)
@click.option(
    "--interval-ms",
    type=Number(1, 1000),
    default=10.0,
    show_default=True,
    help="Milliseconds between samples.",
)
@click.option(
    "--allow-sysctls",
    is_flag=True,
    help="If kernel frames need it, change kernel.perf_event_paranoid and kernel.kptr_restrict, and put them back.",
)
@click.option(
    "--cost",
    is_flag=True,
    help="Measure what profiling costs, in a window without the profiler before each slice. It doubles the time.",
)
@click.option("--probe", is_flag=True, help="Only report which profilers work on this host. Nothing is started.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of the flamegraph. Default: flamegraph.html in the capture's directory.",
)
@click.option("--no-open", is_flag=True, help="Do not open the flamegraph in a browser.")
@captures_dir_option
@inventory_option
@json_option
def command(
    host_name: str,
    seconds: float,
    slices: int,
    engine: str,
    events: tuple[str, ...],
    interval_ms: float,
    allow_sysctls: bool,
    cost: bool,
    probe: bool,
    output: Path | None,
    no_open: bool,
    captures_dir: Path | None,
    inventory: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Profile a live bridge without a restart, and write its flamegraph.

    The bridge goes on serving calls: it is not drained, not restarted, and left unchanged. If the link is cut, the
    profiler stops by itself. jvbtune reports which profiler it takes, what that costs and what it cannot see. The paths
    of the capture and of the flamegraph go to stdout.

    \b
    Examples:
      jvbtune profile --host jvb-eu-1 --probe         which profilers work, and what they cost
      jvbtune profile --host jvb-eu-1 --seconds 60
    """
    from jvbtune.bridge.client import BridgeClient
    from jvbtune.capture import Request, capture, captures_directory, choose
    from jvbtune.errors import JvbtuneError
    from jvbtune.hosts import connect
    from jvbtune.hosts.agent_client import AgentClient
    from jvbtune.interrupts import handled
    from jvbtune.inventory import bridge_arguments
    from jvbtune.protocol import capture as messages
    from jvbtune.protocol.agent import OfBridge
    from jvbtune.protocol.codec import to_json

    request = Request(
        engine=engine,
        events=events or ("cpu",),
        interval_ns=round(interval_ms * 1e6),
        slices=slices,
        slice_seconds=seconds / slices,
        measure_cost=cost,
        allow_sysctls=allow_sysctls,
    )
    entry = find_host(host_name, inventory)
    with handled(say), connect(entry) as host, AgentClient(host) as agent:
        bridge = bridge_arguments(entry)
        leftover = agent.capabilities.leftover_journal
        if leftover is not None:
            say(f"{leftover.owner} holds this host (run {leftover.run_id}): a profile disturbs its trials")
        if probe:
            found = agent.call(messages.PROBE, OfBridge(bridge), timeout_seconds=60)
            choice = choose(request, found)
            _tell_choice(choice)
            if as_json:
                print_json({"schema_version": 1, "host": host_name, "engine": choice.engine, "probe": to_json(found)})
            return 0
        try:
            version = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port).version()
        except JvbtuneError:
            version = None  # a JVM without the bridge's HTTP interface can be profiled all the same
        paths = capture(
            agent,
            request,
            captures_directory(captures_dir),
            host=entry.name,
            bridge=bridge,
            owner=owner(),
            bridge_version=version,
            observe=_observe(request.slices),
        )
    documents = [json.loads((path / "capture.json").read_text()) for path in paths]
    if as_json:
        listed = [{"path": str(path), **document} for path, document in zip(paths, documents, strict=True)]
        print_json({"schema_version": 1, "host": host_name, "captures": listed})
    for index, (path, document) in enumerate(zip(paths, documents, strict=True)):
        _tell(document)
        if not as_json:
            put(path)
        page = output if output is not None and index == 0 else path / PAGE
        _draw(path, page, no_open=no_open or as_json or index > 0, echo=not as_json)
    return 0


def _draw(path: Path, page: Path, *, no_open: bool, echo: bool) -> None:
    """The capture as a flamegraph."""
    from jvbtune.capture.stored import load_capture
    from jvbtune.cli.flame_common import reader_of, write_page, write_text
    from jvbtune.flame.compare import merge
    from jvbtune.flame.viewer import render_html

    reader = reader_of("merge", (), None, None)
    capture = load_capture(path)
    if not any(one.samples != 0 for one in capture.slices):
        return
    html = render_html(merge([reader.capture(capture)], rules=reader.sentences), title=capture.title)
    if echo:
        write_page(html, page, no_open=no_open)
    else:
        write_text(html, page)


def _observe(slices: int) -> Any:
    def observe(event: str, data: Mapping[str, Any]) -> None:
        if event == "chosen":
            _tell_choice(data["choice"])
        elif event == "sysctls":
            changed = ", ".join(f"{name} = {value}" for name, value in data["values"].items())
            say(f"during the capture: {changed}; a guard on the host puts them back")
        elif event == "reverted":
            say("The sysctls were put back.")

    return observe


def _tell_choice(choice: Any) -> None:
    say(f"engine: {choice.engine}, event {choice.native_event}, because {choice.because}")
    say(f"cost: {choice.cost}")
    for text in choice.lost:
        say(f"it cannot see: {text}")


def _tell(document: Mapping[str, Any]) -> None:
    slices = document["slices"]
    samples = sum(one["samples"] or 0 for one in slices)
    text = f"{document['event']}: {counted(len(slices), 'slice')}"
    if samples:
        text += f", {counted(round(samples), 'sample')}"
    packets = [one["packets"] for one in slices]
    if all(packets):
        text += f", {sum(packets) / sum(one['seconds'] for one in slices):.0f} pps"
    if samples and document["unit"] == "samples":
        shares = {name: sum(one[name] * one["samples"] for one in slices) / samples for name in _shares(document)}
        text += "".join(f", {value:.1%} {_SHARES[name]}" for name, value in shares.items())
    if document.get("sampled_ratio") is not None:
        text += f"; the samples are {document['sampled_ratio']:.0%} of its CPU time"
    say(text)
    if document.get("cost"):
        from jvbtune.capture.cost import Cost

        say(f"profiling cost {Cost.from_json(document['cost'])}")


_SHARES = {"unresolved_ratio": "of the leaves unresolved", "kernel_ratio": "in the kernel"}


def _shares(document: Mapping[str, Any]) -> list[str]:
    return [name for name in _SHARES if document["slices"][0].get(name) is not None]
