"""Starting, stepping, ending; what one step leaves in the tables."""

import pytest
from sqlalchemy import select, update

from engine import definitions, history, instances, jobs, live, notifications, replay, tasks
from engine.errors import ConflictError, ExpressionError, InvalidFormError, NotFoundError
from engine.models import Instance, Task


def verification(database, instance):
    with database.reading() as session:
        return replay.verify(session, instance.id)


def test_an_instance_runs_from_its_start_to_its_end(office, deployed):
    instance = office.start("review", applicant="applicant")
    office.decide("reviewer", instance)
    office.complete("applicant", office.task(instance, "confirm"))
    ended = office.now(instance)
    assert (ended.state, ended.seq) == ("completed", 3)
    assert ended.ended_at is not None
    assert ended.data["review"]["by"] == "reviewer"
    assert ended.data["review"]["decision"] == "approve"
    assert verification(deployed, instance).findings == []


def test_the_first_event_names_the_version_and_the_libraries(office, deployed):
    instance = office.start("review", applicant="applicant")
    with deployed.reading() as session:
        first = history.events(session, instance.id)[0]
        definition = definitions.get(session, "review")
    assert f'"digest":"{definition.digest}"' in first.payload
    assert '"SpiffWorkflow":"3.' in first.payload


def test_only_the_fields_of_the_form_reach_the_data(office):
    instance = office.start("review", applicant="applicant")
    office.complete("reviewer", office.task(instance, "decide"), {"decision": "approve", "approved": True, "by": "x"})
    assert set(office.now(instance).data["review"]) == {"decision", "comment", "by", "at"}
    assert office.now(instance).data["review"]["by"] == "reviewer"


def test_data_that_does_not_satisfy_the_form_changes_nothing(office, deployed):
    instance = office.start("review", applicant="applicant")
    with pytest.raises(InvalidFormError) as refused:
        office.complete("reviewer", office.task(instance, "decide"), {"comment": "?"})
    assert set(refused.value.fields) == {"decision"}
    assert office.now(instance).seq == 1
    office.decide("reviewer", instance)
    assert office.now(instance).seq == 2


@pytest.mark.parametrize("data", [{"x": float("nan")}, {"x": "\ud800"}, {"x": {"typename": "Task"}}, {"x": {1: 2}}])
def test_unstorable_data_is_refused_before_anything_is_written(office, deployed, data):
    with pytest.raises(InvalidFormError):
        office.start("review", **data)
    with deployed.reading() as session:
        assert session.scalars(select(Instance)).all() == []


def test_an_unknown_process_is_not_found(office):
    with pytest.raises(NotFoundError):
        office.start("nothing")


def test_a_task_of_a_named_person_gives_them_notice(office, deployed):
    instance = office.start("review", applicant="applicant")
    office.decide("reviewer", instance)
    with deployed.reading() as session:
        (notice,) = notifications.unread(session, "applicant")
    assert notice.instance_id == instance.id
    assert notice.link == f"/tasks/{office.task(instance, 'confirm').id}"


def test_an_ended_instance_takes_no_more_input(office, deployed):
    instance = office.start("waiting")
    with deployed.transaction() as session:
        instances.cancel(session, instance.id, "no longer needed", by="admin")
    assert office.now(instance).state == "cancelled"
    assert office.task(instance, "decide").state == "cancelled"
    with pytest.raises(ConflictError), deployed.transaction() as session:
        instances.cancel(session, instance.id, "again", by="admin")
    with pytest.raises(ConflictError, match="no longer needed since"):
        office.complete("reviewer", office.task(instance, "decide"))
    assert verification(deployed, instance).ok


def test_a_message_reaches_an_instance_that_waits_for_it(office, deployed):
    instance = office.start("waiting")
    with deployed.transaction() as session:
        instances.send_message(session, instance.id, "withdraw", {"reason": "found it"}, by="applicant")
    assert office.now(instance).state == "completed"
    assert office.task(instance, "decide").state == "cancelled"
    assert verification(deployed, instance).ok


def test_a_message_that_nobody_waits_for_is_refused(office, deployed):
    instance = office.start("review", applicant="applicant")
    with pytest.raises(ConflictError), deployed.transaction() as session:
        instances.send_message(session, instance.id, "withdraw", {}, by="applicant")
    assert office.now(instance).seq == 1


def test_a_synchronous_operator_is_asked_once_and_its_answer_recorded(office, deployed, recorder):
    recorder.members = ["reviewer"]
    instance = office.start("look_up")
    assert recorder.calls == [("committee", 0)]
    recorder.members = ["somebody else"]
    live.forget()
    office.complete("reviewer", office.task(instance, "read"))
    assert recorder.calls == [("committee", 0)]
    assert verification(deployed, instance).ok


def test_what_a_refusing_synchronous_operator_wrote_is_undone(office, deployed, recorder):
    def write_and_refuse(context):
        notifications.notify(context.session, ["operator"], "half done", {})
        context.session.flush()
        raise ConflictError("the register is closed")

    recorder.during = write_and_refuse
    instance = office.start("look_up")
    with deployed.reading() as session:
        assert [notice.template for notice in notifications.unread(session, "operator")] == [
            "Incident at %(name)s: %(error)s"
        ]
        (incident,) = jobs.incidents(session)
    assert "the register is closed" in str(incident.error)
    recorder.during = None
    with deployed.transaction() as session:
        jobs.retry(session, incident.id, by="admin")
    assert office.task(instance, "read").state == "open"
    assert verification(deployed, instance).ok


