"""The inbox, one task's page, signing in two steps, being second (clauses 1.2, N1)."""

import re

import pytest
from browsing import Visitor
from sqlalchemy import select
from watching import Watch

from engine.db import Database
from engine.models import Instance, Qualification, Signature, Task

REVIEW = {
    "decision": "approve",
    "lawful": "true",
    "legitimate": "true",
    "minimal": "true",
    "identity_checked": "true",
    "comment": "lawful and reasonable",
}


@pytest.fixture
def head(submitted, visitor) -> Visitor:
    return visitor("head")


def test_the_inbox_says_what_waits_for_whom_and_what_is_overdue(head: Visitor, clock) -> None:
    page = head.get("/tasks").text
    assert "调取-2026-0001" in page
    assert "1 East gate (East entrance)" in page
    assert "To sign" in page
    assert head.get("/tasks?show=overdue&lang=en").text.count("/tasks/") == 0
    clock.forward(days=30)
    head.sign_in("head")  # a session does not last so long
    page = head.get("/tasks?show=overdue").text
    assert len(re.findall(r'href="/tasks/[0-9a-f-]{36}"', page)) == 1
    assert "Overdue since" in page


def test_the_page_shows_the_case_the_ways_on_and_where_it_stands(head: Visitor) -> None:
    page = head.get(head.tasks()[0]).text
    assert "A bicycle was knocked over at the gate" in page
    assert "2026-01-31 09:00 – 09:20" in page
    assert re.search(r"Approve</dt><dd>Preliminary review", page)
    assert re.search(r"Send back</dt><dd>Fill in the application form", page)
    assert "data-diagram" in page or "Where the case stands" in page
    assert "here now" in page
    assert "****0001" in page, "a telephone number is personal and masked"


def test_labels_are_chinese_first(submitted, visitor) -> None:
    head = visitor("head", "zh")
    assert "部门负责人签字" in head.get(head.tasks()[0]).text


def test_signing_takes_the_text_its_digest_and_the_password(head: Visitor, submitted, office: Database) -> None:
    task = head.tasks()[0]
    review = head.post(task, {"decision": "approve"})
    assert review.status_code == 200
    shown = re.search(r'<pre class="signed-text"[^>]*>(.*?)</pre>', review.text, re.S)
    assert shown
    digest = re.search(r'name="_digest" value="sha256:([0-9a-f]{64})"', review.text)
    assert digest
    assert digest[1] in review.text.replace(digest[0], "")
    assert 'type="password"' in review.text
    assert head.sign(task, {"decision": "approve"}).location == "/tasks"
    with office.reading() as session:
        signed = session.scalars(select(Signature)).one()
        decision = session.scalars(select(Instance)).one().data["head_decision"]
    assert signed.digest == f"sha256:{digest[1]}" == decision["signature"]
    assert signed.text in shown[1].replace("&#34;", '"').replace("&#39;", "'")
    assert decision["by"] == "head"


def test_a_wrong_password_signs_nothing_and_loses_nothing(head: Visitor, office: Database) -> None:
    answer = head.sign(task := head.tasks()[0], {"decision": "refuse", "comment": "not our gate"}, "nonsense")
    assert answer.status_code == 403
    assert "wrong" in answer.text
    assert 'name="comment" value="not our gate"' in answer.text
    back = head.post(task, {"decision": "refuse", "comment": "not our gate", "_intent": "edit"})
    assert "not our gate" in back.text
    with office.reading() as session:
        assert session.scalars(select(Signature)).all() == []


def test_what_changed_between_reading_and_signing_is_not_signed(head: Visitor, office: Database) -> None:
    task = head.tasks()[0]
    digest = re.search(r'name="_digest" value="([^"]+)"', head.post(task, {"decision": "approve"}).text)[1]  # type: ignore[index]
    forged = {"decision": "refuse", "comment": "other", "_intent": "sign", "_digest": digest, "_password": "x"}
    answer = head.post(task, forged)
    assert answer.status_code == 409
    assert "The text has changed since you saw it." in answer.text
    with office.reading() as session:
        assert session.scalars(select(Signature)).all() == []


