"""``python -m tests.faults``: the seeds, and the table; ``--seed N -v``: one, with its timeline."""

from __future__ import annotations

import argparse
import sys
import time

from tests.faults.plan import draw, draw_interrupt
from tests.faults.run import JOBS, Outcome, readable, run_seeds, table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, action="append", help="only this one; may be given several times")
    parser.add_argument("--seeds", type=int, default=300, help="so many, from --first on (default: 300)")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--interrupts", action="store_true", help="the seeds mean interrupts of the controller")
    parser.add_argument("-j", "--jobs", type=int, default=JOBS, help=f"so many at a time (default: {JOBS})")
    parser.add_argument("-v", "--verbose", action="store_true", help="print timelines")
    options = parser.parse_args()
    seeds = options.seed or list(range(options.first, options.first + options.seeds))

    def tell(outcome: Outcome) -> None:
        verdict = "ok" if not outcome.findings else "FAILS"
        reached = "" if outcome.reached else " (not reached)"
        print(f"seed {outcome.fault.seed}: {verdict}{reached} {outcome.restored}: {outcome.fault}", flush=True)
        for number, text in outcome.findings:
            print(f"    invariant {number}: {text}", flush=True)
        if options.verbose:
            print(readable(outcome), flush=True)

    begun = time.monotonic()
    outcomes = run_seeds(seeds, jobs=options.jobs, tell=tell, drawn=draw_interrupt if options.interrupts else draw)
    print(table(outcomes))
    failed = [outcome for outcome in outcomes if outcome.findings]
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} pass, in {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
