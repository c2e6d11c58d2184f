"""Jobs: leases, epochs, retries, incidents, limits, cancelling."""

import threading
from contextvars import copy_context
from datetime import timedelta

import pytest
from sqlalchemy import select

from engine import history, instances, jobs, notifications, replay, timers
from engine.errors import (
    BpmnError,
    ConflictError,
    InvalidFormError,
    JobCancelledError,
    NotFoundError,
    PostponedError,
    Sentence,
)
from engine.models import Job
from engine.operators import OperatorParameterError
from engine.worker import Worker


def claim(database, owner="one", **more):
    return jobs.claim(database, owner=owner, site="main", **more)


def rows(database, instance):
    with database.reading() as session:
        return jobs.of_instance(session, instance.id)


def row(database, instance):
    (found,) = rows(database, instance)
    return found


def verified(database, instance):
    with database.reading() as session:
        return replay.verify(session, instance.id).ok


def kinds(database, instance):
    with database.reading() as session:
        return [event.kind for event in history.events(session, instance.id)]


# ---- the ordinary way


def test_a_job_runs_and_its_answer_moves_the_instance(office, deployed, worker, recorder):
    instance = office.start("fetch_one", camera="gate")
    assert row(deployed, instance).state == "ready"
    assert worker() == 1
    assert row(deployed, instance).state == "done"
    assert office.now(instance).state == "completed"
    assert office.now(instance).data["fetched"] == {"camera": "gate"}
    assert recorder.calls == [("gate", 1)]
    assert verified(deployed, instance)


def test_the_operator_knows_its_case_and_may_report_progress(office, deployed, settings, recorder):
    seen = []

    def look(context):
        context.progress(fraction=0.5, bytes=10)
        seen.append(context)

    recorder.during = look
    instance = office.start("fetch_one", camera="gate")
    Worker(deployed, settings).run_until_idle()
    (context,) = seen
    assert (context.instance_id, context.attempt, context.last_attempt) == (instance.id, 1, False)
    assert context.data == {"camera": "gate"}
    assert context.scratch.is_relative_to(settings.data)


def test_progress_is_stored_with_the_job(office, deployed):
    instance = office.start("fetch_one", camera="gate")
    job = claim(deployed)
    assert jobs.renew(deployed, job, progress={"fraction": 0.25})
    assert row(deployed, instance).progress == {"fraction": 0.25}


def test_a_background_worker_picks_up_a_new_job_at_once(office, deployed, settings, recorder, clock):
    taken = threading.Event()
    recorder.during = lambda _context: taken.set()
    worker = Worker(deployed, settings, slots=2)
    clock.release()
    worker.start()
    try:
        instance = office.start("fetch_one", camera="gate")
        assert taken.wait(20)
    finally:
        worker.stop()
    assert office.now(instance).state == "completed"


def test_a_worker_is_started_once(deployed, settings):
    worker = Worker(deployed, settings, slots=1)
    worker.start()
    try:
        with pytest.raises(RuntimeError):
            worker.start()
    finally:
        worker.stop()


# ---- leases and epochs


def test_a_claimed_job_is_nobody_elses(office, deployed):
    office.start("fetch_one", camera="gate")
    assert claim(deployed) is not None
    assert claim(deployed, "two") is None


def test_a_lease_that_ran_out_lets_another_worker_take_over(office, deployed, clock):
    instance = office.start("fetch_one", camera="gate")
    first = claim(deployed)
    clock.forward(seconds=10)
    assert jobs.renew(deployed, first)
    clock.forward(seconds=14)
    assert claim(deployed, "two") is None
    clock.forward(seconds=2)
    second = claim(deployed, "two")
    assert (second.id, second.epoch, second.attempt) == (first.id, 2, 2)
    assert not jobs.renew(deployed, first)
    with pytest.raises(JobCancelledError):
        jobs.finish(deployed, first, "late")
    with pytest.raises(JobCancelledError):
        jobs.fail(deployed, first, OSError("late"))
    jobs.finish(deployed, second, "right")
    assert office.now(instance).data["fetched"] == "right"
    with pytest.raises(JobCancelledError):
        jobs.finish(deployed, second, "again")
    assert verified(deployed, instance)


def test_a_job_that_takes_its_worker_down_each_time_becomes_an_incident(office, deployed, clock):
    instance = office.start("fetch_one", camera="gate")
    for attempt in range(1, 5):
        job = claim(deployed)
        assert (job.attempt, job.last_attempt) == (attempt, attempt == 4)
        clock.forward(seconds=16)
    assert claim(deployed) is None
    assert row(deployed, instance).state == "incident"
    assert kinds(deployed, instance) == ["start", "incident"]


