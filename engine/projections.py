"""What a step leaves in the tables that people and workers read: user tasks, jobs, incidents, notices.

The statements of every step are built once and go past the ORM, whose bookkeeping costs more than they do.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Table, Update, bindparam, insert, inspect, or_, update
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.orm.attributes import set_committed_value

from engine import calendar, identity, notifications, operators, wakeup
from engine.columns import Base
from engine.errors import N_, DiaoquError, ExpressionError, Sentence
from engine.models import Instance, Job, Task
from engine.spiff import CompiledDefinition, ElementInfo, Execution, JobRequest, OpenedTask, StepResult

OPEN = ("open", "claimed")
LONGEST_TOLD = 500
"""Characters of an error in a notice; the page of the incident says all of it."""
UNDECIDED = ("ready", "running", "held", "incident")
ENDED = ("completed", "cancelled")
"""States of tasks, of jobs that may still move their instance, and of instances that nothing moves any more."""
UNDER_WAY = ("running", "suspended")
"""States of instances: only these have open tasks and undecided jobs."""


def _one_of(column: InstrumentedAttribute[str], states: tuple[str, ...]) -> ColumnElement[bool]:
    """Written into the statement, so that both databases see that an index of these states holds all that is asked."""
    return column.in_(bindparam(None, states, expanding=True, literal_execute=True))


IS_OPEN, IS_UNDECIDED, IS_UNDER_WAY = (
    _one_of(Task.state, OPEN),
    _one_of(Job.state, UNDECIDED),
    _one_of(Instance.state, UNDER_WAY),
)

TASK_WAITS = N_("A task waits for you: %(task)s.")
"""The notice for whoever a task is given to."""


def _in_state(table: Table, states: tuple[str, ...], scope: str) -> Update:
    """An update of the rows whose `scope` column is given as `key` and which are in one of `states`."""
    return update(table).where(table.c[scope] == bindparam("key"), or_(*(table.c.state == state for state in states)))


_TASKS, _JOBS = Base.metadata.tables["tasks"], Base.metadata.tables["jobs"]
_OPEN_TASKS = insert(_TASKS)
_ENDED: dict[str, Any] = {"completed_at": bindparam("at"), "state": bindparam("how"), "completed_by": bindparam("by")}
_CLOSE_TASK = _in_state(_TASKS, OPEN, "id").values(_ENDED)
_CANCEL_TASKS = _in_state(_TASKS, OPEN, "instance_id").values(completed_at=bindparam("at"), state="cancelled")
_CANCELLED: dict[str, Any] = {"state": "cancelled", "cancel_requested": True, "ended_at": bindparam("at")}
_CANCEL_JOB = _in_state(_JOBS, UNDECIDED, "task_id").values(_CANCELLED)
_CANCEL_JOBS = _in_state(_JOBS, UNDECIDED, "instance_id").values(_CANCELLED)


def project(
    session: Session,
    instance: Instance,
    compiled: CompiledDefinition,
    execution: Execution,
    result: StepResult,
    *,
    by: str,
    at: datetime,
) -> None:
    """Bring the tasks, jobs and notices of `instance` in line with the step that has just been made and flushed."""
    _close(session, instance, result, by, at)
    if result.state in ENDED:
        return
    opened = [task_row(instance, compiled.elements[task.element], task, execution, at) for task in result.opened]
    if opened:
        session.connection().execute(_OPEN_TASKS, opened)
        tell_candidates(session, opened, by, at)
    asked = [_job(session, instance, compiled.elements[request.element], request, at) for request in result.jobs]
    session.add_all(asked)
    for task_id, element, told in result.incidents:
        failed = _failed_element(instance, compiled.elements[element], task_id, told, at)
        session.add(failed)
        tell_operations(session, failed, at)
    if asked:
        wakeup.announce(session, [(job.site, job.id, job.epoch) for job in asked if job.state == "ready"])


def _close(session: Session, instance: Instance, result: StepResult, by: str, at: datetime) -> None:
    """A running worker learns of it at its next renewal; its result is refused whatever it does."""
    connection = session.connection()
    closed: list[dict[str, Any]] = [
        {"key": task_id, "how": how, "by": by if how == "completed" else None, "at": at}
        for task_id, how in result.closed
    ]
    if closed:
        connection.execute(_CLOSE_TASK, closed)
    if result.state in ENDED:
        connection.execute(_CANCEL_TASKS, {"key": instance.id, "at": at})
        connection.execute(_CANCEL_JOBS, {"key": instance.id, "at": at})
    elif result.ended_jobs:
        connection.execute(_CANCEL_JOB, [{"key": task_id, "at": at} for task_id in result.ended_jobs])
    _follow(session, {row["key"]: row for row in closed})


def _follow(session: Session, closed: Mapping[UUID, Mapping[str, Any]]) -> None:
    """What the caller holds of tasks and jobs says what the tables say now; for closed tasks without a query."""
    for known in list(session.identity_map.values()):
        identity = inspect(known).identity if isinstance(known, Task) else None
        if identity is not None and (row := closed.get(identity[0])):
            for name, value in (("state", "how"), ("completed_by", "by"), ("completed_at", "at")):
                set_committed_value(known, name, row[value])
        elif isinstance(known, Task | Job):
            session.expire(known)


# ---- user tasks -----------------------------------------------------------------------------------------------------


def task_row(
    instance: Instance, info: ElementInfo, opened: OpenedTask, execution: Execution, at: datetime
) -> dict[str, Any]:
    """The row of a task that is opened at `at`. Raises ExpressionError: the diagram names nobody properly."""
    properties = info.properties

    def people(key: str) -> list[str]:
        return usernames(execution.evaluate(opened.id, properties[key])) if properties.get(key, "").strip() else []

    due_at = calendar.due(at, properties.get("dueIn", ""))
    assignee = people("assignee")
    candidates = people("candidateUsers")
    group = properties.get("candidateGroup", "").strip()
    if not group and not candidates:
        group = (info.lane_id or "").removeprefix("lane_")
    return {
        "id": opened.id,
        "instance_id": instance.id,
        "element": opened.element,
        "name": info.name or opened.element,
        "lane": info.lane or "",
        "form": info.form or "",
        "variable": info.variable or "",
        "state": "open",
        "assignee": assignee[0] if assignee else ("" if properties.get("assignee", "").strip() else None),
        "candidate_group": group,
        "candidate_users": candidates,
        "excluded": people("excluded"),
        "signature": properties.get("signature", "").strip() in ("required", "true"),
        "qualification": properties.get("qualification", "").strip(),
        "priority": _priority(properties),
        "due_at": due_at,
        "remind_at": calendar.first_reminder(at, due_at),
        "data": opened.data,
        "created_at": at,
    }


def who(info: ElementInfo) -> tuple[str | None, ...]:
    """What the diagram says about who may do a task."""
    named = ("assignee", "candidateUsers", "candidateGroup", "excluded")
    return (info.lane_id, *(info.properties.get(name) for name in named))


def usernames(value: Any) -> list[str]:
    """What an expression for people may give: a username, a list of them, or nothing.

    Raises:
        ExpressionError: it is anything else; so a mistake in a diagram never widens who may act.
    """
    if value is None or value == "":
        return []
    people = value if isinstance(value, list) else [value]
    if not all(isinstance(person, str) for person in people):
        raise ExpressionError(N_("An expression for people gave %(value)s."), value=repr(value)[:200])
    return [person for person in people if person]


def _priority(properties: Mapping[str, str]) -> int:
    text = properties.get("priority", "").strip()
    return int(text) if text.removeprefix("-").isdecimal() and len(text) <= 5 else 50


def tell_candidates(session: Session, opened: Sequence[Mapping[str, Any]], by: str, at: datetime) -> None:
    """Named people and their deputies get a notice; members of a group find the task in their inbox."""
    named = [[task["assignee"]] if task["assignee"] else task["candidate_users"] for task in opened]
    people = {person for each in named for person in each}
    deputies = identity.deputies(session, people, at) if people else {}
    for task, each in zip(opened, named, strict=True):
        told = {person for name in each for person in (name, *deputies.get(name, ()))}
        notifications.notify(
            session,
            told - {by, *task["excluded"]},
            TASK_WAITS,
            {"task": task["name"]},
            link=f"/tasks/{task['id']}",
            instance_id=task["instance_id"],
            at=at,
        )


# ---- jobs and incidents ---------------------------------------------------------------------------------------------


def _job(session: Session, instance: Instance, info: ElementInfo, request: JobRequest, at: datetime) -> Job:
    job = Job(
        id=uuid4(),
        instance_id=instance.id,
        task_id=request.task_id,
        element=request.element,
        name=info.name or request.element,
        operator=request.operator,
        params=request.params,
        site="main",
        epoch=0,
        retries=request.retries,
        backoff=request.backoff,
        state="ready",
        due_at=at,
        created_at=at,
    )
    refusal = place(session, job)
    if refusal is not None:
        job.state, job.error = "incident", refusal.sentence
        tell_operations(session, job, at)
    return job


def place(session: Session, job: Job) -> DiaoquError | None:
    """Decide on which site and beside what else `job` may run; answers why it cannot run at all, or nothing."""
    try:
        found = operators.get(job.operator)
        operators.check_parameters(found, job.params)
        if found.exclusive is not None:
            job.exclusive_key, job.exclusive_limit, job.site = found.exclusive(session, job.params)
    except DiaoquError as error:
        return error
    return None


def _failed_element(instance: Instance, info: ElementInfo, task_id: UUID, told: Sentence, at: datetime) -> Job:
    """A script or condition that failed stands among the incidents; its row has no operator."""
    return Job(
        id=uuid4(),
        instance_id=instance.id,
        task_id=task_id,
        element=info.id,
        name=info.name or info.id,
        operator="",
        params={},
        state="incident",
        due_at=at,
        error=told,
        created_at=at,
    )


def tell_operations(session: Session, job: Job, at: datetime) -> None:
    """Notify operators and administrators of an incident."""
    told = job.error if len(str(job.error)) <= LONGEST_TOLD else Sentence(str(job.error)[:LONGEST_TOLD])
    notifications.notify(
        session,
        {*identity.members(session, "operator"), *identity.members(session, "admin")},
        N_("Incident at %(name)s: %(error)s"),
        {"name": job.name, "error": told.stored()},
        link="/operations",
        instance_id=job.instance_id,
        at=at,
    )
