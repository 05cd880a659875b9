"""A browser that is led by WebDriver: a Chromium of this machine, or one of a Selenium Grid."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jvbtune.errors import LoadError
from jvbtune.load import minder

if TYPE_CHECKING:
    from selenium.webdriver import ChromeOptions
    from selenium.webdriver.remote.webdriver import WebDriver

#: Names of Chromium on the distributions that have it, and of its driver.
CHROMIUM, CHROMEDRIVER = ("chromium", "chromium-browser", "google-chrome"), "chromedriver"
#: A page in the background is a participant all the same; addresses are told as they are; sound needs no click.
FLAGS = (
    "--headless=new",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
)
SCRIPT_SECONDS = 30.0
#: No answer of a driver or of a Grid is waited for any longer; nor its end.
ANSWER_SECONDS, QUIT_SECONDS = SCRIPT_SECONDS + 5.0, 10.0
INSTALL = "pip install 'jvbtune[browser]', and apt install chromium chromium-driver for a browser of this machine"


@contextmanager
def open_browser(grid: str | None = None, netns: str | None = None, flags: tuple[str, ...] = ()) -> Iterator[WebDriver]:
    """``grid``: URL of a Selenium Grid; None: a Chromium of this machine, in the network namespace ``netns`` if that is
    given. Raises LoadError if there is none, or if it does not start."""
    try:
        from selenium import webdriver
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.chrome.service import Service
        from selenium.webdriver.remote.client_config import ClientConfig
        from urllib3.exceptions import HTTPError
    except ImportError as error:
        raise LoadError("a browser needs Selenium, which is not installed", hint=f"{INSTALL}.") from error
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    with tempfile.TemporaryDirectory(prefix="jvbtune-browser-") as name, ExitStack() as stack:
        directory = Path(name)
        try:
            if grid is None:
                options.binary_location = _binary(directory, netns)
                _lead_by_pipe(options)
                service = Service(_minded(directory, _found(CHROMEDRIVER)))
                service.start()
                stack.callback(service.stop)
            url = grid if grid is not None else service.service_url
            config = ClientConfig(remote_server_addr=url, timeout=int(ANSWER_SECONDS))
            driver = webdriver.Remote(url, options=options, client_config=config)
            stack.callback(_quit, driver)
            driver.set_script_timeout(SCRIPT_SECONDS)
        except (WebDriverException, HTTPError, OSError) as error:
            who = "the browser" if grid is None else f"{grid}: a browser"
            raise LoadError(f"{who} does not start: {first_line(error)}", hint=_hint(grid)) from error
        yield driver


def _quit(driver: WebDriver) -> None:
    """Whatever a silent Grid does: its page ends its part by itself."""

    def end() -> None:
        with contextlib.suppress(Exception):
            driver.quit()

    ending = threading.Thread(target=end, name="browser-quit", daemon=True)
    ending.start()
    ending.join(QUIT_SECONDS)


def _binary(directory: Path, netns: str | None) -> str:
    """Chromium, or what starts it in a network namespace. Raises LoadError."""
    chromium = _found(*CHROMIUM)
    if netns is None:
        return chromium
    wrapper = directory / "chromium"
    wrapper.write_text(f'#!/bin/sh\nexec nsenter --net=/run/netns/{shlex.quote(netns)} -- {chromium} "$@"\n')
    wrapper.chmod(0o755)
    return str(wrapper)


def _minded(directory: Path, chromedriver: str) -> str:
    """What ends the driver, and its browser with it, as soon as this process is gone: Selenium holds its input."""
    wrapper = directory / "chromedriver"
    minder_ = shlex.join([sys.executable, "-I", "-B", str(Path(minder.__file__)), "0", chromedriver])
    wrapper.write_text(f'#!/bin/sh\nexec {minder_} "$@"\n')
    wrapper.chmod(0o755)
    return str(wrapper)


def _lead_by_pipe(options: ChromeOptions) -> None:
    """Not over a port, which another network namespace does not have. As root Chromium has no sandbox."""
    options.add_argument("--remote-debugging-pipe")
    if os.getuid() == 0:
        options.add_argument("--no-sandbox")


def _found(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise LoadError(f"this machine has no {names[0]}", hint=f"{INSTALL}.")
    return found


def first_line(error: BaseException) -> str:
    """Selenium's errors have the browser's stack below."""
    return str(getattr(error, "msg", None) or error).strip().split("\n")[0][:300]


def _hint(grid: str | None) -> str:
    return f"Is {grid} a Selenium Grid with a free Chromium?" if grid else f"{INSTALL}."
