"""A house behind a real server in this process, and its people in real browsers, for the tests of the desks."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from looking import Visitor
from playwright.sync_api import Browser
from procedure import House
from werkzeug.serving import WSGIRequestHandler, make_server

from engine import live
from web import create_app

PATIENCE_MS = 15_000


class Quietly(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """A test's requests are nobody's concern."""


@contextmanager
def served(house: House) -> Iterator[str]:
    """The address of the house's pages."""
    live.forget()
    server = make_server(
        "127.0.0.1", 0, create_app(house.settings, house.database), threaded=True, request_handler=Quietly
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def arriving(browser: Browser, url: str, name: str, language: str = "en", **options: Any) -> Iterator[Visitor]:
    """Somebody who signs in and goes about; what a page must not do fails the test when they leave."""
    options = {"viewport": {"width": 1366, "height": 900}, "timezone_id": "Asia/Shanghai", **options}
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    guest = Visitor(name, context.new_page(), context, url, language, {name})
    guest.sign_in()
    yield guest
    context.close()
    assert not guest.complaints, "\n".join(guest.complaints)
