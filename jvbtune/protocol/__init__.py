"""The one line protocol of jvbtune: controller and agent, agent and its helper in the JVM, generator and its workers.

    {"id": 1, "op": "clock", "args": {}}                                     request
    {"id": 1, "result": {...}}                                               reply
    {"id": 1, "error": {"kind", "message", "hint", "trace"}}                 refusal
    {"event": "sample", "data": {...}}                                       event: has no id

One JSON object a line. ``codec`` turns frozen dataclasses into lines and back, ``messages`` has the four shapes above,
``peers`` asks and answers. What is asked, answered and reported stands beside: ``agent``, ``tuning``, ``capture``,
``inside``, ``worker``; ``samples`` has what the agent measures.

Python 3.9, standard library only: it is sent to the host with the agent, and imports nothing else of jvbtune.
"""
