"""Fixtures of the browser tests: the running office, Chromium, and visitors who notice what pages must not do."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live_office import Office
from looking import Visitor
from playwright.sync_api import Browser, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)

Arrive = Callable[..., Visitor]


@pytest.fixture(scope="session")
def office(tmp_path_factory: pytest.TempPathFactory, recorder_media: Path) -> Iterator[Office]:
    found = Office.open(tmp_path_factory.mktemp("office"), recorder_media)
    yield found
    found.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Not for the whole session: Playwright keeps an event loop in this thread, and other tests have their own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def arrive(chromium: Browser, office: Office) -> Iterator[Arrive]:
    """A person in a browser of their own, signed in: `arrive("head", "en", viewport=…)`; options are the context's."""
    visitors: list[Visitor] = []

    def come(
        name: str, language: str = "zh", *, sign_in: bool = True, typed: Iterable[str] = (), **options: Any
    ) -> Visitor:
        options = {"viewport": {"width": 1366, "height": 900}, "timezone_id": "Asia/Shanghai", **options}
        context = chromium.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        visitor = Visitor(name, context.new_page(), context, office.url, language, {name, *typed})
        visitors.append(visitor)
        return visitor.sign_in() if sign_in else visitor

    yield come
    for visitor in visitors:
        visitor.context.close()
    complaints = [complaint for visitor in visitors for complaint in visitor.complaints]
    assert not complaints, "\n".join(complaints)
