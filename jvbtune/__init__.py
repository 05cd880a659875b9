"""jvbtune: measure the max packet rate and the kernel settings of Jitsi Videobridge hosts."""

__version__ = "0.1.0"
