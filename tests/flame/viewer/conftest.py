"""What a page of it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page

from jvbtune.flame.model import Tree
from jvbtune.flame.viewer import render_html

Open = Callable[..., "Shown"]


class Shown:
    """A page that shows one profile, and the faults that its console reported."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        page.on("console", lambda message: self._fault(message.type, message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(url)
        page.wait_for_selector("html[data-ready]")

    def _fault(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and "willReadFrequently" not in text:  # these tests' own reading of pixels
            self.faults.append(text)

    def state(self, **state: object) -> None:
        """Shows this state and no other, as if by following a link."""
        page = self.page
        words = {key: str(int(v)) if isinstance(v, bool) else str(v) for key, v in state.items()}
        page.evaluate("fragment => { location.hash = fragment; jvbtune.viewer.readFragment(); }", urlencode(words))

    def js(self, expression: str) -> Any:
        return self.page.evaluate(expression)

    def drawn(self) -> list[dict[str, Any]]:
        """The panes, each with its frames, by path without the root."""
        panes: list[dict[str, Any]] = self.js("jvbtune.drawn()")
        return panes

    def rows(self) -> dict[str, dict[str, str]]:
        """The table's rows by full name and column, as they stand in the document, scrolled through from the top."""
        rows: dict[str, dict[str, str]] = {}
        counted = int(self.page.get_attribute("#table", "aria-rowcount") or 0) - 1
        top = 0
        while True:
            found = self.js(
                f"""() => {{
                    const host = document.getElementById('table-host');
                    host.scrollTop = {top};
                    jvbtune.viewer.table.fill();
                    const columns = [...document.querySelectorAll('#table thead button')].map((b) => b.dataset.column);
                    return [...document.querySelectorAll('#table tbody tr[data-index]')].map((tr) => [
                        tr.cells[0].getAttribute('aria-label') ?? tr.cells[0].textContent,
                        Object.fromEntries([...tr.cells].map((cell, i) => [columns[i], cell.textContent])),
                    ]);
                }}"""
            )
            before = len(rows)
            for name, cells in found:
                rows[f"{name} [{cells['kind']}]" if name in rows and cells != rows[name] else name] = cells
            if len(rows) >= counted or len(rows) == before:
                break
            top += 240
        assert len(rows) == counted
        return rows


@pytest.fixture(scope="module")
def show(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Opens a tree's page; at the end of the module no page may have reported a fault."""
    opened: list[Shown] = []

    def show_tree(tree: Tree, *, dark: bool = False, fragment: str = "", offline: bool = True, **render: Any) -> Shown:
        path: Path = tmp_path_factory.mktemp("viewer") / "picture.html"
        path.write_text(render_html(tree, **({"title": "before and after"} | render)), encoding="utf-8")
        page = browser.new_page(
            viewport={"width": 1400, "height": 900}, offline=offline, color_scheme="dark" if dark else "light"
        )
        opened.append(Shown(page, path.as_uri() + fragment))
        return opened[-1]

    yield show_tree
    for shown in opened:
        shown.page.close()
    assert [shown.faults for shown in opened if shown.faults] == []
