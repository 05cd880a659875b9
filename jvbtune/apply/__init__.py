"""Applying a run's export to a host, watching it, and taking it back. Beside a sweep, the only code that acts."""

from jvbtune.apply.run import Applied, Options, Order, apply, order, plan, roll_back

__all__ = ["Applied", "Options", "Order", "apply", "order", "plan", "roll_back"]
