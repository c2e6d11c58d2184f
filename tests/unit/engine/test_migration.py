"""Running instances go over to another version: previewed, recorded, re-executed, many at once, and back again."""

import threading

import orjson
import pytest
from process_files import FORM, boundary, process, service, timer, user
from process_files import flows as sequence
from sqlalchemy import select

from engine import (
    backtest,
    definitions,
    exports,
    history,
    instances,
    live,
    migration,
    modification,
    replay,
    subscriptions,
    suspension,
)
from engine.errors import ConflictError, InvalidFormError, NotFoundError
from engine.models import HistoryEvent, Instance, Subscription

PEOPLE = {"candidateGroup": "reviewer", "formJsonSchemaFilename": "decision.form"}
REVIEW_2 = process(
    "review",
    user("decide", "verdict", candidateGroup="reviewer", formJsonSchemaFilename="other.form", excluded="[applicant]"),
    user("confirm", "confirmation", assignee="applicant"),
    user("file", "filed", candidateGroup="operator"),
    sequence("start", "decide", "confirm", "file", "end"),
)
"""The form and the variable of the first task are others, and a task was added at the end."""

WITHOUT = process("review", user("confirm", "confirmation", assignee="applicant"), sequence("start", "confirm", "end"))
OTHER_FORM = orjson.dumps({**orjson.loads(FORM), "id": "other"}).decode()


@pytest.fixture
def deploy(deployed):
    def act(name, text, **more) -> int:
        with deployed.transaction() as session:
            return definitions.deploy(session, {f"{name}.bpmn": text, **more}, by="owner", note="next")[0].version

    return act


@pytest.fixture
def migrate(deployed):
    def act(instance, version, reason="a new version"):
        with deployed.transaction() as session:
            return migration.migrate(session, instance.id, version, by="owner", reason=reason)

    return act


@pytest.fixture
def old(deployed):
    """An instance of the first version, whatever has been deployed since."""

    def act(process_id="review", **data) -> Instance:
        data = data or {"applicant": "applicant"}
        with deployed.transaction() as session:
            return instances.start(session, process_id, data, by="applicant", version=1)

    return act


@pytest.fixture
def second(deploy) -> int:
    return deploy("review", REVIEW_2, **{"forms/other.form": OTHER_FORM})


def findings(database, instance):
    live.forget()
    with database.reading() as session:
        return [str(finding) for finding in replay.verify(session, instance.id).findings]


def codes(database, instance, version):
    with database.reading() as session:
        verdict = migration.preview(session, instance.id, version)
    return [(reason.code, reason.element) for reason in (*verdict.refused, *verdict.warnings)]


def test_an_instance_goes_over_and_ends_as_the_new_version_says(office, deployed, old, second, migrate):
    instance = old()
    before = office.task(instance, "decide")
    assert codes(deployed, instance, second) == []
    migrate(instance, second)
    task = office.task(instance, "decide")
    assert (task.id, task.form, task.variable) == (before.id, "other.form", "verdict")
    assert office.now(instance).version == second
    office.decide("reviewer", instance)
    office.complete("applicant", office.task(instance, "confirm"))
    office.complete("operator", office.task(instance, "file"))
    assert (office.now(instance).state, office.now(instance).data["verdict"]["decision"]) == ("completed", "approve")
    assert findings(deployed, instance) == []


def test_the_history_names_both_versions_and_the_first_event_stays(office, deployed, old, second, migrate):
    instance = old()
    migrate(instance, second, "the board has decided so")
    with deployed.reading() as session:
        first, event = history.events(session, instance.id)
        known = {one.version: one.digest for one in definitions.versions(session, "review")}
    assert orjson.loads(first.payload)["process"]["version"] == 1
    assert (event.kind, event.actor) == ("migrate", "owner")
    assert orjson.loads(event.payload) == {
        "from": {"id": "review", "version": 1, "digest": known[1]},
        "to": {"id": "review", "version": second, "digest": known[second]},
        "reason": "the board has decided so",
    }


