"""A real browser for the tests of pages: Debian's Chromium, headless, driven by Playwright.

    from chromium import browser, open_page  # noqa: F401

in a test module gives it both fixtures; they skip, and name what is missing, where there is no browser.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest


@dataclass
class Visit:
    """A page, and what it did since it was opened."""

    page: Any  # playwright.sync_api.Page
    hosts: set[str] = field(default_factory=set)  # that were asked for anything, by HTTP or a websocket
    errors: list[str] = field(default_factory=list)  # on the console, and exceptions that nothing caught


# Of a module, not of the session: two of Playwright's drivers can't run in one thread, and while one runs
# nothing else in the thread can use asyncio.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for the tests of a module."""
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("there is no Chromium: apt install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        # As root, in a container, Chromium's own sandbox can't be set up.
        instance = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield instance
        instance.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Visit]]:
    """A function that opens an empty page in a profile of its own.

    Its arguments are those of Playwright's new_context: width and height (pixels, default 1280 x 800),
    color_scheme, java_script_enabled, ...
    """
    contexts = []

    def open_page(width: int = 1280, height: int = 800, **options: Any) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        visit = Visit(context.new_page())

        def asked(request: Any) -> None:
            host = urlsplit(request.url).hostname  # None for files and data: URIs
            if host:
                visit.hosts.add(host)

        visit.page.on("request", asked)
        visit.page.on("websocket", asked)
        visit.page.on(
            "console", lambda message: visit.errors.append(message.text) if message.type == "error" else None
        )
        visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
        return visit

    yield open_page
    for context in contexts:
        context.close()
