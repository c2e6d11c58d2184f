"""One request through every hand, on the pages: from application form to archived, verified case (1.1 to 5.1)."""

import base64
import hashlib
import io
import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from looking import Visitor
from playwright.sync_api import Error, Locator, Page, expect
from pypdf import PdfReader

from device.simulator import LOCAL_TIME
from engine import clock
from web import demo, seed

Arrive = Callable[..., Visitor]

REASON = "A van scraped the barrier at dusk"
INCIDENT = "SG-2026-042"
POSITION, RECIPIENT = "Foreman", "Li Shen"
COMMENT = "Purpose and span are in order"
SHELF = "A-03-17"
TYPED = {REASON, INCIDENT, POSITION, RECIPIENT, COMMENT, SHELF}
LONG_MS = 120_000

PROGRESS = """() => new Promise((resolve, refuse) => {
  setTimeout(() => refuse(new Error('nothing moves')), 60000);
  const root = document.querySelector('[data-progress]'), seen = {};
  const note = () => {
    for (const line of root.querySelectorAll('[data-job]')) {
      const states = seen[line.dataset.job] ??= [], bar = line.querySelector('progress');
      const now = bar.getAttribute('value') + line.querySelector('[data-figures]').textContent;
      if (states.at(-1) !== now) states.push(now);
      if (states.length > 2) resolve(states);
    }
  };
  new MutationObserver(note).observe(root, {subtree: true, attributes: true, childList: true});
  note();
})"""

PLAY = """async video => {
  const until = (event, holds = () => true) => new Promise((done, failed) => {
    video.addEventListener(event, function look() { if (holds()) { video.removeEventListener(event, look); done(); } });
    video.addEventListener('error', () => failed(new Error(video.error?.message)), {once: true});
  });
  video.muted = true;
  if (video.readyState < HTMLMediaElement.HAVE_METADATA) {
    const loaded = until('loadedmetadata');
    video.load();
    await loaded;
  }
  const seeked = until('seeked');
  video.currentTime = video.duration / 2;
  await seeked;
  const from = video.currentTime;
  await video.play();
  await until('timeupdate', () => video.currentTime > from + 0.3);
  const canvas = Object.assign(document.createElement('canvas'), {width: video.videoWidth, height: video.videoHeight});
  const pen = canvas.getContext('2d');
  pen.drawImage(video, 0, 0);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set();
  for (let index = 0; index < pixels.length; index += 404) colours.add(pixels[index] >> 4);
  const found = {duration: video.duration, from, to: video.currentTime, ready: video.readyState,
    width: video.videoWidth, height: video.videoHeight, colours: colours.size};
  video.pause();
  return found;
}"""

FETCH = """async link => {
  const answer = await fetch(link.href), bytes = new Uint8Array(await answer.arrayBuffer());
  return [answer.headers.get('content-type'), btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''))];
}"""


def test_a_request_goes_from_application_to_archive(arrive: Arrive) -> None:
    arrive = partial(arrive, typed=TYPED)
    applicant = arrive("applicant", "en")
    number = apply(applicant)
    sign(arrive("head", "zh"), number)
    review(arrive("reviewer", "en"), number)
    stands_at(applicant, number, "vote_committee", "Members vote")
    vote(arrive, number)
    operator = arrive("operator", "zh")
    confirm_readiness(operator, number)
    watch_retrieval(operator, number)
    check_playback(operator, number)
    learn_the_result(applicant, number)
    complete_record(operator, number)
    archivist = arrive("archivist", "en")
    countersign(archivist, number)
    shelve(archivist, number)
    read_the_forms(applicant, number)
    audit(arrive("auditor", "en"), number)


# ---- the applicant --------------------------------------------------------------------------------------------------


