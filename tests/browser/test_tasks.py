"""Doing a task on its page: twice, with the keyboard alone, without scripts, on a phone, in the dark."""

from collections.abc import Callable

import pytest
from live_office import Office
from looking import Visitor
from playwright.sync_api import expect

from web import seed

Arrive = Callable[..., Visitor]

REASON = "A parcel was damaged"
COMMENT = "Purpose and span are in order"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
DARK = {"color_scheme": "dark"}


def test_a_task_that_was_submitted_in_another_tab_is_not_submitted_twice(arrive: Arrive, office: Office) -> None:
    task = office.request(to="review_request", reason=REASON)
    reviewer = arrive("reviewer", "en", typed=[REASON])
    pages = [reviewer.page, reviewer.context.new_page()]
    for page in pages:
        page.goto(f"{office.url}{task}")
        page.locator('input[name="decision"][value="refuse"]').check()
        page.locator("#field-comment").fill(COMMENT)
    pages[0].locator("main button.primary").click()
    expect(pages[0].locator(".flashes .note.good")).to_be_visible()
    with reviewer.expecting(409):
        pages[1].locator("main button.primary").click()
        expect(pages[1].get_by_role("heading", name="You have already submitted this")).to_be_visible()
    reviewer.page = pages[1]
    reviewer.examine("conflict")
    pages[1].get_by_role("link", name="To the case").click()
    expect(pages[1].locator("ol.decisions li", has_text=COMMENT)).to_have_count(1)


def test_a_double_click_submits_once(arrive: Arrive, office: Office) -> None:
    task = office.request(to="review_request", reason=REASON)
    reviewer = arrive("reviewer", "en")
    page = reviewer.open(task)
    page.locator('input[name="decision"][value="refuse"]').check()
    page.locator("#field-comment").fill(COMMENT)
    sent = []
    page.on("request", lambda request: sent.append(request) if request.method == "POST" else None)
    page.locator("main button.primary").dblclick()
    expect(page.locator(".flashes .note.good")).to_be_visible()
    assert len([request for request in sent if "_intent=complete" in (request.post_data or "")]) == 1


def test_a_task_is_done_with_the_keyboard_alone(arrive: Arrive, office: Office) -> None:
    task = office.request(to="review_request", reason=REASON)
    reviewer = arrive("reviewer", "en")
    page = reviewer.open(task)

    def press_until(key: str, wanted: str) -> None:
        for _ in range(60):
            page.keyboard.press(key)
            focus = page.evaluate(FOCUS)
            assert focus["seen"], f"{focus['name']} does not show that it has the focus"
            if page.locator(f"{wanted}:focus").count():
                return
        raise AssertionError(f"{wanted} is never reached with {key}")

    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    press_until("Tab", 'input[name="decision"]')
    page.keyboard.press("Space")
    expect(page.locator('input[name="decision"][value="approve"]')).to_be_checked()
    for key in ("lawful", "legitimate", "minimal", "identity_checked"):
        press_until("Tab", f"#field-{key}")
        page.keyboard.press("Space")
    press_until("Tab", "#field-comment")
    page.keyboard.type(COMMENT)
    press_until("Tab", "button.primary")
    page.keyboard.press("Enter")
    expect(page.locator(".flashes .note.good")).to_be_visible()


FOCUS = """() => {
  const found = document.activeElement;
  const label = found.matches('input') && found.closest('label');
  const frames = [found, label].filter(Boolean).map(one => getComputedStyle(one));
  return {name: found.outerHTML.slice(0, 120),
    seen: frames.some(style => style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1)};
}"""


def test_a_task_is_done_without_scripts(arrive: Arrive, office: Office) -> None:
    task = office.request(to="review_request", reason=REASON)
    reviewer = arrive("reviewer", "en", java_script_enabled=False)
    page = reviewer.open(task)
    expect(page.locator("#field-lawful")).to_be_hidden()
    page.locator('input[name="decision"][value="approve"]').check()
    page.get_by_role("button", name="Update the questions").click()
    for key in ("lawful", "legitimate", "minimal", "identity_checked"):
        page.locator(f"#field-{key}").check()
    page.locator("#field-comment").fill(COMMENT)
    page.get_by_role("button", name="Save draft").click()
    expect(page.locator("#field-comment")).to_have_value(COMMENT)
    expect(page.locator("#field-lawful")).to_be_checked()
    page.locator("main button.primary").click()
    expect(page.locator(".flashes .note.good")).to_be_visible()


