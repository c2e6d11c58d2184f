"""When recorders overwrite footage (State Council Order 799, Art. 17: at least 30 days), and the end of personal data.

The disposal of archived footage (clause N3) will call for `erase_personal_data`; it stands by itself as well.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from device import access
from device.models import Case
from engine import erasure
from engine.erasure import Erasure
from engine.errors import N_, FieldError, InvalidFormError, NotAllowedError
from engine.models import Instance, User

DISPOSERS = frozenset({"archivist", "chair", "admin"})
"""Groups whose members may order a disposal together; two persons, neither of them the applicant."""


def overwritten_at(start: datetime, retention_days: Iterable[int], default: int = 30) -> datetime:
    """When the first of the recorders will have overwritten the first second of the footage."""
    return start + timedelta(days=min(retention_days, default=default))


def erase_personal_data(
    session: Session, case: Case, disposal: str, *, by: User, approved_by: User, reason: str
) -> Erasure:
    """Make the personal data of an ended case unreadable for ever (PIPL Art. 47), by order of two persons.

    It is recorded in the history of the process and in the log of the case, which both stay.

    Raises:
        NotAllowedError: it is one person, one who lacks the role, or the applicant.
        InvalidFormError: no reason, or no disposal number, is given.
        ConflictError: the case has not ended, or was erased before.
    """
    missing = {name: FieldError(N_("Say why."), {}) for name, text in (("reason", reason),) if not text.strip()}
    if not disposal.strip() or len(disposal) > 100:
        missing["disposal"] = FieldError(N_("Give the number of the disposal, in at most 100 characters."), {})
    if missing:
        raise InvalidFormError(missing)
    if by.username == approved_by.username:
        raise NotAllowedError(N_("A disposal needs two persons."))
    for person in (by, approved_by):
        if not person.active or not person.groups & DISPOSERS:
            raise NotAllowedError(
                N_("%(username)s may not order a disposal: it needs an archivist, a chair or an administrator."),
                username=person.username,
            )
        if person.username == case.applicant:
            raise NotAllowedError(N_("Nobody orders the disposal of their own request."))
    disposal, reason = disposal.strip(), reason.strip()
    for copy in _restarted(session, case.instance_id):
        erasure.erase(session, copy, disposal, by=by.username, reason=reason)
    erased = erasure.erase(session, case.instance_id, disposal, by=by.username, reason=reason)
    details = {
        "disposal": erased.disposal,
        "reason": reason,
        "approved_by": approved_by.username,
        "inputs": list(erased.inputs),
        "event": erased.seq,
    }
    access.record(session, case, "erased", by.username, details=details)
    return erased


def _restarted(session: Session, instance_id: UUID) -> list[UUID]:
    """The instances that repeat a part of this one and are no case of their own: they hold the same personal data."""
    own = select(Case.id).where(Case.instance_id == Instance.id).exists()
    query = select(Instance.id).where(Instance.restarted_from == instance_id, ~own)
    found = list(session.scalars(query))
    return found + [each for one in found for each in _restarted(session, one)]
