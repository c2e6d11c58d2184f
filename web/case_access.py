"""Who may see what of a case. Deny by default: a hand in it, an office or a grant, and for each page what that needs.

Part in a case shows its overview, diagram, documents and what is known about the footage. Pictures need a permission of
their own (device.access); who saw them, and who may, is for those who answer for it.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from device import access
from device.access import Permission
from device.models import ArchiveEntry, Case, Grant
from engine import clock
from engine.errors import N_, NotAllowedError, NotFoundError
from engine.models import Instance, User
from web.visibility import may_see

OVERSEERS = frozenset({"operator", "archivist", "auditor", "admin"})
"""Groups that see the log of a case and who has access to it."""

REVOKERS = frozenset({"archivist", "admin"})

DISCLOSED_TO = frozenset({"reviewer", "operator", "archivist", "auditor"})
"""Groups that may read personal data in full, when they say why; it is logged."""


def visible_case(session: Session, case_id: int, user: User) -> tuple[Case, Instance]:
    """The case and its process instance.

    Raises:
        NotFoundError: there is no such case, *or* `user` may not know that there is.
    """
    case = session.get(Case, case_id)
    if case is not None:
        instance = session.get_one(Instance, case.instance_id)
        if may_see_case(session, case, instance, user):
            return case, instance
    raise NotFoundError(N_("There is no such case, or you have no part in it."))


def may_see_case(session: Session, case: Case, instance: Instance, user: User) -> bool:
    """Part in the process, an office, a grant (also one that has ended), or the care of the archive and of accesses."""
    if may_see(session, instance, user):
        return True
    granted = select(Grant.id).where(Grant.case_id == case.id, Grant.username == user.username)
    if session.scalar(granted.limit(1)) is not None:
        return True
    if "archivist" not in user.groups:
        return False
    anybody = select(Grant.id).where(Grant.case_id == case.id).limit(1)
    shelved = select(ArchiveEntry.id).where(ArchiveEntry.case_id == case.id)
    return session.scalar(anybody) is not None or session.scalar(shelved) is not None


def oversees(user: User, case: Case) -> bool:
    """Whether `user` answers for this case's log and accesses; never for a request of their own."""
    return bool(user.groups & OVERSEERS) and user.username != case.applicant


def may_disclose(user: User, case: Case) -> bool:
    """Whether `user` may read the personal data of this case in full; not of a request of their own."""
    return bool(user.groups & DISCLOSED_TO) and user.username != case.applicant


def require_overseer(user: User, case: Case) -> None:
    """Raises NotAllowedError."""
    if not oversees(user, case):
        raise NotAllowedError(
            N_("The log of a case and its accesses are for operators, archivists, auditors and administrators.")
        )


def may_revoke(user: User) -> bool:
    return bool(user.groups & REVOKERS)


def may_redact(session: Session, case: Case, user: User) -> Permission | None:
    """Retrieval operators, on nobody's own request: while the case is open, and later while a grant waits for it."""
    if "operator" not in user.groups or user.username == case.applicant:
        return None
    waiting = any(grant.redacted for grant in access.active_grants(session, case, clock.now()))
    return Permission("check", None, None) if not case.outcome or waiting else None
