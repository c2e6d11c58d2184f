"""What running instances wait for, so that a message finds its receiver without a look into each of them."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, delete, func, insert, select
from sqlalchemy.orm import Session

from engine import definitions, live, outbox
from engine.columns import Base
from engine.models import Instance, Subscription
from engine.spiff import StepResult
from engine.spiff import Subscription as Listening

UNKNOWN = "unknown"
"""The kind of the row that stands for an instance of an earlier release, until somebody asks what it waits for."""


_ROWS = Base.metadata.tables["subscriptions"]
_SUBSCRIBE = insert(_ROWS)
_UNSUBSCRIBE = delete(_ROWS).where(
    _ROWS.c.instance_id == bindparam("key"),
    _ROWS.c.kind == bindparam("old_kind"),
    _ROWS.c.name == bindparam("old_name"),
    _ROWS.c.correlation == bindparam("old_correlation"),
)


def project(session: Session, instance: Instance, result: StepResult, at: datetime) -> None:
    """Bring the rows of `instance` in line with the step that has just been made and flushed."""
    if result.unsubscribed:
        gone = [
            {"key": instance.id, "old_kind": old.kind, "old_name": old.name, "old_correlation": old.correlation}
            for old in result.unsubscribed
        ]
        session.connection().execute(_UNSUBSCRIBE, gone)
    if result.subscribed:
        _subscribe(session, instance, result.subscribed, at)


def _subscribe(session: Session, instance: Instance, found: Sequence[Listening], at: datetime) -> None:
    rows = [
        {
            "instance_id": instance.id,
            "kind": new.kind,
            "name": new.name,
            "correlation": new.correlation,
            "definition_id": instance.definition_id,
        }
        for new in found
    ]
    session.connection().execute(_SUBSCRIBE, rows)
    outbox.look_again(session, {new.name for new in found if new.kind == "message"}, at)


def refresh(session: Session, instance: Instance, at: datetime) -> None:
    """Write down anew what `instance`, whose row the caller has locked, waits for: after it has changed its version."""
    session.execute(delete(Subscription).where(Subscription.instance_id == instance.id))
    if instance.ended_at is not None:
        return
    found = sorted(live.rebuild(session, instance).listening)
    if found:
        _subscribe(session, instance, found, at)


def unknown(session: Session, limit: int) -> Sequence[UUID]:
    """Instances of an earlier release of which nobody has asked yet what they wait for."""
    return session.scalars(select(Subscription.instance_id).where(Subscription.kind == UNKNOWN).limit(limit)).all()


def receivers(
    session: Session, name: str, payload: Any, *, at: datetime, business_key: str = "", only: UUID | None = None
) -> list[UUID]:
    """The instances that wait for this message with what it carries; at most two, which is one too many.

    `business_key` leaves those of that key only, `only` that instance.
    """
    found: set[UUID] = set()
    for definition_id in _versions(session, name):
        carried = definitions.compiled(session, definition_id).carried(name, payload, at)
        query = select(Subscription.instance_id).where(
            Subscription.kind == "message",
            Subscription.name == name,
            Subscription.definition_id == definition_id,
            Subscription.correlation.in_(sorted(carried)),
        )
        if business_key:
            query = query.join(Instance, Instance.id == Subscription.instance_id)
            query = query.where(Instance.business_key == business_key)
        if only is not None:
            query = query.where(Subscription.instance_id == only)
        found.update(session.scalars(query.distinct().limit(2)))
    return sorted(found)[:2]


def _versions(session: Session, name: str) -> Iterator[int]:
    """The versions of whose instances one waits for `name`, each found by one step in the index."""
    last: int | None = 0
    while last is not None:
        query = select(func.min(Subscription.definition_id)).where(
            Subscription.kind == "message", Subscription.name == name, Subscription.definition_id > last
        )
        last = session.scalar(query)
        if last is not None:
            yield last


def listens(session: Session, instance_id: UUID, name: str) -> bool:
    """Whether an instance waits for a signal."""
    key = (instance_id, "signal", name, "")
    return session.get(Subscription, key, populate_existing=True) is not None
