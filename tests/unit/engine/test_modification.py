"""Moving tokens, correcting data and beginning again at a step: recorded, previewed, and re-executed."""

import orjson
import pytest
from process_files import FILES, process, service, user
from process_files import flows as sequence

from engine import (
    backtest,
    definitions,
    exports,
    history,
    instances,
    jobs,
    live,
    modification,
    replay,
    suspension,
    tasks,
)
from engine.errors import ConflictError, InvalidFormError, JobCancelledError
from engine.models import Instance
from engine.modification import Change


@pytest.fixture
def modify(deployed):
    def act(instance, reason="the wrong way", **change):
        with deployed.transaction() as session:
            modification.modify(session, instance.id, Change(**change), reason, by="admin")

    return act


@pytest.fixture
def restart(deployed):
    def act(instance, element, reason="once more", **more) -> Instance:
        with deployed.transaction() as session:
            return modification.restart(session, instance.id, element, reason, by="admin", **more)

    return act


def events(database, instance):
    with database.reading() as session:
        return history.events(session, instance.id)


def findings(database, instance):
    live.forget()
    with database.reading() as session:
        return replay.verify(session, instance.id).findings


def test_a_token_is_moved_and_the_history_says_why(office, deployed, modify):
    instance = office.start("review", applicant="applicant")
    modify(instance, cancel=["decide"], start=["confirm"], set={"review": {"decision": "approve"}})
    assert office.task(instance, "decide").state == "cancelled"
    assert office.task(instance, "confirm").data["review"] == {"decision": "approve"}
    event = events(deployed, instance)[-1]
    assert (event.kind, event.actor) == ("modify", "admin")
    assert orjson.loads(event.payload) == {
        "cancel": ["decide"],
        "start": ["confirm"],
        "unset": [],
        "set": {"review": {"decision": "approve"}},
        "reason": "the wrong way",
    }
    office.complete("applicant", office.task(instance, "confirm"))
    assert office.now(instance).state == "completed"
    assert findings(deployed, instance) == []


def test_corrected_data_show_in_an_open_task_at_once(office, deployed, modify):
    instance = office.start("review", applicant="applicant", room=1)
    modify(instance, set={"room": 2}, unset=["nothing"])
    assert office.task(instance, "decide").data == {"applicant": "applicant", "room": 2}
    office.decide("reviewer", instance)
    assert office.now(instance).data["room"] == 2
    assert findings(deployed, instance) == []


def test_a_job_is_begun_anew_with_corrected_data(office, deployed, modify, worker):
    instance = office.start("fetch_one", camera="gate")
    running = jobs.claim(deployed, owner="one", site="main")
    modify(instance, cancel=["fetch"], start=["fetch"], set={"camera": "yard"})
    with pytest.raises(JobCancelledError):
        jobs.finish(deployed, running, "of the old camera")
    worker()
    with deployed.reading() as session:
        states = sorted((job.state, job.params["camera"]) for job in jobs.of_instance(session, instance.id))
    assert states == [("cancelled", "gate"), ("done", "yard")]
    assert office.now(instance).data["fetched"] == {"camera": "yard"}
    assert findings(deployed, instance) == []


def test_the_incident_of_a_script_that_is_passed_over_is_closed(office, deployed, modify):
    instance = office.start("script", total=1, parts=0)
    modify(instance, cancel=["divide"], start=["read"], set={"ratio": 0})
    with deployed.reading() as session:
        assert jobs.incidents(session) == []
    assert findings(deployed, instance) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, "nothing to change"),
        ({"cancel": ["decide"]}, "Nothing would be active"),
        ({"start": ["nobody"]}, "no element nobody"),
        ({"cancel": ["confirm"]}, "Nothing is active"),
    ],
)
def test_what_is_not_sound_is_refused_and_leaves_no_trace(office, deployed, modify, change, why):
    instance = office.start("review", applicant="applicant")
    with pytest.raises(ConflictError, match=why):
        modify(instance, **change)
    assert len(events(deployed, instance)) == 1
    office.decide("reviewer", instance)
    assert findings(deployed, instance) == []


def test_a_modification_needs_a_reason_storable_data_and_a_living_instance(office, deployed, modify):
    instance = office.start("review", applicant="applicant")
    with pytest.raises(InvalidFormError):
        modify(instance, " ", set={"x": 1})
    with pytest.raises(InvalidFormError):
        modify(instance, set={"x": float("nan")})
    with deployed.transaction() as session:
        instances.cancel(session, instance.id, "over", by="admin")
    with pytest.raises(ConflictError, match="has ended"):
        modify(instance, start=["decide"])


def test_a_suspended_instance_is_modified_and_stays_suspended(office, deployed, modify):
    instance = office.start("review", applicant="applicant")
    with deployed.transaction() as session:
        suspension.suspend(session, instance.id, "wait", by="admin")
    modify(instance, cancel=["decide"], start=["confirm"])
    assert office.now(instance).state == "suspended"
    with pytest.raises(ConflictError, match="has suspended"):
        office.complete("applicant", office.task(instance, "confirm"))
    with deployed.transaction() as session:
        suspension.resume(session, instance.id, "go on", by="admin")
    office.complete("applicant", office.task(instance, "confirm"))
    assert findings(deployed, instance) == []


# ---- preview


