"""The operations desk: incidents are resolved by a person, with a reason, and never by the applicant."""

import json
import re
from uuid import UUID

import pytest
from procedure import APPROVED, House
from sqlalchemy import text

from device.recorders.base import RecorderRefusedError
from engine import history, jobs, messages, notifications
from engine.errors import BpmnError, Sentence, sentence_of
from engine.models import Job, Message


class RefusedError(Exception):
    """The recorder says no; trying again is pointless."""

    permanent = True


@pytest.fixture
def stopped(evening: House) -> tuple[House, UUID, Job]:
    """A request whose pre-flight check ended in an incident."""
    instance = evening.request("garage", to="vote_committee")
    for member in ("member1", "member2"):
        evening.submit(instance, "vote_committee", {"decision": "approve"}, by=member)
    claimed = jobs.claim(evening.database, owner="tests", site="main")
    assert claimed is not None
    assert jobs.fail(evening.database, claimed, RefusedError("1号录像机: 401 Unauthorized")) == "incident"
    with evening.database.reading() as session:
        return evening, instance, jobs.get(session, claimed.id)


def kinds(house: House, instance: UUID) -> list[str]:
    with house.database.reading() as session:
        return [event.kind for event in history.events(session, instance)]


def state(house: House, job: Job) -> str:
    with house.database.reading() as session:
        return jobs.get(session, job.id).state


def test_an_incident_is_shown_with_its_error_its_case_and_what_can_be_done(stopped, arrive) -> None:
    house, instance, job = stopped
    page = arrive(house, "operator").get("/operations/").text
    assert "1号录像机: 401 Unauthorized" in page
    assert house.case(instance).number in page
    assert "Pre-flight check" in page
    assert f'action="/operations/jobs/{job.id}/retry"' in page
    assert "1号录像机" in page
    assert re.search(r"[\d.]+ [MG]B free", page)


REFUSED = {
    "zh": "1号录像机：录像机不接受该用户名或密码。",
    "en": "1号录像机: The recorder does not accept the user name or the password.",
}


@pytest.mark.parametrize("language", ["zh", "en"])
def test_people_read_in_their_language_why_a_job_stopped(evening: House, arrive, language: str) -> None:
    instance = evening.request("garage", to="vote_committee")
    for member in ("member1", "member2"):
        evening.submit(instance, "vote_committee", {"decision": "approve"}, by=member)
    claimed = jobs.claim(evening.database, owner="tests", site="main")
    assert claimed is not None
    refusal = RecorderRefusedError("The recorder does not accept the user name or the password.")
    named = RecorderRefusedError("%(recorder)s: %(error)s", recorder="1号录像机", error=sentence_of(refusal))
    named.permanent = True  # type: ignore[attr-defined]
    assert jobs.fail(evening.database, claimed, named) == "incident"
    operator, admin = arrive(evening, "operator"), arrive(evening, "admin")
    for reader, address in (
        (operator, "/operations/"),
        (operator, "/notices"),
        (admin, f"/operations/instances/{instance}"),
    ):
        assert REFUSED[language] in reader.get(f"{address}?lang={language}").text, address
    document = operator.get(f"/api/v1/jobs?lang={language}").json
    assert [one["error"] for one in document] == [REFUSED[language]]
    with evening.database.reading() as session:
        kept = [json.loads(event.payload) for event in history.events(session, instance) if event.kind == "incident"]
        told = [notice.params["error"] for notice in notifications.unread(session, "operator") if notice.params]
    assert [one["error"] for one in kept] == [f"RecorderRefusedError: {REFUSED['en']}"]
    assert str(Sentence.restored(told[0])) == REFUSED["en"]


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_task_after_a_failure_says_in_the_readers_language_what_the_recorder_reported(
    evening: House, arrive, language: str
) -> None:
    instance = evening.request("garage", to="review_request")
    evening.submit(instance, "review_request", APPROVED["review_request"][1], by="reviewer")
    claimed = jobs.claim(evening.database, owner="tests", site="main")
    assert claimed is not None
    refusal = RecorderRefusedError("The recorder does not accept the user name or the password.")
    named = RecorderRefusedError("%(recorder)s: %(error)s", recorder="1号录像机", error=sentence_of(refusal))
    assert jobs.fail(evening.database, claimed, BpmnError("RECORDER_REFUSED", sentence_of(named))) == "failed"
    (task,) = [task for task in evening.waiting(instance) if task.element == "handle_recorder_fault"]
    operator = arrive(evening, "operator")
    assert REFUSED[language] in operator.get(f"/tasks/{task.id}?lang={language}").text
    with evening.database.transaction() as session:
        session.execute(text("UPDATE jobs SET error = 'said in another way'"))
    assert REFUSED["en"] in operator.get(f"/tasks/{task.id}?lang={language}").text


