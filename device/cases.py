"""Cases: one per request for footage, with the number that people quote and how it ended."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from device import access
from device.models import Case
from engine.errors import N_, ConflictError, NotFoundError
from engine.history import GENESIS
from engine.models import HistoryEvent, Instance, Signature, Task

LOCAL = ZoneInfo("Asia/Shanghai")
"""The zone of the forms and of the year in a case number."""

OUTCOMES = ("archived", "refused", "withdrawn", "no_footage")
_ATTEMPTS = 20


def open_case(
    session: Session,
    instance_id: UUID,
    *,
    applicant: str,
    department_id: int | None,
    at: datetime,
    overwritten_at: datetime | None,
    logged: bool = False,
) -> Case:
    """The case of this process instance, opened with the next number 调取-YYYY-NNNN when it has none yet.

    `logged`: the log of a new case begins with the applicant's opening it.

    Raises:
        ConflictError: so many cases are being opened at once that no number could be had.
    """
    for _ in range(_ATTEMPTS):
        case, number = _existing_or_number(session, instance_id, at)
        if case is not None:
            case.overwritten_at = overwritten_at
            return case
        case = Case(
            number=number,
            instance_id=instance_id,
            applicant=applicant,
            department_id=department_id,
            opened_at=at,
            closed_at=None,
            overwritten_at=overwritten_at,
            seq=0,
            head=GENESIS,
        )
        opened = access.next_event(case, "opened", applicant, at=at) if logged else None
        try:
            with _contested(session):
                session.add(case)
                session.flush()
        except IntegrityError:
            continue
        if opened is not None:
            opened.case_id = case.id
            session.add(opened)
        return case
    raise ConflictError(N_("No case number could be had just now. Please try again."))


def _contested(session: Session) -> AbstractContextManager[object]:
    """On PostgreSQL another transaction may have taken the number meanwhile; SQLite has one writer at a time."""
    return session.begin_nested() if session.get_bind().dialect.name == "postgresql" else nullcontext()


def _existing_or_number(session: Session, instance_id: UUID, at: datetime) -> tuple[Case | None, str]:
    """The case of the instance, if it has one, and the next number that is free; by one query."""
    prefix = f"调取-{at.astimezone(LOCAL).year}-"
    newest = (
        select(Case.number)
        .where(Case.number.startswith(prefix))
        .order_by(func.length(Case.number).desc(), Case.number.desc())  # 10000 comes after 9999
        .limit(1)
        .scalar_subquery()
    )
    found = session.scalars(select(Case).where(or_(Case.instance_id == instance_id, Case.number == newest))).all()
    last = max((int(case.number.removeprefix(prefix)) for case in found if case.number.startswith(prefix)), default=0)
    return next((case for case in found if case.instance_id == instance_id), None), f"{prefix}{last + 1:04d}"


def of_instance(session: Session, instance_id: UUID) -> Case:
    """The case of an instance; one that repeats a part of another (engine.modification) goes on with that one's case.

    Raises NotFoundError when there is none (yet).
    """
    case = owned(session, instance_id)
    if case is None:
        raise NotFoundError(N_("This process has no case yet."))
    return case


def owned(session: Session, instance_id: UUID) -> Case | None:
    """As `of_instance`, or None."""
    case = session.scalar(select(Case).where(Case.instance_id == instance_id))
    while case is None:
        original = session.scalar(select(Instance.restarted_from).where(Instance.id == instance_id))
        if original is None:
            return None
        instance_id = original
        case = session.scalar(select(Case).where(Case.instance_id == instance_id))
    return case


@dataclass(frozen=True)
class Run:
    """An instance of a case, and the last of its events that the run after it builds on; None: it is the last run."""

    instance_id: UUID
    until: int | None


def runs(session: Session, case: Case, instance_id: UUID) -> list[Run]:
    """What led to `instance_id`, which works on `case`: the instance that opened the case, its restarts, and itself."""
    found = [Run(instance_id, None)]
    while found[0].instance_id != case.instance_id:
        begun = (HistoryEvent.instance_id == found[0].instance_id, HistoryEvent.seq == 1)
        restart = orjson.loads(session.scalars(select(HistoryEvent.payload).where(*begun)).one())["restart"]
        found.insert(0, Run(UUID(restart["instance"]), restart["seq"]))
    return found


def signatures(session: Session, runs: Sequence[Run]) -> list[tuple[Signature, Task]]:
    """The signatures that hold after these runs, in the order in which they were given.

    What was signed in an original after the step at which the next run begins is not among them.
    """
    query = select(Signature, Task).join(Task, Task.id == Signature.task_id)
    found: list[tuple[Signature, Task]] = []
    for run in runs:
        signed = session.execute(
            query.where(Signature.instance_id == run.instance_id).order_by(Signature.signed_at, Signature.id)
        )
        counts = None if run.until is None else _submitted(session, run.instance_id, run.until)
        found += [(one, task) for one, task in signed if counts is None or str(task.id) in counts]
    return found


def _submitted(session: Session, instance_id: UUID, until: int) -> set[str]:
    """The tasks that were completed by the events up to `until`."""
    submits = (HistoryEvent.instance_id == instance_id, HistoryEvent.kind == "submit", HistoryEvent.seq <= until)
    return {orjson.loads(payload)["task"] for payload in session.scalars(select(HistoryEvent.payload).where(*submits))}


def find(session: Session, number: str) -> Case:
    """Raises NotFoundError."""
    case = session.scalar(select(Case).where(Case.number == number))
    if case is None:
        raise NotFoundError(N_("There is no case %(number)s."), number=number)
    return case


def close(case: Case, outcome: str, reason: str, *, at: datetime) -> None:
    """Note how the case ended. Closing it again with the same outcome changes nothing.

    Raises:
        ConflictError: the outcome is unknown, or the case ended in another way before.
    """
    if outcome not in OUTCOMES:
        raise ConflictError(N_("%(outcome)s is no outcome of a case."), outcome=outcome)
    if case.outcome and case.outcome != outcome:
        raise ConflictError(
            N_("Case %(number)s has already ended: %(outcome)s."), number=case.number, outcome=case.outcome
        )
    if not case.outcome:
        case.outcome, case.reason, case.closed_at = outcome, reason, at