@pytest.mark.parametrize("saved", [True, False])
def test_it_is_rebuilt_from_its_snapshot_and_from_its_history(office, deployed, old, second, migrate, saved):
    instance = old()
    migrate(instance, second)
    office.decide("reviewer", instance)
    live.forget()
    if not saved:
        with deployed.transaction() as session:
            row = instances.lock(session, instance.id)
            row.snapshot, row.snapshot_seq = None, 0
    office.complete("applicant", office.task(instance, "confirm"))
    assert office.task(instance, "file").state == "open"
    assert findings(deployed, instance) == []


def test_it_goes_back_and_forth_under_the_same_checks(office, deployed, old, second, migrate):
    instance = old()
    for version in (second, 1, second, 1):
        migrate(instance, version)
    assert office.task(instance, "decide").form == "decision.form"
    office.decide("reviewer", instance)
    migrate(instance, second)
    office.complete("applicant", office.task(instance, "confirm"))
    assert codes(deployed, instance, 1) == [("removed", "file"), ("done-otherwise", "decide")]
    with pytest.raises(ConflictError, match="任务 file is active"):
        migrate(instance, 1)
    assert (office.now(instance).version, findings(deployed, instance)) == (second, [])


def test_what_has_been_done_otherwise_is_said_and_no_obstacle(office, deployed, old, second, migrate):
    instance = old()
    office.decide("reviewer", instance)
    assert codes(deployed, instance, second) == [("done-otherwise", "decide")]
    migrate(instance, second)
    office.complete("applicant", office.task(instance, "confirm"))
    assert "review" in office.now(instance).data
    assert findings(deployed, instance) == []


def test_an_active_task_that_is_gone_is_refused_and_nothing_is_written(office, deployed, old, deploy, migrate):
    instance, version = old(), deploy("review", WITHOUT)
    assert codes(deployed, instance, version) == [("removed", "decide")]
    with pytest.raises(ConflictError, match="任务 decide is active"):
        migrate(instance, version)
    assert (office.now(instance).seq, office.now(instance).version) == (1, 1)
    office.decide("reviewer", instance)
    migrate(instance, version)
    office.complete("applicant", office.task(instance, "confirm"))
    assert (office.now(instance).state, findings(deployed, instance)) == ("completed", [])


def test_a_claim_stays_unless_others_may_do_the_task_now(office, deployed, old, deploy, second, migrate):
    instance = old()
    office.claim("second", office.task(instance, "decide"))
    migrate(instance, second)
    assert office.task(instance, "decide").claimed_by == "second"
    third = deploy("review", REVIEW_2.replace('value="reviewer"', 'value="operator"'))
    migrate(instance, third)
    task = office.task(instance, "decide")
    assert (task.state, task.claimed_by, task.candidate_group) == ("open", None, "operator")
    office.decide("operator", instance)
    assert findings(deployed, instance) == []


def test_a_migration_needs_a_reason_another_version_and_a_living_instance(office, deployed, old, second, migrate):
    instance = old()
    assert instance.version == 1
    assert codes(deployed, instance, 1) == [("same-version", "")]
    with pytest.raises(ConflictError, match="already"):
        migrate(instance, 1)
    with pytest.raises(InvalidFormError):
        migrate(instance, second, " ")
    with pytest.raises(NotFoundError):
        migrate(instance, 99)
    with deployed.transaction() as session:
        instances.cancel(session, instance.id, "over", by="admin")
    assert codes(deployed, instance, second) == [("ended", "")]
    with pytest.raises(ConflictError, match="has ended"):
        migrate(instance, second)


# ---- jobs, times, messages


def test_a_job_under_way_goes_on_and_its_result_counts(office, deployed, deploy, migrate, old, worker):
    instance = old("fetch_one", camera="gate")
    longer = process(
        "fetch_one",
        service("fetch", "office/fetch", "fetched", camera="camera"),
        user("look", "looked", candidateGroup="operator"),
        sequence("start", "fetch", "look", "end"),
    )
    migrate(instance, deploy("fetch_one", longer))
    worker()
    assert office.now(instance).data["fetched"] == {"camera": "gate"}
    office.complete("operator", office.task(instance, "look"))
    assert (office.now(instance).state, findings(deployed, instance)) == ("completed", [])