def test_a_postponed_job_waits_until_its_time_and_no_attempt_is_counted(office, deployed, clock, worker, recorder):
    until = clock.at + timedelta(hours=9)
    opened = []

    def closed(context):
        opened.append(context.attempt)
        if len(opened) <= 5:
            raise PostponedError("It opens at %(at)s.", until=until, at="18:00")

    recorder.during = closed
    instance = office.start("fetch_one", camera="gate")
    for _ in range(5):
        assert worker() == 1
        job = row(deployed, instance)
        assert (job.state, job.due_at, job.attempts, str(job.error)) == ("ready", until, 0, "")
        assert (job.progress["note"], job.progress["note_params"]) == ("It opens at %(at)s.", {"at": "18:00"})
        clock.set(until - timedelta(seconds=1))
        assert worker() == 0
        clock.set(until)
        until += timedelta(hours=24)
    assert worker() == 1
    assert opened == [1] * 6
    assert office.now(instance).state == "completed"
    assert verified(deployed, instance)


def test_another_site_does_not_take_the_job(office, deployed):
    office.start("fetch_one", camera="gate")
    assert jobs.claim(deployed, owner="far", site="elsewhere") is None


def test_an_answer_that_cannot_be_stored_is_refused_and_the_job_stays(office, deployed):
    instance = office.start("fetch_one", camera="gate")
    job = claim(deployed)
    with pytest.raises(InvalidFormError, match=r"data\.value\.speed"):
        jobs.finish(deployed, job, {"speed": float("nan")})
    assert row(deployed, instance).state == "running"
    assert jobs.renew(deployed, job)


def test_a_worker_whose_job_was_taken_over_stops_at_its_next_progress(office, deployed, settings, recorder, clock):
    instance = office.start("fetch_one", camera="gate")
    stopped = []

    def lose_the_lease(context):
        with deployed.transaction() as session:
            session.get_one(Job, context.job_id).epoch += 1
        for _ in range(400):
            try:
                context.progress(bytes=1)
            except JobCancelledError:
                stopped.append(True)
                raise
            threading.Event().wait(0.05)

    recorder.during = lose_the_lease
    clock.release()
    Worker(deployed, settings).run_one("paused")
    assert stopped == [True]
    found = row(deployed, instance)
    assert (found.state, found.epoch, str(found.error)) == ("running", 2, "")
    assert office.now(instance).seq == 1


def test_an_attempt_goes_on_from_the_scratch_folder_of_the_one_before(office, deployed, settings, recorder, clock):
    folders = []

    def leave_something(context):
        context.scratch.mkdir(parents=True, exist_ok=True)
        folders.append((context.scratch, sorted(path.name for path in context.scratch.iterdir())))
        (context.scratch / f"part-{context.attempt}").touch()
        if context.attempt == 1:
            raise OSError("cut off")

    recorder.during = leave_something
    office.start("fetch_one", camera="gate")
    worker = Worker(deployed, settings)
    worker.run_until_idle()
    clock.forward(seconds=2)
    worker.run_until_idle()
    assert [content for _folder, content in folders] == [[], ["part-1"]]
    assert not folders[0][0].exists()


# ---- retries and incidents


def test_a_failure_is_tried_again_after_growing_pauses(office, deployed, clock, worker, recorder):
    recorder.broken["gate"] = OSError("cable pulled")
    instance = office.start("fetch_one", camera="gate")
    for attempt, pause in ((1, 2), (2, 4), (3, 8)):
        assert worker() == 1
        waiting = row(deployed, instance)
        assert (waiting.state, waiting.attempts) == ("ready", attempt)
        assert waiting.due_at - clock.at == timedelta(seconds=pause)
        assert str(waiting.error) == "OSError: cable pulled"
        clock.forward(seconds=pause - 1)
        assert worker() == 0
        clock.forward(seconds=1)
    assert worker() == 1
    assert row(deployed, instance).state == "incident"
    assert [attempt for _camera, attempt in recorder.calls] == [1, 2, 3, 4]


def test_pauses_double_from_what_the_diagram_says_and_grow_to_ten_minutes(office, deployed, clock, worker, recorder):
    recorder.broken["gate"] = OSError("cable pulled")
    instance = office.start("fetch_one", camera="gate")
    with deployed.transaction() as session:
        job = session.get_one(Job, row(deployed, instance).id)
        job.retries, job.backoff = 5, 60
    pauses = []
    while worker() == 1 and row(deployed, instance).state == "ready":
        pauses.append((row(deployed, instance).due_at - clock.at).total_seconds())
        clock.forward(seconds=pauses[-1])
    assert pauses == [60, 120, 240, 480, 600]
    assert row(deployed, instance).state == "incident"


