"""The embedded host: a real sshd and a real JVM bridge in a box, started and stopped by jvbtune."""

from jvbtune.lab.lab import Lab, lab_directory, running_labs

__all__ = ["Lab", "lab_directory", "running_labs"]
