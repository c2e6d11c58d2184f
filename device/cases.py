"""Cases: one per request for footage, with the number that people quote and how it ended."""

from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from device.models import Case
from engine.errors import N_, ConflictError, NotFoundError

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
) -> Case:
    """The case of this process instance, opened with the next number 调取-YYYY-NNNN when it has none yet.

    Raises:
        ConflictError: so many cases are being opened at once that no number could be had.
    """
    case = session.scalar(select(Case).where(Case.instance_id == instance_id))
    if case is not None:
        case.overwritten_at = overwritten_at
        return case
    for _ in range(_ATTEMPTS):
        case = Case(
            number=_next_number(session, at),
            instance_id=instance_id,
            applicant=applicant,
            department_id=department_id,
            opened_at=at,
            closed_at=None,
            overwritten_at=overwritten_at,
        )
        try:
            with session.begin_nested():
                session.add(case)
        except IntegrityError:  # PostgreSQL: another transaction took the number; SQLite has one writer at a time
            continue
        return case
    raise ConflictError(N_("No case number could be had just now. Please try again."))


def _next_number(session: Session, at: datetime) -> str:
    prefix = f"调取-{at.astimezone(LOCAL).year}-"
    newest = session.scalar(
        select(Case.number)
        .where(Case.number.startswith(prefix))
        .order_by(func.length(Case.number).desc(), Case.number.desc())  # 10000 comes after 9999
        .limit(1)
    )
    return f"{prefix}{int(newest.removeprefix(prefix)) + 1 if newest else 1:04d}"


def of_instance(session: Session, instance_id: UUID) -> Case:
    """Raises NotFoundError when the instance has no case (yet)."""
    case = session.scalar(select(Case).where(Case.instance_id == instance_id))
    if case is None:
        raise NotFoundError(N_("This process has no case yet."))
    return case


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
