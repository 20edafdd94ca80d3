"""A real browser for the tests of pages: Debian's Chromium, driven by Playwright, without network.

``conftest`` makes the fixtures ``chromium`` and ``open_page`` known to all tests.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # Tests click before they play, but not always in the same page.
    "--autoplay-policy=no-user-gesture-required",
]
WIDE, NARROW = (1280, 800), (390, 844)
LOCAL = ("file:", "data:", "blob:")


@dataclass
class Opened:
    """A page in its own browser context, and what it did that it should not."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def check(self) -> None:
        """No error in the console, and nothing asked of the network."""
        assert self.errors == []
        assert [url for url in self.requests if not url.startswith(LOCAL)] == []


def until(page: Any, expression: str, patience_s: float = 300.0) -> None:
    """Wait for ``expression`` to hold. Playwright's own way evaluates it inside the page, which
    the policy of our pages forbids."""
    end = time.monotonic() + patience_s
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"it never came to this: {expression}"
        page.wait_for_timeout(20)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser, one for all tests."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no browser here: install Debian chromium (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Opened]]:
    """Open a file as a page: ``open_page(path, size=NARROW, scheme="dark", hash="#u2")``. What
    it did is checked at the end of the test."""
    contexts, opened = [], []

    def open_(
        path: Path, *, size: tuple[int, int] = WIDE, scheme: str = "light", hash: str = ""
    ) -> Opened:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        contexts.append(context)
        one = Opened(context.new_page())
        opened.append(one)
        one.page.set_default_timeout(20_000)
        one.page.on(
            "console",
            lambda said: (
                one.errors.append(said.text) if said.type in ("error", "warning") else None
            ),
        )
        one.page.on("pageerror", lambda error: one.errors.append(str(error)))
        one.page.on("request", lambda request: one.requests.append(request.url))
        one.page.goto(path.resolve().as_uri() + hash)
        return one

    yield open_
    for one in opened:
        one.check()
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def sample_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the sample video, with its words, as the command makes it."""
    from conftest import SAMPLE

    from avsent.cli.app import main

    folder = tmp_path_factory.mktemp("sample")
    words = SAMPLE.with_suffix(".csv")
    page = folder / "demo.html"
    command = ["predict", str(SAMPLE), "--utterances", str(words), "--report", str(page)]
    assert main([*command, "-o", str(folder / "demo.json"), "--quiet"]) == 0
    return page
