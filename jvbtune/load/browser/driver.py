"""A browser that is led by WebDriver: a Chromium of this machine, or one of a Selenium Grid."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
INSTALL = "pip install 'jvbtune[browser]', and apt install chromium chromium-driver for a browser of this machine"


@contextmanager
def open_browser(grid: str | None = None, netns: str | None = None, flags: tuple[str, ...] = ()) -> Iterator[WebDriver]:
    """``grid``: URL of a Selenium Grid; None: a Chromium of this machine, in the network namespace ``netns`` if that is
    given. Raises LoadError if there is none, or if it does not start."""
    try:
        from selenium import webdriver
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.chrome.service import Service
    except ImportError as error:
        raise LoadError("a browser needs Selenium, which is not installed", hint=f"{INSTALL}.") from error
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    with tempfile.TemporaryDirectory(prefix="jvbtune-browser-") as directory:
        try:
            if grid is not None:
                driver: WebDriver = webdriver.Remote(grid, options=options)
            else:
                options.binary_location = _binary(Path(directory), netns)
                _lead_by_pipe(options)
                driver = webdriver.Chrome(options, Service(_minded(Path(directory), _found(CHROMEDRIVER))))
        except (WebDriverException, OSError) as error:
            raise LoadError(f"the browser does not start: {first_line(error)}", hint=_hint(grid)) from error
        except Exception as error:  # of urllib3, by which Selenium reaches a Grid
            if grid is None:
                raise
            raise LoadError(f"{grid}: the Grid does not answer: {first_line(error)}", hint=_hint(grid)) from error
        try:
            driver.set_script_timeout(SCRIPT_SECONDS)
            yield driver
        finally:
            try:
                driver.quit()
            except Exception:  # it is gone, and whatever it left goes with the directory
                pass


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
