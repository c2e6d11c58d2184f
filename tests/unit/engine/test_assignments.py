"""Tasks that are passed on, assigned and rescheduled by hand; reminders; deputies hear of them."""

from datetime import timedelta

import orjson
import pytest

from engine import assignments, history, identity, live, notifications, reminders, replay, suspension
from engine.errors import ConflictError, InvalidFormError, NotAllowedError, NotFoundError


@pytest.fixture
def act(office, deployed):
    """`act(delegate, "reviewer", task, "second", "ill")` in a transaction of its own."""

    def run(what, username, task, *arguments):
        with deployed.transaction() as session:
            return what(session, task.id, *arguments, by=office.person(session, username))

    return run


@pytest.fixture
def review(office):
    return office.start("review", applicant="applicant")


@pytest.fixture
def decision(office, review):
    return office.task(review, "decide")


def told(database, username):
    with database.reading() as session:
        return [notice.template for notice in notifications.recent(session, username)]


def last_event(database, task):
    with database.reading() as session:
        event = history.events(session, task.instance_id)[-1]
    return event.kind, event.actor, orjson.loads(event.payload)


# ---- delegating


def test_a_task_is_passed_on_and_its_owner_stays_visible(review, office, deployed, act, decision):
    office.claim("reviewer", decision)
    act(assignments.delegate, "reviewer", decision, "second", "I am ill")
    now = office.task(review, "decide")
    assert (now.assignee, now.owner, now.claimed_by, now.state) == ("second", "reviewer", None, "open")
    kind, actor, payload = last_event(deployed, decision)
    assert (kind, actor) == ("delegate", "reviewer")
    assert {key: payload[key] for key in ("from", "to", "owner", "reason")} == {
        "from": "reviewer",
        "to": "second",
        "owner": "reviewer",
        "reason": "I am ill",
    }
    assert told(deployed, "second") == ["A task waits for you: %(task)s."]
    with pytest.raises(NotAllowedError, match="for second"):
        office.decide("reviewer", review)
    office.decide("second", review)
    live.forget()
    with deployed.reading() as session:
        assert replay.verify(session, decision.instance_id).findings == []


def test_a_task_comes_back_to_its_owner(review, office, act, decision):
    act(assignments.delegate, "reviewer", decision, "second", "I am ill")
    act(assignments.delegate, "second", decision, "reviewer", "welcome back")
    now = office.task(review, "decide")
    assert (now.assignee, now.owner) == ("reviewer", None)


@pytest.mark.parametrize(
    ("by", "to", "error", "why"),
    [
        ("reviewer", "nobody", NotFoundError, "no user nobody"),
        ("reviewer", "applicant", NotAllowedError, "another role"),
        ("reviewer", "operator", NotAllowedError, "does not have the role"),
        ("reviewer", "gone", NotAllowedError, "is closed"),
        ("operator", "second", NotAllowedError, "needs the role"),
        ("applicant", "second", NotAllowedError, "another role"),
    ],
)
def test_the_rules_of_conduct_hold_for_whom_a_task_is_passed_to(people, act, decision, by, to, error, why):
    people.add("gone", "reviewer", active=False)
    with pytest.raises(error, match=why):
        act(assignments.delegate, by, decision, to, "because")


def test_a_task_is_passed_on_only_to_those_with_the_training(office, people, act):
    task = office.task(office.start("signed", applicant="applicant"), "decide")
    with pytest.raises(NotAllowedError, match="training retrieval of second"):
        act(assignments.delegate, "reviewer", task, "second", "because")
    people.train("second", "retrieval")
    act(assignments.delegate, "reviewer", task, "second", "because")


def test_a_task_of_a_named_person_stays_in_their_department(review, office, people, act, decision):
    office.decide("reviewer", review)
    people.add("colleague", "employee", department="production")
    people.add("stranger", "employee", department="legal")
    confirm = office.task(review, "confirm")
    with pytest.raises(NotAllowedError, match="not of the department"):
        act(assignments.delegate, "applicant", confirm, "colleague", "because")
    with office.database.transaction() as session:
        person = identity.find(session, "applicant")
        person.department = identity.find(session, "colleague").department
    with pytest.raises(NotAllowedError, match="not of the department"):
        act(assignments.delegate, "applicant", confirm, "stranger", "because")
    act(assignments.delegate, "applicant", confirm, "colleague", "because")


def test_what_another_person_holds_or_has_done_is_not_passed_on(review, office, deployed, act, decision):
    office.claim("second", decision)
    with pytest.raises(ConflictError, match="second has taken this task"):
        act(assignments.delegate, "reviewer", decision, "second", "because")
    office.decide("second", review)
    with pytest.raises(ConflictError, match="second has already completed this task, at"):
        act(assignments.delegate, "reviewer", decision, "second", "because")


def test_nothing_is_passed_on_without_a_reason_or_while_suspended(deployed, act, decision):
    with pytest.raises(InvalidFormError):
        act(assignments.delegate, "reviewer", decision, "second", " ")
    with deployed.transaction() as session:
        suspension.suspend(session, decision.instance_id, "wait", by="admin")
    with pytest.raises(ConflictError, match="has suspended"):
        act(assignments.delegate, "reviewer", decision, "second", "because")


