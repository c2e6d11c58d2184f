"""User tasks: who may take them, claiming, signing and completing (clauses 1.2, N1, rules of conduct)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Text, and_, bindparam, or_, select, type_coerce
from sqlalchemy.orm import Session, joinedload

from engine import clock, definitions, identity, instances, payloads, personal
from engine.errors import N_, ConflictError, NotAllowedError, NotFoundError
from engine.forms import Option
from engine.identity import Authority
from engine.models import Instance, Signature, Task, User
from engine.projections import IS_OPEN, OPEN


@dataclass(frozen=True)
class SignatureRequest:
    """The signer proves once more who they are."""

    password: str


# ---- finding --------------------------------------------------------------------------------------------------------


def inbox(session: Session, user: User, *, at: datetime) -> list[Task]:
    """The open tasks that `user` holds or may take, for themselves or as a deputy: overdue and urgent ones first."""
    authority = identity.authority(session, user, at)
    people = sorted(authority.usernames)
    groups = sorted(set().union(*authority.groups.values()))
    listed = type_coerce(Task.candidate_users, Text)
    named = [listed.contains(orjson.dumps(name).decode(), autoescape=True) for name in people]
    free = Task.claimed_by.is_(None)
    ways = [
        Task.claimed_by == user.username,
        and_(free, Task.assignee.in_(people)),
        and_(free, Task.assignee.is_(None), Task.candidate_group.in_(groups)),
        and_(free, Task.assignee.is_(None), or_(*named)),
    ]
    mine = or_(*(and_(IS_OPEN, way) for way in ways))  # each of them so that it is looked up in `ix_tasks_open`
    query = select(Task).where(mine).options(joinedload(Task.instance))
    found = [
        task for task in session.scalars(query) if task.claimed_by == user.username or principals(task, user, authority)
    ]
    last = datetime.max.replace(tzinfo=at.tzinfo)
    return sorted(found, key=lambda task: (task.due_at or last, -task.priority, task.created_at, str(task.id)))


def get(session: Session, task_id: UUID | str) -> Task:
    """A task, open or finished, with its instance. Raises NotFoundError."""
    query = select(Task).where(Task.id == _identifier(task_id)).options(joinedload(Task.instance))
    return _found(session.scalars(query).one_or_none(), task_id)


def of_instance(session: Session, instance_id: UUID) -> list[Task]:
    """All tasks of an instance, in the order in which they came up."""
    query = select(Task).where(Task.instance_id == instance_id)
    return list(session.scalars(query.order_by(Task.created_at, Task.element, Task.id)))


def signature(session: Session, task_id: UUID) -> Signature | None:
    """The signature under a completed task."""
    return session.scalars(select(Signature).where(Signature.task_id == task_id)).one_or_none()


def _identifier(task_id: UUID | str) -> UUID:
    try:
        return task_id if isinstance(task_id, UUID) else UUID(task_id)
    except ValueError as error:
        raise NotFoundError(N_("There is no task %(id)s."), id=str(task_id)[:100]) from error


def _found(task: Task | None, task_id: UUID | str) -> Task:
    if task is None:
        raise NotFoundError(N_("There is no task %(id)s."), id=str(task_id)[:100])
    return task


# ---- who may --------------------------------------------------------------------------------------------------------


def check_allowed(session: Session, task: Task, user: User, *, at: datetime | None = None) -> None:
    """Refuse a person who may not do this task now: role, independence, qualification, in this order.

    Raises:
        NotAllowedError: says which of them is missing.
    """
    at = at or clock.now()
    _check_independent(task, user)
    if not _has_role(task, user.username, user.groups) and not principals(
        task, user, identity.authority(session, user, at)
    ):
        if task.assignee is not None:
            raise NotAllowedError(N_("This task is for %(assignee)s."), assignee=task.assignee or "—")
        if task.candidate_users and not task.candidate_group:
            raise NotAllowedError(N_("This task is for %(people)s."), people=", ".join(task.candidate_users))
        raise NotAllowedError(N_("This task needs the role %(group)s."), group=task.candidate_group or "—")
    _check_trained(session, task, user, at)


def check_conduct(session: Session, task: Task, user: User) -> None:
    """What holds for whoever is given a task, whatever their role: an open account, independence, qualification.

    Raises:
        NotAllowedError: says which of them is missing, in words for whoever gives it.
    """
    if user.active and user.username in task.excluded:
        raise NotAllowedError(
            N_("%(username)s takes part in this case in another role, so another person must do this."),
            username=user.username,
        )
    _check_independent(task, user)
    if task.qualification and not identity.qualified(session, user.username, task.qualification, clock.now()):
        raise NotAllowedError(
            N_("The training %(qualification)s of %(username)s is missing or has lapsed."),
            qualification=task.qualification,
            username=user.username,
        )


def _check_independent(task: Task, user: User) -> None:
    if not user.active:
        raise NotAllowedError(N_("The account %(username)s is closed."), username=user.username)
    if user.username in task.excluded:
        raise NotAllowedError(N_("You take part in this case in another role, so another person must do this."))


def _check_trained(session: Session, task: Task, user: User, at: datetime) -> None:
    if task.qualification and not identity.qualified(session, user.username, task.qualification, at):
        raise NotAllowedError(
            N_("Your training %(qualification)s is missing or has lapsed; renew it first."),
            qualification=task.qualification,
        )


def principals(task: Task, user: User, authority: Authority) -> set[str]:
    """In whose name `user` may do `task`, training apart.

    Nobody for whom it is forbidden lends their role to a deputy.
    """
    if user.username in task.excluded:
        return set()
    return {
        username
        for username, groups in authority.groups.items()
        if username not in task.excluded and _has_role(task, username, groups)
    }


def _has_role(task: Task, username: str, groups: set[str]) -> bool:
    if task.assignee is not None:
        return username == task.assignee
    return username in task.candidate_users or task.candidate_group in groups


def check_undecided(task: Task) -> None:
    """Raises ConflictError when it is finished: by whom and when."""
    if task.state == "completed":
        raise ConflictError(
            N_("%(username)s has already completed this task, at %(at)s."),
            username=task.completed_by,
            at=_shown(task.completed_at),
        )
    if task.state not in OPEN:
        raise ConflictError(N_("This task is no longer needed since %(at)s."), at=_shown(task.completed_at))


def check_free(task: Task, user: User) -> None:
    """Raises ConflictError when another person holds it: who, since when."""
    if task.claimed_by is not None and task.claimed_by != user.username:
        raise ConflictError(
            N_("%(username)s has taken this task, at %(at)s."), username=task.claimed_by, at=_shown(task.claimed_at)
        )


def _shown(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at else ""


# ---- claiming -------------------------------------------------------------------------------------------------------


def claim(session: Session, task_id: UUID | str, *, by: User) -> Task:
    """Take a task, so that nobody else does it. Taking it twice changes nothing.

    Raises:
        NotFoundError, NotAllowedError: as `check_allowed`. ConflictError: it is finished, or another person's, or its
            case is suspended.
    """
    task = _locked(session, task_id)
    at = clock.now()
    check_allowed(session, task, by, at=at)
    check_undecided(task)
    instances.check_running(session, instances.get(session, task.instance_id))
    check_free(task, by)
    if task.claimed_by is None:
        task.state, task.claimed_by, task.claimed_at = "claimed", by.username, at
    return task


def unclaim(session: Session, task_id: UUID | str, *, by: User) -> Task:
    """Give a task back; an administrator may take it from somebody else.

    Raises:
        NotFoundError. NotAllowedError: another person holds it. ConflictError: it is finished.
    """
    task = _locked(session, task_id)
    check_undecided(task)
    if task.claimed_by not in (None, by.username) and "admin" not in by.groups:
        raise NotAllowedError(N_("%(username)s has taken this task."), username=task.claimed_by)
    task.state, task.claimed_by, task.claimed_at = "open", None, None
    return task


def _locked(session: Session, task_id: UUID | str) -> Task:
    query = select(Task).where(Task.id == _identifier(task_id)).with_for_update()
    return _found(session.scalars(query.execution_options(populate_existing=True)).one_or_none(), task_id)


# ---- completing -----------------------------------------------------------------------------------------------------


def complete(
    session: Session,
    task_id: UUID | str,
    data: Mapping[str, Any],
    *,
    by: User,
    signature: SignatureRequest | None = None,
    sources: Mapping[str, Sequence[Option]] | None = None,
) -> Task:
    """Complete a user task, advance its instance and answer the task as it is then. It need not be claimed first.

    `data` is what the person entered; only what the form defines is kept, under the task's variable together with
    `by`, `at` and, when signed, `signature`. The input event, the state changes, the signature and any jobs they
    release are stored together or not at all. Personal fields are stored encrypted (engine/personal.py), and may be
    handed in as a program got them, encrypted for this case. At most ten SQL statements.

    Raises:
        NotFoundError: there is no such task.
        NotAllowedError: see `check_allowed`; or the task must be signed and the password is missing or wrong.
        ConflictError: it is finished (says by whom and when), another person holds it, or its case is suspended.
        InvalidFormError: `data` does not satisfy the form; lists every field.
    """
    instance, task = lock_with_instance(session, task_id)
    at = instances.step_time(instance)
    check_allowed(session, task, by, at=at)
    check_undecided(task)
    check_free(task, by)
    instances.check_running(session, instance)
    clean = _clean(session, instance, task, data, sources or {}, at)
    stored = dict(clean)
    if task.variable:
        stored = {**clean, "by": by.username, "at": at.isoformat()}
    if task.signature:
        stored["signature"] = _sign(session, instance, task, clean, by, signature, at)
    submitted = {task.variable: stored} if task.variable else stored
    payload = {"task": str(task.id), "data": submitted}
    instances.step(session, instance, "submit", payload, by=by.username, at=at)
    return task


def lock_with_instance(session: Session, task_id: UUID | str) -> tuple[Instance, Task]:
    """The instance first, then the task: the same order as every other step, so that no two wait for each other."""
    found = session.execute(_BOTH, {"task": _identifier(task_id)}).one_or_none()
    if found is None:
        raise NotFoundError(N_("There is no task %(id)s."), id=str(task_id)[:100])
    return found[0], found[1]


_BOTH = (
    select(Instance, Task)
    .join_from(Instance, Task, Task.instance_id == Instance.id)
    .where(Task.id == bindparam("task"))
    .with_for_update(of=(Instance, Task))
    .execution_options(populate_existing=True)
)


def clean_data(
    session: Session,
    task: Task,
    data: Mapping[str, Any],
    *,
    sources: Mapping[str, Sequence[Option]] | None = None,
) -> dict[str, Any]:
    """What would be stored of `data`, personal fields encrypted: to show a person what they are about to sign.

    It may make the key of the case, so the session must be able to write. Raises InvalidFormError.
    """
    instance = instances.get(session, task.instance_id)
    return _clean(session, instance, task, data, sources or {}, clock.now())


def _clean(
    session: Session,
    instance: Instance,
    task: Task,
    data: Mapping[str, Any],
    sources: Mapping[str, Sequence[Option]],
    at: datetime,
) -> dict[str, Any]:
    payloads.encode(dict(data))
    if not task.form:
        return {}
    form = definitions.form(session, instance.definition_id, task.form)

    def opened(value: Any) -> Any:
        return personal.opened(session, instance.id, value)

    private = {field.key for field in form.inputs if field.personal}
    given = {key: opened(value) if key in private else value for key, value in data.items()}  # what a program was given
    personal.refuse(given)
    clean = form.validate(given, sources=sources, now=at, names=task.data, opened=opened)
    first = next(personal.envelopes(instance.data), None) is None
    return personal.seal_form(session, instance.id, form, clean, first=first)


# ---- signing --------------------------------------------------------------------------------------------------------


def signing_text(session: Session, task: Task, clean_data: Mapping[str, Any], *, by: User) -> str:
    """Exactly what a person signs: the case, the task, what they have seen (by its digest) and what they decided.

    The same `clean_data` gives the same text, so a page can show it before the password is asked for (clause 1.2).
    Personal values stand in it as they are stored, encrypted: it can still be checked when they have been erased.
    """
    return _signing_text(session, instances.get(session, task.instance_id), task, clean_data, by)


def _signing_text(session: Session, instance: Instance, task: Task, clean_data: Mapping[str, Any], by: User) -> str:
    version = definitions.loaded(session, instance.definition_id)
    seen = definitions.text_digest(orjson.dumps(task.data, option=orjson.OPT_SORT_KEYS).decode())
    lines = [
        f"流程 process: {version.name} ({version.process_id} {version.version}, {version.digest})",
        f"案件 case: {instance.business_key or '—'} ({instance.id})",
        f"任务 task: {task.name} ({task.element}, {task.id})",
        f"签署人 signer: {by.name} ({by.username})",
        f"所见内容 content seen: {seen}",
    ]
    form = definitions.form(session, instance.definition_id, task.form) if task.form else None
    labels = {field.key: field.label for field in form.inputs} if form else {}
    for key, value in clean_data.items():
        lines.append(f"{labels.get(key) or key} [{key}]: {orjson.dumps(value).decode()}")
    return "\n".join(lines) + "\n"


def _sign(
    session: Session,
    instance: Instance,
    task: Task,
    clean: Mapping[str, Any],
    by: User,
    request: SignatureRequest | None,
    at: datetime,
) -> str:
    if request is None or not request.password:
        raise NotAllowedError(N_("This decision must be signed: enter your password again."))
    identity.confirm(session, by, request.password)
    text = _signing_text(session, instance, task, clean, by)
    digest = definitions.text_digest(text)
    session.add(
        Signature(
            task_id=task.id,
            instance_id=instance.id,
            username=by.username,
            text=text,
            digest=digest,
            method="password",
            signed_at=at,
        )
    )
    return digest