def incident(office, deployed, recorder):
    recorder.broken["gate"] = OSError("cable pulled")
    recorder.broken["gate"].permanent = True
    return office.start("fetch_one", camera="gate")


def test_a_permanent_failure_is_an_incident_at_once_and_operations_hear_of_it(office, deployed, worker, recorder):
    instance = incident(office, deployed, recorder)
    assert worker() == 1
    assert row(deployed, instance).state == "incident"
    with deployed.reading() as session:
        assert len(jobs.incidents(session)) == 1
        for username in ("operator", "admin"):
            (notice,) = notifications.unread(session, username)
            assert str(Sentence.restored(notice.params["error"])) == "OSError: cable pulled"
    assert kinds(deployed, instance) == ["start", "incident"]
    assert verified(deployed, instance)


def test_an_incident_is_retried_with_corrected_parameters_and_the_history_says_so(office, deployed, worker, recorder):
    instance = incident(office, deployed, recorder)
    worker()
    job_id = row(deployed, instance).id
    with pytest.raises(OperatorParameterError), deployed.transaction() as session:
        jobs.retry(session, job_id, by="admin", params={"channel": "lobby"})
    with deployed.transaction() as session:
        jobs.retry(session, job_id, by="admin", params={"camera": "lobby"})
    with pytest.raises(ConflictError), deployed.transaction() as session:
        jobs.retry(session, job_id, by="admin")
    assert worker() == 1
    assert office.now(instance).data["fetched"] == {"camera": "lobby"}
    with deployed.reading() as session:
        decision = history.events(session, instance.id)[2]
    assert (decision.kind, decision.actor) == ("retry_job", "admin")
    assert '"params":{"camera":"lobby"}' in decision.payload
    assert verified(deployed, instance)


def test_an_uncaught_modelled_error_is_an_incident(office, deployed, worker, recorder):
    recorder.lost = {"gate"}
    instance = office.start("fetch_one", camera="gate")
    assert worker() == 1
    found = row(deployed, instance)
    assert (found.state, str(found.error)) == ("incident", "LOST: gate does not answer")
    assert office.now(instance).state == "running"
    assert verified(deployed, instance)


def test_giving_an_incident_up_needs_a_diagram_that_catches_it(office, deployed, worker, recorder):
    instance = incident(office, deployed, recorder)
    worker()
    with pytest.raises(ConflictError), deployed.transaction() as session:
        jobs.cancel(session, row(deployed, instance).id, by="admin")
    assert row(deployed, instance).state == "incident"


def test_an_incident_is_given_up_to_the_boundary_event_of_its_task(office, deployed, worker, recorder):
    recorder.broken["gate"] = OSError("cable pulled")
    recorder.broken["gate"].permanent = True
    instance = office.start("cameras", cameras=["gate"])
    worker()
    with deployed.transaction() as session:
        jobs.cancel(session, row(deployed, instance).id, by="admin", code="LOST", reason="the recorder is scrapped")
    assert row(deployed, instance).state == "cancelled"
    assert office.task(instance, "repair").state == "open"
    assert verified(deployed, instance)


def test_a_parameter_of_the_wrong_type_is_an_incident_before_anything_runs(office, deployed, worker, recorder):
    instance = office.start("fetch_one", camera=["gate"])
    assert row(deployed, instance).state == "incident"
    assert worker() == 0
    assert recorder.calls == []
    with deployed.transaction() as session:
        jobs.retry(session, row(deployed, instance).id, by="admin", params={"camera": "gate"})
    assert worker() == 1
    assert office.now(instance).state == "completed"
    assert verified(deployed, instance)


def test_an_unknown_job_is_not_found(deployed, office):
    instance = office.start("review", applicant="applicant")
    with pytest.raises(NotFoundError), deployed.transaction() as session:
        jobs.retry(session, instance.id, by="admin")


# ---- several at once


def test_of_three_cameras_in_parallel_one_fails_and_the_others_go_on(office, deployed, worker, recorder):
    recorder.lost = {"lobby"}
    instance = office.start("cameras", cameras=["gate", "lobby", "garage"])
    assert worker() == 3
    assert sorted((job.params["camera"], job.state) for job in rows(deployed, instance)) == [
        ("garage", "done"),
        ("gate", "done"),
        ("lobby", "failed"),
    ]
    running = office.now(instance)
    assert running.state == "running"
    repair = office.task(instance, "repair")
    assert repair.data["camera"] == "lobby"
    office.complete("operator", repair)
    assert office.now(instance).state == "completed"
    assert verified(deployed, instance)