def test_a_job_that_would_ask_for_something_else_is_refused(deployed, deploy, old):
    instance = old("fetch_one", camera="gate")
    version = deploy(
        "fetch_one",
        process(
            "fetch_one",
            service("fetch", "office/fetch", "fetched", camera="'yard'"),
            sequence("start", "fetch", "end"),
        ),
    )
    assert codes(deployed, instance, version) == [("job-changed", "fetch")]


def waiting(*more: str, after: str = "P1D") -> str:
    return process(
        "waiting",
        user("decide", "review", candidateGroup="reviewer"),
        boundary("reminded", "decide", timer("timeDuration", "PT1H"), interrupting=False),
        boundary("expired", "decide", timer("timeDuration", after)),
        boundary("withdrawn", "decide", '<messageEventDefinition messageRef="withdraw"/>'),
        user("remind", "reminder", candidateGroup="operator"),
        *(user(name, name, candidateGroup="operator") for name in more),
        sequence("start", "decide", "end"),
        sequence("reminded", "remind", "end"),
        sequence("expired", *more, "end"),
        sequence("withdrawn", "end"),
    )


def test_a_deadline_keeps_its_time_and_leads_where_the_new_version_says(
    office, deployed, deploy, migrate, old, clock, worker
):
    instance = old("waiting")
    due = office.now(instance).due_at
    migrate(instance, deploy("waiting", waiting("write_off")))
    assert office.now(instance).due_at == due
    clock.forward(days=1)
    worker()
    assert office.task(instance, "write_off").state == "open"
    assert findings(deployed, instance) == []


def test_a_deadline_that_is_another_one_is_refused(deployed, deploy, old):
    instance = old("waiting")
    assert codes(deployed, instance, deploy("waiting", waiting(after="P2D"))) == [("event-changed", "expired")]


def test_a_message_still_finds_the_instance(office, deployed, deploy, migrate, old, worker):
    instance = old("waiting")
    migrate(instance, deploy("waiting", waiting("write_off")))
    with deployed.transaction() as session:
        now = instances.get(session, instance.id)
        found = subscriptions.receivers(session, "withdraw", {}, at=now.changed_at)
        assert found == [instance.id]
        rows = session.scalars(select(Subscription).where(Subscription.instance_id == instance.id)).all()
        assert {row.definition_id for row in rows} == {now.definition_id}
        instances.send_message(session, instance.id, "withdraw", {}, by="applicant")
    assert (office.now(instance).state, findings(deployed, instance)) == ("completed", [])


# ---- other acts


def test_a_suspended_instance_goes_over_and_is_resumed(office, deployed, second, migrate, old):
    instance = old()
    with deployed.transaction() as session:
        suspension.suspend(session, instance.id, "wait", by="admin")
    migrate(instance, second)
    assert (office.now(instance).state, office.now(instance).version) == ("suspended", second)
    with deployed.transaction() as session:
        suspension.resume(session, instance.id, "go on", by="admin")
    office.decide("reviewer", instance)
    assert findings(deployed, instance) == []


def test_it_is_modified_and_restarted_after_it_went_over(office, deployed, second, migrate, old):
    instance = old()
    office.decide("reviewer", instance)
    migrate(instance, second)
    with deployed.transaction() as session:
        change = modification.Change(cancel=["confirm"], start=["file"])
        modification.modify(session, instance.id, change, "straight on", by="admin")
        copy = modification.restart(session, instance.id, "confirm", "once more", by="admin")
    assert (copy.version, copy.data["review"]["decision"]) == (second, "approve")
    assert findings(deployed, instance) == []
    assert findings(deployed, copy) == []


def test_a_preview_changes_nothing(office, deployed, second, old):
    instance = old()
    with deployed.transaction() as session:
        verdict = migration.preview(session, instance.id, second)
    assert (verdict.possible, verdict.active) == (True, ["decide"])
    assert (office.now(instance).seq, office.now(instance).version) == (1, 1)


# ---- proof