def test_a_preview_says_what_would_be_active_and_stores_nothing(office, deployed):
    instance = office.start("signed", applicant="applicant")
    with deployed.transaction() as session:
        change = Change(cancel=["decide"], start=["fetch", "confirm"], set={"x": 1})
        seen = modification.preview(session, instance.id, change, "why", by="admin")
    assert (seen.state, seen.active) == ("running", {"fetch": 1, "confirm": 1})
    assert (seen.opens, seen.runs, seen.fails, seen.data["x"]) == (["confirm"], ["fetch"], {}, 1)
    assert len(events(deployed, instance)) == 1
    assert office.task(instance, "decide").state == "open"
    with deployed.reading() as session:
        assert [task.element for task in tasks.of_instance(session, instance.id)] == ["decide"]
        assert jobs.of_instance(session, instance.id) == []
    assert findings(deployed, instance) == []


def test_a_preview_foretells_an_incident_and_an_end(office, deployed):
    instance = office.start("script", total=1, parts=1)
    with deployed.transaction() as session:
        change = Change(cancel=["read"], start=["divide"], set={"parts": 0})
        seen = modification.preview(session, instance.id, change, "why", by="admin")
        assert list(seen.fails) == ["divide"]
        ended = modification.preview(session, instance.id, Change(cancel=["read"], start=["end"]), "why", by="admin")
    assert (ended.state, ended.active) == ("completed", {})


# ---- restart


def test_a_cancelled_instance_is_restarted_from_a_step_and_both_know(office, deployed, restart):
    instance = office.start("review", applicant="applicant")
    office.decide("reviewer", instance, "refuse")
    with deployed.transaction() as session:
        instances.cancel(session, instance.id, "over", by="admin")
    copy = restart(instance, "decide")
    assert office.now(copy).data == {"applicant": "applicant"}
    assert (copy.started_by, copy.restarted_from) == ("applicant", instance.id)
    with deployed.reading() as session:
        assert instances.active_elements(session, copy.id) == ["decide"]
        assert [found.id for found in modification.restarts(session, instance.id)] == [copy.id]
        assert modification.original_of(session, copy).id == instance.id
    told = orjson.loads(events(deployed, instance)[-1].payload)
    assert told == {"instance": str(copy.id), "element": "decide", "seq": 1, "reason": "once more"}
    first = orjson.loads(events(deployed, copy)[0].payload)
    assert first["restart"] == {"instance": str(instance.id), "seq": 1, "reason": "once more"}
    office.decide("reviewer", copy)
    office.complete("applicant", office.task(copy, "confirm"))
    assert office.now(copy).state == "completed"
    assert findings(deployed, copy) == []
    assert findings(deployed, instance) == []


def test_a_chosen_round_is_repeated_with_its_data(office, deployed, restart):
    instance = office.start("counting")
    for decision in ("refuse", "refuse", "approve"):
        office.decide("reviewer", instance, decision, element="again")
    with deployed.reading() as session:
        stays = [(stay.since, stay.until, stay.how) for stay in modification.stays_of(session, instance.id)]
    assert stays == [(1, 2, "leave"), (2, 3, "leave"), (3, 4, "leave")]
    assert office.now(restart(instance, "again", until=2)).data == {}
    third = office.now(restart(instance, "again"))
    assert third.data["answer"]["decision"] == "refuse"
    with pytest.raises(ConflictError, match="never stood at again"):
        restart(instance, "again", until=9)


def test_a_running_instance_is_restarted_where_it_stands(office, deployed, restart):
    instance = office.start("review", applicant="applicant")
    copy = restart(instance, "decide")
    assert office.now(instance).state == "running"
    assert office.task(copy, "decide").excluded == ["applicant"]
    assert findings(deployed, copy) == findings(deployed, instance) == []


def test_a_restart_runs_on_the_same_version_or_on_the_newest(office, deployed, restart):
    instance = office.start("fetch_one", camera="gate")
    revised = process(
        "fetch_one",
        service("fetch", "office/fetch", "fetched", camera="camera"),
        user("look", "looked", candidateGroup="reviewer"),
        sequence("start", "fetch", "look", "end"),
    )
    with deployed.transaction() as session:
        definitions.deploy(session, {**FILES, "fetch_one.bpmn": revised}, by="owner", note="second")
    assert restart(instance, "fetch").version == 1
    assert restart(instance, "fetch", newest=True).version == 2
    assert restart(instance, "fetch", version=2).version == 2


def test_an_instance_is_not_restarted_where_none_can_begin(office, deployed, restart):
    instance = office.start("cameras", cameras=["gate"])
    with pytest.raises(ConflictError, match="multi-instance"):
        restart(instance, "fetch")
    with pytest.raises(ConflictError, match="never stood"):
        restart(instance, "repair")
    with pytest.raises(InvalidFormError):
        restart(instance, "each", "")
    assert len(events(deployed, instance)) == 1


# ---- what else reads a history


def test_a_backtest_repeats_modifications_and_restarts(office, deployed, modify, restart):
    instance = office.start("review", applicant="applicant")
    copy = restart(instance, "decide")
    modify(instance, cancel=["decide"], start=["confirm"])
    for each in (instance, copy):
        if office.task(each, "decide").state == "open":
            office.decide("reviewer", each)
        office.complete("applicant", office.task(each, "confirm"))
    with deployed.reading() as session:
        same = list(backtest.backtest(session, {"review.bpmn": FILES["review.bpmn"]}))
        assert [outcome.differences for outcome in same] == [[], []]
        renamed = FILES["review.bpmn"].replace('"confirm"', '"agree"').replace("_confirm", "_agree")
        renamed = renamed.replace("confirm_to", "agree_to")
        other = {
            outcome.instance_id: outcome.differences for outcome in backtest.backtest(session, {"review.bpmn": renamed})
        }
        lines = b"".join(exports.csv_lines(session, [instance.id, copy.id])).decode()
    assert "There is no element confirm" in str(other[instance.id][-1])
    assert ",modify,enter,confirm," in lines
