"""Who may do a task, claiming, signing, completing once (clauses 1.2, N1, rules of conduct)."""

import contextvars
import hashlib
import threading
from datetime import timedelta
from uuid import UUID

import pytest
from process_files import FILES
from sqlalchemy import event, select

from engine import definitions, identity, live, replay, tasks
from engine.errors import ConflictError, EngineError, InvalidFormError, NotAllowedError, NotFoundError
from engine.identity import WrongPasswordError
from engine.models import HistoryEvent, Signature
from engine.tasks import SignatureRequest

PASSWORD = "correct horse battery"
SIGNED = SignatureRequest(PASSWORD)


def inbox(office, username, clock):
    with office.database.reading() as session:
        return [task.element for task in tasks.inbox(session, office.person(session, username), at=clock.at)]


def claim(office, username, task):
    with office.database.transaction() as session:
        tasks.claim(session, task.id, by=office.person(session, username))


def delegate(office, username, deputy, clock):
    with office.database.transaction() as session:
        identity.delegate(session, username, deputy, from_at=clock.at, until_at=clock.at + timedelta(days=1))


# ---- who may


def test_the_inbox_shows_what_a_person_may_do_and_nothing_else(office, clock):
    instance = office.start("review", applicant="applicant")
    assert inbox(office, "reviewer", clock) == ["decide"]
    assert inbox(office, "operator", clock) == []
    assert inbox(office, "applicant", clock) == []  # a reviewer too, but it is their own request
    office.decide("reviewer", instance)
    assert inbox(office, "applicant", clock) == ["confirm"]
    assert inbox(office, "reviewer", clock) == []


def test_the_inbox_shows_a_task_for_listed_people_only_to_them(office, clock, recorder):
    recorder.members = ["second"]
    office.start("look_up")
    assert inbox(office, "second", clock) == ["read"]
    assert inbox(office, "reviewer", clock) == []


def test_the_inbox_puts_urgent_and_due_tasks_first(office, clock):
    office.start("review", applicant="applicant")
    office.start("signed", applicant="applicant")
    with office.database.reading() as session:
        found = tasks.inbox(session, office.person(session, "reviewer"), at=clock.at)
    assert [(task.due_at, task.priority) for task in found] == [(clock.at + timedelta(days=2), 80), (None, 50)]


@pytest.mark.parametrize(
    ("username", "reason"),
    [("operator", "needs the role reviewer"), ("applicant", "in another role"), ("admin", "needs the role reviewer")],
)
def test_a_person_who_may_not_is_told_why(office, username, reason):
    instance = office.start("review", applicant="applicant")
    task = office.task(instance, "decide")
    with pytest.raises(NotAllowedError, match=reason):
        claim(office, username, task)
    with pytest.raises(NotAllowedError, match=reason):
        office.complete(username, task, {"decision": "approve"})
    assert office.now(instance).seq == 1


def test_a_task_of_a_named_person_is_for_nobody_else(office):
    instance = office.start("review", applicant="applicant")
    office.decide("reviewer", instance)
    with pytest.raises(NotAllowedError, match="is for applicant"):
        office.complete("reviewer", office.task(instance, "confirm"))


def test_a_closed_account_may_do_nothing(office, people):
    people.add("leaver", "reviewer", active=False)
    instance = office.start("review", applicant="applicant")
    with pytest.raises(NotAllowedError, match="closed"):
        office.decide("leaver", instance)


def test_a_deputy_may_do_it_in_the_name_of_the_absent_person(office, clock):
    instance = office.start("review", applicant="applicant")
    office.decide("reviewer", instance)
    delegate(office, "applicant", "operator", clock)
    assert inbox(office, "operator", clock) == ["confirm"]
    office.complete("operator", office.task(instance, "confirm"))
    assert office.now(instance).data["confirmation"]["by"] == "operator"


def test_a_deputy_has_no_role_from_somebody_who_is_excluded(office, clock):
    instance = office.start("review", applicant="applicant")
    delegate(office, "applicant", "operator", clock)
    with pytest.raises(NotAllowedError, match="needs the role"):
        office.decide("operator", instance)


def test_an_excluded_person_gets_no_role_as_a_deputy(office, clock):
    instance = office.start("review", applicant="applicant")
    delegate(office, "reviewer", "applicant", clock)
    assert inbox(office, "applicant", clock) == []
    with pytest.raises(NotAllowedError, match="in another role"):
        office.decide("applicant", instance)


