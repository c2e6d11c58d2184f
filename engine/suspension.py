"""Suspending an instance and resuming it: two inputs of its history.

A suspended instance takes no submission, message or signal, fires no timer and lets no job be claimed; it can be
modified and cancelled. At its resumption what became due meanwhile fires, once, in the same step, and then what its
jobs have reported is applied (engine.jobs). Messages for it wait until then (engine.messages).
"""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from engine import clock, instances, jobs, notifications, outbox, wakeup
from engine.errors import N_, ConflictError
from engine.models import Instance, Job, Subscription, Task
from engine.projections import OPEN
from engine.spiff import StepResult


def suspend(session: Session, instance_id: UUID | str, reason: str, *, by: str) -> StepResult:
    """Stop an instance where it stands; whoever started it or holds one of its tasks is told.

    Raises:
        NotFoundError. ConflictError: it has ended, or is suspended already (says by whom, when and why).
        InvalidFormError: there is no reason.
    """
    reason = instances.checked_reason(reason)
    instance = instances.lock(session, instance_id)
    result = instances.step(session, instance, "suspend", {"reason": reason}, by=by)
    _tell(session, instance, N_("Your case is suspended: %(reason)s"), by, reason)
    return result


def resume(session: Session, instance_id: UUID | str, reason: str, *, by: str) -> StepResult:
    """Let a suspended instance go on.

    Raises:
        NotFoundError. ConflictError: it is not suspended. InvalidFormError: there is no reason.
    """
    reason = instances.checked_reason(reason)
    instance = instances.lock(session, instance_id)
    if instance.state != "suspended":
        raise ConflictError(N_("This case is not suspended; it is %(state)s."), state=instance.state)
    result = instances.step(session, instance, "resume", {"reason": reason}, by=by)
    jobs.release(session, instance)
    _look_for_messages(session, instance)
    _tell(session, instance, N_("Your case goes on: %(reason)s"), by, reason)
    ready = select(Job.site, Job.id, Job.epoch).where(Job.instance_id == instance.id, Job.state == "ready")
    wakeup.announce(session, session.execute(ready))
    return result


def _look_for_messages(session: Session, instance: Instance) -> None:
    query = select(Subscription.name).where(Subscription.instance_id == instance.id, Subscription.kind == "message")
    outbox.look_again(session, set(session.scalars(query)), clock.now())


def _tell(session: Session, instance: Instance, template: str, by: str, reason: str) -> None:
    query = select(Task.claimed_by, Task.assignee).where(Task.instance_id == instance.id, Task.state.in_(OPEN))
    holders = {claimed or assignee for claimed, assignee in session.execute(query)}
    people = {instance.started_by, *(holder for holder in holders if holder)} - {by}
    notifications.notify(session, people, template, {"reason": reason}, instance_id=instance.id)
