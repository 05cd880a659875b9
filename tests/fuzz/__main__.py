"""``python -m tests.fuzz``: the long mode: every target for its share of the time, and the table of what it found."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz.engine import ANY, ROOT, Report, run_targets
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="for all targets together (default: 600)")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--state", type=Path, default=ROOT / ".cache/fuzz", help="where inputs are kept")
    parser.add_argument("--input", type=Path, help="run one target on this file only, and let its error through")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    if options.input is not None:
        options.state.mkdir(parents=True, exist_ok=True)
        TARGETS[names[0]].run(options.input.read_bytes(), options.state)
        return 0
    reports = []
    for name in names:
        share = options.seconds / len(names)
        state = options.state / name
        (report,) = run_targets({name: ANY}, seconds=share, seed=options.seed, guided=True, state=state)
        for where, (what, path) in report.findings.items():
            print(f"{name}: {where}: {path}\n    " + what.strip().replace("\n", "\n    "), flush=True)
        reports.append(report)
    print(f"seed {options.seed}")
    print(table(reports))
    return 1 if any(report.findings for report in reports) else 0


def table(reports: list[Report]) -> str:
    rows = [("target", "seeds", "executions", "seconds", "lines", "kept", "findings")]
    totals = Report("all")
    for report in reports:
        totals.seeds += report.seeds
        totals.executions += report.executions
        totals.seconds += report.seconds
        totals.kept += report.kept
        totals.lines += report.lines
    found = [len(report.findings) for report in reports]
    for report, count in zip([*reports, totals], [*found, sum(found)], strict=True):
        figures = (report.seeds, report.executions, round(report.seconds), report.lines, report.kept, count)
        rows.append((report.target, *(str(figure) for figure in figures)))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.rjust(w) if at else cell.ljust(w) for at, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