def test_a_second_submission_says_who_did_it_and_when(head: Visitor, office: Database) -> None:
    task = head.tasks()[0]
    head.sign(task, {"decision": "approve"})
    again = head.post(task, {"decision": "approve"})
    assert again.status_code == 409
    assert "You have already submitted this" in again.text
    assert "Head at 2026-02-02 09:00:00" in again.text
    with office.reading() as session:
        assert len(session.scalars(select(Signature)).all()) == 1
    done = head.get(task).text
    assert "This task is done" in done
    assert "The signed text" in done


def test_an_empty_answer_comes_back_with_its_error_beside_the_field(head: Visitor) -> None:
    answer = head.post(head.tasks()[0])
    assert answer.status_code == 422
    assert 'id="field-decision-error"' in answer.text
    assert "This field is required." in answer.text


def test_nobody_sees_or_does_the_task_of_another_department(head: Visitor, visitor) -> None:
    task = head.tasks()[0]
    outsider = visitor("outsider")
    assert outsider.get(task).status_code == 403
    assert outsider.post(task, {"decision": "approve"}).status_code == 403
    applicant = visitor("applicant").get(task)
    assert applicant.status_code == 200
    assert "You cannot do this task" in applicant.text
    assert head.get("/tasks/00000000-0000-0000-0000-000000000001").status_code == 404


@pytest.fixture
def reviewer(head: Visitor, visitor) -> Visitor:
    assert head.sign(head.tasks()[0], {"decision": "approve"}).status_code == 302
    return visitor("reviewer")


def test_a_task_of_a_group_is_taken_given_back_and_taken_by_one_only(reviewer: Visitor, visitor) -> None:
    task = reviewer.tasks()[0]
    second = visitor("second")
    assert second.tasks() == [task]
    assert reviewer.post(f"{task}/claim").location == task
    assert second.tasks() == []
    late = second.post(f"{task}/claim")
    assert late.status_code == 409
    assert "Reviewer has been working on" in late.text
    assert "Somebody has taken this task" in second.get(task).text
    assert reviewer.post(f"{task}/unclaim").location == "/tasks"
    assert second.tasks() == [task]


def test_lapsed_training_is_named(reviewer: Visitor, office: Database) -> None:
    task = reviewer.tasks()[0]
    with office.transaction() as session:
        wanted = session.scalars(select(Task).where(Task.state == "open")).one().qualification
        if not wanted:
            session.scalars(select(Task).where(Task.state == "open")).one().qualification = "footage_retrieval"
        for record in session.scalars(select(Qualification).where(Qualification.username == "reviewer")):
            session.delete(record)
    assert reviewer.post(f"{task}/claim").status_code == 403
    assert "training" in reviewer.get(task).text


def test_a_draft_of_a_task_is_its_owners_and_goes_with_the_task(reviewer: Visitor, visitor) -> None:
    task = reviewer.tasks()[0]
    assert reviewer.post(task, {"comment": "to be checked", "_intent": "draft"}).location == task
    assert "to be checked" in reviewer.get(task).text
    assert "to be checked" not in visitor("second").get(task).text


def test_an_application_sent_back_comes_back_filled_in(head: Visitor, submitted: Visitor) -> None:
    head.sign(head.tasks()[0], {"decision": "send_back", "comment": "which bicycle?"})
    page = submitted.get(submitted.tasks()[0]).text
    assert "A bicycle was knocked over at the gate" in page
    assert 'value="2026-01-31T09:00:00"' in page


def test_completing_a_task_is_one_commit_and_few_statements(reviewer: Visitor, office: Database) -> None:
    task, token = reviewer.tasks()[0], reviewer.token()
    with Watch(office) as seen:
        answer = reviewer.client.post(task, data={**REVIEW, "csrf_token": token})
    assert answer.status_code == 302, re.findall(r'<a href="#field-[^<]*</a>: [^<]*', answer.text)
    assert seen.commits == 1
    assert len(seen.statements) <= 15, "\n".join(seen.statements)
