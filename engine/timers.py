"""Due timers: each fires as an input of its own instance, or starts one, in a transaction of its own."""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, update

from engine import clock, definitions, instances
from engine.db import Database
from engine.errors import DiaoquError
from engine.models import Instance, StartEvent
from engine.spiff import following

ACTOR = "timer"
POSTPONED = timedelta(minutes=1)
"""How long an instance rests whose timer could not fire, so that it does not keep the others waiting."""

_LOG = logging.getLogger(__name__)


def fire_due(database: Database, at: datetime | None = None) -> int:
    """Fire the timers that are due at `at` (default: now) in all running instances; answers how many instances moved.

    An instance whose step fails is logged and tried again a minute later; the others go on.
    """
    at = at or clock.now()
    with database.reading() as session:
        query = select(Instance.id).where(Instance.state == "running", Instance.due_at <= at)
        waiting = list(session.scalars(query.order_by(Instance.due_at)))
    return sum(_fire(database, instance_id, at) for instance_id in waiting)


def _fire(database: Database, instance_id: UUID, at: datetime) -> bool:
    try:
        with database.transaction() as session:
            instance = instances.lock(session, instance_id)
            due_at = instance.due_at
            if instance.state != "running" or due_at is None or due_at > at:
                return False  # somebody else was faster
            instances.step(session, instance, "timer", {}, by=ACTOR, at=at)
            if instance.due_at is not None and instance.due_at <= due_at:
                instance.due_at = at + POSTPONED
            return True
    except DiaoquError:
        _LOG.exception("the timers of instance %s could not fire", instance_id)
    with database.transaction() as session:
        session.execute(update(Instance).where(Instance.id == instance_id).values(due_at=at + POSTPONED))
    return False


# ---- start events ---------------------------------------------------------------------------------------------------


def start_due(database: Database, at: datetime | None = None) -> int:
    """Start an instance for every timer start event that is due at `at` (default: now); answers how many.

    Starts that were missed while no worker ran are made up for by one; they count against `R<n>`. The row moves on to
    its next start in the transaction that starts the instance, so that no other worker starts it again.
    """
    at = at or clock.now()
    with database.reading() as session:
        query = select(StartEvent.definition_id, StartEvent.element).where(StartEvent.due_at <= at)
        due = session.execute(query.order_by(StartEvent.due_at)).all()
    return sum(_start(database, definition_id, element, at) for definition_id, element in due)


def _start(database: Database, definition_id: int, element: str, at: datetime) -> bool:
    key = (StartEvent.definition_id == definition_id, StartEvent.element == element)
    try:
        with database.transaction() as session:
            query = select(StartEvent).where(*key, StartEvent.due_at <= at).with_for_update(skip_locked=True)
            row = session.scalars(query).one_or_none()
            if row is None or row.schedule is None or row.due_at is None:
                return False  # somebody else was faster, or a newer version has come
            planned, row.schedule = row.schedule["next"], following(row.schedule, at)
            row.due_at = None if row.schedule is None else datetime.fromisoformat(row.schedule["next"])
            definition = definitions.by_id(session, definition_id)
            facts = {"due": planned}
            process_id, version = definition.process_id, definition.version
            instances.start(session, process_id, {}, by=ACTOR, version=version, event=element, facts=facts)
            return True
    except DiaoquError:
        _LOG.exception("the timer %s of definition %s could not start an instance", element, definition_id)
    with database.transaction() as session:
        session.execute(update(StartEvent).where(*key, StartEvent.due_at <= at).values(due_at=at + POSTPONED))
    return False
