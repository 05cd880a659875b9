"""What tests of the media share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from jvbtune.load.browser import PAGE


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """WebCodecs needs a secure context, which a file is."""
    opened = browser.new_page()
    opened.goto(PAGE.as_uri())
    yield opened
    opened.close()
