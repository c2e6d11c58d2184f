"""Opening and closing a case (clauses 1.1, 5.1)."""

from datetime import datetime
from typing import Any

from sqlalchemy import select

from device import access, cases, retention
from device.models import Camera
from engine import organisation
from engine.errors import NotFoundError
from engine.models import Instance
from engine.operators import StepContext, operator
from engine.organisation import Surroundings
from engine.settings import Settings


@operator("case/open", zh="登记案件", en="Open the case", synchronous=True, refuses_first=True)
def open_case(context: StepContext, *, application: dict[str, Any]) -> dict[str, Any]:
    """Give the request its case number and find out who decides on it; after a correction the number stays.

    `members` are the committee members who may vote: nobody of the applicant's department (rules of conduct), which is
    named whole in `abstaining`, so that none of them votes as somebody's deputy either.
    """
    session = context.session
    around = organisation.around(
        session, _applicant(context, application), at=context.at, groups=("committee", "chair")
    )
    head = around.head()
    retention_days = _retention_days(context, application.get("cameras"))
    start = application.get("start_at")
    overwritten = retention.overwritten_at(datetime.fromisoformat(start), retention_days) if start else None
    case = cases.open_case(
        session,
        context.instance_id,
        applicant=around.username,
        department_id=around.unit,
        at=context.at,
        overwritten_at=overwritten,
        logged=True,
    )
    instance = session.get_one(Instance, context.instance_id)
    if instance.business_key != case.number:
        instance.business_key = case.number
    return {
        "number": case.number,
        "applicant": around.username,
        "department": around.unit_name,
        "head": head,
        "members": [name for name in around.members["committee"] if name not in around.colleagues],
        "abstaining": around.colleagues,
        "chair": _chair(around),
        "retention_days": min(retention_days, default=Settings.retention_days),
        "overwritten_at": overwritten.isoformat() if overwritten else None,
    }


@operator("case/close", zh="结案", en="Close the case", synchronous=True, refuses_first=True)
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


def _applicant(context: StepContext, application: dict[str, Any]) -> str:
    return str(application.get("by") or context.data.get("applicant") or context.actor)


def _retention_days(context: StepContext, keys: Any) -> list[int]:
    cameras = context.session.scalars(select(Camera).where(Camera.key.in_(list(keys or ()))))
    return [camera.recorder.retention_days for camera in cameras]


def _chair(around: Surroundings) -> str:
    """Who decides where the committee cannot: never the applicant, and nobody of their department if it can be helped.

    The chair, else the deputy of a chair, else the head of the topmost unit, else nobody.
    """
    chairs = around.members["chair"]
    deputies = [around.deputies.get(chair, "") for chair in chairs]
    found = [name for name in (*chairs, *deputies, *around.topmost) if name and name != around.username]
    return next((name for name in found if name not in around.colleagues), found[0] if found else "")
