"""The lease of an apply or a rollback: while its controller is heard, the bridge stays drained, and no longer.

A link that is cut without a word (a laptop that sleeps, a VPN that drops) is noticed by sshd after minutes or hours,
and a controller that is stopped keeps its link. Every request renews the lease, and one under way holds it. The
controller is never silent for long between the drain and the undrain: it asks who is on the bridge every 2 s
(``apply.run``), and nobody is asked anything there.

The agent itself has a lease with its guard, as long: it says ``ALIVE`` from a thread of its own, whatever else it does.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from typing import Any

#: The agent looks so often within a lease. It counts looks, so that the time in which it was stopped itself is not
#: taken for a controller's silence.
LOOKS = 12
ALIVE = b"."


def end_when_silent(agent: Any, seconds: float) -> threading.Event:
    """From now on the agent ends, as at the end of its input, if no request comes for so long and none is under way.
    The event that is returned ends this."""
    over = threading.Event()

    def watch() -> None:
        heard, silent = agent.asked, 0
        while not over.wait(seconds / LOOKS) and not agent.stopping.is_set():
            asked = agent.asked
            silent = silent + 1 if asked == heard == agent.answered else 0
            heard = asked
            if silent >= LOOKS:
                agent.hang_up()
                with contextlib.suppress(OSError):
                    sys.stderr.write(f"no request came for {seconds:g} s, so what was begun is taken back\n")
                return

    threading.Thread(target=watch, name="deploy-lease", daemon=True).start()
    return over


def hear(descriptor: int, seconds: float) -> bool:
    """For the guard: listen to an agent until it has ended, or closes its end (True), or has not been heard of for so
    long (False). Looks are counted, as above."""
    silent = 0
    while silent < LOOKS:
        if not select.select([descriptor], [], [], seconds / LOOKS)[0]:
            silent += 1
        elif not os.read(descriptor, 4096):
            return True
        else:
            silent = 0
    return False