def test_a_failed_script_is_an_incident_that_corrected_data_resolve(office, deployed):
    instance = office.start("script", total=10, parts=0)
    with deployed.transaction() as session:
        (incident,) = jobs.incidents(session)
        assert (incident.element, incident.operator) == ("divide", "")
        jobs.retry(session, incident.id, by="admin", params={"parts": 4})
    with deployed.reading() as session:
        assert jobs.incidents(session) == []
    office.complete("reviewer", office.task(instance, "read"))
    assert office.now(instance).data["ratio"] == 2.5
    assert verification(deployed, instance).ok


def test_an_expression_for_people_that_gives_something_else_stops_the_step(office, deployed, recorder):
    recorder.members = [{"everybody": True}]
    with pytest.raises(ExpressionError):
        office.start("look_up")
    with deployed.reading() as session:
        assert session.scalars(select(Task)).all() == []


def test_time_never_runs_backwards_in_a_history(office, deployed, clock):
    instance = office.start("review", applicant="applicant")
    began = clock.at
    clock.forward(hours=-5)
    office.decide("reviewer", instance)
    with deployed.reading() as session:
        assert [event.at for event in history.events(session, instance.id)] == [began, began]
    assert verification(deployed, instance).ok


# ---- live executions


def test_a_committed_step_leaves_its_execution_in_the_cache(office):
    instance = office.start("counting")
    assert live.is_live(office.now(instance))


def test_a_rolled_back_step_leaves_nothing_in_the_cache(office, deployed):
    instance = office.start("counting")
    task = office.task(instance, "again")

    with deployed.transaction() as session:
        tasks.complete(session, task.id, {"decision": "approve"}, by=office.person(session, "reviewer"))
        session.rollback()
    assert not live.is_live(office.now(instance))
    assert office.now(instance).state == "running"
    office.complete("reviewer", task, {"decision": "refuse"})
    office.decide("reviewer", instance, element="again")
    assert office.now(instance).state == "completed"
    assert verification(deployed, instance).ok


def test_a_step_inside_a_rolled_back_savepoint_is_forgotten_too(office, deployed):
    instance = office.start("counting")
    task = office.task(instance, "again")
    with deployed.transaction() as session:
        person = office.person(session, "reviewer")
        savepoint = session.begin_nested()
        tasks.complete(session, task.id, {"decision": "approve"}, by=person)
        savepoint.rollback()
        tasks.complete(session, task.id, {"decision": "refuse"}, by=person)
    assert office.now(instance).data["answer"]["decision"] == "refuse"
    assert verification(deployed, instance).ok


def test_what_the_caller_holds_is_as_it_was_after_a_rolled_back_savepoint(office, deployed):
    instance = office.start("counting")
    task = office.task(instance, "again")
    with deployed.transaction() as session:
        person = office.person(session, "reviewer")
        held, shown = instances.lock(session, instance.id), tasks.get(session, task.id)
        before = (held.seq, held.head, held.revision, held.data, shown.state)
        savepoint = session.begin_nested()
        assert tasks.complete(session, task.id, {"decision": "approve"}, by=person).state == "completed"
        assert (held.seq, held.state, shown.state) == (2, "completed", "completed")
        savepoint.rollback()
        assert (held.seq, held.head, held.revision, held.data, shown.state) == before


def test_a_step_upon_a_state_that_somebody_changed_without_a_lock_is_refused(office, deployed):
    instance = office.start("review", applicant="applicant")

    def step_too_late() -> None:
        with deployed.transaction() as session:
            held = instances.lock(session, instance.id)
            moved = update(Instance).where(Instance.id == instance.id).values(revision=Instance.revision + 1)
            session.connection().execute(moved)
            instances.step(session, held, "cancel", {"reason": "because"}, by="admin")

    with pytest.raises(ConflictError, match="at the same moment"):
        step_too_late()
    with deployed.reading() as session:
        assert [event.kind for event in history.events(session, instance.id)] == ["start"]
        assert replay.verify(session, instance.id).ok
    office.decide("reviewer", instance)


def test_two_steps_in_one_transaction_use_the_same_execution(office, deployed):
    instance = office.start("counting")
    with deployed.transaction() as session:
        person = office.person(session, "reviewer")
        for decision in ("refuse", "refuse"):
            (task,) = [task for task in tasks.of_instance(session, instance.id) if task.state == "open"]
            tasks.complete(session, task.id, {"decision": decision}, by=person)
    assert office.now(instance).seq == 3
    assert verification(deployed, instance).ok


@pytest.mark.parametrize("forget_every", [1, 7])
def test_a_restart_rebuilds_from_the_snapshot_and_later_inputs(office, deployed, forget_every):
    instance = office.start("counting")
    for number in range(2 * instances.SNAPSHOT_EVERY + 5):
        if number % forget_every == 0:
            live.forget()
        office.decide("reviewer", instance, "refuse", element="again")
    assert office.now(instance).snapshot_seq == 2 * instances.SNAPSHOT_EVERY
    office.decide("reviewer", instance, element="again")
    assert office.now(instance).state == "completed"
    assert verification(deployed, instance).ok


# ---- diagrams


def test_the_diagram_shows_what_happened_and_where_the_token_is(office, deployed):
    instance = office.start("review", applicant="applicant")
    office.decide("reviewer", instance)
    with deployed.reading() as session:
        seen = instances.visible_events(session, instance.id)
        assert instances.active_elements(session, instance.id) == ["confirm"]
    left = next(event for event in seen if (event["element"], event["type"]) == ("decide", "leave"))
    assert (left["actor"], left["label"], left["seq"]) == ("reviewer", "任务 decide", 2)
    assert ("start_to_decide", "take") in {(event["element"], event["type"]) for event in seen}