def test_what_is_typed_into_a_task_is_kept_until_somebody_comes_back(arrive: Arrive, office: Office) -> None:
    task = office.request(to="review_request", reason=REASON)
    reviewer = arrive("reviewer", "en")
    page = reviewer.open(task)
    page.locator('input[name="decision"][value="send_back"]').check()
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        page.locator("#field-comment").fill(COMMENT)
    expect(page.locator("[data-draft-state]")).to_contain_text("Draft saved")
    page.locator("#field-comment").fill(f"{COMMENT} now")
    reviewer.open("/tasks")
    page = reviewer.open(task)
    expect(page.locator("#field-comment")).to_have_value(f"{COMMENT} now")
    expect(page.locator('input[name="decision"][value="send_back"]')).to_be_checked()


def test_a_task_of_somebody_else_says_why_it_cannot_be_done(arrive: Arrive, office: Office) -> None:
    task = office.request(to="review_request", reason=REASON)
    applicant = arrive("applicant", "en", typed=[REASON, *DIRECTORY])
    page = applicant.open(task)
    expect(page.locator(".note.warn")).to_contain_text("You cannot do this task")
    expect(page.locator("main form.form")).to_have_count(0)
    applicant.look("task of somebody else")
    stranger = arrive("owner", "en")
    with stranger.expecting(403):
        stranger.open(task)
    expect(stranger.main.locator("h1")).to_have_text("You are not allowed to do this")
    stranger.examine("not allowed")


DIRECTORY = ["班组长", "李申请", "D0001", "SG-2026-017"]
"""What the directory and the API's request say, in whatever language."""


def test_a_task_fits_a_phone(arrive: Arrive, office: Office) -> None:
    task = office.request(to="review_request", reason=REASON)
    reviewer = arrive("reviewer", "zh", typed=[REASON, *DIRECTORY], **PHONE)
    page = reviewer.open("/tasks")
    reviewer.look("inbox")
    page.locator("summary.tool").click()
    expect(page.locator(".menu-nav a").first).to_be_in_viewport()
    reviewer.open(task)
    primary = page.locator("main button.primary")
    expect(primary).to_be_in_viewport(ratio=1)
    box = primary.bounding_box()
    assert box is not None
    assert box["height"] >= 44
    page.locator('input[name="decision"][value="approve"]').tap()
    page.locator("#field-lawful").scroll_into_view_if_needed()
    expect(primary).to_be_in_viewport(ratio=1)
    reviewer.look("review")
    for path in ("/requests/new", "/requests"):
        reviewer.open(path)
        reviewer.look(path.strip("/").replace("/", " "))


def test_pages_can_be_read_in_the_dark(arrive: Arrive, office: Office) -> None:
    office.request("gate", "lobby", to="vote_committee", reason=REASON)
    member = arrive("member2", "zh", typed=[REASON, *DIRECTORY], **DARK)
    member.open("/tasks")
    member.look("inbox")
    member.main.locator("ul.rows a.title").first.click()
    member.look("vote")
    for path, title in (("/requests/new", "application form"), ("/notices", "notices")):
        member.open(path)
        member.look(title)
    with member.expecting(404):
        member.open("/nowhere")
        member.examine("nothing there")


@pytest.mark.long
@pytest.mark.parametrize("options", [PHONE, DARK, {**PHONE, **DARK}], ids=["phone", "dark", "dark-phone"])
def test_every_page_of_a_case_fits_phones_and_the_dark(arrive: Arrive, office: Office, options: dict) -> None:
    """All that a person meets on the way of one request, except what only one state of it shows."""
    task = office.request("gate", "garage", to="check_playback", reason=REASON)
    titles = [title for _name, _zh, _en, _department, title, *_rest in seed.PEOPLE]
    typed = [REASON, COMMENT, "It was found", "目的正当，范围必要", "first", *DIRECTORY, *titles]
    operator = arrive("operator", "zh", typed=typed, **options)
    operator.open(task)
    operator.look("playback check")
    operator.main.locator("nav.crumbs a").last.click()
    case = operator.path
    for tab in ("", "/diagram", "/footage", "/documents", "/custody", "/access"):
        operator.open(f"{case}{tab}")
        expect(operator.main.locator("nav.tabs a[aria-current]")).to_be_in_viewport(ratio=0.9)
        operator.look(f"case {tab.strip('/') or 'overview'}")
    for name, paths in {
        "operator": ("/tasks", "/cases/", "/operations"),
        "applicant": ("/requests", "/requests/new", "/notices", case),
        "archivist": ("/archive", "/tasks"),
        "auditor": ("/audit/", case),
        "owner": ("/studio/",),
        "admin": ("/admin/",),
    }.items():
        visitor = arrive(name, "en", typed=typed, **options)
        for path in paths:
            visitor.open(path)
            visitor.look(f"{name} {path.strip('/').replace('/', ' ')}")
