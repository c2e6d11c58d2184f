"""In-app notices: a message id with parameters, shown in the reader's language (clause 4.1)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from engine import clock
from engine.columns import Base
from engine.models import Notification

_LEAVE = insert(Base.metadata.tables["notifications"])


def notify(
    session: Session,
    usernames: Iterable[str],
    template: str,
    params: Mapping[str, Any],
    *,
    link: str = "",
    instance_id: UUID | None = None,
    at: datetime | None = None,
) -> int:
    """Leave each of `usernames` one notice; answers how many.

    `template`, with %(name)s placeholders, is an English message of the site or a text of a diagram; the
    translations of that come with its deployment.
    """
    facts = {
        "template": template,
        "params": dict(params),
        "link": link,
        "instance_id": instance_id,
        "created_at": at or clock.now(),
    }
    rows = [{"username": username, **facts} for username in sorted(set(usernames))]
    if rows:
        session.connection().execute(_LEAVE, rows)
    return len(rows)


def unread(session: Session, username: str) -> list[Notification]:
    """A person's unread notices, newest first."""
    query = select(Notification).where(Notification.username == username, Notification.read_at.is_(None))
    return list(session.scalars(query.order_by(Notification.created_at.desc(), Notification.id.desc())))


def count_unread(session: Session, username: str) -> int:
    query = select(func.count(Notification.id)).where(Notification.username == username)
    return session.scalar(query.where(Notification.read_at.is_(None))) or 0


def recent(session: Session, username: str, *, limit: int = 100) -> list[Notification]:
    """A person's notices, read or not, newest first."""
    query = select(Notification).where(Notification.username == username)
    return list(session.scalars(query.order_by(Notification.created_at.desc(), Notification.id.desc()).limit(limit)))


def mark_read(session: Session, username: str, *, at: datetime, notification_id: int | None = None) -> None:
    """Mark one of a person's notices as read, or all of them. Somebody else's notice is left alone."""
    change = update(Notification).where(Notification.username == username, Notification.read_at.is_(None))
    if notification_id is not None:
        change = change.where(Notification.id == notification_id)
    session.execute(change.values(read_at=at))
