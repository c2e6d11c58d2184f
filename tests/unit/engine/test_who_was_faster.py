"""Two people act at the same moment, each in a thread and a transaction of their own: one wins, the other is told."""

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest

from engine import assignments, history, identity, instances, live, modification, replay, suspension, tasks
from engine.db import Database
from engine.errors import ConflictError, NotAllowedError
from engine.models import Instance, Task
from engine.modification import Change

APPROVED = {"decision": "approve"}
Act = Callable[[Any, Task], Any]


def by(session: Any, username: str) -> Any:
    return identity.find(session, username)


def complete(username: str) -> Act:
    return lambda session, task: tasks.complete(session, task.id, APPROVED, by=by(session, username))


ACTS: dict[str, Act] = {
    "complete": complete("second"),
    "claim": lambda session, task: tasks.claim(session, task.id, by=by(session, "second")),
    "delegate": lambda session, task: assignments.delegate(
        session, task.id, "second", "because", by=by(session, "reviewer")
    ),
    "assign": lambda session, task: assignments.assign(session, task.id, "second", "because", by=by(session, "admin")),
    "suspend": lambda session, task: suspension.suspend(session, task.instance_id, "because", by="admin"),
    "cancel": lambda session, task: instances.cancel(session, task.instance_id, "because", by="admin"),
    "modify": lambda session, task: modification.modify(
        session, task.instance_id, Change(cancel=["decide"], start=["confirm"]), "because", by="admin"
    ),
}


AT = "2026-02-02T01:00:00+00:00"
TOLD_WHO_COMPLETES_LATE = {
    "suspend": f"admin has suspended this case, at {AT}: because",
    "cancel": f"no longer needed since {AT}",
    "modify": f"no longer needed since {AT}",
    "delegate": "for second",
    "assign": "for second",
    "claim": f"second has taken this task, at {AT}",
}
TOLD_WHO_COMES_LATE = {"suspend": None, "cancel": None, "modify": "Nothing is active at decide"}
"""Of those who come after a completion; an instance that goes on can still be suspended and cancelled."""


def at_once(database: Database, task: Task, *acts: Act) -> list[Exception | None]:
    """What became of each: None, or the refusal."""
    outcomes: list[Exception | None] = [None] * len(acts)
    ready = threading.Barrier(len(acts))

    def run(place: int) -> None:
        ready.wait()
        try:
            with database.transaction() as session:
                acts[place](session, task)
        except (ConflictError, NotAllowedError) as error:
            outcomes[place] = error

    threads = [threading.Thread(target=copy_context().run, args=(run, place)) for place in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes


def kinds(database: Database, instance: Instance) -> list[str]:
    with database.reading() as session:
        return [event.kind for event in history.events(session, instance.id)]


def verified(database: Database, instance: Instance) -> bool:
    live.forget()
    with database.reading() as session:
        return replay.verify(session, instance.id).ok


@pytest.mark.parametrize("rival", sorted(ACTS))
def test_one_wins_and_the_other_is_told_who_and_when(office, deployed, rival):
    for _ in range(3):
        instance = office.start("review", applicant="applicant")
        task = office.task(instance, "decide")
        refusals = at_once(deployed, task, complete("reviewer"), ACTS[rival])
        found = kinds(deployed, instance)[1:]
        (refused,) = [error for error in refusals if error is not None] or [None]
        if found[:1] == ["submit"]:
            winner = office.task(instance, "decide").completed_by
            assert winner in ("reviewer", "second")
            expected = TOLD_WHO_COMES_LATE.get(rival, f"{winner} has already completed this task, at {AT}")
        else:
            assert found == ([] if rival == "claim" else [rival])
            expected = TOLD_WHO_COMPLETES_LATE[rival]
        assert expected is None or expected in str(refused)
        assert verified(deployed, instance)


def test_many_people_complete_one_task_and_exactly_one_has_done_it(office, deployed):
    instance = office.start("review", applicant="applicant")
    task = office.task(instance, "decide")
    refusals = at_once(deployed, task, *[complete("reviewer"), complete("second")] * 4)
    assert len([error for error in refusals if error is None]) == 1
    assert kinds(deployed, instance) == ["start", "submit"]
    assert office.task(instance, "confirm").state == "open"
    assert verified(deployed, instance)


def test_an_instance_is_suspended_once(office, deployed):
    instance = office.start("review", applicant="applicant")
    task = office.task(instance, "decide")
    refusals = at_once(deployed, task, *[ACTS["suspend"]] * 4)
    assert len([error for error in refusals if error is None]) == 1
    assert kinds(deployed, instance) == ["start", "suspend"]
