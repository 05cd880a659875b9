"""The guard of an apply or a rollback: a process of its own that leaves no bridge drained when the agent is killed.

The agent holds the other end of its standard input, and says there that it is alive. When that closes, the agent has
ended, or needs no guard any more; ``deploy.leave`` finds out which by the manifest. An agent that ends otherwise than
by a kill does the same by itself. One that falls silent is stopped, or hangs with the lock in its hand: it is killed,
since it must not go on behind what is done here.
"""

from __future__ import annotations

import contextlib
import sys
import time

from jvbtune.agent.control import kill
from jvbtune.agent.deploy import LOCK_SECONDS, leave
from jvbtune.agent.deploylease import hear
from jvbtune.agent.deployplan import Places
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.generations import Which
from jvbtune.agent.guard import stand_by
from jvbtune.agent.rundir import tidy

#: Before each try, in seconds.
WAITS = (0.0, 2.0, 4.0, 8.0, 16.0)


def main(arguments: list[str]) -> int:
    """``deployguard NUMBER CREATED AGENT_PID AGENT_START_TICKS LEASE_SECONDS``: of the generation that it looks after,
    and the agent that is at it."""
    number, created_unix, pid, started, seconds = arguments
    stand_by()
    if not hear(0, float(seconds)):
        sys.stderr.write(f"the agent {pid} has not been heard of for {float(seconds):g} s: it is killed\n")
        kill(int(pid), int(started))
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
