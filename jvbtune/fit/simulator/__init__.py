"""Runs of a host whose truth is known, for proving what ``fit`` says.

Shapes are those of real bridges (see ``host.py``); the truth is solved exactly, and none of the fitted forms is the
simulated one.
"""

from jvbtune.fit.simulator.host import SimulatedHost, SimulatedMix
from jvbtune.fit.simulator.trials import Design, Disturbance, simulate

__all__ = ["Design", "Disturbance", "SimulatedHost", "SimulatedMix", "simulate"]
