"""Who may see a process instance: deny by default, allow those who are part of it and those whose office it is."""

from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from engine import clock, identity, messages, subscriptions, tasks
from engine.errors import N_, NotAllowedError, NotFoundError
from engine.models import Instance, Message, Task, User

OFFICES = frozenset({"auditor", "admin"})
"""Groups that may see every instance; whoever else must have a hand in it."""


def may_see(session: Session, instance: Instance, user: User) -> bool:
    """Whether `user` started the instance, has or had a task in it, may take an open one, or holds such an office."""
    if instance.started_by == user.username or user.groups & OFFICES:
        return True
    name = user.username
    mine = (
        select(Task.id, Task.excluded, Task.candidate_users, Task.candidate_group, Task.claimed_by, Task.completed_by)
        .where(Task.instance_id == instance.id)
        .where(
            or_(
                Task.assignee == name,
                Task.claimed_by == name,
                Task.completed_by == name,
                and_(Task.assignee.is_(None), Task.candidate_group.in_(user.groups)),
                Task.candidate_users.contains(f'"{name}"'),
            )
        )
    )
    for row in session.execute(mine):
        if name in (row.claimed_by, row.completed_by) or name not in (row.excluded or []):
            return True
    return _stands_in(session, instance, user)


def _stands_in(session: Session, instance: Instance, user: User) -> bool:
    """Whether `user` may do an open task of the instance for somebody whose deputy they are now."""
    authority = identity.authority(session, user, clock.now())
    if authority.usernames == {user.username}:
        return False
    waiting = select(Task).where(Task.instance_id == instance.id, Task.state.in_(("open", "claimed")))
    return any(tasks.principals(task, user, authority) for task in session.scalars(waiting))


def visible_instance(session: Session, instance_id: UUID, user: User) -> Instance:
    """The instance, or NotFoundError when there is none *or* when `user` may not know that there is."""
    instance = session.get(Instance, instance_id)
    if instance is None or not may_see(session, instance, user):
        raise NotFoundError(N_("There is no case %(id)s, or you have no part in it."), id=instance_id)
    return instance


# ---- operating ------------------------------------------------------------------------------------------------------

OPERATORS = frozenset({"operator", "admin"})
"""Who resolves incidents, suspends and resumes; they see where a case stands, its data only as `may_see` allows."""

ADMINISTRATORS = frozenset({"admin"})
"""Who changes the course of a case: an operator has a part of their own in the procedure."""


OWNERS = frozenset({"owner", "admin"})
"""Who revises a process and takes its cases over to another version."""


def operable_instance(session: Session, instance_id: UUID, user: User, groups: frozenset[str]) -> Instance:
    """The instance on which `user` is about to act as a member of `groups`.

    Raises:
        NotFoundError: there is none, or `user` may not know that there is. NotAllowedError: the role is missing, or it
            is the user's own request (rules of conduct).
    """
    instance = session.get(Instance, instance_id)
    if instance is None or not (user.groups & (OPERATORS | groups) or may_see(session, instance, user)):
        raise NotFoundError(N_("There is no case %(id)s, or you have no part in it."), id=instance_id)
    if not user.groups & groups:
        raise NotAllowedError(N_("This is for administrators and, in part, for operators."))
    check_not_own(instance, user)
    return instance


def operable_message(session: Session, message_id: UUID, user: User) -> Message:
    """The undelivered message that `user` is about to have delivered, or to discard.

    Raises:
        NotFoundError. NotAllowedError: the role is missing, or the user's own request has thrown it or waits for it.
    """
    if not user.groups & OPERATORS:
        raise NotAllowedError(N_("This is for administrators and, in part, for operators."))
    message = messages.get(session, message_id)
    waiting = subscriptions.receivers(
        session, message.name, message.payload, at=clock.now(), business_key=message.business_key
    )
    for instance_id in [*waiting, *filter(None, [message.sender_id])]:
        check_not_own(session.get_one(Instance, instance_id), user)
    return message


def check_not_own(instance: Instance, user: User) -> None:
    """Raises NotAllowedError: nobody acts on their own request (rules of conduct)."""
    if instance.started_by == user.username:
        raise NotAllowedError(N_("This is your own request: another operator must resolve it."))
