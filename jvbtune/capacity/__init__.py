"""Capacity by adaptive trials: the packet rates at which a host's limits are met, found instead of swept.

``goals`` says what a limit is, ``search`` is the pure controller, ``result`` what it found, ``run`` leads a real host.
"""