@pytest.mark.parametrize("limit", [1, 2])
def test_a_recorder_is_not_asked_more_often_at_once_than_it_allows(office, deployed, recorder, clock, limit):
    recorder.limit = limit
    instance = office.start("cameras", cameras=["gate", "lobby", "garage"])
    held = [claim(deployed, str(number)) for number in range(3)]
    assert [job is not None for job in held] == [number < limit for number in range(3)]
    jobs.finish(deployed, held[0], {})
    assert claim(deployed, "next") is not None
    clock.forward(seconds=16)
    assert claim(deployed, "after the lease") is not None
    assert len(rows(deployed, instance)) == 3


@pytest.mark.parametrize("limit", [0, 2])
def test_workers_that_claim_at_the_same_moment_get_each_job_once_and_keep_the_limit(office, deployed, recorder, limit):
    recorder.limit = limit
    office.start("cameras", cameras=["gate", "lobby", "garage", "roof"])
    ready = threading.Barrier(8)
    claimed = []

    def work(number):
        ready.wait()
        claimed.append(claim(deployed, str(number)))

    workers = [threading.Thread(target=copy_context().run, args=(work, number)) for number in range(8)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(60)
    found = [job.id for job in claimed if job is not None]
    assert len(claimed) == 8
    assert len(found) == len(set(found))
    if limit:
        assert len(found) == limit
    else:
        assert 1 <= len(found) <= 4
        assert len(found) + len([job for job in (claim(deployed, "late") for _ in range(5)) if job]) == 4


def test_cancelling_the_instance_cancels_its_jobs_and_refuses_late_answers(office, deployed, worker, recorder):
    instance = office.start("cameras", cameras=["gate", "lobby"])
    job = claim(deployed)
    with deployed.transaction() as session:
        instances.cancel(session, instance.id, "withdrawn", by="applicant")
    assert {found.state for found in rows(deployed, instance)} == {"cancelled"}
    assert not jobs.renew(deployed, job)
    with pytest.raises(JobCancelledError):
        jobs.finish(deployed, job, {})
    assert worker() == 0
    assert verified(deployed, instance)


def test_a_running_operator_notices_that_its_instance_was_cancelled(office, deployed, settings, recorder, clock):
    instance = office.start("fetch_one", camera="gate")
    reached = []

    def cancel_and_go_on(context):
        with deployed.transaction() as session:
            instances.cancel(session, instance.id, "withdrawn", by="applicant")
        reached.append("cancelled")

    recorder.during = cancel_and_go_on
    clock.release()
    Worker(deployed, settings).run_until_idle()
    assert reached == ["cancelled"]
    assert row(deployed, instance).state == "cancelled"
    assert office.now(instance).state == "cancelled"


def test_a_rolled_back_error_leaves_no_trace_of_its_delivery(office, deployed, recorder):
    instance = office.start("fetch_one", camera="gate")
    job = claim(deployed)
    assert jobs.fail(deployed, job, BpmnError("LOST", "gone")) == "incident"
    assert kinds(deployed, instance) == ["start", "incident"]
    with deployed.reading() as session:
        assert session.scalars(select(Job.state)).all() == ["incident"]


# ---- timers


def test_due_timers_fire_and_others_wait(office, deployed, clock):
    instance = office.start("waiting")
    assert office.now(instance).due_at == clock.at + timedelta(hours=1)
    assert timers.fire_due(deployed) == 0
    clock.forward(hours=1)
    assert timers.fire_due(deployed) == 1
    assert office.task(instance, "remind").state == "open"
    assert office.task(instance, "decide").state == "open"
    assert timers.fire_due(deployed) == 0
    clock.forward(hours=23)
    assert timers.fire_due(deployed) == 1
    assert office.task(instance, "decide").state == "cancelled"
    office.complete("operator", office.task(instance, "remind"))
    assert office.now(instance).state == "completed"
    assert office.now(instance).due_at is None
    assert kinds(deployed, instance) == ["start", "timer", "timer", "submit"]
    assert verified(deployed, instance)


def test_two_timers_that_were_missed_fire_in_their_order(office, deployed, clock):
    instance = office.start("waiting")
    clock.forward(days=2)
    assert timers.fire_due(deployed) == 1
    assert office.task(instance, "decide").state == "cancelled"
    assert verified(deployed, instance)
