"""Due timers: each fires as an input of its own instance, in a transaction of its own."""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, update

from engine import clock, instances
from engine.db import Database
from engine.errors import DiaoquError
from engine.models import Instance

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
