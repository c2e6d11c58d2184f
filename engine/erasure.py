"""Erasure: the key of a case's personal data is destroyed, the history stays (DESIGN, "Erasure").

The kernel has only ever seen envelopes, so an erased instance is still re-executed and proven: what is gone is what the
envelopes held. An erasure is an event of the history that moves no token, and names the disposal that ordered it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from engine import history, instances, personal
from engine.db import Database, afterwards
from engine.errors import N_, ConflictError
from engine.history import StoredEvent
from engine.models import Draft, HistoryEvent, Instance, Task
from engine.projections import ENDED


@dataclass(frozen=True)
class Erasure:
    """Event `seq` erased the personal data in the inputs with these numbers, by order of `disposal`."""

    seq: int
    disposal: str
    inputs: tuple[int, ...]

    def __str__(self) -> str:
        return f"the personal data of {len(self.inputs)} inputs erased by disposal {self.disposal} (event {self.seq})"


def erase(session: Session, instance_id: UUID, disposal: str, *, by: str, reason: str) -> Erasure:
    """Make the personal data of an ended instance unreadable for ever, and record it. It cannot be undone.

    `disposal` is the number under which the disposal is filed. When the transaction is committed, what the deleted key
    left in the database's files is cleared away too (`Database.scrub`); docs/personal-data.md tells of backups.

    Raises:
        NotFoundError. ConflictError: the instance has not ended, or was erased before; nothing is changed then.
    """
    instance = instances.lock(session, instance_id)
    if instance.state not in ENDED:
        raise ConflictError(N_("This case has not ended: its personal data is still needed."))
    before = find(session, instance_id)
    if before is not None:
        raise ConflictError(N_("This case was erased by the disposal %(disposal)s before."), disposal=before.disposal)
    inputs = _inputs(history.stored_events(session, instance_id))
    _discard_drafts(session, instance_id)
    personal.destroy_key(session, instance_id)
    facts = {"disposal": disposal, "reason": reason, "inputs": list(inputs)}
    instances.record(session, instance, "erase", facts, by=by)
    afterwards(session, Database.scrub)
    return Erasure(instance.seq, disposal, inputs)


def _discard_drafts(session: Session, instance_id: UUID) -> None:
    """What people had typed into tasks of the instance that others then completed."""
    names = [str(task_id) for task_id in session.scalars(select(Task.id).where(Task.instance_id == instance_id))]
    for draft in session.scalars(select(Draft).where(Draft.key.in_(names))).all():
        personal.destroy_key(session, personal.draft_key(draft.username, draft.key))
        session.delete(draft)
    session.flush()


def find(session: Session, instance_id: UUID) -> Erasure | None:
    """The erasure of an instance, when there was one."""
    query = select(HistoryEvent).where(HistoryEvent.instance_id == instance_id, HistoryEvent.kind == "erase")
    event = session.scalars(query.order_by(HistoryEvent.seq).limit(1)).one_or_none()
    if event is None:
        return None
    facts = orjson.loads(event.payload)
    return Erasure(event.seq, facts["disposal"], tuple(facts["inputs"]))


def recorded(stored: Iterable[StoredEvent]) -> Erasure | None:
    """The erasure that a history tells of; what it covers is counted in the history, not read from the event.

    Raises:
        ValueError, LookupError, TypeError: the event cannot be read.
    """
    earlier: list[StoredEvent] = []
    for event in stored:
        if event.kind == b"erase":
            return Erasure(event.seq, str(orjson.loads(event.payload)["disposal"]), _inputs(earlier))
        earlier.append(event)
    return None


def _inputs(stored: Iterable[StoredEvent]) -> tuple[int, ...]:
    """The numbers of the events whose payload holds personal data."""
    return tuple(event.seq for event in stored if b'"' + personal.MARK.encode() in event.payload)


def keys_left(session: Session, instance: Instance, erasure: Erasure | None) -> list[history.Finding]:
    """What an erasure should have destroyed and did not: a key that was put back from a backup, say."""
    if erasure is None or not personal.has_key(session, instance.id):
        return []
    return [history.Finding(erasure.seq, "the key that it destroyed is in the database")]
