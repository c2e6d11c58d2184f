"""A revised diagram is tried on every finished case before it goes live, and says where each would go another way."""

import pytest
from conversations import CALLING
from process_files import FILES, LOOK_UP, REVIEW, SIGNED, flows, process, service, timer, user
from sqlalchemy import func, select

from engine import backtest, definitions
from engine.errors import DefinitionError
from engine.models import HistoryEvent, Instance, ProcessDefinition


@pytest.fixture
def reviewed(office, clock):
    """Two finished reviews and one under way."""
    done = []
    for decision in ("approve", "refuse"):
        clock.forward(minutes=1)
        instance = office.start("review", applicant="applicant")
        office.decide("reviewer", instance, decision)
        office.complete("applicant", office.task(instance, "confirm"))
        done.append(instance)
    office.start("review", applicant="applicant")
    return done


def outcomes(database, **files):
    with database.reading() as session:
        return list(backtest.backtest(session, {f"{name}.bpmn": text for name, text in files.items()}))


def differences(database, **files):
    return [[str(each) for each in outcome.differences] for outcome in outcomes(database, **files)]


REVIEW_BODY = (
    user("decide", "review", candidateGroup="reviewer", formJsonSchemaFilename="decision.form"),
    user("confirm", "confirmation", assignee="applicant"),
)


def test_the_same_diagram_leads_every_finished_case_the_same_way(deployed, reviewed):
    found = outcomes(deployed, review=REVIEW)
    assert [(each.instance_id, each.events, each.differences) for each in found] == [
        (instance.id, 3, []) for instance in reviewed
    ]


def test_a_change_that_moves_no_token_is_no_difference_although_all_task_ids_change(deployed, reviewed):
    revised = process(
        "review", *REVIEW_BODY, '<exclusiveGateway id="gate"/>', flows("start", "gate", "decide", "confirm", "end")
    )
    assert differences(deployed, review=revised) == [["event 1: it reaches gate"]] * 2


def test_a_second_approval_is_seen_and_stops_where_the_recorded_inputs_end(deployed, reviewed):
    revised = process(
        "review",
        *REVIEW_BODY,
        user("approve", "approval", candidateGroup="reviewer"),
        flows("start", "decide", "approve", "confirm", "end"),
    )
    assert differences(deployed, review=revised)[0] == [
        "event 2: it no longer reaches «任务 confirm» (confirm)",
        "event 2: it reaches «任务 approve» (approve)",
        "event 3: nobody waits for the submit of «任务 confirm» (confirm) by applicant",
    ]


def test_a_revised_condition_shows_only_in_the_cases_that_it_concerns(deployed, reviewed):
    revised = process(
        "review",
        *REVIEW_BODY,
        '<exclusiveGateway id="ask" default="ask_to_confirm"/>',
        flows("start", "decide", "ask", "confirm", "end"),
        flows("ask", "end", when="review.decision == 'refuse'"),
    )
    approved, refused = differences(deployed, review=revised)
    assert approved == ["event 2: it reaches ask"]
    assert "event 2: it ends here: completed" in refused
    assert refused[-1] == "event 3: nobody waits for the submit of «任务 confirm» (confirm) by applicant"


def test_other_data_is_named_once(deployed, reviewed):
    revised = process(
        "review",
        user("decide", "decision", candidateGroup="reviewer", formJsonSchemaFilename="decision.form"),
        '<scriptTask id="count"><script>applicants = len(applicant)</script></scriptTask>',
        user("confirm", "confirmation", assignee="applicant"),
        flows("start", "count", "decide", "confirm", "end"),
    )
    assert differences(deployed, review=revised)[0] == ["event 1: it reaches count", "event 1: other data: applicants"]


def test_an_operator_that_is_asked_otherwise_or_never_was_asked_is_named(deployed, office, recorder):
    recorder.members = ["reviewer"]
    instance = office.start("look_up")
    office.complete("reviewer", office.task(instance, "read"))
    calls = list(recorder.calls)
    other = differences(deployed, look_up=LOOK_UP.replace("'committee'", "'board'"))
    assert other == [["event 1: it asks office/look_up for something else: group"]]
    twice = process(
        "look_up",
        service("ask", "office/look_up", "found", group="'committee'"),
        service("again", "office/look_up", "more", group="'board'"),
        user("read", assignee="'reviewer'"),
        flows("start", "ask", "again", "read", "end"),
    )
    (found,) = differences(deployed, look_up=twice)
    assert "whose answer is not recorded" in found[0]
    assert recorder.calls == calls  # nobody was really asked


def test_a_job_with_other_parameters_is_named(deployed, office, worker):
    office.start("fetch_one", camera="gate")
    worker()
    revised = FILES["fetch_one.bpmn"].replace('value="camera"', 'value="camera.upper()"')
    assert differences(deployed, fetch_one=revised) == [
        ["event 1: «服务 fetch» (fetch) asks office/fetch for something else: camera"]
    ]


def test_a_deadline_that_would_have_passed_is_seen(deployed, office, clock):
    instance = office.start("review", applicant="applicant")
    clock.forward(days=3)
    office.decide("reviewer", instance)
    office.complete("applicant", office.task(instance, "confirm"))
    revised = process(
        "review",
        *REVIEW_BODY,
        f'<boundaryEvent id="late" attachedToRef="decide">{timer("timeDuration", "&quot;P2D&quot;")}</boundaryEvent>',
        flows("start", "decide", "confirm", "end"),
        flows("late", "end"),
    )
    (found,) = differences(deployed, review=revised)
    assert found[0] == "event 2: before it, a timer fires at 2026-02-04T01:00:00.000000+00:00"
    assert found[-1].startswith("event 2: nobody waits for the submit")


def test_a_diagram_that_goes_on_after_the_last_input_does_not_end(deployed, reviewed):
    revised = process(
        "review",
        *REVIEW_BODY,
        user("file", candidateGroup="reviewer"),
        flows("start", "decide", "confirm", "file", "end"),
    )
    assert differences(deployed, review=revised)[0] == [
        "event 3: it no longer reaches end",
        "event 3: it reaches «任务 file» (file)",
        "event 3: it does not end: it still waits for «任务 file» (file)",
    ]


def test_a_message_that_is_no_longer_sent_or_another_is_named(deployed, office):
    with deployed.transaction() as session:
        definitions.deploy(session, {"caller.bpmn": CALLING}, by="owner")
    office.start("caller")
    revised = CALLING.replace('name="call"', 'name="shout"')
    assert differences(deployed, caller=revised) == [
        ["event 1: call no longer sends the message call", "event 1: call sends the message shout"]
    ]


def test_nothing_is_written(deployed, reviewed):
    def rows():
        with deployed.reading() as session:
            return [
                session.scalar(select(func.count()).select_from(each)) for each in (HistoryEvent, ProcessDefinition)
            ], [(each.id, each.revision, each.head) for each in session.scalars(select(Instance).order_by(Instance.id))]

    before = rows()
    outcomes(deployed, review=REVIEW.replace("任务 decide", "任务 entscheiden"))
    assert rows() == before


def test_files_that_could_not_be_deployed_are_refused(deployed, reviewed):
    with pytest.raises(DefinitionError):
        outcomes(deployed, review=REVIEW.replace("[applicant]", "[import os]"))


def test_only_processes_that_the_files_concern_are_executed(deployed, reviewed, office):
    assert outcomes(deployed, signed=SIGNED) == []
    with deployed.transaction() as session:
        definitions.deploy(session, {"review.bpmn": REVIEW.replace("任务 decide", "任务 2")}, by="owner")
    assert len(outcomes(deployed, review=REVIEW)) == 2
