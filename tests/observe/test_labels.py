"""Labels that an inventory may hold, as Prometheus and InfluxDB permit them."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from jvbtune.observe.labels import RESERVED, labels_of
from tests.observe.samples import FOREIGN


def test_known_labels_keep_their_names() -> None:
    labels = {"region": "eu-west-1", "machine_type": "c5.xlarge", "cloud": "aws", "group": "g", "rack": "7"}
    assert labels_of("jvb-1", labels) == {"host": "jvb-1", **labels}


def test_no_label_takes_the_place_of_another() -> None:
    assert labels_of("h", {"host": "other", "a b": "1", "a-b": "2"}) == {"host": "h", "a_b": "1"}
    assert labels_of("h", {"job": "x", "instance": "y", "interface": "z"}) == {
        "host": "h",
        "label_job": "x",
        "label_instance": "y",
        "label_interface": "z",
    }


@given(st.dictionaries(st.text(), st.text()))
def test_names_are_permitted_and_values_are_one_line(labels: dict[str, str]) -> None:
    for name, value in labels_of("h", {**labels, **FOREIGN}).items():
        assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]*", name)
        assert name not in RESERVED
        assert value
        assert value.isprintable()