def test_training_is_checked_when_claiming_and_again_when_completing(office, clock):
    instance = office.start("signed", applicant="applicant")
    task = office.task(instance, "decide")
    with pytest.raises(NotAllowedError, match="training retrieval"):
        claim(office, "second", task)
    claim(office, "reviewer", task)
    clock.forward(days=365)
    with pytest.raises(NotAllowedError, match="training retrieval"):
        office.complete("reviewer", task, {"decision": "approve"}, signature=SIGNED)
    assert office.now(instance).seq == 1


@pytest.mark.parametrize("task_id", [UUID(int=7), str(UUID(int=7)), "not-an-id", ""])
def test_an_unknown_task_is_not_found(office, task_id):
    with pytest.raises(NotFoundError), office.database.transaction() as session:
        tasks.complete(session, task_id, {}, by=office.person(session, "reviewer"))
    with pytest.raises(NotFoundError), office.database.transaction() as session:
        tasks.claim(session, task_id, by=office.person(session, "reviewer"))


# ---- claiming


def test_a_claimed_task_leaves_the_inbox_of_the_others(office, clock):
    instance = office.start("review", applicant="applicant")
    task = office.task(instance, "decide")
    claim(office, "reviewer", task)
    claim(office, "reviewer", task)
    assert inbox(office, "second", clock) == []
    assert inbox(office, "reviewer", clock) == ["decide"]
    with pytest.raises(ConflictError, match="reviewer has taken this task"):
        claim(office, "second", task)
    with pytest.raises(ConflictError, match="reviewer has taken this task"):
        office.decide("second", instance)


def test_a_task_given_back_is_everybodys_again(office, clock):
    instance = office.start("review", applicant="applicant")
    task = office.task(instance, "decide")
    claim(office, "reviewer", task)
    with pytest.raises(NotAllowedError), office.database.transaction() as session:
        tasks.unclaim(session, task.id, by=office.person(session, "second"))
    with office.database.transaction() as session:
        tasks.unclaim(session, task.id, by=office.person(session, "admin"))
    office.decide("second", instance)
    assert office.now(instance).data["review"]["by"] == "second"


# ---- completing once


def test_a_second_submission_is_told_who_was_first_and_when(office, clock):
    instance = office.start("review", applicant="applicant")
    task = office.task(instance, "decide")
    office.complete("reviewer", task, {"decision": "approve"})
    clock.forward(minutes=1)
    for username in ("reviewer", "second"):
        with pytest.raises(ConflictError, match=r"reviewer has already completed this task, at 2026-02-02T01:00:00"):
            office.complete(username, task, {"decision": "refuse"})
    assert office.now(instance).data["review"]["decision"] == "approve"
    assert office.now(instance).seq == 2


@pytest.mark.parametrize("warm", [True, False])
def test_of_two_threads_that_complete_the_same_task_one_wins(office, deployed, warm):
    instance = office.start("review", applicant="applicant")
    task = office.task(instance, "decide")
    if not warm:
        live.forget()
    gate = threading.Barrier(2)
    outcomes: dict[str, Exception | None] = {}

    def submit(username):
        gate.wait(10)
        try:
            office.complete(username, task, {"decision": "approve"})
            outcomes[username] = None
        except EngineError as error:
            outcomes[username] = error

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(submit, username))
        for username in ("reviewer", "second")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (winner,) = [username for username, error in outcomes.items() if error is None]
    (refused,) = [error for error in outcomes.values() if error is not None]
    assert isinstance(refused, ConflictError)
    assert str(refused).startswith(f"{winner} has already completed this task")
    assert office.now(instance).seq == 2
    office.complete("applicant", office.task(instance, "confirm"))
    with deployed.reading() as session:
        assert replay.verify(session, instance.id).ok


# ---- signing


def test_a_signature_binds_the_exact_text_that_was_shown(office, deployed):
    instance = office.start("signed", applicant="applicant")
    task = office.task(instance, "decide")
    entered = {"decision": "approve", "comment": "合法"}
    with deployed.reading() as session:
        clean = tasks.clean_data(session, task, entered)
        shown = tasks.signing_text(session, task, clean, by=office.person(session, "reviewer"))
    office.complete("reviewer", task, entered, signature=SIGNED)
    with deployed.reading() as session:
        kept = tasks.signature(session, task.id)
        (submitted,) = session.scalars(select(HistoryEvent.payload).where(HistoryEvent.kind == "submit"))
    assert kept.text == shown
    assert kept.digest == f"sha256:{hashlib.sha256(shown.encode()).hexdigest()}"
    assert kept.username == "reviewer"
    assert '决定 [decision]: "approve"' in shown
    assert '意见 [comment]: "合法"' in shown
    assert kept.digest in submitted
    assert office.now(instance).data["review"]["signature"] == kept.digest


