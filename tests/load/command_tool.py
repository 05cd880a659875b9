"""A generator as a user may have one: it reads lines of JSON, and makes real load with jvbtune's own workers.

command_tool.py NETNS [FAULT]
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from jvbtune.hosts.local import LocalHost
from jvbtune.inventory import BridgeEntry, GeneratorEntry, HostEntry
from jvbtune.load.base import IntendedLoad, Mix
from jvbtune.load.generator import WorkerGenerator

NETNS, FAULT = sys.argv[1], (*sys.argv[2:], "")[0]


def answer(number: int, result: dict[str, Any]) -> None:
    print(json.dumps({"id": number, "result": result}), flush=True)


def generator_for(hello: dict[str, Any]) -> WorkerGenerator:
    colibri = urlsplit(hello["colibri_url"])
    assert colibri.path == "/colibri/v2/conferences/"
    bridge = BridgeEntry(
        media_address=hello["media_address"],
        media_port=hello["media_port"],
        allowed_media_addresses=tuple(hello["allowed_media_addresses"]),
        http_address=str(colibri.hostname),
        http_port=colibri.port or 80,
    )
    entry = HostEntry(hello["host"], None, bridge=bridge, generator=GeneratorEntry(netns=NETNS))
    made = WorkerGenerator(entry, LocalHost(), max_pps=hello["max_pps"])
    made._conferences.prefix = hello["meeting_id_prefix"]
    return made


def main() -> None:
    generator: WorkerGenerator | None = None
    load = IntendedLoad(1)
    for line in sys.stdin:
        request = json.loads(line)
        number, args = request["id"], request["args"]
        if request["op"] == "hello":
            generator = generator_for(args)
            answer(number, {"name": "command_tool", "version": "1"})
            continue
        assert generator is not None
        if request["op"] == "offer":
            if FAULT == "refuses":
                error = {"kind": "load", "message": "no browser is left"}
                print(json.dumps({"id": number, "error": error}), flush=True)
                continue
            if FAULT == "babbles":
                print("starting up...", flush=True)
            if FAULT == "dies":
                sys.exit("my licence ran out")
            mix = args["mix"]
            load = IntendedLoad(args["conferences"], Mix(mix["participants"], mix["senders"]))
            generator.offer(load, 0.2, settle_seconds=args["settle_seconds"])
            answer(number, {"endpoints": generator.endpoints})
        elif request["op"] == "hold":
            seen = generator.offer(load, args["seconds"], settle_seconds=0)
            report = {
                "seconds": seen.duration_seconds if FAULT != "brief" else 0.1,
                "sent_packets": seen.sent_packets,
                "expected_packets": seen.expected_packets,
                "received_packets": seen.received_packets,
                "offered_pps": seen.offered_pps,
                "endpoints": seen.endpoints,
                "delay_ms": seen.delay_ms,
                "lateness_p99_ms": seen.lateness_p99_ms,
                "limited_because": list(seen.generator_limited_because),
            }
            answer(number, report)
        elif request["op"] == "stop":
            generator.stop()
            answer(number, {})
        elif request["op"] == "bye":
            generator.close()
            answer(number, {})
            time.sleep(0.1)
            return


main()
