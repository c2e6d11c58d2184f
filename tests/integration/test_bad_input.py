"""What people get wrong at forms and tasks: a clear message in their language, the right status, nothing half-written.

Every case goes through the pages and through the API, over HTTP, with the real procedure.
"""

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from premises import Answer, Premises, of_this_morning
from sqlalchemy import func, select
from visitors import Browser, Door, Program, in_chinese

from device.models import Case
from engine import clock
from engine.models import HistoryEvent, Instance, Qualification, Signature, Task, User
from web import seed
from web.demo import CHECKED, application
from web.setup import MAIN_PROCESS

APPROVE = {"decision": "approve"}
REVIEWED = {"decision": "approve", "comment": "目的正当，范围必要", **CHECKED}


def form(**changes: Any) -> dict[str, Any]:
    """An application that is right, but for `changes`; a field that is None is missing."""
    whole = {**application(["gate"], *of_this_morning(2)), **changes}
    return {key: value for key, value in whole.items() if value is not None}


def rows(premises: Premises) -> dict[str, int]:
    """How much the tables hold that a refused request must not touch."""
    with premises.reading() as session:
        tables = (Instance, Task, HistoryEvent, Signature, Case)
        return {table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


def says(answer: Answer, english: str, **params: Any) -> bool:
    return (english % params if params else english) in answer.text


def check_chinese(answer: Answer, english: str, **params: Any) -> None:
    """The same answer for somebody who reads Chinese; word for word where the catalogue has the message."""
    translated = in_chinese(english)
    if translated:
        assert (translated % params if params else translated) in answer.text, answer.text
    if answer.kind.startswith("text/html"):
        assert '<html lang="zh' in answer.text
        assert any("\u4e00" <= character <= "\u9fff" for character in answer.text)


# ---- the application form -------------------------------------------------------------------------------------------

LAST = of_this_morning(2)[1]

MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a field is missing": ({"reason": None}, "reason", "This field is required."),
    "no camera": ({"cameras": []}, "cameras", "This field is required."),
    "no undertaking": ({"undertaking": False}, "undertaking", "Please tick this box to confirm."),
    "the span ends before it begins": (
        {"end_at": (LAST - timedelta(hours=1)).isoformat()},
        "end_at",
        "The end must be later than the start.",
    ),
    "the span has no length": (
        {"start_at": LAST.isoformat(), "end_at": LAST.isoformat()},
        "end_at",
        "The end must be later than the start.",
    ),
    "the span lies in the future": (
        {"end_at": (LAST + timedelta(days=2)).isoformat(), "start_at": (LAST + timedelta(days=1)).isoformat()},
        "end_at",
        "This must not lie in the future.",
    ),
    "the span exceeds the limit": (
        {"start_at": (LAST - timedelta(hours=24, seconds=1)).isoformat()},
        "end_at",
        "The span is longer than %(hours)s hours.",
    ),
    "an unknown camera": ({"cameras": ["gate", "attic"]}, "cameras", "%(value)s is not in the list."),
    "a purpose that is none": ({"purpose": "curiosity"}, "purpose", "Please choose from the list."),
    "a character that cannot be stored": (
        {"reason": "a bell \x07 rings"},
        "reason",
        "The text contains characters that cannot be stored.",
    ),
    "use that has ended already": ({"use_until": "2020-01-01"}, "use_until", "This must not lie in the past."),
}
PARAMS: dict[str, dict[str, Any]] = {
    "the span exceeds the limit": {"hours": "24"},
    "an unknown camera": {"value": "attic"},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_application_with_a_mistake_is_refused_with_the_reason_at_its_field(
    service: Premises, door: Door, mistake: str
) -> None:
    changes, field, message = MISTAKES[mistake]
    params = PARAMS.get(mistake, {})
    with service.reading() as session:
        cases = session.scalar(select(func.count()).select_from(Case))
    before = rows(service)
    answer = door.apply("applicant", form(**changes))
    assert answer.status == 422
    assert says(answer, message, **params)
    if isinstance(door, Program):
        assert answer.kind == "application/problem+json"
        assert set(answer.json["fields"]) >= {field}
        assert answer.json["fields"][field] == (message % params if params else message)
        with service.reading() as session:
            assert session.scalar(select(func.count()).select_from(Case)) == cases
    else:
        assert f'id="field-{field}-error"' in answer.text
        assert 'value="李申请"' in answer.text, "what was typed is still there"
        assert rows(service) == before, "neither a case nor an instance was begun"
    check_chinese(door.apply("applicant", form(**changes), lang="zh"), message, **params)


def test_a_program_that_made_a_mistake_corrects_it_at_the_same_task(service: Premises) -> None:
    begun = service.ask("applicant", "POST", "/instances", {"process_id": MAIN_PROCESS, "data": {}})["id"]
    task = service.task(begun, "fill_application")["id"]
    door = Program(service)
    assert door.complete("applicant", task, form(reason=None)).status == 422
    assert service.instance(begun)["seq"] == 1
    assert door.complete("applicant", task, form()).status == 200
    assert service.instance(begun)["seq"] == 2


def test_fields_beyond_the_form_are_dropped(service: Premises, door: Door) -> None:
    """Nobody approves their own application by posting the head's decision along with it."""
    smuggled = {"head_decision": {"decision": "approve"}, "decision": "approve", "case": {"head": "applicant"}}
    assert door.apply("applicant", form(reason="wants it all", **smuggled)).status in {200, 302}
    with service.reading() as session:
        newest = session.scalars(select(Instance).order_by(Instance.started_at.desc())).first()
        assert newest is not None
        assert newest.data["case"]["head"] == "head"
        assert "head_decision" not in newest.data
        assert not set(newest.data["application"]) & set(smuggled)


def test_a_program_cannot_apply_in_anothers_name(service: Premises) -> None:
    data = {"applicant": "member2", "case": {"head": "applicant"}}
    begun = service.ask("applicant", "POST", "/instances", {"process_id": MAIN_PROCESS, "data": data})
    assert begun["data"]["applicant"] == "applicant"
    service.submit(begun["id"], "fill_application", form())
    assert service.task(begun["id"], "sign_application")["assignee"] == "head"


# ---- tasks that are not one's own -----------------------------------------------------------------------------------


@pytest.fixture
def submitted(service: Premises) -> str:
    """A request that waits for the head's signature."""
    return service.apply(["gate"], *of_this_morning(1))


@pytest.fixture
def reviewing(service: Premises, submitted: str) -> str:
    service.submit(submitted, "sign_application", APPROVE)
    return submitted


def unchanged(premises: Premises, task: str, state: str = "open") -> None:
    """The task is as it was: nobody holds it and no signature was left."""
    with premises.reading() as session:
        found = session.get_one(Task, UUID(task))
        assert (found.state, found.completed_by) == (state, None)
        assert session.scalar(select(func.count()).where(Signature.task_id == found.id)) == 0


@pytest.mark.parametrize("user", ["member2", "reviewer", "archivist"])
def test_a_foreign_task_is_neither_taken_nor_completed(
    service: Premises, door: Door, submitted: str, user: str
) -> None:
    """`member2` is the head of another department; the others have other roles."""
    task = service.task(submitted, "sign_application")["id"]
    for answer in (door.claim(user, task), door.complete(user, task, APPROVE)):
        if isinstance(door, Program):
            assert (answer.status, answer.kind) == (404, "application/problem+json")
            assert says(answer, "There is no task %(id)s, or it is not for you.", id=task)
        else:
            assert answer.status == 403
            assert says(answer, "This task is for %(assignee)s.", assignee="Wang (head)")
    unchanged(service, task)
    template = "There is no task %(id)s, or it is not for you."
    if not isinstance(door, Program):
        template = "This task is for %(assignee)s."
    check_chinese(door.claim(user, task, lang="zh"), template, id=task, assignee="王主管")


@pytest.mark.parametrize("task", [str(UUID(int=11)), "12345", "%20", "../definitions"])
def test_an_unknown_task_is_not_found(service: Premises, door: Door, task: str) -> None:
    for lang in ("en", "zh"):
        for answer in (door.claim("head", task, lang=lang), door.complete("head", task, APPROVE, lang=lang)):
            assert answer.status in {404, 405}
            if isinstance(door, Program):
                assert answer.kind == "application/problem+json"
            elif lang == "zh":
                check_chinese(answer, "There is nothing at this address")


def test_somebody_who_may_look_on_may_not_act(service: Premises, door: Door, reviewing: str) -> None:
    """The auditor sees every case and has a hand in none."""
    task = service.task(reviewing, "review_request")["id"]
    for answer in (door.claim("auditor", task), door.complete("auditor", task, REVIEWED)):
        assert answer.status == 403
        role = "reviewer" if isinstance(door, Program) else "Reviewer"
        assert says(answer, "This task needs the role %(group)s.", group=role)
    unchanged(service, task)
    role = "reviewer" if isinstance(door, Program) else "审核员"
    check_chinese(door.claim("auditor", task, lang="zh"), "This task needs the role %(group)s.", group=role)


def test_without_a_sign_in_nothing_is_answered(service: Premises, submitted: str) -> None:
    task = service.task(submitted, "sign_application")["id"]
    for token in ("", "dq_nonsense"):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = requests.post(f"{service.url}/api/v1/tasks/{task}/claim", headers=headers, timeout=60)
        assert (answer.status_code, answer.headers["Content-Type"]) == (401, "application/problem+json")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    page = requests.get(f"{service.url}/tasks/{task}", allow_redirects=False, timeout=60)
    assert (page.status_code, page.headers["Location"].split("?")[0]) == (302, "/sign-in")
    unchanged(service, task)


def test_a_page_without_its_token_changes_nothing(service: Premises, browser: Browser, submitted: str) -> None:
    """A foreign site makes the head's browser post: no CSRF token."""
    task = service.task(submitted, "sign_application")["id"]
    answer = browser.post("head", f"/tasks/{task}/claim", {"csrf_token": "guessed"})
    assert answer.status == 400
    unchanged(service, task)


def test_a_wrong_password_signs_nothing(service: Premises, browser: Browser, submitted: str) -> None:
    task = service.task(submitted, "sign_application")["id"]
    body = {"data": APPROVE, "signature": {"password": "not this one"}}
    answer = service.call("head", "POST", f"/tasks/{task}/complete", body)
    assert (answer.status, answer.kind) == (403, "application/problem+json")
    assert "wrong" in answer.json["detail"]
    unsigned = service.call("head", "POST", f"/tasks/{task}/complete", {"data": APPROVE})
    assert unsigned.status == 403
    assert "must be signed" in unsigned.json["detail"]
    shown = browser.post("head", f"/tasks/{task}", APPROVE)
    digest = re.search(r'name="_digest" value="([^"]+)"', shown.text)
    assert digest
    signed = {**APPROVE, "_intent": "sign", "_digest": digest[1], "_password": "not this one"}
    assert browser.post("head", f"/tasks/{task}", signed).status == 403
    unchanged(service, task)
    service.submit(submitted, "sign_application", APPROVE)  # and the two mistakes have locked nobody out


def test_a_text_that_is_not_the_one_shown_is_not_signed(service: Premises, browser: Browser, submitted: str) -> None:
    task = service.task(submitted, "sign_application")["id"]
    signed = {**APPROVE, "_intent": "sign", "_digest": "sha256:" + "0" * 64, "_password": seed.PASSWORD}
    assert browser.post("head", f"/tasks/{task}", signed).status == 409
    unchanged(service, task)


# ---- twice ----------------------------------------------------------------------------------------------------------


def submissions(premises: Premises, instance: str) -> int:
    with premises.reading() as session:
        counted = select(func.count()).where(HistoryEvent.instance_id == UUID(instance), HistoryEvent.kind == "submit")
        return session.scalar(counted) or 0


def test_a_double_click_submits_once(service: Premises, door: Door, reviewing: str) -> None:
    task = service.task(reviewing, "review_request")["id"]
    before = submissions(service, reviewing)
    first, second = (door.complete("reviewer", task, REVIEWED) for _ in range(2))
    assert first.status in {200, 302}
    assert second.status == 409
    assert submissions(service, reviewing) == before + 1
    if isinstance(door, Program):
        assert "reviewer has already completed this task, at " in second.json["detail"]
    else:
        assert says(second, "You have already submitted this")
        assert says(second, "Nothing was stored a second time.")
        check_chinese(door.complete("reviewer", task, REVIEWED, lang="zh"), "You have already submitted this")


def at_once(count: int, act: Any) -> list[Answer]:
    """The same thing `count` times in the same moment."""
    barrier, answers = threading.Barrier(count), []

    def run(number: int) -> None:
        barrier.wait(30)
        answers.append(act(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == count
    return answers


def test_of_submissions_at_the_same_moment_one_counts(service: Premises, browser: Browser, reviewing: str) -> None:
    task = service.task(reviewing, "review_request")["id"]
    before = submissions(service, reviewing)
    doors: list[Door] = [browser, Program(service)]
    browser.session("reviewer")
    answers = at_once(8, lambda number: doors[number % 2].complete("reviewer", task, REVIEWED))
    assert sorted(answer.status for answer in answers if answer.status in {200, 302}) in ([200], [302])
    assert [answer.status for answer in answers if answer.status not in {200, 302}] == [409] * 7
    assert submissions(service, reviewing) == before + 1
    assert service.ask("auditor", "GET", f"/instances/{reviewing}/verification")["ok"] is True


def test_of_two_people_who_take_a_task_one_gets_it(service: Premises, reviewing: str) -> None:
    """Another reviewer, entered by the administrator, wants the same task in the same moment."""
    task = service.task(reviewing, "review_request")["id"]
    other = enrolled(service, "reviewer", trained=True)
    people = ["reviewer", other]
    answers = at_once(2, lambda number: service.call(people[number], "POST", f"/tasks/{task}/claim"))
    assert sorted(answer.status for answer in answers) == [200, 409]
    taken = next(answer.json["claimed_by"] for answer in answers if answer.status == 200)
    assert says(next(answer for answer in answers if answer.status == 409), f"{taken} has taken this task, at ")


def test_a_vote_that_is_no_longer_needed_is_refused(service: Premises, door: Door, reviewing: str) -> None:
    service.submit(reviewing, "review_request", REVIEWED)
    service.wait_for(reviewing, "vote_committee")
    votes = {task["assignee"]: task["id"] for task in service.open_tasks(reviewing)}
    assert set(votes) == {"member1", "member2", "member3"}
    for member in ("member1", "member2"):
        assert door.complete(member, votes[member], APPROVE).status in {200, 302}
    late = door.complete("member3", votes["member3"], {"decision": "refuse", "comment": "too late"})
    assert late.status == 409
    service.wait_for(reviewing, "confirm_readiness")


# ---- role, training, independence -----------------------------------------------------------------------------------


def enrolled(premises: Premises, *groups: str, trained: bool, department: str = "monitoring") -> str:
    """A new person, entered over the administrator's pages; answers the user name."""
    name = f"p{uuid4().hex[:10]}"
    browser = Browser(premises)
    try:
        entry = {"username": name, "password": seed.PASSWORD, "name": "新人", "department": department}
        assert browser.post("admin", "/admin/users", {**entry, "groups": list(groups)}).status == 302
        if trained:
            today = clock.now().date()
            record = {
                "username": name,
                "key": seed.QUALIFICATION,
                "valid_from": (today - timedelta(days=9)).isoformat(),
                "valid_until": (today + timedelta(days=90)).isoformat(),
            }
            assert browser.post("admin", "/admin/trainings", record).status == 302
    finally:
        browser.close()
    premises.tokens[name] = premises.token(name)
    return name


def lapse(premises: Premises, username: str) -> None:
    """Time passes: the training record ran out a minute ago."""
    with premises.writing() as session:
        for record in session.scalars(select(Qualification).where(Qualification.username == username)):
            record.valid_until = clock.now() - timedelta(minutes=1)


@pytest.fixture
def preparing(service: Premises, reviewing: str) -> str:
    service.submit(reviewing, "review_request", REVIEWED)
    service.lead(reviewing, to="confirm_readiness")
    return reviewing


READY = {"decision": "ready", "equipment_ready": True}
LAPSED = "Your training %(qualification)s is missing or has lapsed; renew it first."


def test_who_was_never_trained_does_not_retrieve(service: Premises, door: Door, preparing: str) -> None:
    task = service.task(preparing, "confirm_readiness")["id"]
    newcomer = enrolled(service, "operator", trained=False)
    for answer in (door.claim(newcomer, task), door.complete(newcomer, task, READY)):
        assert answer.status == 403
        assert says(answer, LAPSED, qualification=seed.QUALIFICATION)
    unchanged(service, task)
    check_chinese(door.claim(newcomer, task, lang="zh"), LAPSED, qualification=seed.QUALIFICATION)


def test_a_training_that_lapses_after_the_claim_stops_the_completion(
    service: Premises, door: Door, preparing: str
) -> None:
    task = service.task(preparing, "confirm_readiness")["id"]
    operator = enrolled(service, "operator", trained=True)
    assert door.claim(operator, task).status in {200, 302}
    lapse(service, operator)
    answer = door.complete(operator, task, READY)
    assert answer.status == 403
    assert says(answer, LAPSED, qualification=seed.QUALIFICATION)
    unchanged(service, task, "claimed")


def test_who_reviewed_does_not_retrieve(service: Premises, door: Door, reviewing: str) -> None:
    both = enrolled(service, "reviewer", "operator", trained=True)
    service.submit(reviewing, "review_request", REVIEWED, by=both)
    service.lead(reviewing, to="confirm_readiness")
    task = service.task(reviewing, "confirm_readiness")["id"]
    refusal = "You take part in this case in another role, so another person must do this."
    for answer in (door.claim(both, task), door.complete(both, task, READY)):
        assert answer.status == 403
        assert says(answer, refusal)
    unchanged(service, task)
    check_chinese(door.claim(both, task, lang="zh"), refusal)


def test_nobody_reviews_their_own_request(service: Premises, door: Door) -> None:
    """A reviewer applies: the head of the monitoring department signs, and another reviewer must review."""
    assert door.apply("reviewer", form(reason="seen from the reviewer's desk")).status in {200, 302}
    with service.reading() as session:
        mine = select(Instance.id).where(Instance.started_by == "reviewer").order_by(Instance.started_at.desc())
        instance = str(session.scalars(mine).first())
    signature = service.task(instance, "sign_application")
    assert signature["assignee"] == "archivist"
    service.submit(instance, "sign_application", APPROVE)
    task = service.task(instance, "review_request")["id"]
    for answer in (door.claim("reviewer", task), door.complete("reviewer", task, REVIEWED)):
        assert answer.status == 403
        assert says(answer, "You take part in this case in another role, so another person must do this.")
    unchanged(service, task)


def test_a_head_who_applies_is_signed_for_by_the_superior(service: Premises, door: Door) -> None:
    assert door.apply("head", form(reason="the head wants to see it")).status in {200, 302}
    with service.reading() as session:
        mine = select(Instance.id).where(Instance.started_by == "head").order_by(Instance.started_at.desc())
        instance = str(session.scalars(mine).first())
    task = service.task(instance, "sign_application")
    assert task["assignee"] == "member1"
    answer = door.complete("head", task["id"], APPROVE)
    assert answer.status == 403
    unchanged(service, task["id"])


def test_a_closed_account_gets_no_further(service: Premises) -> None:
    """Somebody who has left the company still has a session and a token."""
    leaver = enrolled(service, "reviewer", trained=True)
    browser = Browser(service)
    assert browser.get(leaver, "/tasks").status == 200
    with service.writing() as session:
        session.scalars(select(User).where(User.username == leaver)).one().active = False
    assert service.call(leaver, "GET", "/tasks").status == 401
    assert 'name="password"' in browser.get(leaver, "/tasks").text
    browser.close()


# ---- cases of others ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/history", "/verification"])
def test_a_foreign_case_looks_as_if_it_were_not_there(service: Premises, submitted: str, path: str) -> None:
    stranger = enrolled(service, trained=False, department="legal")
    hidden = service.call(stranger, "GET", f"/instances/{submitted}{path}")
    missing = service.call(stranger, "GET", f"/instances/{uuid4()}{path}")
    assert (hidden.status, missing.status) == (404, 404)
    assert hidden.json["title"] == missing.json["title"]
    assert submitted not in service.call(stranger, "GET", "/tasks").text


def test_a_foreign_request_is_not_withdrawn(service: Premises, browser: Browser, submitted: str) -> None:
    message = {"name": "withdraw", "correlation": {"instance": submitted}, "data": {"reason": "not mine"}}
    assert service.call("member3", "POST", "/messages", message).status == 404
    assert service.call("head", "POST", "/messages", message).status == 403
    assert browser.post("head", f"/requests/{submitted}/withdraw", {"reason": "not mine"}).status == 404
    assert service.instance(submitted)["state"] == "running"
    assert service.call("applicant", "POST", "/messages", message).status == 202
    assert service.call("applicant", "POST", "/messages", message).status == 409


@pytest.fixture(scope="module", autouse=True)
def no_surprises(service: Premises) -> Iterator[None]:
    """Whatever was refused above was foreseen: no trace in the log, and every history still verifies."""
    yield
    log = (service.folder / "web.log").read_text()
    assert "unexpected error" not in log, log[-5000:]
