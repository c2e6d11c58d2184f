"""Jobs: asynchronous service tasks. The row, with lease and epoch, is the truth about who works on it.

    ready ── claim ──► running ── finish ──► done
      ▲                  │ │ └─── fail (modelled error that the diagram catches) ──► failed
      │   fail: backoff  │ └───── fail (attempts used up, or nobody catches it) ──► incident ── retry ──► ready
      └──────────────────┘        any of ready, running, held, incident ── its task is cancelled ──► cancelled
          fail: postponed (no attempt is counted)

A claim raises the epoch, so whatever an earlier holder still reports is refused. A lease that ran out makes the job
claimable again: a worker that was killed loses nothing. Each function that takes a `database` is one transaction.

While an instance is suspended none of its jobs is claimed. One that runs goes on to its end: footage that a recorder is
about to overwrite is worth more than an early stop. Its answer or modelled error is held in its row, with the state
`held`, and becomes an input of the instance when that is resumed (`release`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, text, update
from sqlalchemy.orm import Session

from engine import clock, instances, operators, payloads, personal, projections, wakeup
from engine.db import Database
from engine.errors import (
    N_,
    BpmnError,
    ConflictError,
    DiaoquError,
    EngineError,
    InvalidFormError,
    JobCancelledError,
    NotAllowedError,
    NotFoundError,
    PostponedError,
    Sentence,
    sentence_of,
)
from engine.models import Instance, Job
from engine.spiff import RefusedInputError
from engine.wakeup import Due

LEASE = timedelta(seconds=15)
LONGEST_BACKOFF = timedelta(minutes=10)
ERROR_LENGTH = 4000


@dataclass(frozen=True)
class ClaimedJob:
    """What a worker needs to run a job. Only the holder of this `epoch` may renew, finish or fail it."""

    id: UUID
    epoch: int
    instance_id: UUID
    task_id: UUID
    element: str
    operator: str
    params: dict[str, Any]
    attempt: int
    last_attempt: bool
    lease: timedelta
    business_key: str
    data: dict[str, Any]


# ---- what a worker does ---------------------------------------------------------------------------------------------


def claim(
    database: Database, *, owner: str, site: str, lease: timedelta = LEASE, hint: Due | None = None
) -> ClaimedJob | None:
    """Take the job of this site that has been due longest and may run now; None when there is none.

    With a `hint` that job only, and only when nobody has claimed it since the hint was given.
    Jobs with the same exclusive key run at most `exclusive_limit` at once: a recorder allows one playback.
    """
    with database.reading() as session:  # idle workers must not queue for the write lock
        if not _claimable(session, site, hint, limit=1):
            return None
    lost: list[UUID] = []
    claimed = None
    with database.transaction() as session:
        at = lease_clock(session)
        for job_id in _claimable(session, site, hint, limit=200):
            locked = select(Job).where(Job.id == job_id, _due(at)).with_for_update(skip_locked=True)
            job = session.scalars(locked).one_or_none()
            if job is None or _busy(session, job, at):
                continue
            if job.attempts > retries_of(job):
                lost.append(job.id)
                continue
            claimed = _lend(session, job, owner, at, lease)
            break
    for job_id in lost:
        _give_up(database, job_id)
    return claimed


def _claimable(session: Session, site: str, hint: Due | None, *, limit: int) -> Sequence[UUID]:
    suspended = select(Instance.id).where(Instance.state == "suspended")
    due = (Job.site == site, Job.operator != "", _due(lease_clock(session)))
    query = select(Job.id).where(*due, Job.instance_id.not_in(suspended))
    if hint is not None:
        query = query.where(Job.id == hint[1], Job.epoch == hint[2])
    return session.scalars(query.order_by(Job.due_at, Job.id).limit(limit)).all()


def _due(at: datetime) -> ColumnElement[bool]:
    expired = and_(Job.state == "running", Job.lease_until < at)
    return or_(and_(Job.state == "ready", Job.due_at <= at), expired)


def _give_up(database: Database, job_id: UUID) -> None:
    """A job that took its worker down with it at every attempt is not tried for ever."""
    with database.transaction() as session:
        instances.lock(session, get(session, job_id).instance_id)
        job = _locked(session, job_id)
        expired = job.state == "running" and job.lease_until is not None and job.lease_until < lease_clock(session)
        if expired and job.attempts > retries_of(job):
            _become_incident(session, job, EngineError(N_("The worker was lost at every attempt.")))


def _busy(session: Session, job: Job, at: datetime) -> bool:
    if not job.exclusive_key:
        return False
    if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer; here two claims could count at once
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": job.exclusive_key})
    running = select(func.count(Job.id)).where(
        Job.exclusive_key == job.exclusive_key, Job.state == "running", Job.lease_until >= at, Job.id != job.id
    )
    return (session.scalar(running) or 0) >= job.exclusive_limit


def running(session: Session, exclusive_key: str) -> int:
    """How many jobs with this exclusive key run now."""
    held = (Job.exclusive_key == exclusive_key, Job.state == "running", Job.lease_until >= lease_clock(session))
    return session.scalar(select(func.count(Job.id)).where(*held)) or 0


def _lend(session: Session, job: Job, owner: str, at: datetime, lease: timedelta) -> ClaimedJob:
    job.state, job.owner, job.lease_until = "running", owner, at + lease
    job.epoch += 1
    job.attempts += 1
    job.started_at = job.started_at or at
    home = session.execute(select(Instance.business_key, Instance.data).where(Instance.id == job.instance_id)).one()
    return ClaimedJob(
        id=job.id,
        epoch=job.epoch,
        instance_id=job.instance_id,
        task_id=job.task_id,
        element=job.element,
        operator=job.operator,
        params=job.params,
        attempt=job.attempts,
        last_attempt=job.attempts > retries_of(job),
        lease=lease,
        business_key=home[0],
        data=home[1],
    )


def renew(database: Database, job: ClaimedJob, *, progress: Mapping[str, Any] | None = None) -> bool:
    """Prolong the lease and show progress; False when the job is no longer the caller's: stop at once."""
    with database.transaction() as session:
        values: dict[str, Any] = {"lease_until": lease_clock(session) + job.lease}
        if progress is not None:
            values["progress"] = dict(progress)
        held = (Job.id == job.id, Job.epoch == job.epoch, Job.state == "running", Job.cancel_requested.is_(False))
        return session.execute(update(Job).where(*held).values(values).returning(Job.id)).one_or_none() is not None