# ---- administering


def test_an_administrator_gives_a_task_to_somebody_and_back_to_the_group(review, office, deployed, act, decision):
    office.claim("reviewer", decision)
    act(assignments.assign, "admin", decision, "second", "she is on duty")
    now = office.task(review, "decide")
    assert (now.assignee, now.owner) == ("second", "reviewer")
    act(assignments.assign, "admin", decision, "", "whoever comes first")
    now = office.task(review, "decide")
    assert (now.assignee, now.owner, now.state) == (None, None, "open")
    assert last_event(deployed, decision)[0] == "assign"
    office.decide("reviewer", review)


def test_only_an_administrator_without_a_part_in_the_case_assigns(review, office, people, act, decision):
    with pytest.raises(NotAllowedError, match="Only an administrator"):
        act(assignments.assign, "reviewer", decision, "second", "because")
    with pytest.raises(NotAllowedError, match="another role"):
        act(assignments.assign, "admin", decision, "applicant", "because")
    office.decide("reviewer", review)
    with pytest.raises(ConflictError, match="for one person"):
        act(assignments.assign, "admin", office.task(review, "confirm"), "", "because")
    people.add("both", "admin")
    with office.database.transaction() as session:
        session.get_one(type(review), review.id).started_by = "both"
    with pytest.raises(NotAllowedError, match="another role"):
        act(assignments.change, "both", office.task(review, "confirm"), {"priority": 1}, "because")


def test_priority_and_due_date_are_changed_and_recorded(review, office, deployed, act, decision, clock):
    due = clock.at + timedelta(hours=10)
    act(assignments.change, "admin", decision, {"priority": 90, "due_at": due}, "the police wait")
    now = office.task(review, "decide")
    assert (now.priority, now.due_at, now.remind_at) == (90, due, clock.at + timedelta(hours=5))
    kind, actor, payload = last_event(deployed, decision)
    assert (kind, actor, payload["reason"]) == ("change_task", "admin", "the police wait")
    assert payload["from"] == {"priority": 50, "due_at": None, "remind_at": None}
    assert payload["to"]["due_at"] == due.isoformat()
    act(assignments.change, "admin", decision, {"due_at": None}, "no hurry")
    assert office.task(review, "decide").remind_at is None


@pytest.mark.parametrize(
    "changes", [{}, {"priority": "high"}, {"priority": True}, {"priority": 10**6}, {"due_at": "soon"}, {"state": "x"}]
)
def test_what_cannot_be_set_is_refused(act, decision, changes):
    with pytest.raises(InvalidFormError):
        act(assignments.change, "admin", decision, changes, "because")


# ---- reminders


def test_people_and_deputies_are_reminded_before_and_after_the_due_date(office, people, deployed, clock):
    people.add("standby", "employee")
    with deployed.transaction() as session:
        span = {"from_at": clock.at, "until_at": clock.at + timedelta(days=30)}
        identity.delegate(session, "second", "standby", **span)
    instance = office.start("signed", applicant="applicant")
    task = office.task(instance, "decide")
    assert task.remind_at == task.due_at - timedelta(days=1)
    assert reminders.send_due(deployed) == 0
    clock.set(task.due_at - timedelta(hours=20))
    assert reminders.send_due(deployed) == 1
    assert reminders.send_due(deployed) == 0
    for username in ("reviewer", "second", "standby"):
        assert told(deployed, username) == ["%(task)s is due at %(at)s."]
    office.claim("reviewer", task)
    clock.set(task.due_at + timedelta(minutes=1))
    assert reminders.send_due(deployed) == 1
    assert reminders.send_due(deployed) == 0
    assert told(deployed, "reviewer")[0] == "%(task)s is overdue since %(at)s."
    assert len(told(deployed, "second")) == 1


def test_nobody_is_reminded_of_a_suspended_or_finished_task(review, office, deployed, act, decision, clock):
    act(assignments.change, "admin", decision, {"due_at": clock.at + timedelta(hours=2)}, "because")
    with deployed.transaction() as session:
        suspension.suspend(session, decision.instance_id, "wait", by="admin")
    clock.forward(hours=3)
    assert reminders.send_due(deployed) == 0
    with deployed.transaction() as session:
        suspension.resume(session, decision.instance_id, "go on", by="admin")
    assert reminders.send_due(deployed) == 1
    office.decide("reviewer", review)
    act_again = office.task(review, "decide")
    assert act_again.remind_at is None


def test_a_worker_reminds(office, deployed, act, decision, clock, worker):
    act(assignments.change, "admin", decision, {"due_at": clock.at + timedelta(hours=2)}, "because")
    clock.forward(hours=3)
    worker()
    assert told(deployed, "reviewer") == ["%(task)s is overdue since %(at)s."]


def test_the_deputy_of_a_named_person_hears_of_their_task(review, office, people, deployed, clock, decision):
    people.add("standby", "employee")
    with deployed.transaction() as session:
        span = {"from_at": clock.at, "until_at": clock.at + timedelta(days=1)}
        identity.delegate(session, "applicant", "standby", **span)
    office.decide("reviewer", review)
    assert told(deployed, "standby") == told(deployed, "applicant") == ["A task waits for you: %(task)s."]
