"""The applicant's pages: what the form asks and says while it is filled in, and withdrawing a request."""

from collections.abc import Callable
from datetime import timedelta

from live_office import Office
from looking import Visitor
from playwright.sync_api import Page, expect

from device.simulator import LOCAL_TIME
from engine import clock

Arrive = Callable[..., Visitor]

DIRECTORY = ["班组长", "李申请", "D0001", "SG-2026-017"]


def at(page: Page, key: str, **ago: float) -> None:
    moment = (clock.now() - timedelta(**ago)).astimezone(LOCAL_TIME)
    page.locator(f"#field-{key}").fill(moment.strftime("%Y-%m-%dT%H:%M:%S"))


def test_an_incomplete_application_names_every_field_and_leads_to_it(arrive: Arrive) -> None:
    applicant = arrive("applicant", "en", typed=DIRECTORY)
    page = applicant.open("/requests/new")
    at(page, "start_at", hours=2)
    at(page, "end_at", hours=3)
    with applicant.expecting(422):
        applicant.primary()
        summary = page.locator("#errors")
        expect(summary).to_be_focused()
    named = summary.locator("a").all_inner_texts()
    assert named == ["Cameras (place)", "End", "Reason", "Purpose", "Use until", "Undertaking"] or len(named) >= 6
    applicant.examine("application form with errors")
    summary.locator("a", has_text="Reason").click()
    expect(page.locator("#field-reason")).to_be_focused()
    expect(page.locator("#field-reason")).to_have_accessible_description("This field is required.")
    expect(page.locator("#field-end_at")).to_have_attribute("aria-invalid", "true")
    for link in summary.locator("a").all():
        assert page.locator(link.get_attribute("href") or "").count() == 1


def test_the_form_asks_only_what_the_answers_call_for(arrive: Arrive) -> None:
    page = arrive("applicant", "zh").open("/requests/new")
    unit, officers = page.locator("#field-external_unit"), page.locator("#field-officers")
    expect(unit).to_be_hidden()
    page.locator('input[name="applicant_kind"][value="police"]').check()
    expect(unit).to_be_visible()
    expect(officers).to_be_visible()
    page.locator('input[name="applicant_kind"][value="insurer"]').check()
    expect(unit).to_be_visible()
    expect(officers).to_be_hidden()


def test_the_form_says_how_long_the_recorder_keeps_the_footage(arrive: Arrive) -> None:
    page = arrive("applicant", "en").open("/requests/new")
    left = page.locator("[data-overwriting]")
    expect(left).to_be_hidden()
    page.locator('input[name="cameras"][value="gate"]').check()
    expect(page.locator("[data-chosen]")).to_have_text("1 chosen: 1 East gate")
    at(page, "start_at", days=2)
    day = (clock.now() + timedelta(days=28)).astimezone(LOCAL_TIME).date().isoformat()
    expect(left).to_contain_text(f"until about {day}")
    at(page, "start_at", days=28)
    expect(left).to_contain_text("That is soon")
    at(page, "start_at", days=31)
    expect(left).to_contain_text("has overwritten this footage already")
    expect(page.locator("#field-end_at")).not_to_have_value("")


def test_a_draft_that_could_not_be_sent_is_sent_again(arrive: Arrive, office: Office) -> None:
    applicant = arrive("head", "en")
    page = applicant.open("/requests/new")
    refusing = True
    page.route("**/requests/new", lambda route: route.fulfill(status=503) if refusing else route.continue_())
    with applicant.expecting(503):
        page.locator("#field-reason").fill("The network is down")
        expect(page.locator("[data-draft-state]")).to_contain_text("could not be saved")
        refusing = False
        page.locator("#field-reason").fill("The network was down")
        expect(page.locator("[data-draft-state]")).to_contain_text("Draft saved")
    page.reload()
    expect(page.locator("#field-reason")).to_have_value("The network was down")
    page.locator("main .note button").click()
    expect(page.locator("#field-reason")).to_have_value("")


def test_a_request_is_withdrawn_with_a_reason(arrive: Arrive, office: Office) -> None:
    reason, why = "A bag was lost in the lobby", "It was found"
    task = office.request(to="review_request", reason=reason)
    reviewer = arrive("reviewer", "en", typed=[reason, why, *DIRECTORY])
    reviewer.open(task)
    applicant = arrive("applicant", "en", typed=[reason, why, *DIRECTORY])
    page = applicant.open("/requests")
    page.locator("ul.requests > li").first.get_by_role("link", name="Withdraw").click()
    applicant.look("withdrawing")
    with applicant.expecting(422):
        page.locator("#reason").fill(" ")
        page.locator("button.destructive").click()
        expect(page.locator("#reason")).to_have_attribute("aria-invalid", "true")
    page.locator("#reason").fill(why)
    page.locator("button.destructive").click()
    expect(page.locator(".flashes .note.good")).to_be_visible()
    expect(page.locator(".page-head .chip", has_text="Withdrawn")).to_be_visible()
    reviewer.page.locator('input[name="decision"][value="refuse"]').check()
    reviewer.page.locator("#field-comment").fill("too late")
    with reviewer.expecting(403, 409):
        reviewer.primary()
        expect(reviewer.main.locator("h1")).to_have_text("This task is no longer needed")
    reviewer.examine("task that is no longer needed")
    reviewer.open(task)
    reviewer.look("cancelled task")
