"""Profiles of the bridge's JVM, the agent's side: ``service`` answers the controller; the rest is what it uses."""