def apply(visitor: Visitor) -> str:
    """Fill in the application, lose the page, find the draft again, submit; answers the case number (1.1, P1, P2)."""
    visitor.open("/requests/new")
    visitor.look("application form")
    start, end = demo.recent(8)
    page = visitor.page
    for camera in ("gate", "garage"):
        page.locator(f'input[name="cameras"][value="{camera}"]').check()
    write(page, "start_at", start.astimezone(LOCAL_TIME).strftime("%Y-%m-%dT%H:%M:%S"))
    write(page, "end_at", end.astimezone(LOCAL_TIME).strftime("%Y-%m-%dT%H:%M:%S"))
    choose(page, clock_basis="standard", urgency="normal", mode="copy", third_party="no", minors="no", secret="no")
    choose(page, applicant_kind="internal")
    write(page, "reason", REASON)
    write(page, "position", POSITION)
    expect(page.locator("#field-incident_no")).to_be_hidden()
    page.locator("#field-purpose").select_option("incident")
    write(page, "incident_no", INCIDENT)
    page.locator("#field-legal_basis").select_option("internal_rules")
    write(page, "use_until", (clock.now() + timedelta(days=14)).astimezone(LOCAL_TIME).strftime("%Y-%m-%d"))
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        write(page, "recipient", RECIPIENT)
    expect(page.locator("[data-draft-state]")).to_contain_text("Draft saved")
    expect(page.locator("[data-overwriting]")).to_contain_text("keeps this footage until")

    page.reload()
    expect(page.locator(".note.info")).to_contain_text("Restored from your draft")
    expect(page.locator("#field-reason")).to_have_value(REASON)
    expect(page.locator("#field-incident_no")).to_have_value(INCIDENT)
    expect(page.locator('input[name="cameras"]:checked')).to_have_count(2)
    expect(page.locator('input[name="mode"][value="copy"]')).to_be_checked()

    with visitor.expecting(422):
        visitor.primary()
        expect(page.locator("#field-undertaking")).to_have_attribute("aria-invalid", "true")
    visitor.examine("application form with an error")
    page.locator("#field-undertaking").check()
    visitor.primary()
    expect(page.locator("h1.case-number")).to_be_visible()
    visitor.look("case overview")
    return page.locator("h1.case-number").inner_text()


def stands_at(visitor: Visitor, number: str, element: str, name: str) -> None:
    """My requests: the diagram with the step that has the request now."""
    visitor.open("/requests")
    row = visitor.main.locator("ul.requests > li", has_text=number)
    wait_for(visitor, row.locator(".steps .active", has_text=name))
    expect(row.locator("[data-diagram]")).to_have_attribute("data-ready", "1")
    expect(row.locator(f'[data-element-id="{element}"].is-active')).to_be_visible()
    visitor.look("my requests")


def learn_the_result(visitor: Visitor, number: str) -> None:
    """The notice names the result and leads to the footage, of which a copy of one's own can be made (4.1, N2)."""
    page = visitor.open("/notices")
    wait_for(visitor, visitor.main.locator("li", has_text=number))
    visitor.look("notices")
    open_case(visitor, number, "footage")
    visitor.look("footage as the applicant sees it")
    expect(page.locator('form[action$="/footage/copies"] button')).to_have_count(
        2
    )  # a copy of one's own of each camera
    expect(page.locator("video")).to_have_count(0)


def read_the_forms(visitor: Visitor, number: str) -> None:
    open_case(visitor, number, "documents")
    visitor.look("documents")
    forms = visitor.page.locator('a[href$=".pdf"]')
    expect(forms).to_have_count(2)
    for form in forms.all():
        kind, content = form.evaluate(FETCH)
        assert kind == "application/pdf"
        text = "".join(page.extract_text() for page in PdfReader(io.BytesIO(base64.b64decode(content))).pages)
        assert number in text
        assert REASON in text


# ---- the gates ------------------------------------------------------------------------------------------------------


def sign(visitor: Visitor, number: str) -> None:
    """The head signs in two steps: the decision, then exactly the text whose hash is kept (1.2)."""
    page = visitor.page
    visitor.look("inbox")
    open_task(visitor, number)
    visitor.look("head decision")
    choose(page, decision="approve")
    visitor.primary()
    text = page.locator("pre.signed-text").text_content() or ""
    assert number in text
    assert '"approve"' in text
    expect(page.locator("p.digest")).to_contain_text(hashlib.sha256(text.encode()).hexdigest())
    visitor.examine("signing")
    with visitor.expecting(403):
        page.locator("#password").fill("not my password")
        visitor.primary()
        expect(page.locator("#password")).to_have_attribute("aria-invalid", "true")
    page.locator("#password").fill(seed.PASSWORD)
    visitor.primary()
    done(visitor)


