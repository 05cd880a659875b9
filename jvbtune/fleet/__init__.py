"""Many hosts at once: one controller, a process for each host, and a record of how far each of them came.

``run.Fleet`` is the controller. It never prints; what happens goes to an observer as ``events``.
"""