def test_an_error_that_was_stored_as_text_is_said_as_it_stands(stopped, arrive) -> None:
    house, _instance, job = stopped
    with house.database.transaction() as session:
        session.execute(text("UPDATE jobs SET error = 'cable pulled' WHERE state = 'incident'"))
    assert "cable pulled" in arrive(house, "operator").get("/operations/?lang=zh").text
    assert state(house, job) == "incident"


def test_an_incident_that_is_tried_again_goes_on(stopped, arrive) -> None:
    house, instance, job = stopped
    operator = arrive(house, "operator")
    assert operator.post(f"/operations/jobs/{job.id}/retry").status_code == 302
    assert state(house, job) == "ready"
    assert kinds(house, instance)[-2:] == ["incident", "retry_job"]
    assert "Waiting for its turn" in operator.get("/operations/").text
    house.lead(instance, to="confirm_readiness")
    assert state(house, job) == "done"


def test_parameters_are_corrected_and_checked(stopped, arrive) -> None:
    house, _instance, job = stopped
    operator, address = arrive(house, "operator"), f"/operations/jobs/{job.id}/retry"
    for wrong in ("{", "[]", '{"cameras": "gate"}', '{"unknown": 1}'):
        assert operator.post(address, {"params": wrong}).status_code == 422, wrong
        assert state(house, job) == "incident"
    right = '{"cameras": ["gate"], "start_at": "2026-02-01T00:00:00Z", "end_at": "2026-02-01T00:01:00Z"}'
    assert operator.post(address, {"params": right}).status_code == 302
    with house.database.reading() as session:
        assert jobs.get(session, job.id).params["cameras"] == ["gate"]


def test_giving_up_needs_a_reason_and_a_diagram_that_catches_it(stopped, arrive) -> None:
    house, instance, job = stopped
    operator, address = arrive(house, "operator"), f"/operations/jobs/{job.id}/cancel"
    assert operator.post(address, {"reason": " "}).status_code == 422
    answer = operator.post(address, {"reason": "the recorder was stolen"})
    assert answer.status_code == 409  # the pre-flight check has no error path: nothing is changed
    assert state(house, job) == "incident"
    assert kinds(house, instance)[-1] == "incident"


def test_a_job_with_an_error_path_is_given_up_along_it(evening: House, arrive) -> None:
    instance = evening.request("garage", to="review_request")
    evening.submit(instance, "review_request", APPROVED["review_request"][1], by="reviewer")
    claimed = jobs.claim(evening.database, owner="tests", site="main")
    assert claimed is not None
    jobs.fail(evening.database, claimed, RefusedError("no"))
    operator = arrive(evening, "operator")
    assert operator.post(f"/operations/jobs/{claimed.id}/cancel", {"reason": "stolen"}).status_code == 302
    assert "handle_recorder_fault" in [task.element for task in evening.waiting(instance)]
    assert "No incidents" in operator.get("/operations/").text


def test_a_second_click_on_retry_is_told_that_it_runs(stopped, arrive) -> None:
    house, _instance, job = stopped
    operator = arrive(house, "operator")
    operator.post(f"/operations/jobs/{job.id}/retry")
    again = operator.post(f"/operations/jobs/{job.id}/retry")
    assert again.status_code == 409
    assert "no incident any more" in again.text


