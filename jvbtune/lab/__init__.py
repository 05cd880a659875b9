"""Embedded hosts: a real sshd and a real JVM bridge on this machine, started and stopped by jvbtune."""

from jvbtune.lab.lab import KINDS, Lab, lab_directory, running_labs

__all__ = ["KINDS", "Lab", "lab_directory", "running_labs"]