def review(visitor: Visitor, number: str) -> None:
    """The checklist appears with the approval, and all of it is asked for (2.1)."""
    page = visitor.page
    open_task(visitor, number)
    visitor.look("review")
    expect(page.locator("#field-lawful")).to_be_hidden()
    choose(page, decision="approve")
    write(page, "comment", COMMENT)
    for key in ("lawful", "legitimate", "minimal"):
        page.locator(f"#field-{key}").check()
    with visitor.expecting(422):
        visitor.primary()
        expect(page.locator("#errors a")).to_have_count(1)
    page.locator("#field-identity_checked").check()
    visitor.primary()
    done(visitor)


def vote(arrive: Arrive, number: str) -> None:
    """Members see what the recorders hold and vote until the outcome is certain (2.2, 2.3)."""
    for name, language in (("member1", "zh"), ("member2", "en")):
        member = arrive(name, language)
        open_task(member, number)
        page = member.page
        expect(page.locator(".coverage svg.bar")).to_have_count(2)
        expect(page.locator(".coverage svg.bar rect.recorded").first).to_be_visible()
        expect(page.locator(".coverage svg.bar rect.requested").first).to_be_visible()
        page.locator(".coverage details summary").click()
        expect(page.locator(".coverage table tbody tr")).to_have_count(2)
        if name == "member1":
            member.look("vote")
        choose(page, decision="approve")
        member.primary()
        done(member)
    late = arrive("member3", "zh")
    late.open("/tasks")
    expect(late.main.locator("li", has_text=number)).to_have_count(0)
    late.look("empty inbox")


# ---- the operator ---------------------------------------------------------------------------------------------------


def confirm_readiness(visitor: Visitor, number: str) -> None:
    page = visitor.page
    open_task(visitor, number)
    visitor.look("readiness")
    choose(page, decision="ready")
    page.locator("#field-equipment_ready").check()
    visitor.primary()
    done(visitor)


def watch_retrieval(visitor: Visitor, number: str) -> None:
    """The figures of a running retrieval move while the page stays (3.2)."""
    open_case(visitor, number, "footage")
    for _attempt in range(20):
        try:
            visitor.page.locator("[data-progress]").wait_for()
            states = visitor.page.evaluate(PROGRESS)
        except Error as error:
            if "context was destroyed" not in error.message:
                raise
        else:
            break
    assert len(set(states)) > 2
    visitor.picture("retrieval")


def check_playback(visitor: Visitor, number: str) -> None:
    """Both cameras play and can be sought in, H.264 as it is and H.265 transcoded; only then the process goes on."""
    page = visitor.page
    open_task(visitor, number, name="回放检查")
    films = page.locator("video")
    expect(films).to_have_count(2)
    for film in films.all():
        seen = film.evaluate(PLAY)
        assert seen["duration"] > 470
        assert seen["to"] > seen["from"] > 200
        assert seen["ready"] >= 2
        assert seen["width"] > 0
        assert seen["height"] > 0
        assert seen["colours"] > 3
    visitor.look("playback check")
    choose(page, decision="ok")
    for key in ("complete", "clear", "continuous", "undamaged"):
        page.locator(f"#field-{key}").check()
    visitor.primary()
    done(visitor)


def complete_record(visitor: Visitor, number: str) -> None:
    """The record form is filled from what happened; the operator completes and signs it (4.2)."""
    page = visitor.page
    open_task(visitor, number, name="填写调取记录表")
    expect(page.locator("#field-reason")).to_have_text(REASON)
    expect(page.locator("#field-operators")).to_have_value("钱调取")
    visitor.look("record form")
    page.locator("#field-clock_method").select_option("measured")
    page.locator("#field-export_method").select_option("native_stream")
    write(page, "copies", "1")
    visitor.primary()
    put_password(visitor)


# ---- the archive ----------------------------------------------------------------------------------------------------


def countersign(visitor: Visitor, number: str) -> None:
    open_task(visitor, number)
    visitor.look("countersignature")
    choose(visitor.page, decision="approve")
    visitor.primary()
    put_password(visitor)


