"""Seeded fault injection: agent, guard and put-back in namespaces of their own, against a small HTTP bridge.

    python -m tests.faults                 300 seeds, and the table
    python -m tests.faults --seed 17 -v    one, with its timeline

``plan`` draws a fault from a seed; ``world`` runs a sweep in namespaces of its own and does the fault; ``hooks`` stops
the agent and the guard at each of their effects; ``invariants`` judges what was recorded.
"""
