"""Signing in and out: by name and password, back to where one wanted to go, in either language."""

from collections.abc import Callable

from looking import Visitor
from playwright.sync_api import expect

from web import seed

Arrive = Callable[..., Visitor]


def test_the_page_one_wanted_opens_after_signing_in(arrive: Arrive) -> None:
    visitor = arrive("applicant", "en", sign_in=False)
    visitor.open("/requests?show=all")
    expect(visitor.page).to_have_title("Sign in · Diaoqu")
    visitor.look("sign in")
    visitor.page.locator("#username").fill("applicant")
    visitor.page.locator("#password").fill(seed.PASSWORD)
    visitor.primary()
    expect(visitor.page.get_by_role("heading", name="My requests")).to_be_visible()
    assert visitor.path == "/requests?show=all"


def test_a_wrong_password_is_refused_and_the_name_kept(arrive: Arrive) -> None:
    visitor = arrive("member3", "zh", sign_in=False)
    page = visitor.open("/sign-in")
    with visitor.expecting(401):
        page.locator("#username").fill("member3")
        page.locator("#password").fill("wrong")
        visitor.primary()
        expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator("#username")).to_have_value("member3")
    expect(page.locator("#password")).to_have_value("")
    expect(page.locator("#password")).to_be_focused()
    visitor.examine("sign in refused")


def test_the_language_stays_as_chosen(arrive: Arrive) -> None:
    visitor = arrive("member3", "zh")
    page = visitor.open("/requests")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.get_by_role("link", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    visitor.open("/tasks")
    expect(page.get_by_role("heading", name="Tasks", exact=True)).to_be_visible()
    page.get_by_role("link", name="中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")


def test_after_signing_out_the_way_back_shows_nothing(arrive: Arrive) -> None:
    visitor = arrive("archivist", "en")
    page = visitor.open("/cases/")
    page.locator("summary.tool").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_title("Sign in · Diaoqu")
    page.go_back()
    expect(page).to_have_title("Sign in · Diaoqu")
    expect(page.locator(".site-nav")).to_have_count(0)
