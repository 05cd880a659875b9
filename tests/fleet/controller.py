"""A controller in a process of its own, to be interrupted and killed: ``controller DIRECTORY NAME…``"""

from __future__ import annotations

import sys
from pathlib import Path

from jvbtune.cli.common import put, say
from jvbtune.fleet.nursery import Nursery
from jvbtune.fleet.run import Fleet, Member, Rules
from jvbtune.fleet.store import FleetWriter, create_fleet
from jvbtune.interrupts import handled
from jvbtune.inventory import HostEntry
from tests.fleet.jobs import PutsBack


def main() -> int:
    directory = Path(sys.argv[1])
    entries = [HostEntry(name, None) for name in sys.argv[2:]]
    members = [Member(entry, PutsBack(directory, entry.name, back_seconds=1.0)) for entry in entries]
    record = create_fleet(directory, "sweep", entries, {})
    with (
        handled(say),
        FleetWriter(record) as writer,
        Nursery(()) as nursery,
    ):
        fleet = Fleet("sweep", members, Rules(2), lambda event, data: put(f"{event} {data}"), writer)
        return fleet.run(nursery)


if __name__ == "__main__":
    sys.exit(main())
