"""Opening and closing a case (clauses 1.1, 5.1)."""

from datetime import datetime
from typing import Any

from sqlalchemy import select

from device import access, cases, retention
from device.models import Camera
from engine import identity
from engine.errors import N_, NotFoundError
from engine.models import Department, Instance, User
from engine.operators import StepContext, operator
from engine.settings import Settings


@operator("case/open", zh="登记案件", en="Open the case", synchronous=True)
def open_case(context: StepContext, *, application: dict[str, Any]) -> dict[str, Any]:
    """Give the request its case number and find out who decides on it; after a correction the number stays.

    `members` are the committee members who may vote: nobody of the applicant's department (rules of conduct), which is
    named whole in `abstaining`, so that none of them votes as somebody's deputy either.
    """
    session = context.session
    applicant = _applicant(context, application)
    retention_days = _retention_days(context, application.get("cameras"))
    start = application.get("start_at")
    overwritten = retention.overwritten_at(datetime.fromisoformat(start), retention_days) if start else None
    case = cases.open_case(
        session,
        context.instance_id,
        applicant=applicant.username,
        department_id=applicant.department_id,
        at=context.at,
        overwritten_at=overwritten,
    )
    instance = session.get_one(Instance, context.instance_id)
    if instance.business_key != case.number:
        instance.business_key = case.number
    if not case.seq:
        access.record(session, case, "opened", applicant.username, at=context.at)
    department = applicant.department
    return {
        "number": case.number,
        "applicant": applicant.username,
        "department": department.name if department else "",
        "head": identity.head_of(session, applicant, at=context.at),
        "members": _members(context, applicant),
        "abstaining": _colleagues(context, applicant),
        "chair": _chair(context, applicant),
        "retention_days": min(retention_days, default=Settings.retention_days),
        "overwritten_at": overwritten.isoformat() if overwritten else None,
    }


@operator("case/close", zh="结案", en="Close the case", synchronous=True)
def close_case(context: StepContext, *, outcome: str, reason: str = "") -> dict[str, Any]:
    """Note how the case ended. A request that was withdrawn before it got a number has no case to close."""
    session = context.session
    try:
        case = cases.of_instance(session, context.instance_id)
    except NotFoundError:
        return {"number": "", "outcome": outcome, "closed_at": context.at.isoformat()}
    ended = bool(case.outcome)
    cases.close(case, outcome, reason or "", at=context.at)
    if not ended:
        details = {"outcome": outcome, "reason": reason}
        access.record(session, case, "closed", context.actor, at=context.at, details=details)
    closed_at = case.closed_at or context.at
    return {"number": case.number, "outcome": case.outcome, "closed_at": closed_at.isoformat()}


def _applicant(context: StepContext, application: dict[str, Any]) -> User:
    username = str(application.get("by") or context.data.get("applicant") or context.actor)
    found = identity.find(context.session, username)
    if found is None:
        raise NotFoundError(N_("There is no user %(username)s."), username=username)
    return found


def _retention_days(context: StepContext, keys: Any) -> list[int]:
    cameras = context.session.scalars(select(Camera).where(Camera.key.in_(list(keys or ()))))
    return [camera.recorder.retention_days for camera in cameras]


def _colleagues(context: StepContext, applicant: User) -> list[str]:
    """Everybody of the applicant's department, and in any case the applicant."""
    if applicant.department_id is None:
        return [applicant.username]
    query = select(User.username).where(User.department_id == applicant.department_id, User.active)
    return sorted({applicant.username, *context.session.scalars(query)})


def _members(context: StepContext, applicant: User) -> list[str]:
    own = _colleagues(context, applicant)
    return [name for name in identity.members(context.session, "committee") if name not in own]


def _chair(context: StepContext, applicant: User) -> str:
    """Who decides where the committee cannot: never the applicant, and nobody of their department if it can be helped.

    The chair, else the deputy of a chair, else the head of the topmost unit, else nobody.
    """
    session = context.session
    chairs = identity.members(session, "chair")
    deputies = [identity.deputy_of(session, chair, context.at) for chair in chairs]
    top = session.scalars(select(Department.head_username).where(Department.parent_id.is_(None)))
    found = [name for name in (*chairs, *deputies, *top) if name and name != applicant.username]
    own = _colleagues(context, applicant)
    return next((name for name in found if name not in own), found[0] if found else "")
