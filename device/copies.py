"""Copies of their own for everybody who may see footage: asked for, made, found by their code, deleted (N2, N3).

A recipient never gets the viewing copy itself: what they see and receive carries their name. `device/watermark.py`
burns it in; here is who gets which copy of what, and when it goes.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from device import access, evidence
from device.access import Permission
from device.cases import LOCAL
from device.models import Case, EvidenceItem, Grant, ViewerCopy
from device.watermark import Mark, new_code, read_code
from engine import clock, identity
from engine.chores import chore
from engine.db import Database
from engine.errors import N_, ConflictError
from engine.models import Instance
from engine.settings import Settings

ENOUGH = 4
"""Letters of a code that must be readable, so that a search does not list half of all viewers."""


def source_of(session: Session, film: EvidenceItem, *, redacted: bool) -> EvidenceItem | None:
    """What a recipient's copy of this viewing copy is made from: itself, or the newest redacted copy of its master.

    None: it must be redacted first.
    """
    if not redacted:
        return film
    query = select(EvidenceItem).where(
        EvidenceItem.master_id == film.master_id,
        EvidenceItem.kind == "redacted_copy",
        EvidenceItem.discarded_at.is_(None),
    )
    return session.scalar(query.order_by(EvidenceItem.id.desc()).limit(1))


def ask(session: Session, grant_id: int, source: EvidenceItem, at: datetime) -> ViewerCopy:
    """The copy of this grant and source, with a code of its own; written down now when there is none."""
    present = find(session, grant_id, source.id)
    for _ in range(3):
        if present is not None:
            return present
        copy = ViewerCopy(code=new_code(), grant_id=grant_id, source_id=source.id, asked_at=at)
        try:
            with session.begin_nested():
                session.add(copy)
            return copy
        except IntegrityError:  # somebody asked at the same moment, or (once in a trillion) the code is taken
            present = find(session, grant_id, source.id)
    raise ConflictError(N_("Your copy could not be written down just now. Please try again."))


def find(session: Session, grant_id: int, source_id: int) -> ViewerCopy | None:
    return session.scalar(select(ViewerCopy).where(ViewerCopy.grant_id == grant_id, ViewerCopy.source_id == source_id))


@dataclass(frozen=True)
class OwnCopy:
    """How far a recipient's copy of a film is: `ready`, `making`, `missing`, or `redaction` (that comes first)."""

    state: str
    source: EvidenceItem | None = None
    item: EvidenceItem | None = None
    code: str = ""


def own_copy(session: Session, film: EvidenceItem, permission: Permission) -> OwnCopy:
    """The copy of this viewing copy that belongs to the grant of `permission`."""
    assert permission.grant_id is not None
    source = source_of(session, film, redacted=permission.redacted)
    if source is None:
        return OwnCopy("redaction")
    copy = find(session, permission.grant_id, source.id)
    if copy is not None and copy.item is not None and copy.item.discarded_at is None:
        return OwnCopy("ready", source, copy.item, copy.code)
    if copy is not None and being_made(session, copy):
        return OwnCopy("making", source, code=copy.code)
    return OwnCopy("missing", source)


def being_made(session: Session, copy: ViewerCopy) -> bool:
    """Whether a process works on it (or waits for an operator to resolve what went wrong)."""
    if copy.item_id is not None or copy.instance_id is None:
        return False
    return session.get_one(Instance, copy.instance_id).state == "running"


def mark_of(session: Session, case: Case, copy: ViewerCopy, at: datetime) -> Mark:
    """What is burned in: name and user id, case number and the time of access, and the code."""
    username = copy.grant.username
    user = identity.find(session, username)
    name = user.name if user is not None else ""
    who = f"{name}（{username}）" if name and name != username else username
    return Mark((who, f"{case.number}  {at.astimezone(LOCAL):%Y-%m-%d %H:%M:%S}"), copy.code)


def trace(session: Session, text: str, *, by: str, origin: str = "", at: datetime | None = None) -> list[ViewerCopy]:
    """Whose copy a code belongs to; `?` stands for what is unreadable. Each copy that is named is noted on its case.

    Raises:
        ConflictError: it is no code, or too little of it is readable.
    """
    try:
        wanted = read_code(text)
    except ValueError as error:
        raise ConflictError(
            N_("%(text)s is no code: it has eight letters and digits; write ? for one that is unreadable."),
            text=text[:40],
        ) from error
    if len(wanted.replace("?", "")) < ENOUGH:
        raise ConflictError(N_("At least %(count)s letters of the code must be readable."), count=ENOUGH)
    query = select(ViewerCopy).where(ViewerCopy.code.like(wanted.replace("?", "_")))
    found = list(session.scalars(query.order_by(ViewerCopy.asked_at)))
    for copy in found:
        case = session.get_one(Case, copy.grant.case_id)
        details = {"code": copy.code, "searched": wanted, "user": copy.grant.username, "grant": copy.grant_id}
        access.record(session, case, "traced", by, at=at, item=copy.source.path, origin=origin, details=details)
    return found


def of_case(session: Session, case: Case) -> list[ViewerCopy]:
    """All copies of a case, newest first."""
    query = select(ViewerCopy).join(Grant, Grant.id == ViewerCopy.grant_id).where(Grant.case_id == case.id)
    return list(session.scalars(query.order_by(ViewerCopy.asked_at.desc(), ViewerCopy.code)))


@chore
def remove_ended(database: Database, settings: Settings) -> int:
    """Delete the files of copies whose access has ended (clause N3); the row, the item and the log stay.

    The file goes first: a crash in between leaves an item without a file, which the next round writes off.
    """
    with database.reading() as session:
        over = or_(Grant.expires_at <= clock.now(), Grant.revoked_at.is_not(None))
        query = (
            select(EvidenceItem.id, EvidenceItem.path, Case.number)
            .join(ViewerCopy, ViewerCopy.item_id == EvidenceItem.id)
            .join(Grant, Grant.id == ViewerCopy.grant_id)
            .join(Case, Case.id == Grant.case_id)
            .where(EvidenceItem.discarded_at.is_(None), over)
        )
        ended = session.execute(query).all()
    for item_id, path, number in ended:
        (evidence.case_folder(settings, number) / path).unlink(missing_ok=True)
        with database.transaction() as session:
            item = session.get_one(EvidenceItem, item_id, with_for_update=True)
            if item.discarded_at is None:
                item.discarded_at = clock.now()
                details = {"digest": item.digest, "reason": "access ended"}
                case = session.get_one(Case, item.case_id)
                access.record(session, case, "discarded", evidence.SYSTEM, item=item.path, details=details)
    return len(ended)
