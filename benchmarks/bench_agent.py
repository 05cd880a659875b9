"""The agent's own cost at 1 Hz beside a real JVM bridge with its threads; limit 1 % of a core. Needs root."""

from __future__ import annotations

import sys
import time

from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, open_generator
from jvbtune.protocol.agent import SAMPLE_START, SAMPLE_STOP, BridgeQuery, StartSampling
from jvbtune.protocol.messages import Nothing
from jvbtune.protocol.samples import Sample

LIMIT_RATIO = 0.01
SECONDS = 20


def main() -> int:
    with Lab.up("bench") as lab, connect(lab.entry()) as host, AgentClient(host) as agent:
        with open_generator(lab.entry(), host) as generator:
            generator.offer(IntendedLoad(10, Mix()), 1.0)
            query = BridgeQuery(pid_file=str(lab.directory / "bridge.pid"))
            agent.call(SAMPLE_START, StartSampling(query))
            time.sleep(SECONDS + 1.5)
            agent.call(SAMPLE_STOP, Nothing())
        samples = []
        while not agent.events.empty():
            event = agent.events.get()
            if isinstance(event, Sample):
                samples.append(event)
    first, last = samples[0], samples[-1]
    used = last.agent_cpu_seconds - first.agent_cpu_seconds
    ratio = used / (last.t_mono - first.t_mono)
    assert last.bridge is not None
    threads = last.bridge.nr_threads
    print(f"agent at 1 Hz, JVM with {threads} threads: {ratio:.2%} of a core, limit {LIMIT_RATIO:.0%}")
    late = max(sample.late_ms for sample in samples)
    print(f"latest sample {late:.1f} ms behind the grid")
    return 0 if ratio <= LIMIT_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
