"""What the agent says of settings that cannot be set: one sentence for all of them."""

from __future__ import annotations

import pytest

from jvbtune.agent import refusals
from jvbtune.agent.errors import AgentFault

NAMES = ["net.core.rmem_max", "net.core.rmem_default", "net.core.netdev_max_backlog"]


def _said(names: list[str]) -> str:
    with pytest.raises(AgentFault) as fault:
        refusals._settings(None, names)
    return str(fault.value)


def test_a_reason_that_is_true_of_several_settings_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals.settings, "writable", lambda name: f"{name} is read-only here: the kernel offers it")
    assert "net.core.rmem_max is read-only here: the kernel offers it" in _said(NAMES[:1])
    said = _said(NAMES)
    assert said.count("is read-only here") == 1
    assert "The same is true of net.core.rmem_default, net.core.netdev_max_backlog" in said


def test_other_reasons_keep_sentences_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = dict(zip(NAMES, ("is read-only", "does not exist", "is read-only"), strict=True))
    monkeypatch.setattr(refusals.settings, "writable", lambda name: f"{name} {reasons[name]}")
    said = _said([*NAMES, "no.such"])
    assert "net.core.rmem_max is read-only. The same is true of net.core.netdev_max_backlog" in said
    assert "net.core.rmem_default does not exist" in said
    assert "unknown setting no.such" in said