def test_nobody_resolves_the_incident_of_their_own_request(evening: House, arrive) -> None:
    instance = evening.request("garage", by="admin", to="vote_committee")
    for member in ("member1", "member2"):
        evening.submit(instance, "vote_committee", {"decision": "approve"}, by=member)
    claimed = jobs.claim(evening.database, owner="tests", site="main")
    assert claimed is not None
    jobs.fail(evening.database, claimed, RefusedError("no"))
    answer = arrive(evening, "admin").post(f"/operations/jobs/{claimed.id}/retry")
    assert answer.status_code == 403
    assert arrive(evening, "operator").post(f"/operations/jobs/{claimed.id}/retry").status_code == 302


def test_an_auditor_looks_on_and_changes_nothing(stopped, arrive) -> None:
    house, _instance, job = stopped
    auditor = arrive(house, "auditor")
    page = auditor.get("/operations/")
    assert page.status_code == 200
    assert "/retry" not in page.text
    assert auditor.post(f"/operations/jobs/{job.id}/retry").status_code == 403
    for username in ("applicant", "archivist", "owner"):
        assert arrive(house, username).get("/operations/").status_code == 403


def test_a_message_that_nobody_takes_is_shown_with_who_sent_it_and_why_it_lies_here(stopped, arrive) -> None:
    house, instance, _job = stopped
    with house.database.transaction() as session:
        sent = messages.send(session, "parcel", {}, by="admin")
        sent.sender_id, sent.error = instance, Sentence("More than one instance waits for it.")
        messages.send(session, "letter", {}, by="admin").state = "expired"
    page = arrive(house, "operator").get("/operations/").text
    assert "Messages without a receiver" in page
    assert "More than one instance waits for it." in page
    assert page.index("waits for a receiver") > 0
    assert "nobody took it in time" in page
    assert "sent by admin" in page


def test_without_such_a_message_the_desk_does_not_speak_of_messages(stopped, arrive) -> None:
    assert "Messages without a receiver" not in arrive(stopped[0], "operator").get("/operations/").text


def lying(house: House, sender: UUID) -> Message:
    """A message that an instance has thrown and nobody waits for."""
    with house.database.transaction() as session:
        sent = messages.send(session, "parcel", {}, by="system")
        sent.sender_id, sent.sender_seq = sender, 1
        return sent


def state_of(house: House, message: Message) -> str:
    with house.database.reading() as session:
        return messages.get(session, message.id).state


def test_a_message_is_discarded_with_a_reason_which_the_page_and_the_history_keep(stopped, arrive) -> None:
    house, instance, _job = stopped
    sent = lying(house, instance)
    operator, address = arrive(house, "operator"), f"/operations/messages/{sent.id}/discard"
    assert f'action="{address}"' in operator.get("/operations/").text
    assert operator.post(address, {"reason": " "}).status_code == 422
    assert operator.post(address, {"reason": "sent to the wrong office"}).status_code == 302
    assert (state_of(house, sent), kinds(house, instance)[-1]) == ("discarded", "discard_message")
    page = operator.get("/operations/").text
    assert "sent to the wrong office" in page
    assert address not in page
    assert operator.post(address, {"reason": "again"}).status_code == 409


def test_a_message_that_nobody_waits_for_is_not_delivered_and_says_so(stopped, arrive) -> None:
    house, instance, _job = stopped
    sent = lying(house, instance)
    operator = arrive(house, "operator")
    answer = operator.post(f"/operations/messages/{sent.id}/deliver", {"reason": "now"})
    assert answer.status_code == 409
    assert "Nobody waits for the message parcel" in answer.text
    assert state_of(house, sent) == "waiting"


def test_messages_are_seen_to_by_operators_only_and_never_by_the_applicant(stopped, evening: House, arrive) -> None:
    house, instance, _job = stopped
    sent, own = lying(house, instance), lying(house, house.request("gate", by="admin", to="sign_application"))
    for username, message in (("auditor", sent), ("applicant", sent), ("admin", own)):
        for act in ("deliver", "discard"):
            answer = arrive(house, username).post(f"/operations/messages/{message.id}/{act}", {"reason": "now"})
            assert answer.status_code == 403, (username, act)
    page = arrive(house, "admin").get("/operations/").text
    assert (f"/messages/{sent.id}/discard" in page, f"/messages/{own.id}/discard" in page) == (True, False)
    assert "/discard" not in arrive(house, "auditor").get("/operations/").text