def test_another_decision_gives_another_text(office, deployed):
    instance = office.start("signed", applicant="applicant")
    task = office.task(instance, "decide")
    with deployed.reading() as session:
        person = office.person(session, "reviewer")
        texts = {tasks.signing_text(session, task, {"decision": word}, by=person) for word in ("approve", "refuse")}
    assert len(texts) == 2


@pytest.mark.parametrize(
    ("signature", "error"),
    [(None, "enter your password"), (SignatureRequest(""), "enter your password"), (SignatureRequest("no"), "wrong")],
)
def test_without_the_right_password_nothing_is_signed(office, deployed, signature, error):
    instance = office.start("signed", applicant="applicant")
    with pytest.raises(NotAllowedError, match=error):
        office.complete("reviewer", office.task(instance, "decide"), {"decision": "approve"}, signature=signature)
    with deployed.reading() as session:
        assert session.scalars(select(Signature)).all() == []
    assert office.now(instance).seq == 1


def test_wrong_passwords_when_signing_lock_the_account_too(office, deployed):
    instance = office.start("signed", applicant="applicant")
    task = office.task(instance, "decide")
    for _ in range(identity.LOCK_AFTER):
        with pytest.raises(WrongPasswordError):
            office.complete("reviewer", task, {"decision": "approve"}, signature=SignatureRequest("guess"))
    with pytest.raises(WrongPasswordError):
        office.complete("reviewer", task, {"decision": "approve"}, signature=SIGNED)


# ---- cost


def statements(office, work):
    """What `work` sends to the database and how often it commits."""
    sent, commits = [], []
    engine = office.database.writer
    listeners = [
        ("before_cursor_execute", lambda *call: sent.append(call[2])),
        ("commit", lambda _connection: commits.append(1)),
    ]
    for name, listener in listeners:
        event.listen(engine, name, listener)
    try:
        work()
    finally:
        for name, listener in listeners:
            event.remove(engine, name, listener)
    return [text for text in sent if not text.startswith(("BEGIN", "SAVEPOINT"))], len(commits)


def test_completing_the_dearest_task_takes_ten_statements_and_one_commit(office, clock):
    instance = office.start("signed", applicant="applicant")
    task = office.task(instance, "decide")
    with office.database.reading() as session:
        person = office.person(session, "reviewer")

    def work():
        with office.database.transaction() as session:
            tasks.complete(session, task.id, {"decision": "approve"}, by=person, signature=SIGNED)

    sent, commits = statements(office, work)
    assert len(sent) <= 10, "\n".join(sent)
    assert commits == 1


def test_completing_an_ordinary_task_takes_seven_statements(office, clock):
    instance = office.start("counting")
    task = office.task(instance, "again")
    with office.database.reading() as session:
        person = office.person(session, "reviewer")

    def work():
        with office.database.transaction() as session:
            tasks.complete(session, task.id, {"decision": "refuse"}, by=person)

    sent, commits = statements(office, work)
    assert len(sent) <= 7, "\n".join(sent)
    assert commits == 1


def test_an_inbox_takes_two_statements_however_long_it_is(office, clock):
    for _ in range(5):
        office.start("counting")
    with office.database.transaction() as session:
        person = office.person(session, "reviewer")

    def work():
        with office.database.transaction() as session:
            assert len(tasks.inbox(session, person, at=clock.at)) == 5

    sent, _commits = statements(office, work)
    assert len(sent) == 2, "\n".join(sent)


def test_a_form_with_hostile_data_is_refused_field_by_field(office):
    instance = office.start("review", applicant="applicant")
    task = office.task(instance, "decide")
    for value in ({"decision": float("nan")}, {"decision": ["approve"]}, {"decision": "\ud800"}, {"decision": "other"}):
        with pytest.raises(InvalidFormError):
            office.complete("reviewer", task, value)
    assert office.now(instance).seq == 1


def test_the_form_of_a_running_instance_stays_the_one_of_its_version(office, deployed):
    instance = office.start("review", applicant="applicant")
    stricter = FILES["forms/decision.form"].replace(
        '"key": "comment"', '"key": "comment", "validate": {"required": true}'
    )
    with deployed.transaction() as session:
        definitions.deploy(session, {**FILES, "forms/decision.form": stricter}, by="owner", note="a reason, please")
    office.decide("reviewer", instance)
    later = office.start("review", applicant="applicant")
    assert (instance.version, later.version) == (1, 2)
    with pytest.raises(InvalidFormError):
        office.decide("reviewer", later)
