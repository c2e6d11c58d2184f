"""A suspended instance waits as a whole: people, timers and jobs; nothing that happened meanwhile is lost."""

from uuid import uuid4

import pytest
from process_files import FILES

from engine import (
    backtest,
    clock,
    exports,
    history,
    instances,
    jobs,
    live,
    messages,
    notifications,
    replay,
    suspension,
    timers,
)
from engine.errors import BpmnError, ConflictError, InvalidFormError, JobCancelledError
from engine.jobs import ClaimedJob
from engine.models import Message


@pytest.fixture
def suspend(deployed):
    def act(instance, reason="the police asked for it"):
        with deployed.transaction() as session:
            suspension.suspend(session, instance.id, reason, by="admin")

    return act


@pytest.fixture
def resume(deployed):
    def act(instance, reason="they have answered"):
        with deployed.transaction() as session:
            suspension.resume(session, instance.id, reason, by="admin")

    return act


def claim(database) -> ClaimedJob | None:
    return jobs.claim(database, owner="one", site="main")


def kinds(database, instance):
    with database.reading() as session:
        return [event.kind for event in history.events(session, instance.id)]


def job_of(database, instance):
    with database.reading() as session:
        (found,) = jobs.of_instance(session, instance.id)
        return found


def verified(database, instance):
    live.forget()
    with database.reading() as session:
        return replay.verify(session, instance.id).findings


def test_a_suspended_instance_takes_no_submission_and_says_who_suspended_it(office, deployed, suspend, resume, clock):
    instance = office.start("review", applicant="applicant")
    suspend(instance)
    at = clock.at
    clock.forward(hours=1)
    for act in (
        lambda: office.decide("reviewer", instance),
        lambda: office.claim("reviewer", office.task(instance, "decide")),
        lambda: suspend(instance, "again"),
    ):
        with pytest.raises(ConflictError) as refused:
            act()
        assert refused.value.params == {
            "username": "admin",
            "at": at.isoformat(timespec="seconds"),
            "reason": "the police asked for it",
        }
    assert (office.now(instance).state, office.now(instance).seq) == ("suspended", 2)
    assert verified(deployed, instance) == []
    resume(instance)
    office.decide("reviewer", instance)
    assert kinds(deployed, instance) == ["start", "suspend", "resume", "submit"]
    assert verified(deployed, instance) == []


def test_suspending_needs_a_reason_and_an_instance_that_runs(office, deployed, suspend, resume):
    instance = office.start("review", applicant="applicant")
    for reason in ("", "  ", "x" * 1001):
        with pytest.raises(InvalidFormError):
            suspend(instance, reason)
    with pytest.raises(ConflictError, match="not suspended; it is running"):
        resume(instance)
    with deployed.transaction() as session:
        instances.cancel(session, instance.id, "over", by="admin")
    with pytest.raises(ConflictError, match="has ended"):
        suspend(instance)
    with pytest.raises(ConflictError, match="it is cancelled"):
        resume(instance)


def test_messages_do_not_reach_a_suspended_instance(office, deployed, suspend):
    instance = office.start("waiting")
    suspend(instance)
    with pytest.raises(ConflictError, match="has suspended this case"), deployed.transaction() as session:
        instances.send_message(session, instance.id, "withdraw", {}, by="applicant")


def test_a_message_waits_for_the_resumption(office, deployed, suspend, resume):
    instance = office.start("waiting")
    suspend(instance)
    with deployed.transaction() as session:
        message = Message(
            id=uuid4(), kind="message", name="withdraw", payload={}, sent_by="x", sent_at=clock.now(),
            due_at=clock.now(), state="waiting",
        )  # fmt: skip
        session.add(message)
    assert messages.deliver_due(deployed) == 0
    assert office.now(instance).state == "suspended"
    resume(instance)
    assert messages.deliver_due(deployed) == 1
    assert office.now(instance).state == "completed"
    assert verified(deployed, instance) == []


def test_a_suspended_instance_can_be_cancelled(office, deployed, suspend):
    instance = office.start("waiting")
    suspend(instance)
    with deployed.transaction() as session:
        instances.cancel(session, instance.id, "never mind", by="admin")
    assert (office.now(instance).state, office.task(instance, "decide").state) == ("cancelled", "cancelled")
    assert verified(deployed, instance) == []


def test_those_concerned_are_told_of_a_suspension_and_of_its_end(office, deployed, suspend, resume):
    instance = office.start("review", applicant="applicant")
    office.claim("reviewer", office.task(instance, "decide"))
    suspend(instance)
    resume(instance)
    with deployed.reading() as session:
        for username in ("applicant", "reviewer"):
            told = [notice.template for notice in notifications.recent(session, username)]
            assert told == ["Your case goes on: %(reason)s", "Your case is suspended: %(reason)s"]
        assert notifications.recent(session, "second") == []


# ---- timers


def test_timers_wait_and_fire_once_at_resumption(office, deployed, suspend, resume, clock):
    instance = office.start("waiting")
    suspend(instance)
    clock.forward(hours=3)
    assert timers.fire_due(deployed) == 0
    resume(instance)
    assert office.task(instance, "remind").state == "open"
    assert timers.fire_due(deployed) == 0
    assert kinds(deployed, instance) == ["start", "suspend", "resume"]
    assert verified(deployed, instance) == []


