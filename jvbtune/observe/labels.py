"""Labels of hosts as Prometheus and InfluxDB permit them; the same names in both."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jvbtune.observe.columns import HOST, INTERFACE
from jvbtune.text import clean

#: Prometheus, InfluxDB, or a metric of jvbtune gives these another meaning.
RESERVED = ("le", "quantile", "job", "instance", "time", INTERFACE, "source")


def label_name(name: str) -> str:
    """A name that Prometheus permits. One that is reserved, or begins with no letter, begins with ``label_``."""
    safe = re.sub(r"[^a-zA-Z0-9_]", "_", name)[:100]
    return f"label_{safe.lstrip('_')}" if safe in RESERVED or not re.match(r"[a-zA-Z]", safe) else safe


def labels_of(host: str, labels: Mapping[str, str]) -> dict[str, str]:
    """``host`` and the labels under permitted names; values on one line. Of two names that become the same the first
    is kept, and no label takes the place of ``host``."""
    found = {HOST: clean(host)}
    for name, value in labels.items():
        text = clean(str(value))
        if text:
            found.setdefault(label_name(name), text)
    return found