def shelve(visitor: Visitor, number: str) -> None:
    page = visitor.page
    open_task(visitor, number, name="Register on the shelf")
    visitor.look("shelf")
    write(page, "shelf", SHELF)
    page.locator("#field-medium").select_option("disk_array")
    write(page, "custodian", "archivist")
    visitor.primary()
    done(visitor)
    open_case(visitor, number)
    expect(page.locator(".chip.good", has_text="Archived")).to_be_visible(timeout=LONG_MS)
    visitor.look("archived case")
    for tab in ("diagram", "footage", "custody", "access"):
        open_case(visitor, number, tab)
        visitor.look(f"case {tab}")
    visitor.open("/archive")
    expect(visitor.main).to_contain_text(SHELF)
    visitor.look("archive")


# ---- the auditor ----------------------------------------------------------------------------------------------------


def audit(visitor: Visitor, number: str) -> None:
    """Step through the whole history on the diagram, then prove it by executing it again."""
    page = visitor.open(f"/audit/?q={number}")
    visitor.look("audit search")
    page.locator("a", has_text=number).click()
    replay = page.locator("[data-replay]")
    expect(replay).to_have_attribute("data-ready", "1")
    visitor.look("replay")
    slider, told = replay.locator("input[type=range]"), replay.locator("output")
    expect(replay).to_have_attribute("data-ready", "1")
    last = int(slider.get_attribute("max") or 0)
    assert last > 40
    expect(told).to_contain_text(f"{last}/{last}")
    page.keyboard.press("Home")
    expect(told).to_have_text(f"0/{last}")
    expect(replay.locator(".is-active, .is-done")).to_have_count(0)
    reached: list[str] = []
    for step in range(1, last + 1):
        page.keyboard.press("ArrowRight")
        expect(told).to_contain_text(re.compile(rf"^{step}/{last} "))
        reached += replay.locator(".is-now").evaluate_all("found => found.map(one => one.dataset.elementId)")
    order = ["fill_application", "sign_application", "review_request", "vote_committee", "check_playback"]
    assert [element for element in dict.fromkeys(reached) if element in order] == order
    replay.locator("[data-events] button").first.click()
    expect(told).to_contain_text(f"1/{last}")
    page.locator("main a.button.primary").click()
    expect(page.locator('[data-verified="good"] .note.good')).to_be_visible()
    visitor.look("verified history")


# ---- small steps ----------------------------------------------------------------------------------------------------


def wait_for(visitor: Visitor, wanted: Locator) -> None:
    """What the worker is still busy with comes with a later load of the page."""
    deadline = clock.now() + timedelta(milliseconds=LONG_MS)
    while not wanted.count():
        assert clock.now() < deadline, f"{visitor.name} waits for {wanted} at {visitor.path}"
        visitor.page.wait_for_timeout(200)
        visitor.page.reload()


def open_task(visitor: Visitor, number: str, name: str = "") -> None:
    """The case's task in the inbox, which may still be on its way; `name` is what it is called there."""
    visitor.open("/tasks")
    link = visitor.main.locator("ul.rows > li", has_text=number).locator("a.title", has_text=name)
    wait_for(visitor, link)
    link.click()
    expect(visitor.main.locator("pre, form.form").first).to_be_visible()


def open_case(visitor: Visitor, number: str, tab: str = "") -> None:
    visitor.open("/cases/")
    visitor.main.locator("a", has_text=number).first.click()
    if tab:
        visitor.main.locator(f'nav.tabs a[href$="/{tab}"]').click()
        expect(visitor.main.locator(f'nav.tabs a[aria-current][href$="/{tab}"]')).to_be_visible()


def put_password(visitor: Visitor) -> None:
    visitor.page.locator("#password").fill(seed.PASSWORD)
    visitor.primary()
    done(visitor)


def done(visitor: Visitor) -> None:
    """The answer is stored, and the page says so."""
    expect(visitor.page.locator(".flashes .note.good")).to_be_visible()
    assert visitor.path == "/tasks"


def write(page: Page, key: str, text: str) -> None:
    page.locator(f"#field-{key}").fill(text)


def choose(page: Page, **answers: str) -> None:
    for key, value in answers.items():
        page.locator(f'input[name="{key}"][value="{value}"]').check()
