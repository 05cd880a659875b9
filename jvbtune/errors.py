"""Every error that a user can meet, each with its exit code.

    JvbtuneError                 1   what happened, where, what would be right
    ├── UsageError               2   wrong words on the command line
    │   └── ConfigError          2   a file of the user's is wrong: file, line, key
    ├── NoRecommendation         5   the data cannot carry a recommendation
    ├── Interrupted            130   by the user, after the host was put back
    ├── HostError                1   a host cannot be reached or commanded
    │   ├── HostKeyError         1   unknown or changed host key
    │   ├── HostTimeoutError     1   a command on a host did not end in time
    │   ├── SudoError            1   a right is missing on the host
    │   └── AgentError           1   the agent did not start, broke off, or refused
    ├── BridgeError              1   the bridge is not found, not healthy, or answers wrongly
    │   └── BridgeBusyError      1   participants are on the bridge
    ├── TuningError              1   a setting could not be applied, verified or reverted
    ├── LoadError                1   the generator could not hold the load
    ├── StoreError               1   a run directory is missing, damaged or of another version
    ├── CaptureError             1   a profile could not be taken
    └── FormatError              1   a file is not what it should be: file, line, content

Only ``jvbtune.cli`` prints these or exits. Three exit codes are no errors: ``CHANGES_PENDING`` and ``SOME_HOSTS`` are
answers, ``READER_GONE`` is what a shell shows for SIGPIPE.
"""

from __future__ import annotations

from pathlib import Path

CHANGES_PENDING = 3  #: ``--check`` found something to change
SOME_HOSTS = 4  #: some of several hosts have a recommendation, others have none
READER_GONE = 141  #: nobody read stdout to its end


class JvbtuneError(Exception):
    """Something that a user can act on.

    ``message`` says what happened and where; ``hint`` what would be right, or what to do next.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(JvbtuneError):
    exit_code = 2


class ConfigError(UsageError):
    """A file that the user wrote is wrong. ``line`` is 1-based; ``key`` is dotted."""

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        key: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.file, self.line, self.key = file, line, key
        place = ":".join(str(part) for part in (file, line) if part is not None)
        where = ": ".join(part for part in (place, key) if part)
        super().__init__(f"{where}: {message}" if where else message, hint=hint)


class NoRecommendation(JvbtuneError):
    exit_code = 5


class Interrupted(JvbtuneError):
    exit_code = 130


class HostError(JvbtuneError):
    pass


class HostKeyError(HostError):
    pass


class HostTimeoutError(HostError, TimeoutError):
    """Also a TimeoutError: whoever can go on without the answer catches that."""


class SudoError(HostError):
    pass


class AgentError(HostError):
    pass


class BridgeError(JvbtuneError):
    pass


class BridgeBusyError(BridgeError):
    pass


class TuningError(JvbtuneError):
    pass


class LoadError(JvbtuneError):
    pass


class GeneratorLostError(LoadError):
    """What makes the load ended or fell silent by itself: the load that it was making does not count."""


class StoreError(JvbtuneError):
    pass


class CaptureError(JvbtuneError):
    pass


class FormatError(JvbtuneError):
    """A file is malformed. ``line`` is 1-based."""

    def __init__(
        self, message: str, *, file: str | Path | None = None, line: int | None = None, hint: str | None = None
    ) -> None:
        self.file, self.line = file, line
        place = ":".join(str(part) for part in (file, line) if part is not None)
        super().__init__(f"{place}: {message}" if place else message, hint=hint)
