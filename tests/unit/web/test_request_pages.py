"""Asking for footage (clauses 1.1, P1, P2), drafts, my requests, withdrawing."""

import re
from datetime import timedelta

from sqlalchemy import func, select

from device.models import Case
from engine.db import Database
from engine.models import Draft, Instance, Task


def count(database: Database, table: type) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_the_form_offers_the_cameras_by_place_and_knows_the_applicant(office: Database, visitor) -> None:
    page = visitor("applicant").get("/requests/new").text
    assert page.index("East entrance") < page.index('value="gate"')
    assert 'data-retention="30"' in page
    assert "Beijing time" in page
    assert "production" in page


def test_a_submitted_application_opens_a_case_and_reaches_the_head_of_the_department(
    submitted, visitor, office: Database
) -> None:
    with office.reading() as session:
        case = session.scalars(select(Case)).one()
        assert case.applicant == "applicant"
    page = submitted.get("/requests").text
    assert case.number in page
    assert f'href="/cases/{case.id}"' in page
    assert "<strong>Head</strong>" in page
    assert "Will be overwritten on" in page
    assert len(visitor("head").tasks()) == 1
    assert visitor("outsider").tasks() == []


def test_a_refused_form_keeps_everything_that_was_typed_and_starts_nothing(
    office: Database, visitor, application
) -> None:
    wrong = {**application, "end_at": application["start_at"], "undertaking": None, "purpose": "nonsense"}
    answer = visitor("applicant").post("/requests/new", {key: value for key, value in wrong.items() if value})
    assert answer.status_code == 422
    assert f'value="{application["start_at"]}"' in answer.text
    assert "A bicycle was knocked over at the gate" in answer.text
    assert re.search(r'value="lobby" checked', answer.text)
    assert "3 fields need correcting" in answer.text
    assert "The end must be later than the start." in answer.text
    described = re.search(r'name="end_at"[^>]*aria-describedby="([^"]+)"', answer.text)
    assert described
    assert all(f'id="{name}"' in answer.text for name in described[1].split())
    assert count(office, Instance) == count(office, Task) == 0


def test_spans_that_lie_in_the_future_or_are_too_long_are_refused(
    office: Database, visitor, application, clock
) -> None:
    applicant = visitor("applicant")
    later = (clock.at + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M")
    assert "must not lie in the future" in applicant.post("/requests/new", {**application, "end_at": later}).text
    early = (clock.at - timedelta(days=9)).strftime("%Y-%m-%dT%H:%M")
    assert "longer than 24 hours" in applicant.post("/requests/new", {**application, "start_at": early}).text
    assert applicant.post("/requests/new", {**application, "cameras": ["gate", "moon"]}).status_code == 422


def test_times_are_taken_on_the_clock_of_the_company(submitted, office: Database, application) -> None:
    with office.reading() as session:
        data = session.scalars(select(Instance)).one().data["application"]
    assert data["start_at"] == f"{application['start_at']}+08:00"


def test_fields_that_the_form_does_not_define_do_not_reach_the_case(office: Database, visitor, application) -> None:
    visitor("applicant").post("/requests/new", {**application, "decision": "approve", "approved": "true"})
    with office.reading() as session:
        data = session.scalars(select(Instance)).one().data
    assert "approved" not in str(data)
    assert "decision" not in data["application"]


def test_a_draft_is_kept_restored_and_gone_after_submission(office: Database, visitor, application) -> None:
    applicant = visitor("applicant")
    saved = applicant.post(
        "/requests/new",
        {"reason": "half a thought", "cameras": ["lobby"], "_intent": "draft"},
        headers={"Accept": "application/json"},
    )
    assert saved.json == {"saved_at": "2026-02-02 09:00"}
    page = applicant.get("/requests/new").text
    assert "half a thought" in page
    assert re.search(r'value="lobby" checked', page)
    assert "Go on with it" in applicant.get("/requests").text
    assert "half a thought" not in visitor("outsider").get("/requests/new").text
    assert applicant.post("/requests/new", application).status_code == 302
    assert count(office, Draft) == 0


def test_a_draft_can_be_discarded(office: Database, visitor) -> None:
    applicant = visitor("applicant")
    applicant.post("/requests/new", {"reason": "half a thought", "_intent": "draft"})
    applicant.post("/requests/new", {"_intent": "discard"})
    assert count(office, Draft) == 0


def test_without_a_script_the_questions_follow_the_answers_on_demand(office: Database, visitor, application) -> None:
    def hidden(page: str) -> bool:
        field = re.search(r'<div class="field[^>]*data-key="document_no"[^>]*>', page)
        assert field
        return " hidden " in field[0]

    applicant = visitor("applicant")
    assert hidden(applicant.get("/requests/new").text)
    police = {**application, "applicant_kind": "police", "_intent": "refresh"}
    page = applicant.post("/requests/new", police).text
    assert not hidden(page)
    assert "A bicycle was knocked over at the gate" in page


def test_withdrawing_asks_why_and_ends_the_case(submitted, visitor, office: Database) -> None:
    address = re.search(r'href="(/requests/[0-9a-f-]{36}/withdraw)"', submitted.get("/requests").text)[1]  # type: ignore[index]
    assert "cannot be undone" in submitted.get(address).text
    assert submitted.post(address, {"reason": "  "}).status_code == 422
    assert visitor("head").post(address, {"reason": "mine now"}).status_code == 404
    assert submitted.post(address, {"reason": "found the bicycle"}).status_code == 302
    assert visitor("head").tasks() == []
    assert submitted.post(address, {"reason": "again"}).status_code == 409


def test_the_list_is_empty_with_one_button_to_begin(office: Database, visitor) -> None:
    page = visitor("outsider").get("/requests").text
    assert "No requests yet" in page
    assert page.count('href="/requests/new"') == 1
