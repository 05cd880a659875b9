"""What browsers are asked for, and what is said of them: without a browser."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any, cast

import pytest
from click.testing import CliRunner

from jvbtune.cli.load import command
from jvbtune.errors import LoadError
from jvbtune.inventory import BridgeEntry, HostEntry
from jvbtune.load.browser.compare import Compared, Comparison, refuse
from jvbtune.load.browser.conference import refuse_for_browsers
from jvbtune.load.browser.driver import open_browser
from jvbtune.load.browser.seat import Seat, signal
from jvbtune.load.colibri import Answer, Conference, LocalTransport, Sources
from jvbtune.load.mix import Mix, Remote
from jvbtune.load.mixfile import load_mix
from jvbtune.protocol.worker import Remote as BridgeSide

MIX = load_mix("one-to-one").mix()
assert MIX.video is not None


@pytest.mark.parametrize(
    ("browser", "client", "apart", "differs"),
    [
        (100.0, 100.0, 0.0, False),
        (100.0, 109.0, 0.09, False),
        (100.0, 89.0, -0.11, True),
        (0.5, 3.0, 5.0, False),
        (0.0, 0.0, None, False),
        (0.0, 9.0, None, True),
    ],
)
def test_a_difference_is_one_of_more_than_ten_per_cent_and_of_more_than_a_few_packets(
    browser: float, client: float, apart: float | None, differs: bool
) -> None:
    one = Compared("sent audio", browser, client)
    assert (one.apart, one.differs) == (None if apart is None else pytest.approx(apart), differs)
    assert Comparison((one,), 29.0, 30.0, 10.0).alike == (not differs)


def test_browsers_that_lack_cpu_compare_nothing() -> None:
    same = (Compared("sent audio", 100.0, 100.0),)
    assert Comparison(same, 24.0, 30.0, 10.0).alike
    assert not Comparison(same, 23.0, 30.0, 10.0).alike


@pytest.mark.parametrize(
    ("mix", "said"),
    [
        (Mix(5, 5), "cameras of VP8"),
        (replace(MIX, video=replace(MIX.video, codec="vp9")), "cameras of VP8"),
        (replace(MIX, video=replace(MIX.video, desktop=True)), "cameras of VP8"),
        (replace(MIX, remote=Remote(2)), "not behind a relay"),
        (replace(MIX, burst_packets=8), "no bursts"),
        (replace(MIX, dtx=True), "DTX"),
    ],
)
def test_what_browsers_cannot_do_is_refused(mix: Mix, said: str) -> None:
    with pytest.raises(LoadError, match=said):
        refuse_for_browsers(mix)


def test_a_comparison_is_of_a_small_conference() -> None:
    refuse(MIX)
    with pytest.raises(LoadError, match="at most 10 browsers"):
        refuse(load_mix("meeting-20").mix())


def test_without_selenium_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "selenium", None)
    with pytest.raises(LoadError, match="Selenium") as raised, open_browser():
        pass
    assert "jvbtune[browser]" in (raised.value.hint or "")


def test_without_chromium_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LoadError, match="no chromium") as raised, open_browser():
        pass
    assert "apt install chromium" in (raised.value.hint or "")


class Driver:
    """Keeps what it is asked; its page answers nothing that could be used."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def get(self, url: str) -> None:
        assert url.startswith("data:text/html;base64,")

    def execute_async_script(self, script: str, name: str, given: list[Any]) -> dict[str, Any]:
        self.asked.append((name, *given))
        return {"error": "Error: no network"}


class OfBridge(Conference):
    """A bridge that takes media at these addresses."""

    def __init__(self, *candidates: tuple[str, int]) -> None:
        self.candidates = candidates

    def add(self, name: str, transport: LocalTransport | None, sources: Sources) -> Answer:
        assert transport is None
        return Answer(BridgeSide("u", "p" * 22, "AB"), self.candidates, ("ws://192.0.2.1:8080/colibri-ws/x",))


def join(driver: Driver, conference: Conference) -> None:
    bridge = BridgeEntry(media_address="192.0.2.1", media_port=10000, allowed_media_addresses=("192.0.2.1",))
    entry = HostEntry("jvb-1", "jvb-1", bridge=bridge)
    own = Sources(clients=True)
    signalled = signal(entry, conference, own)
    assert signalled.flags == ("--host-resolver-rules=MAP 192.0.2.1 192.0.2.1",)
    Seat(cast(Any, driver), conference, signalled, own, {}, lambda: None, audio=True)


def test_a_browser_learns_of_no_address_where_no_load_may_go() -> None:
    driver = Driver()
    with pytest.raises(
        LoadError, match=r"offers 203\.0\.113\.9:10000 for media, load may go to 192\.0\.2\.1:10000 only"
    ):
        join(driver, OfBridge(("203.0.113.9", 10000)))
    assert not driver.asked
    with pytest.raises(LoadError, match="answer: Error: no network"):
        join(driver, OfBridge(("203.0.113.9", 10000), ("192.0.2.1", 10000)))
    ((name, sdp, sends),) = driver.asked
    assert (name, [one["kind"] for one in sends]) == ("answer", ["audio"])
    assert "192.0.2.1 10000" in sdp
    assert "203.0.113.9" not in sdp


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--grid", "http://grid:4444"), "--compare browser"),
        (("--compare", "browser", "--packet-rate", "900", "--duration", "9"), "--packet-rate"),
        (("--compare", "browser", "--profile", "--duration", "9"), "--profile"),
        (("--compare", "browser", "--calibrate"), "--compare"),
        (("--compare", "browser"), "--duration"),
    ],
)
def test_options_that_do_not_go_together(options: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(command, ["--host", "nowhere", *options], standalone_mode=True)
    assert done.exit_code == 2
    assert said in done.output
