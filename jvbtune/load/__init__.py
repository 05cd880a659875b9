"""Controlled load: conferences of participants at realistic packet rates, through ICE, DTLS and SRTP."""

from __future__ import annotations

from functools import partial
from typing import Any

from jvbtune.bridge.client import BridgeClient
from jvbtune.hosts.base import Host
from jvbtune.inventory import HostEntry
from jvbtune.load.base import Generator, IntendedLoad, Mix, Offered
from jvbtune.load.target import channel_target, media_target, refuse_without_relays

__all__ = [
    "Generator",
    "IntendedLoad",
    "Mix",
    "Offered",
    "channel_target",
    "expire_leftover",
    "media_target",
    "open_generator",
    "refuse_without_relays",
]


def expire_leftover(client: BridgeClient, prefix: str) -> int:
    """Expire the conferences of a generator that was killed; how many."""
    from jvbtune.load.conferences import expire_leftover as expire

    return expire(client, prefix)


def open_generator(entry: HostEntry, host: Host, **options: Any) -> Generator:
    """The generator for a host, as its entry has it. That of this machine refuses loads above its calibrated limit.
    ``options``: ``max_pps``, ``leased``."""
    from jvbtune.load.calibration import refuse_above
    from jvbtune.load.command import CommandGenerator
    from jvbtune.load.generator import WorkerGenerator

    if entry.generator.command:
        return CommandGenerator(entry, host, **options)
    if entry.generator.grid is not None:
        from jvbtune.load.browser.generator import BrowserGenerator

        return BrowserGenerator(entry, host, **options)
    return WorkerGenerator(entry, host, refuse=partial(refuse_above, entry), **options)
