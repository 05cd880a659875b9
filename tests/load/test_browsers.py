"""What browsers are asked for, and what is said of them: without a browser."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import pytest
from click.testing import CliRunner

from jvbtune.cli.load import command
from jvbtune.errors import LoadError
from jvbtune.inventory import BridgeEntry, GeneratorEntry, HostEntry
from jvbtune.load import IntendedLoad
from jvbtune.load.browser import generator as generating
from jvbtune.load.browser.compare import Compared, Comparison, refuse
from jvbtune.load.browser.conference import frames_wanted, refuse_for_browsers
from jvbtune.load.browser.driver import open_browser
from jvbtune.load.browser.seat import Seat, Signalled, signal
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


def generator(monkeypatch: pytest.MonkeyPatch, conference: type) -> generating.BrowserGenerator:
    monkeypatch.setattr(generating, "BrowserConference", conference)
    monkeypatch.setattr(generating, "SETTLE_SECONDS", 0.0)
    entry = HostEntry("jvb-1", "jvb-1", generator=GeneratorEntry(grid="http://127.0.0.1:9"))
    return generating.BrowserGenerator(entry, cast(Any, None))


def test_after_a_conference_that_failed_no_further_one_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    class Failing:
        def __init__(self, _: HostEntry, __: Any, meeting: str, *more: Any) -> None:
            begun.append(meeting)
            time.sleep(0.05)
            raise LoadError("no browser is left")

    made = generator(monkeypatch, Failing)
    with pytest.raises(LoadError, match="no browser is left"):
        made.offer(IntendedLoad(100, MIX), 1.0)
    time.sleep(0.2)
    assert len(begun) <= 3 * generating.PARALLEL
    assert made.endpoints == 0


def test_an_abort_is_seen_by_conferences_that_are_being_set_up_and_blocks_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allowed: list[Any] = []

    class Waiting:
        def __init__(self, *given: Any) -> None:
            allowed.append(given[-1])
            while True:
                given[-1]()
                time.sleep(0.01)

    made = generator(monkeypatch, Waiting)
    with ThreadPoolExecutor(1) as pool:
        offering = pool.submit(made.offer, IntendedLoad(2, MIX), 1.0)
        while len(allowed) < 2:
            time.sleep(0.01)
        begun = time.monotonic()
        made.abort(LoadError("the host is no longer ours"))
        assert time.monotonic() - begun < 0.5
        with pytest.raises(LoadError, match="no longer ours"):
            offering.result(5)
    with pytest.raises(LoadError, match="no longer ours"):
        made.offer(IntendedLoad(1, MIX), 1.0)


def test_what_browsers_tell_is_brought_to_the_window_between_the_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at many browsers takes time, which must not make the packet rate higher."""

    class Steady:
        def __init__(self, *given: Any) -> None:
            self.mix, self.seats, self.begun = MIX, [1, 2], time.monotonic()

        def counts(self) -> dict[str, float]:
            time.sleep(0.4)
            seconds = time.monotonic() - 0.2 - self.begun
            of_each = {"sent audio": 100, "received audio": 100, "sent RTCP": 40, "transports": 900, "frames": 60}
            return {**{name: rate * seconds for name, rate in of_each.items()}, "lost": 0}

        def check(self) -> None: ...
        def close(self) -> None: ...

    made = generator(monkeypatch, Steady)
    edges: list[float] = []
    offered = made.offer(IntendedLoad(1, MIX), 1.0, settle_seconds=0.0, edge=lambda: edges.append(time.monotonic()))
    assert edges[1] - edges[0] == pytest.approx(offered.duration_seconds, abs=0.05)
    assert offered.offered_pps == pytest.approx(900, rel=0.05)
    assert offered.sent_packets == pytest.approx(100 * offered.duration_seconds, rel=0.05)
    assert not offered.generator_limited, offered.generator_limited_because
    made.close()


def test_cameras_that_nobody_wants_large_are_not_missed() -> None:
    assert frames_wanted(MIX) == 60
    assert frames_wanted(load_mix("meeting-5").mix()) == 60  # the speaker's and the one before: two of five


class Unloaded:
    """A driver whose browser does not load the page."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get(self, url: str) -> None:
        raise self._error


@pytest.mark.parametrize("gone", [False, True])
def test_a_page_that_does_not_load_is_said_by_its_step(gone: bool) -> None:
    refused: Exception = pytest.importorskip("selenium.common.exceptions").WebDriverException("no page\nStacktrace")
    silent: Exception = pytest.importorskip("urllib3.exceptions").ReadTimeoutError(None, "/", "no answer in time")
    signalled = Signalled("aaaa", cast(Any, None), cast(Any, None))
    with pytest.raises(LoadError, match=r"^the browser: page: .*no (page|answer in time)$"):
        Seat(cast(Any, Unloaded(silent if gone else refused)), cast(Any, None), signalled, Sources(), {}, lambda: None)
