"""Signing in: by name and password, back to where one wanted to go, in either language."""

from collections.abc import Callable

from looking import Visitor
from playwright.sync_api import expect

Arrive = Callable[..., Visitor]


def test_the_page_one_wanted_opens_after_signing_in(arrive: Arrive) -> None:
    visitor = arrive("applicant", "en", sign_in=False)
    visitor.open("/requests?show=all")
    expect(visitor.page).to_have_title("Sign in · Diaoqu")
    visitor.look("sign in")
    visitor.page.locator("#username").fill("applicant")
    visitor.page.locator("#password").fill("diaoqu-demo-2026")
    visitor.primary()
    expect(visitor.page.get_by_role("heading", name="My requests")).to_be_visible()
    assert visitor.path == "/requests?show=all"