def test_elements_of_both_versions_are_exported_and_shown(office, deployed, deploy, migrate, old):
    instance = old()
    office.decide("reviewer", instance)
    migrate(instance, deploy("review", WITHOUT))
    office.complete("applicant", office.task(instance, "confirm"))
    with deployed.reading() as session:
        shown = instances.visible_events(session, instance.id)
        trace = exports.trace(session, instance.id)
    assert ("leave", "decide", "任务 decide") in [(one["type"], one["element"], one["label"]) for one in shown]
    assert [(one.type, one.element) for one in trace.events if one.element == "decide"] == [
        ("enter", "decide"),
        ("leave", "decide"),
    ]


def test_a_back_test_executes_it_on_each_of_its_versions(office, deployed, second, migrate, old):
    instance = old()
    migrate(instance, second)
    office.decide("reviewer", instance)
    office.complete("applicant", office.task(instance, "confirm"))
    office.complete("operator", office.task(instance, "file"))
    with deployed.reading() as session:
        (same,) = backtest.backtest(session, {"review.bpmn": REVIEW_2})
        (other,) = backtest.backtest(session, {"review.bpmn": WITHOUT})
    assert same.differences == []
    assert "nobody waits for the submit of «任务 decide» (decide)" in str(other.differences[-1])


def test_a_changed_version_in_a_migration_is_found(office, deployed, second, migrate, old):
    instance = old()
    migrate(instance, second)
    with deployed.transaction() as session:
        event = session.get_one(HistoryEvent, (instance.id, 2))
        event.payload = event.payload.replace('"version":2', '"version":1')
    found = findings(deployed, instance)
    assert "event 2: its content is not what was hashed when it was written" in found
    assert "event 2: the version of the process that it names is not what is deployed here" in found


def test_a_row_that_names_another_version_than_the_history_is_found(office, deployed, second, migrate, old):
    instance = old()
    migrate(instance, second)
    with deployed.transaction() as session:
        row = instances.lock(session, instance.id)
        row.definition_id = definitions.get(session, "review", 1).id
    assert "event 2: it went over to another version of the process than the instance names" in findings(
        deployed, instance
    )


# ---- accidents


def test_a_migration_that_is_rolled_back_never_happened(office, deployed, second, old):
    instance = old()
    with deployed.transaction() as session:
        migration.migrate(session, instance.id, second, by="owner", reason="a try")
        session.rollback()
    assert (office.now(instance).version, office.task(instance, "decide").form) == (1, "decision.form")
    office.decide("reviewer", instance)
    assert findings(deployed, instance) == []


def test_a_completion_at_the_same_moment_comes_before_it_or_after_it(office, deployed, second, migrate, old):
    instance = old()
    begin, failed = threading.Barrier(2), []

    def at_once(act):
        begin.wait()
        try:
            act()
        except ConflictError as error:
            failed.append(error)

    acts = (lambda: migrate(instance, second), lambda: office.decide("reviewer", instance))
    threads = [threading.Thread(target=at_once, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = office.now(instance)
    assert failed == []
    assert (now.version, now.seq) == (second, 3)
    assert set(now.data) - {"applicant"} <= {"review", "verdict"}
    assert findings(deployed, instance) == []


# ---- many


def test_many_go_over_each_by_itself_and_the_others_are_named(office, deployed, deploy, old):
    ahead, behind, ended = old(), old(), old()
    office.decide("reviewer", ahead)
    with deployed.transaction() as session:
        instances.cancel(session, ended.id, "over", by="admin")
    version = deploy("review", WITHOUT)
    with deployed.reading() as session:
        assert {one.id for one in migration.under_way(session, "review", 1)} == {ahead.id, behind.id}
    every = [one.id for one in (ahead, behind, ended)]
    outcomes = migration.migrate_all(deployed, every, version, by="owner", reason="shorter")
    assert [(one.instance_id, one.refusal and str(one.refusal)) for one in outcomes] == [
        (ahead.id, None),
        (behind.id, "任务 decide is active, and the other version does not have it."),
        (ended.id, "This case has ended (cancelled); nothing was changed."),
    ]
    assert [office.now(one).version for one in (ahead, behind, ended)] == [version, 1, 1]
    (back,) = migration.migrate_all(deployed, [ahead.id], 1, by="owner", reason="back again")
    assert (back.refusal, office.now(ahead).version, findings(deployed, ahead)) == (None, 1, [])
