"""Live progress of a sweep on stderr: a bar on a terminal, a line a trial elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from jvbtune.cli.common import on_terminal, say
from jvbtune.sweep.pace import Pace
from jvbtune.text import counted, printable


class Progress:
    """An observer of ``sweep``."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._step = ""
        self._pace = Pace({})

    def __enter__(self) -> Progress:
        if on_terminal():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left {task.fields[left]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: str, data: Mapping[str, Any]) -> None:
        handler = getattr(self, f"_on_{event}", None)
        if handler is not None:
            handler(data)

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(printable(text), highlight=False, markup=False)
        else:
            say(text)

    def _on_run_started(self, data: Mapping[str, Any]) -> None:
        self._say(f"run {data['run']} in {data['path']}")

    def _on_baseline(self, data: Mapping[str, Any]) -> None:
        for name, value in data["values"].items():
            self._say(f"found on arrival: {name} = {value}")

    def _on_generator_limited(self, data: Mapping[str, Any]) -> None:
        self._say(
            f"the generator is the limit at {data['packet_rate_pps']:.0f} pps: no load is above "
            f"{data['highest_pps']:.0f} pps. Give the generator more cores or machines (docs/load.md)"
        )

    def _on_generator_lost(self, data: Mapping[str, Any]) -> None:
        self._say(f"    {data['because']}; the load begins again")

    def _on_planned(self, data: Mapping[str, Any]) -> None:
        self._pace = Pace(data["seconds"])
        self._say(f"{counted(len(self._pace), 'trial')}, about {self._pace.planned_seconds / 60:.1f} min")
        if self._bar is not None:
            total = sum(1 for _ in data["plan"].trials())
            self._task = self._bar.add_task(
                "starting", total=total, completed=total - len(self._pace), left=self._left()
            )

    def _on_as_found(self, data: Mapping[str, Any]) -> None:
        self._say(f"{data['step']} is what the host has already: the baseline stands for it")

    def _on_step_started(self, data: Mapping[str, Any]) -> None:
        self._step = f"block {int(data['block']) + 1}: {data['name']}"
        self._say(f"{self._step}: applying, restarting, warming up")
        self._update("warming up")

    def _on_step_verified(self, data: Mapping[str, Any]) -> None:
        buffers = {socket["rcvbuf_bytes"] for socket in data["sockets"]}
        self._say(f"    socket buffer {', '.join(str(b) for b in sorted(buffers)) or 'unknown'} bytes (sock_diag)")

    def _on_warmed_up(self, data: Mapping[str, Any]) -> None:
        after = f"after {float(data['seconds']):.0f} s"
        if data["ended"] == "compiled":
            spent = data.get("compiler_core_seconds")
            cost = "" if spent is None else f"; the JVM's compilers used {float(spent):.1f} s of CPU since its start"
            self._say(f"    warm {after}{cost}")
        elif data["ended"] == "longest":
            self._say(
                f"    still compiling {after} of load: trials that measure the compiler are repeated, or not used"
            )
        else:
            self._say(f"    taken as warm {after} of load: the JVM's threads are unknown")

    def _on_trial_started(self, data: Mapping[str, Any]) -> None:
        self._update(f"{float(data['intended_pps']) / 1000:.1f} kpps")

    def _on_trial_extended(self, data: Mapping[str, Any]) -> None:
        self._say(f"    extended: {'; '.join(data['because'])}")

    def _on_chosen(self, data: Mapping[str, Any]) -> None:
        choice = data["choice"]
        self._say(f"    profiling by {choice.engine} ({choice.native_event}): {choice.because}")
        for text in choice.lost:
            self._say(f"    it cannot see: {text}")

    def _on_captured(self, data: Mapping[str, Any]) -> None:
        if data["cost"] is not None:
            from jvbtune.capture.cost import Cost

            self._say(f"    profiling cost {Cost.from_json(data['cost'])}")

    def _on_capture_failed(self, data: Mapping[str, Any]) -> None:
        self._say(f"    NOT PROFILED: {data['message']}")

    def _on_trial_finished(self, row: Mapping[str, Any]) -> None:
        done = self._pace.done(str(row["trial"]))

        def figure(name: str, text: str) -> str:
            value = row.get(name)
            return "" if value is None else text.format(value)

        parts = [
            figure("bridge_pps", "{:8.0f} pps") or figure("offered_pps", "{:8.0f} pps"),
            figure("cpu_cores", "{:.2f} cores"),
            figure("loss_ratio", "loss {:.1e}"),
            figure("socket_drops", "drops {}"),
            figure("delay_p99_ms", "p99 {:.1f} ms"),
            "bursts" if row["kind"] == "burst" else row["kind"] if row["kind"] in ("probe", "profiled") else "",
            f"left {self._left()}" if self._pace.planned_seconds else "",
        ]
        note = "" if row["valid"] else "   NOT USED: " + "; ".join(row["invalid_because"])
        self._say("    " + "  ".join(part for part in parts if part) + note)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=int(done), left=self._left())

    def _on_stopped(self, data: Mapping[str, Any]) -> None:
        self._say(f"stopped before block {int(data['block']) + 1}: {data['because']}")

    def _on_reverted(self, data: Mapping[str, Any]) -> None:
        report = data["report"]
        for name, value in report.get("restored", {}).items():
            self._say(f"put back: {name} = {value}")
        for name, values in report.get("foreign", {}).items():
            self._say(
                f"left as it is: {name} is {values['found']}, somebody else changed it (it was {values['baseline']})"
            )
        for note in report.get("notes") or ():
            self._say(str(note))

    def _update(self, what: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=printable(f"{self._step}  {what}"))

    def _left(self) -> str:
        """What the missing trials take, at the pace of those that were done."""
        left = self._pace.left_seconds()
        return f"{left:.0f} s" if left < 90 else f"{left / 60:.1f} min"
