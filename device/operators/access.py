"""Access to the footage: granting it to the applicant and ending it (clauses 4.1, N2)."""

from datetime import date, datetime, time
from typing import Any

from device import access, cases
from engine.errors import N_, ConflictError, NotFoundError
from engine.operators import StepContext, operator


@operator("access/grant", zh="授予访问权限", en="Grant access", synchronous=True)
def grant(
    context: StepContext, *, user: str, mode: str, until: str, master: bool = False, redacted: bool = False
) -> dict[str, Any]:
    """Let a person see the footage until `until`; a date means the end of that day in local time.

    `master` delivers the untouched master too (mode copy), `redacted` only copies in which regions are painted over.

    When that time has passed already, nothing is granted, and the case says so: nobody approved a longer use.
    """
    session = context.session
    case = cases.of_instance(session, context.instance_id)
    ends = _end_of(until)
    if ends <= context.at:
        details = {"user": user, "mode": mode, "expires_at": ends.isoformat()}
        access.record(session, case, "lapsed", context.actor, at=context.at, details=details)
    else:
        extent = {"master": master, "redacted": redacted}
        access.grant(session, case, user, mode, ends, actor=context.actor, at=context.at, **extent)
    return {"user": user, "mode": mode, "expires_at": ends.isoformat()}


@operator("access/revoke", zh="撤销访问权限", en="Revoke access", synchronous=True)
def revoke(context: StepContext, *, reason: str) -> dict[str, Any]:
    """End everybody's access to the case's footage at once."""
    session = context.session
    try:
        case = cases.of_instance(session, context.instance_id)
    except NotFoundError:
        return {"revoked": 0}
    return {"revoked": access.revoke(session, case, reason, actor=context.actor, at=context.at)}


def _end_of(until: str) -> datetime:
    try:
        if len(until) == len("2026-02-01"):
            return datetime.combine(date.fromisoformat(until), time(23, 59, 59), cases.LOCAL)
        parsed = datetime.fromisoformat(until)
    except ValueError as error:
        raise ConflictError(N_("%(until)s is no date."), until=until) from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=cases.LOCAL)
