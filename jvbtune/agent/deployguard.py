"""The guard of an apply or a rollback: a process of its own that leaves no bridge drained when the agent is killed.

The agent holds the other end of its standard input. When that closes, the agent has ended, or needs no guard any more;
``deploy.leave`` finds out which by the manifest. An agent that ends otherwise than by a kill does the same by itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

from jvbtune.agent.deploy import LOCK_SECONDS, leave
from jvbtune.agent.deployplan import Places
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.generations import Which
from jvbtune.agent.guard import stand_by
from jvbtune.agent.rundir import tidy

#: Before each try, in seconds.
WAITS = (0.0, 2.0, 4.0, 8.0, 16.0)


def main(arguments: list[str]) -> int:
    """``deployguard NUMBER CREATED``: of the generation that it looks after."""
    number, created_unix = arguments
    stand_by()
    while os.read(0, 64):
        pass
    places = Places()
    status = finish(places, (int(number), float(created_unix)))
    with contextlib.suppress(AgentFault, OSError, TimeoutError), places.journal().locked(LOCK_SECONDS):
        tidy(places.journal())
    return status


def finish(places: Places, which: Which, waits: tuple[float, ...] = WAITS) -> int:
    """What a killed agent left to be done, in as many tries as there are waits. 0: nothing is left to be done."""
    for wait in waits:
        time.sleep(wait)
        try:
            with places.journal().locked(LOCK_SECONDS):
                leave(places, which)
            return 0
        except (AgentFault, OSError, TimeoutError) as error:
            sys.stderr.write(f"{error}\n")
    return 1
