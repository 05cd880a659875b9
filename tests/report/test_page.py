"""The report in a browser: it fits, it can be read in both schemes, it draws the result's values and runs nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from jvbtune.fit.compare import Metric
from jvbtune.report.points import Use
from jvbtune.trials.frame import cpu_ratio_of
from tests.report.conftest import MAKERS, Open, Report
from tests.report.runs import EVIL

pytestmark = pytest.mark.browser

Reports = Callable[[str], Report]

UNFOLD = "for (const one of document.querySelectorAll('details')) one.open = true"

#: Texts that stick out of their drawing, are covered by another text, or are wider than their box.
CUT = """() => {
    const faults = [];
    for (const svg of document.querySelectorAll('figure svg[role=img]')) {
        const frame = svg.getBoundingClientRect();
        if (!frame.width) continue;
        const texts = [...svg.querySelectorAll('text')].filter((text) => text.textContent);
        const boxes = texts.map((text) => text.getBoundingClientRect());
        boxes.forEach((box, i) => {
            const words = texts[i].textContent;
            const across = Math.max(frame.left - box.left, box.right - frame.right);
            const down = Math.max(frame.top - box.top, box.bottom - frame.bottom);
            if (Math.max(across, down) > 1)
                faults.push('sticks out: ' + words);
            boxes.forEach((other, j) => {
                const across = Math.min(box.right, other.right) - Math.max(box.left, other.left);
                const down = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
                if (i < j && across > 1 && down > 4) faults.push(`${words} on ${texts[j].textContent}`);
            });
        });
        const size = parseFloat(getComputedStyle(texts[0]).fontSize) * frame.width / svg.viewBox.baseVal.width;
        if (size < 9.5) faults.push(`letters of ${size} px`);
    }
    for (const element of document.querySelectorAll('main *:not(svg *, .scroll, .scroll *, script)')) {
        if (element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== 'inline')
            faults.push('too wide: ' + element.tagName + ' ' + element.textContent.slice(0, 60));
    }
    return faults;
}"""

#: Every marker of the drawing that is shown, with its place measured by the drawing's own ticks.
DRAWN = """(key) => {
    const both = [...document.querySelectorAll(`#plot-${CSS.escape(key)} svg[role=img]`)];
    const svg = both.find((one) => one.getBoundingClientRect().width);
    const {left, top, width} = svg.getBoundingClientRect();
    const scale = width / svg.viewBox.baseVal.width;
    const ticks = [...svg.querySelectorAll('text[data-tick]')].map((t) => {
        const box = t.getBoundingClientRect();
        const anchor = t.getAttribute('text-anchor');
        return {axis: t.dataset.axis, value: +t.dataset.tick, at: +t.dataset.at,
                seen: t.dataset.axis === 'x' ? anchor === 'middle' ? ((box.left + box.right) / 2 - left) / scale : null
                                             : ((box.top + box.bottom) / 2 - top) / scale};
    });
    const marks = [...svg.querySelectorAll('[data-cx]')].map((m) => {
        const box = m.getBoundingClientRect();
        const [x, y] = [(box.left + box.right) / 2 - left, (box.top + box.bottom) / 2 - top];
        return {...m.dataset, x_px: x / scale, y_px: y / scale,
                css: m.getAttribute('class'), title: m.querySelector('title')?.textContent ?? ''};
    });
    const spans = [...svg.querySelectorAll('[data-low]')].map((m) => {
        const box = m.getBoundingClientRect();
        return {...m.dataset, from_px: (box.left - left) / scale, to_px: (box.right - left) / scale};
    });
    return {ticks, marks, spans};
}"""


@pytest.mark.parametrize("name", sorted(MAKERS))
@pytest.mark.parametrize("width", [400, 1200])
def test_it_fits_and_no_text_is_cut_off_or_covered(show: Open, name: str, width: int) -> None:
    page = show(name, width=width)
    page.evaluate(UNFOLD)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT) == []
    if name != "hostile":  # a foreign name may be of any length
        assert "…" not in "".join(page.locator("figure svg text").all_text_contents())


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["buffers", "disagreeing", "reference", "hostile"])
def test_it_is_accessible_in_both_schemes(show: Open, name: str, dark: bool) -> None:
    page = show(name, dark=dark)
    page.evaluate(UNFOLD)
    found = Axe().run(page)
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found.response["violations"]] == []
    alts = page.eval_on_selector_all("figure svg[role=img]", "all => all.map((one) => one.getAttribute('aria-label'))")
    assert alts
    assert all(len(alt) > 20 for alt in alts)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_lines_points_and_letters_of_the_plots_stand_out(show: Open, dark: bool) -> None:
    """WCAG 2.2: 4.5 for text, 3 for what has to be seen in a graphic (axe does not look into drawings)."""
    page = show("buffers", dark=dark)
    background = _colour(page, ".card", "background-color")
    assert (sum(background) > 600) is not dark
    for selector in ("svg .tick", "svg .value", "svg .axis-label", "svg .limit-label", "svg .strong"):
        assert _contrast(_colour(page, selector, "fill"), background) >= 4.5, selector
    for selector, name in (
        *((f"svg.wide .point.s{place}", "fill") for place in range(4)),
        *((f"svg.wide .{part}", "stroke") for part in ("unused", "curve", "limit", "rate", "whisker")),
    ):
        assert _contrast(_colour(page, selector, name), background) >= 3, selector


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize(
    ("name", "key"),
    [("buffers", "cpu"), ("buffers", "delay"), ("buffers", "loss"), ("shapes", "cpu"), ("reference", "cpu")],
)
def test_every_point_is_a_trial_at_its_value(show: Open, reports: Reports, name: str, key: str, width: int) -> None:
    result, page = reports(name).result, show(name, width=width)
    drawn = page.evaluate(DRAWN, key)
    _ticks_are_where_they_say(drawn["ticks"])
    expected = {str(row["trial"]): row for row in result.trials if row["kind"] in ("steady", "probe")}
    assert len(drawn["marks"]) == len(expected)
    shape = result.traffic.shape if result.traffic is not None else ""
    for mark in drawn["marks"]:
        row = expected.pop(mark["trial"])
        y = cpu_ratio_of(row) if key == "cpu" else row[{"delay": "delay_p99_ms", "loss": "loss_ratio"}[key]]
        x = row["bridge_pps" if key == "cpu" else "offered_pps"]
        assert _value(drawn["ticks"], "x", mark["x_px"], "linear") == pytest.approx(x, rel=0.01, abs=200)
        assert y is not None
        if key == "loss":
            _is_between_its_ticks(drawn["ticks"], y, mark["y_px"])
        elif key == "delay":
            assert _value(drawn["ticks"], "y", mark["y_px"], "log") == pytest.approx(y, rel=0.03)
        else:
            assert _value(drawn["ticks"], "y", mark["y_px"], "linear") == pytest.approx(y, abs=0.008)
        other = bool(shape) and row["mix"] not in (shape, "", None)
        use = Use.UNUSED if not row["valid"] or row["kind"] == "probe" else Use.OTHER if other else Use.USED
        assert (mark["use"], use.value in mark["css"] or use is Use.USED) == (use.value, True)
        assert ("Not used" in mark["title"]) is (use is Use.UNUSED)
    assert not expected


def test_unused_trials_look_different_and_are_shaded_in_the_table(show: Open, reports: Reports) -> None:
    page, result = show("buffers"), reports("buffers").result
    unused = [row for row in result.trials if not row["valid"]]
    assert unused
    classes = page.evaluate(DRAWN, "cpu")["marks"]
    assert all(("unused" in mark["css"]) == (mark["use"] == "unused") for mark in classes)
    page.evaluate(UNFOLD)
    rows = page.locator("#trials tr.unused")
    assert rows.count() == len(unused)
    assert all("not used" in text for text in rows.all_inner_texts())
    shaded, plain = (_colour(page, f"#trials tr{css} td", "background-color") for css in (".unused", ":not(.unused)"))
    assert shaded != plain


def test_effects_are_ratios_on_a_scale_that_nothing_flattens(show: Open, reports: Reports) -> None:
    page, result = show("buffers"), reports("buffers").result
    compared = [(s, c) for s in result.settings for c in s.comparisons]
    for metric in {c.metric for _, c in compared} - {Metric.BURST_DROPS}:
        drawn = page.evaluate(DRAWN, f"effect-{metric.value}")
        _ticks_are_where_they_say(drawn["ticks"])
        of_metric = {f"{metric.value}-{c.step}": c for _, c in compared if c.metric is metric}
        assert {mark["row"] for mark in drawn["marks"]} == set(of_metric)
        for mark in drawn["marks"]:
            effect = of_metric[mark["row"]].effect
            assert effect is not None
            assert _value(drawn["ticks"], "x", mark["x_px"], "log") == pytest.approx(1 + effect, rel=0.02)
        spread = [mark["x_px"] for mark in drawn["marks"]] + [s["to_px"] for s in drawn["spans"]]
        assert max(spread) - min(spread) > 100, "a panel uses its width"
    assert page.locator("#plot-effect-burst_drops").count() == 0, "drops are counts, and have a plot of their own"


def test_dropped_packets_are_counts_of_each_trial(show: Open, reports: Reports) -> None:
    drawn, result = show("buffers").evaluate(DRAWN, "bursts"), reports("buffers").result
    expected = Counter((f"bursts-{r['step']}", float(r["socket_drops"])) for r in result.trials if r["kind"] == "burst")
    assert Counter((mark["row"], float(mark["x"])) for mark in drawn["marks"]) == expected
    ticks = [t for t in drawn["ticks"] if t["axis"] == "x"]
    for mark in drawn["marks"]:
        below = [t["at"] for t in ticks if t["value"] <= float(mark["x"])]
        above = [t["at"] for t in ticks if t["value"] >= float(mark["x"])]
        assert max(below) - 1 <= mark["x_px"] <= min(above, default=math.inf) + 1


def test_the_first_screen_answers(show: Open, reports: Reports) -> None:
    page, result = show("reference"), reports("reference").result
    assert result.recommendation is not None
    assert result.thresholds is not None
    text = page.inner_text(".summary").replace("\u202f", " ").replace("\xa0", " ")
    low, high = result.recommendation.interval_pps
    for figure in (result.recommendation.max_packet_rate_pps, low, high):
        assert f"{figure:,.0f}".replace(",", " ") in text
    assert f"load-threshold = {result.thresholds.load_threshold_pps:.0f}" in text
    assert "Limited by\nCPU, 80 % of the bridge's cores" in text
    assert "What the figure does not cover" in text
    box = page.locator(".summary").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 900, "the summary fits on the first screen"


def test_a_run_without_trust_shows_both_estimates_and_what_would_settle_it(show: Open, reports: Reports) -> None:
    page, result = show("disagreeing"), reports("disagreeing").result
    assert result.recommendation is None
    text = page.inner_text(".summary").replace("\u202f", " ")
    assert "No recommendation" in text
    assert len(result.estimates) == 2
    for one in result.estimates:
        assert f"{one.max_packet_rate_pps:,.0f} pps".replace(",", " ") in text
    assert "Settle it with loads between" in text
    assert "What to set" not in text
    assert "export" not in text
    drawn = page.evaluate(DRAWN, "estimates")
    for mark in drawn["marks"]:
        one = next(one for one in result.estimates if f"estimate-{one.method.value}" == mark["row"])
        assert _value(drawn["ticks"], "x", mark["x_px"], "linear") == pytest.approx(one.max_packet_rate_pps, rel=0.01)
        assert "deployed" not in mark["css"]


def test_a_search_shows_each_restart(show: Open, reports: Reports) -> None:
    page, result = show("agreeing"), reports("agreeing").result
    assert result.search is not None
    drawn = page.evaluate(DRAWN, "search")
    spans = [s for s in drawn["spans"] if s["row"] == "search-cpu"]
    rate = next(rate for rate in result.search.rates if rate.goal == "cpu")
    wanted = [(str(low), str(high)) for low, high in rate.brackets_pps]
    assert [(s["low"], s["high"]) for s in spans][: len(wanted)] == wanted
    for span in spans:
        assert _value(drawn["ticks"], "x", span["from_px"], "linear") == pytest.approx(float(span["low"]), rel=0.01)


def test_foreign_text_stays_text(show: Open) -> None:
    page = show("hostile")
    page.evaluate(UNFOLD)
    assert page.evaluate("[window.ran, document.images.length, document.querySelectorAll('script').length]") == [
        None,
        0,
        1,
    ]
    assert EVIL in page.inner_text("main")
    assert "49" not in page.inner_text("h1"), "no template is evaluated"


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_there_is_no_json_in_the_page(show: Open, name: str) -> None:
    page = show(name)
    page.evaluate(UNFOLD)
    text = page.inner_text("main").replace(EVIL, "")
    for sign in ('{"', '": ', "{'", "null", "None", "nan", "[["):
        assert sign not in text.replace("[[load.other_mixes]]", ""), sign
    assert page.locator("pre").count() == 0


def test_the_policy_refuses_what_is_not_the_reports_own(show: Open, reports: Reports) -> None:
    page = show("buffers", faults_expected=True)
    policy = page.get_attribute("meta[http-equiv]", "content") or ""
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    )
    assert page.evaluate("window.ran") is None


def test_tables_sort_by_keyboard(show: Open) -> None:
    page = show("buffers")
    page.evaluate(UNFOLD)
    page.locator("#trials th button").nth(1).focus()
    page.keyboard.press("Enter")
    read = "[...document.querySelectorAll('#trials tbody tr')].map((row) => +row.cells[1].dataset.order)"
    up = page.evaluate(read)
    assert up == sorted(up)
    page.keyboard.press("Enter")
    assert page.evaluate(read) == sorted(up, reverse=True)
    assert page.get_attribute("#trials th:nth-child(2)", "aria-sort") == "descending"


def test_paper_shows_the_wide_drawings_and_every_table(show: Open) -> None:
    page = show("buffers", width=1200, dark=True)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#plot-cpu svg.wide").is_visible()
    assert not page.locator("#plot-cpu svg.narrow").is_visible()
    assert page.locator("#trials").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0


def _ticks_are_where_they_say(ticks: list[dict[str, Any]]) -> None:
    assert len({tick["value"] for tick in ticks if tick["axis"] == "x"}) >= 2
    for tick in ticks:
        if tick["seen"] is not None:
            assert tick["seen"] == pytest.approx(tick["at"], abs=3)


def _value(ticks: list[dict[str, Any]], axis: str, pixel: float, kind: str) -> float:
    """The value at a pixel, from the outermost two ticks."""
    known = sorted((t["value"], t["at"]) for t in ticks if t["axis"] == axis)
    (low, at_low), (high, at_high) = known[0], known[-1]
    share = (pixel - at_low) / (at_high - at_low)
    if kind == "linear":
        return float(low + share * (high - low))
    return float(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))


def _is_between_its_ticks(ticks: list[dict[str, Any]], value: float, pixel: float) -> None:
    """On a y axis that is neither linear nor logarithmic: zero at its tick, all else between its neighbours."""
    known = [t for t in ticks if t["axis"] == "y"]
    below = min(t["at"] for t in known if t["value"] <= value)
    above = max((t["at"] for t in known if t["value"] >= value), default=0.0)
    assert above - 1 <= pixel <= below + 1


def _colour(page: Page, selector: str, name: str) -> tuple[float, ...]:
    text: str = page.eval_on_selector(selector, "(one, name) => getComputedStyle(one)[name]", name)
    return tuple(float(part) for part in text[text.index("(") + 1 : -1].split(",")[:4])


def _contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    def luminance(colour: tuple[float, ...]) -> float:
        parts = [c / 255 for c in colour[:3]]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)
