"""Reminders of user tasks: a notice some time before a task is due, and another one when it is overdue (clause 4.1).

`Task.remind_at` says when the next one is due. Those concerned are whoever holds the task, else whom it is for, else
all who may take it; with each of them, their deputies. Tasks of a suspended instance wait with it.
"""

from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from engine import clock, identity, notifications
from engine.db import Database
from engine.errors import N_
from engine.models import Instance, Task
from engine.projections import OPEN

BATCH = 100


def send_due(database: Database, at: datetime | None = None) -> int:
    """Remind of every open task whose reminder is due at `at` (default: now); answers of how many."""
    at = at or clock.now()
    with database.reading() as session:  # nobody waits for the write lock while there is nothing to do
        if session.scalars(_due(at).limit(1)).first() is None:
            return 0
    sent = 0
    while True:
        with database.transaction() as session:
            tasks = session.scalars(_due(at).limit(BATCH).with_for_update(skip_locked=True, of=Task)).all()
            for task in tasks:
                _remind(session, task, at)
        sent += len(tasks)
        if len(tasks) < BATCH:
            return sent


def _due(at: datetime) -> Select[Task]:
    query = select(Task).join(Instance, Task.instance_id == Instance.id)
    due = (Task.remind_at <= at, Task.state.in_(OPEN), Instance.state == "running")
    return query.where(*due).order_by(Task.remind_at, Task.id)


def _remind(session: Session, task: Task, at: datetime) -> None:
    late = task.due_at is None or task.due_at <= at
    template = N_("%(task)s is overdue since %(at)s.") if late else N_("%(task)s is due at %(at)s.")
    due = (task.due_at or at).isoformat()
    people = concerned(session, task, at)
    notifications.notify(
        session,
        people,
        template,
        {"task": task.name, "at": due},
        link=f"/tasks/{task.id}",
        instance_id=task.instance_id,
        at=at,
    )
    task.remind_at = None if late else task.due_at


def concerned(session: Session, task: Task, at: datetime) -> set[str]:
    """Who is to be told about an open task: see above; nobody for whom it is forbidden."""
    holder = task.claimed_by or task.assignee
    if holder:
        people = {holder}
    else:
        members = identity.members(session, task.candidate_group) if task.candidate_group else []
        people = {*task.candidate_users, *members}
    people -= {*task.excluded}
    deputies = identity.deputies(session, people, at) if people else {}
    return {*people, *(deputy for each in deputies.values() for deputy in each)} - {*task.excluded}