def finish(database: Database, job: ClaimedJob, value: Any) -> None:
    """Record the operator's answer and advance the instance.

    Raises:
        JobCancelledError: the job is no longer the caller's; nothing is recorded.
        ConflictError, InvalidFormError, OversizedError: the answer cannot be taken; nothing is recorded.
    """
    with database.transaction() as session:
        instance, row = _hold(session, job)
        _end(row, "done", Sentence(""))
        if instance.state == "suspended":
            _keep(row, {"value": value})
        else:
            instances.step(session, instance, *_input(row, {"value": value}), by=row.operator)


def fail(database: Database, job: ClaimedJob, error: Exception) -> str:
    """Record a failure; answers the job's new state.

    A `BpmnError` goes to the boundary events of its task; when nobody catches it, the job becomes an incident.
    A `PostponedError` makes it due at the instant that it names, without counting an attempt. Anything else is tried
    again with growing pauses, then becomes an incident; at once when the error says that trying again is pointless (an
    attribute `permanent` that is true).

    Raises:
        JobCancelledError: the job is no longer the caller's; nothing is recorded.
    """
    if isinstance(error, BpmnError):
        try:
            return _deliver(database, job, error)
        except RefusedInputError:
            pass  # rolled back; below it becomes an incident
    with database.transaction() as session:
        _instance, row = _hold(session, job)
        if isinstance(error, PostponedError):
            row.state, row.owner, row.lease_until, row.error = "ready", None, None, Sentence("")
            row.attempts, row.due_at = max(0, row.attempts - 1), error.until
            row.progress = {
                **(row.progress or {}),
                "note": error.template,
                "note_params": error.sentence.stored()["params"],
            }
            return row.state
        permanent = isinstance(error, BpmnError) or bool(getattr(error, "permanent", False))
        if permanent or row.attempts > retries_of(row):
            _become_incident(session, row, error)
        else:
            row.state, row.owner, row.lease_until, row.error = "ready", None, None, sentence_of(error)
            row.due_at = lease_clock(session) + backoff(row)
        return row.state