def test_an_instance_whose_deadline_passed_meanwhile_ends_at_resumption(office, deployed, suspend, resume, clock):
    instance = office.start("waiting")
    suspend(instance)
    clock.forward(days=2)
    resume(instance)
    assert office.task(instance, "decide").state == "cancelled"
    assert verified(deployed, instance) == []


# ---- jobs


def test_no_job_of_a_suspended_instance_is_claimed(office, deployed, suspend, resume, worker):
    instance = office.start("fetch_one", camera="gate")
    other = office.start("fetch_one", camera="yard")
    suspend(instance)
    assert worker() == 1
    assert (office.now(other).state, job_of(deployed, instance).state) == ("completed", "ready")
    resume(instance)
    assert worker() == 1
    assert office.now(instance).state == "completed"
    assert verified(deployed, instance) == []


def test_the_result_of_a_running_job_is_held_and_applied_at_resumption(office, deployed, suspend, resume):
    instance = office.start("fetch_one", camera="gate")
    job = claim(deployed)
    suspend(instance)
    assert jobs.renew(deployed, job, progress={"fraction": 0.5})
    jobs.finish(deployed, job, {"camera": "gate"})
    held = job_of(deployed, instance)
    assert (held.state, held.outcome, held.owner) == ("held", {"value": {"camera": "gate"}}, None)
    assert (office.now(instance).state, office.now(instance).seq) == ("suspended", 2)
    with pytest.raises(JobCancelledError):
        jobs.finish(deployed, job, "twice")
    resume(instance)
    done = job_of(deployed, instance)
    assert (done.state, done.outcome) == ("done", None)
    assert office.now(instance).data["fetched"] == {"camera": "gate"}
    assert kinds(deployed, instance) == ["start", "suspend", "resume", "result"]
    assert verified(deployed, instance) == []


def test_a_modelled_error_of_a_running_job_is_held_too(office, deployed, suspend, resume):
    instance = office.start("cameras", cameras=["gate"])
    job = claim(deployed)
    suspend(instance)
    assert jobs.fail(deployed, job, BpmnError("LOST", "no answer")) == "held"
    resume(instance)
    assert job_of(deployed, instance).state == "failed"
    assert office.task(instance, "repair").state == "open"
    assert verified(deployed, instance) == []


def test_a_held_error_that_nobody_catches_becomes_an_incident_at_resumption(office, deployed, suspend, resume):
    instance = office.start("fetch_one", camera="gate")
    job = claim(deployed)
    suspend(instance)
    jobs.fail(deployed, job, BpmnError("LOST", "no answer"))
    resume(instance)
    stopped = job_of(deployed, instance)
    assert (stopped.state, stopped.outcome) == ("incident", None)
    assert kinds(deployed, instance) == ["start", "suspend", "resume", "incident"]
    with deployed.transaction() as session:
        jobs.retry(session, stopped.id, by="admin")
    assert claim(deployed) is not None
    assert verified(deployed, instance) == []


def test_a_held_result_goes_with_its_cancelled_instance(office, deployed, suspend):
    instance = office.start("fetch_one", camera="gate")
    job = claim(deployed)
    suspend(instance)
    jobs.finish(deployed, job, "late")
    with deployed.transaction() as session:
        instances.cancel(session, instance.id, "over", by="admin")
    assert job_of(deployed, instance).state == "cancelled"


def test_a_job_that_fails_meanwhile_is_tried_again_after_the_resumption(office, deployed, suspend, resume, clock):
    instance = office.start("fetch_one", camera="gate")
    job = claim(deployed)
    suspend(instance)
    assert jobs.fail(deployed, job, OSError("down")) == "ready"
    clock.forward(minutes=5)
    assert claim(deployed) is None
    resume(instance)
    again = claim(deployed)
    assert again is not None
    assert again.attempt == 2


def test_an_incident_of_a_suspended_instance_is_not_retried(office, deployed, suspend, resume):
    instance = office.start("script", total=1, parts=0)
    suspend(instance)
    stopped = job_of(deployed, instance)
    with pytest.raises(ConflictError, match="has suspended"), deployed.transaction() as session:
        jobs.retry(session, stopped.id, by="admin", params={"parts": 1})
    resume(instance)
    with deployed.transaction() as session:
        jobs.retry(session, stopped.id, by="admin", params={"parts": 1})
    assert office.task(instance, "read").state == "open"


# ---- what else reads a history


def test_a_backtest_and_the_exports_pass_over_a_suspension(office, deployed, suspend, resume, clock):
    instance = office.start("waiting")
    suspend(instance)
    clock.forward(hours=2)
    resume(instance)
    office.complete("reviewer", office.task(instance, "decide"))
    office.complete("operator", office.task(instance, "remind"))
    assert office.now(instance).state == "completed"
    with deployed.reading() as session:
        (outcome,) = backtest.backtest(session, {"waiting.bpmn": FILES["waiting.bpmn"]})
        assert outcome.differences == []
        lines = b"".join(exports.csv_lines(session, [instance.id])).decode().splitlines()
    assert any(",resume,enter,remind," in line for line in lines)
