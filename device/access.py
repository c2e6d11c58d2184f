"""Who may see the footage of a case, and the case's own hash-chained log of it (clauses P3, 4.1, N2).

Deny by default. Every view, grant, copy and change of custody is an event of the case; viewing is registered like
copying (State Council Order 799, Art. 16(2)). docs/evidence-format.md says how the chain is computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from device.models import Case, CaseEvent, Grant
from engine import clock
from engine.errors import N_, ConflictError, NotAllowedError
from engine.history import GENESIS, Finding, chain_digest, exact_bytes, stored_instant
from engine.models import User

MODES = ("view", "still", "copy")


@dataclass(frozen=True)
class Permission:
    """Why somebody may see the footage. `mode`: view, still, copy by a grant; check for the retrieval operator.

    `master`: the untouched master is delivered too. `redacted`: only copies in which regions are painted over.
    """

    mode: str
    until: datetime | None
    grant_id: int | None
    master: bool = False
    redacted: bool = False

    @property
    def stills(self) -> bool:
        """Whether single pictures may be saved."""
        return self.mode in {"still", "copy"}

    @property
    def download(self) -> bool:
        """Only the mode copy delivers a file; view gives no download, still only chosen frames."""
        return self.mode == "copy"


def may_view(session: Session, case: Case, user: User, at: datetime) -> Permission | None:
    """The person's permission to see this case's footage at `at`, or None.

    A grant is needed (clause 4.1). Without one only retrieval operators may, while the case is open, because they
    check the playback (clause 3.2) – and never on their own request.
    """
    if not user.active:
        return None
    grants = active_grants(session, case, at, username=user.username)
    if grants:
        best = max(grants, key=lambda grant: (MODES.index(grant.mode), grant.expires_at))
        return Permission(best.mode, best.expires_at, best.id, best.master, best.redacted)
    if "operator" in user.groups and not case.outcome and user.username != case.applicant:
        return Permission("check", None, None)
    return None


def view(
    session: Session, case: Case, user: User, *, item: str, origin: str = "", at: datetime | None = None
) -> Permission:
    """Check and log that the person sees `item` now.

    Raises:
        NotAllowedError: there is no grant, it expired or was revoked. The refusal is not logged here.
    """
    at = at or clock.now()
    permission = may_view(session, case, user, at)
    if permission is None:
        raise NotAllowedError(
            N_("You may not see the footage of case %(number)s: you have no valid access."), number=case.number
        )
    details = {"mode": permission.mode, "grant": permission.grant_id}
    record(session, case, "viewed", user.username, at=at, item=item, origin=origin, details=details)
    return permission


def active_grants(session: Session, case: Case, at: datetime, *, username: str | None = None) -> list[Grant]:
    """Grants that are neither expired nor revoked at `at`."""
    query = select(Grant).where(
        Grant.case_id == case.id, Grant.granted_at <= at, Grant.expires_at > at, Grant.revoked_at.is_(None)
    )
    if username is not None:
        query = query.where(Grant.username == username)
    return list(session.scalars(query.order_by(Grant.id)))


def grant(
    session: Session,
    case: Case,
    username: str,
    mode: str,
    until: datetime,
    *,
    actor: str,
    at: datetime,
    master: bool = False,
    redacted: bool = False,
) -> Grant:
    """Give a person access until `until`; it replaces the access they have to this case.

    A master goes out in the mode copy only, and never where third parties are to be painted over: they are seen in it.

    Raises:
        ConflictError: the mode is unknown or the end is not in the future.
    """
    if mode not in MODES:
        raise ConflictError(N_("%(mode)s is no way of access: it is view, still or copy."), mode=mode)
    if until <= at:
        raise ConflictError(N_("Access must end in the future."))
    for earlier in active_grants(session, case, at, username=username):
        earlier.revoked_at = at
    given = Grant(
        case_id=case.id,
        username=username,
        mode=mode,
        master=master and mode == "copy" and not redacted,
        redacted=redacted,
        granted_at=at,
        expires_at=until.astimezone(UTC),
        revoked_at=None,
    )
    session.add(given)
    session.flush()
    details = {"user": username, "mode": mode, "expires_at": given.expires_at.isoformat(), "grant": given.id}
    details |= {key: True for key, wanted in (("with_master", given.master), ("redacted", given.redacted)) if wanted}
    record(session, case, "granted", actor, at=at, details=details)
    return given


def revoke(session: Session, case: Case, reason: str, *, actor: str, at: datetime, username: str | None = None) -> int:
    """End all access to the case (or one person's) now; gives the number of grants that ended."""
    grants = active_grants(session, case, at, username=username)
    for ended in grants:
        ended.revoked_at = at
        record(session, case, "revoked", actor, at=at, details={"user": ended.username, "reason": reason})
    return len(grants)


# ---- the chain ------------------------------------------------------------------------------------------------------


def record(
    session: Session,
    case: Case,
    kind: str,
    actor: str,
    *,
    at: datetime | None = None,
    item: str = "",
    origin: str = "",
    details: Mapping[str, Any] | None = None,
) -> CaseEvent:
    """Append an event to the case's chain, in the caller's transaction.

    `kind` is a past participle: opened, acquired, reported, checked, derived, proposed, reviewed, redacted, marked,
    copied, granted, lapsed, revoked, viewed, captured, downloaded, disclosed, traced, discarded, printed, archived,
    closed, erased. `item` names the evidence item, `origin` the network address that it was done from.
    """
    session.flush()
    session.refresh(case, with_for_update=True)  # two events at once must not get the same place in the chain
    event = next_event(case, kind, actor, at=at or clock.now(), item=item, origin=origin, details=details)
    session.add(event)
    session.flush()
    return event


def next_event(
    case: Case,
    kind: str,
    actor: str,
    *,
    at: datetime,
    item: str = "",
    origin: str = "",
    details: Mapping[str, Any] | None = None,
) -> CaseEvent:
    """The next event of a chain, whose head it becomes; nobody else may be adding one meanwhile."""
    event = CaseEvent(
        case_id=case.id,
        seq=case.seq + 1,
        at=at.astimezone(UTC),
        kind=kind,
        actor=actor,
        item=item,
        origin=origin,
        details=orjson.dumps(dict(details or {})).decode(),
        digest="",
    )
    event.digest = event_digest(case, case.head, event)
    case.seq, case.head = event.seq, event.digest
    return event


def event_digest(case: Case, previous: str, event: CaseEvent) -> str:
    """The digest of an event: computed like an event of a process history (engine.history), over its own columns."""
    parts = (stored_instant(event.at), event.kind, event.actor, event.item, event.origin, event.details)
    return chain_digest(case.instance_id, event.seq, [part.encode() for part in parts], previous)


def case_events(session: Session, case: Case) -> list[CaseEvent]:
    return list(session.scalars(select(CaseEvent).where(CaseEvent.case_id == case.id).order_by(CaseEvent.seq)))


EVENT_COLUMNS = ("at", "kind", "actor", "item", "origin", "details")
"""What the digest of an event covers, in this order."""


def stored_case_events(session: Session, case: Case) -> list[tuple[int, dict[str, bytes]]]:
    """The events by number, with the exact bytes of their columns: one that is no time or text any more is read too."""
    names = (*EVENT_COLUMNS, "digest")
    query = select(CaseEvent.seq, *(exact_bytes(session, getattr(CaseEvent, name)) for name in names))
    rows = session.execute(query.where(CaseEvent.case_id == case.id).order_by(CaseEvent.seq))
    return [(row[0], dict(zip(names, map(bytes, row[1:]), strict=True))) for row in rows]


def verify_case_chain(session: Session, case: Case) -> list[Finding]:
    """Everything wrong with the chain: events missing, changed, added or out of order. Empty when it is intact."""
    findings = []
    previous, expected = GENESIS, 1
    for seq, stored in stored_case_events(session, case):
        if seq != expected:
            findings.append(Finding(seq, f"event {expected} is missing before it"))
        digest = chain_digest(case.instance_id, seq, [stored[name] for name in EVENT_COLUMNS], previous)
        if stored["digest"] != digest.encode():
            findings.append(Finding(seq, "its content is not what was hashed when it was written"))
        previous, expected = stored["digest"].decode(errors="replace"), seq + 1
    if (case.seq, case.head) != (expected - 1, previous):
        findings.append(Finding(0, "the newest event is not the one that the case names"))
    return findings