def _deliver(database: Database, job: ClaimedJob, error: BpmnError) -> str:
    with database.transaction() as session:
        instance, row = _hold(session, job)
        outcome = {"code": error.code, "message": error.message[:ERROR_LENGTH]}
        _end(row, "failed", sentence_of(error))
        if instance.state == "suspended":
            _keep(row, outcome)
        else:
            instances.step(session, instance, *_input(row, outcome), by=row.operator)
        return row.state


def _end(job: Job, state: str, error: Sentence) -> None:
    job.state, job.owner, job.lease_until, job.error = state, None, None, error
    job.ended_at = clock.now()


def _input(job: Job, outcome: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What a job reported, as the input of its instance."""
    return "error" if "code" in outcome else "result", {"task": str(job.task_id), **outcome}


def _keep(job: Job, outcome: dict[str, Any]) -> None:
    payloads.encode(outcome)
    job.state, job.outcome = "held", outcome


def release(session: Session, instance: Instance) -> None:
    """Give a resumed instance what its jobs have reported meanwhile, in the order in which they ended.

    What the instance does not take becomes an incident of its job. The caller holds the lock on the instance's row.
    """
    held = select(Job).where(Job.instance_id == instance.id, Job.state == "held")
    for job in session.scalars(held.order_by(Job.ended_at, Job.id)).all():
        session.refresh(job)  # the step before may have cancelled it
        if job.state != "held" or job.outcome is None:
            continue
        try:
            with session.begin_nested():
                kind, payload = _input(job, job.outcome)
                job.state, job.outcome = "done" if kind == "result" else "failed", None
                instances.step(session, instance, kind, payload, by=job.operator)
        except (ConflictError, InvalidFormError) as error:
            job.outcome = None
            _become_incident(session, job, error)


def _hold(session: Session, job: ClaimedJob) -> tuple[Instance, Job]:
    """Lock the instance, then the job (the order of every step), and make sure that the caller still holds it."""
    instance = instances.lock(session, job.instance_id)
    row = _locked(session, job.id)
    if row.epoch != job.epoch or row.state != "running":
        raise JobCancelledError(f"job {job.id} is no longer held at epoch {job.epoch}")
    return instance, row


def _locked(session: Session, job_id: UUID) -> Job:
    query = select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True)
    found = session.scalars(query).one_or_none()
    if found is None:
        raise NotFoundError(N_("There is no job %(id)s."), id=str(job_id))
    return found


def describe(error: Exception) -> str:
    """An error in one line, in English, without the stack: for the history."""
    if isinstance(error, InvalidFormError):
        found = "; ".join(f"{path}: {problem}" for path, problem in error.fields.items())
    else:
        known = isinstance(error, DiaoquError | BpmnError)
        found = str(error) if known else f"{type(error).__name__}: {error}"
    return found.encode(errors="replace").decode().replace("\x00", "")[:ERROR_LENGTH]


def lease_clock(session: Session) -> datetime:
    """Workers on several hosts measure leases by the database's clock; a test's held clock goes before."""
    if clock.is_held() or session.get_bind().dialect.name != "postgresql":
        return clock.now()
    found: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return found.astimezone(UTC)


def retries_of(job: Job) -> int:
    """How often the job is tried again after its first attempt."""
    if job.retries is not None:
        return job.retries
    try:
        return operators.get(job.operator).retries
    except operators.UnknownOperatorError:
        return 0


def backoff(job: Job) -> timedelta:
    """2, 4, 8, … seconds after the first, second, third attempt, at most ten minutes."""
    first = timedelta(seconds=job.backoff if job.backoff is not None else 2)
    return min(first * (1 << max(0, min(job.attempts, 20) - 1)), LONGEST_BACKOFF)


# ---- incidents ------------------------------------------------------------------------------------------------------


def incidents(session: Session) -> list[Job]:
    """Everything that waits for a person's decision, oldest first."""
    return list(session.scalars(select(Job).where(Job.state == "incident").order_by(Job.created_at, Job.id)))


def of_instance(session: Session, instance_id: UUID) -> list[Job]:
    """All jobs of an instance, oldest first."""
    query = select(Job).where(Job.instance_id == instance_id)
    return list(session.scalars(query.order_by(Job.created_at, Job.id)))


def get(session: Session, job_id: UUID) -> Job:
    """Raises NotFoundError."""
    found = session.get(Job, job_id)
    if found is None:
        raise NotFoundError(N_("There is no job %(id)s."), id=str(job_id))
    return found


def _become_incident(session: Session, job: Job, error: Exception) -> None:
    at = clock.now()
    job.state, job.owner, job.lease_until, job.error = "incident", None, None, sentence_of(error)
    instance = instances.lock(session, job.instance_id)
    _record(
        session, instance, "incident", job, by=job.operator, facts={"error": describe(error), "attempts": job.attempts}
    )
    projections.tell_operations(session, job, at)


def _record(session: Session, instance: Instance, kind: str, job: Job, *, by: str, facts: Mapping[str, Any]) -> None:
    """A decision about a job belongs into the history although no token moves."""
    payload = {"job": str(job.id), "task": str(job.task_id), "element": job.element, **facts}
    instances.record(session, instance, kind, payload, by=by)


def retry(session: Session, job_id: UUID, *, by: str, params: Mapping[str, Any] | None = None) -> Job:
    """Try an incident again, with other parameters if need be; for a failed script `params` correct its data.

    Raises:
        NotFoundError. ConflictError: it is no incident (any more), or its instance is suspended.
        OperatorParameterError: `params` do not fit.
    """
    instance, job = _incident(session, job_id)
    if not job.operator:
        job.state, job.ended_at = "done", clock.now()
        payload = {"task": str(job.task_id), "data": personal.seal_data(session, instance, params or {})}
        instances.step(session, instance, "retry", payload, by=by)
        return job
    if params is not None:
        operators.check_parameters(operators.get(job.operator), params)
        payloads.encode(dict(params))
        job.params = personal.seal_anew(session, instance.id, job.params, params)
    refusal = projections.place(session, job)
    if refusal is not None:
        raise ConflictError(refusal.template, **refusal.params)
    job.state, job.attempts, job.due_at, job.error = "ready", 0, lease_clock(session), Sentence("")
    _record(session, instance, "retry_job", job, by=by, facts={"params": job.params})
    wakeup.announce(session, [(job.site, job.id, job.epoch)])
    return job


def cancel(session: Session, job_id: UUID, *, by: str, code: str = "CANCELLED", reason: str = "") -> Job:
    """Give an incident up: its service task fails with the error `code`, which the diagram must catch.

    Raises:
        NotFoundError. ConflictError: it is no incident, or the diagram does not catch `code` (cancel the case then).
        NotAllowedError: it is a failed script, which can only be corrected or end with its case.
    """
    instance, job = _incident(session, job_id)
    if not job.operator:
        raise NotAllowedError(N_("A failed script is corrected and tried again, or the case is cancelled."))
    job.state, job.ended_at = "cancelled", clock.now()
    payload = {"task": str(job.task_id), "code": code, "message": reason}
    instances.step(session, instance, "error", payload, by=by)
    return job


def _incident(session: Session, job_id: UUID) -> tuple[Instance, Job]:
    instance = instances.lock(session, get(session, job_id).instance_id)
    job = _locked(session, job_id)
    if job.state != "incident":
        raise ConflictError(N_("This job is no incident any more; it is %(state)s."), state=job.state)
    instances.check_running(session, instance)
    return instance, job
