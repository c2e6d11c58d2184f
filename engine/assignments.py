"""Who does an open user task, and by when, changed by hand: delegated, assigned, rescheduled; recorded with a reason.

The rules of conduct hold for whoever receives a task as for whoever takes one: nobody who is excluded, nobody without
the training, and nobody outside the role; for a task that the diagram gives to one person, nobody outside that person's
department, and a signature of a named person is not passed on at all: they name a deputy instead (clause 1.2).
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from engine import calendar, clock, definitions, identity, instances, notifications, reminders, tasks
from engine.errors import N_, ConflictError, FieldError, InvalidFormError, NotAllowedError, NotFoundError
from engine.models import Instance, Task, User
from engine.projections import TASK_WAITS

PRIORITIES = 99_999
"""The largest priority; the smallest is its negative."""


def delegate(session: Session, task_id: UUID | str, to: str, reason: str, *, by: User) -> Task:
    """Pass a task on to `to`; whoever it was with stays visible as its owner.

    Raises:
        NotFoundError: there is no such task or person. NotAllowedError: `by` does not hold the task and may not take
            it; or `to` may not do it. ConflictError: it is finished, another person holds it, or its instance is
            suspended. InvalidFormError: there is no reason.
    """
    reason = instances.checked_reason(reason)
    instance, task = _held(session, task_id)
    tasks.check_allowed(session, task, by)
    tasks.check_free(task, by)
    before = task.claimed_by or task.assignee or by.username
    recipient = _recipient(session, instance, task, to)
    _give(task, recipient.username, owner=task.owner or before)
    facts = {"from": before, "to": recipient.username, "owner": task.owner, "reason": reason}
    _record(session, instance, "delegate", task, facts, by)
    _tell(session, task, by)
    return task


def assign(session: Session, task_id: UUID | str, to: str, reason: str, *, by: User) -> Task:
    """An administrator gives a task to `to`, whoever holds it; or with an empty `to` back to its group.

    Raises:
        NotFoundError. NotAllowedError: `by` is no administrator or acts on an own request; or `to` may not do it.
        ConflictError: it is finished, its instance is suspended, or the diagram itself names the person.
        InvalidFormError: there is no reason.
    """
    reason = instances.checked_reason(reason)
    instance, task = _administered(session, task_id, by)
    before = task.claimed_by or task.assignee
    if to:
        _give(task, _recipient(session, instance, task, to).username, owner=task.owner or before)
    elif _named_by_diagram(session, instance, task):
        raise ConflictError(N_("This task is for one person, not for a group: name another person."))
    else:
        task.state, task.assignee, task.owner, task.claimed_by, task.claimed_at = "open", None, None, None, None
    facts = {"from": before or "", "to": task.assignee or "", "owner": task.owner, "reason": reason}
    _record(session, instance, "assign", task, facts, by)
    if task.assignee:
        _tell(session, task, by)
    return task


def change(session: Session, task_id: UUID | str, changes: Mapping[str, Any], reason: str, *, by: User) -> Task:
    """An administrator sets a task's `priority`, `due_at` or `remind_at`; the latter two may be None for never.

    A new due date brings a new reminder, unless `changes` name one.

    Raises:
        NotFoundError. NotAllowedError: as `assign`. ConflictError: it is finished, or its instance is suspended.
        InvalidFormError: there is no reason or nothing to change, or a value is not of its kind.
    """
    reason = instances.checked_reason(reason)
    wanted = _checked(changes)
    instance, task = _administered(session, task_id, by)
    if "due_at" in wanted and "remind_at" not in wanted:
        wanted["remind_at"] = calendar.first_reminder(clock.now(), wanted["due_at"])
    before = {name: getattr(task, name) for name in wanted}
    for name, value in wanted.items():
        setattr(task, name, value)
    facts = {"from": _plain(before), "to": _plain(wanted), "reason": reason}
    _record(session, instance, "change_task", task, facts, by)
    return task


def recipients(session: Session, task: Task) -> list[User]:
    """Whom the task may be given to, by name: what `delegate` and `assign` accept. Whoever has it now is left out."""
    instance = instances.get(session, task.instance_id)
    query = select(User).where(User.active.is_(True))
    if _named_by_diagram(session, instance, task):
        principal = identity.find(session, task.owner or task.assignee or "")
        query = query.where(User.department_id == (principal.department_id if principal else None))
    else:
        members = identity.members(session, task.candidate_group)
        query = query.where(User.username.in_({*members, *task.candidate_users}))
    found = []
    for user in session.scalars(query.order_by(User.name, User.username)):
        if user.username != (task.claimed_by or task.assignee):
            with suppress(NotAllowedError):
                found.append(_recipient(session, instance, task, user.username))
    return found


def _held(session: Session, task_id: UUID | str) -> tuple[Instance, Task]:
    """The instance first, then the task, both locked: the order of every step."""
    instance, task = tasks.lock_with_instance(session, task_id)
    instances.check_running(session, instance)
    tasks.check_undecided(task)
    return instance, task


def _administered(session: Session, task_id: UUID | str, by: User) -> tuple[Instance, Task]:
    if "admin" not in by.groups:
        raise NotAllowedError(N_("Only an administrator changes the tasks of others."))
    instance, task = _held(session, task_id)
    if instance.started_by == by.username or by.username in task.excluded:
        raise NotAllowedError(N_("You take part in this case in another role, so another person must do this."))
    return instance, task


def _recipient(session: Session, instance: Instance, task: Task, username: str) -> User:
    found = identity.find(session, username)
    if found is None:
        raise NotFoundError(N_("There is no user %(username)s."), username=username[:100])
    if _named_by_diagram(session, instance, task):
        _check_colleague(session, task, found)
    elif found.username not in task.candidate_users and task.candidate_group not in found.groups:
        raise NotAllowedError(N_("%(username)s does not have the role of this task."), username=found.username)
    tasks.check_conduct(session, task, found)
    return found


def _check_colleague(session: Session, task: Task, found: User) -> None:
    if task.signature:
        raise NotAllowedError(N_("A signature of a named person is not passed on: they name a deputy instead."))
    principal = identity.find(session, task.owner or task.assignee or "")
    if principal is None or principal.username == found.username:
        return
    if principal.department_id is None or principal.department_id != found.department_id:
        raise NotAllowedError(
            N_("%(username)s is not of the department of the person whom this task is for."), username=found.username
        )


def _named_by_diagram(session: Session, instance: Instance, task: Task) -> bool:
    elements = definitions.compiled(session, instance.definition_id).elements
    return bool(elements[task.element].properties.get("assignee", "").strip())


def _give(task: Task, username: str, *, owner: str | None) -> None:
    task.state, task.claimed_by, task.claimed_at = "open", None, None
    task.assignee, task.owner = username, None if owner == username else owner


def _tell(session: Session, task: Task, by: User) -> None:
    people = reminders.concerned(session, task, clock.now()) - {by.username}
    link = f"/tasks/{task.id}"
    notifications.notify(session, people, TASK_WAITS, {"task": task.name}, link=link, instance_id=task.instance_id)


def _record(session: Session, instance: Instance, kind: str, task: Task, facts: Mapping[str, Any], by: User) -> None:
    payload = {"task": str(task.id), "element": task.element, **facts}
    instances.record(session, instance, kind, payload, by=by.username)


def _checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    if not changes:
        raise InvalidFormError({"changes": FieldError(N_("There is nothing to change."), {})})
    errors = {}
    for name, value in changes.items():
        if name == "priority":
            right = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= PRIORITIES
        else:
            aware = isinstance(value, datetime) and value.tzinfo is not None
            right = name in ("due_at", "remind_at") and (value is None or aware)
        if not right:
            errors[name] = FieldError(N_("This cannot be set so."), {})
    if errors:
        raise InvalidFormError(errors)
    return dict(changes)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
