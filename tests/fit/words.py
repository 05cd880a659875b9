"""What a fit says in words."""

from jvbtune.fit import HostFit


def texts(found: HostFit) -> list[str]:
    """Why there is no figure, and what else has to be known."""
    return [str(reason) for reason in (*found.reasons, *found.remarks)]
