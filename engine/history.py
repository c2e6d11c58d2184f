"""The append-only, hash-chained history of each process instance.

Every event's digest covers the exact stored bytes of its columns, each with its length in front, and the digest of the
event before it. The head of the chain stands in the instance's row, so a removed last event is noticed too.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, LargeBinary, String, bindparam, cast, func, insert, select, type_coerce, update
from sqlalchemy.event import listens_for
from sqlalchemy.orm import InstrumentedAttribute, Session, SessionTransaction
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.exc import StaleDataError

from engine.columns import Base
from engine.errors import N_, ConflictError, NotFoundError
from engine.models import HistoryEvent, Instance

GENESIS = ""
"""What stands for the digest of the event before the first."""

DECISIONS = frozenset(
    {"incident", "retry_job", "delegate", "assign", "change_task", "restarted", "erase", "discard_message"}
)
"""Kinds of events that are recorded but do not move a token; re-execution passes over them.

incident and retry_job are about a job, delegate, assign and change_task about a user task (engine.assignments);
restarted names the instance that repeats a part of this one (engine.modification); erase says that personal data can
be read no more (engine.erasure); discard_message is about a message that this instance has thrown (engine.messages).
"""


@dataclass(frozen=True)
class Finding:
    """Something about an instance's history that is not as it was written. `seq` is the event's, 0 the head's."""

    seq: int
    template: str

    def __str__(self) -> str:
        return f"event {self.seq}: {self.template}"


@dataclass(frozen=True)
class StoredEvent:
    """The exact bytes of one row, as they lie in the database."""

    seq: int
    at: bytes
    kind: bytes
    actor: bytes
    payload: bytes
    lookups: bytes
    derived: bytes
    digest: bytes

    def expected(self, instance_id: UUID, previous: str) -> str:
        """The digest that this event should have after `previous`."""
        parts = (self.at, self.kind, self.actor, self.payload, self.lookups, self.derived)
        return chain_digest(instance_id, self.seq, parts, previous)


def chain_digest(instance_id: UUID, seq: int, parts: Sequence[bytes], previous: str) -> str:
    """SHA-256 over the length-prefixed instance id, sequence number, `parts` and previous digest: `sha256:<hex>`."""
    digest = hashlib.sha256()
    for part in (instance_id.bytes, str(seq).encode(), *parts, previous.encode()):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def stored_instant(at: datetime) -> str:
    """The text that the column type `Instant` stores, which is what is hashed."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def append(
    session: Session,
    instance: Instance,
    *,
    at: datetime,
    kind: str,
    actor: str,
    payload: str,
    lookups: str = "[]",
    derived: str = "{}",
    follows: Mapping[str, Any] | None = None,
) -> None:
    """Write the next event of `instance`'s history and move its head. The caller holds the lock on the instance's row.

    `follows` is what else changes in that row. Both statements go past the ORM, whose bookkeeping costs more than they
    do; everything that is pending in the session is written before them.

    Raises:
        ValueError: `at` is earlier than the event before it.
        ConflictError: another process changed the instance meanwhile.
    """
    if instance.seq and at < instance.changed_at:
        raise ValueError("time runs backwards in this history")
    seq = instance.seq + 1
    parts = [part.encode() for part in (stored_instant(at), kind, actor, payload, lookups, derived)]
    digest = chain_digest(instance.id, seq, parts, instance.head)
    event = {
        "instance_id": instance.id,
        "seq": seq,
        "at": at,
        "kind": kind,
        "actor": actor,
        "payload": payload,
        "lookups": lookups,
        "derived": derived,
        "digest": digest,
    }
    follows = follows or {}
    for name, value in follows.items():
        set_committed_value(instance, name, value)  # else the flush would write them by a statement of its own
    try:
        session.flush()
    except StaleDataError as error:
        raise ConflictError(_MEANWHILE) from error
    moved = {"seq": seq, "head": digest, "changed_at": at, "revision": instance.revision + 1}
    connection = session.connection()
    connection.execute(_APPEND, event)
    guard = {"instance": instance.id, "known": instance.revision}
    if not connection.execute(_MOVE, {**guard, **moved, **follows}).rowcount:
        raise ConflictError(_MEANWHILE)
    for name, value in moved.items():
        set_committed_value(instance, name, value)


_APPEND = insert(Base.metadata.tables["history"])
_INSTANCES = Base.metadata.tables["instances"]
_MOVE = update(_INSTANCES).where(_INSTANCES.c.id == bindparam("instance"), _INSTANCES.c.revision == bindparam("known"))
_MEANWHILE = N_("Somebody else changed this case at the same moment; please try again.")


@listens_for(Session, "after_soft_rollback")
def _undone(session: Session, undone: SessionTransaction) -> None:
    """What went past the ORM is not known to it, so it does not take it back with a savepoint either."""
    if undone.nested:
        session.expire_all()


def events(session: Session, instance_id: UUID, *, after: int = 0) -> list[HistoryEvent]:
    """The events of an instance in their order, from the one that follows `after`."""
    query = select(HistoryEvent).where(HistoryEvent.instance_id == instance_id, HistoryEvent.seq > after)
    return list(session.scalars(query.order_by(HistoryEvent.seq)))


def stored_events(session: Session, instance_id: UUID) -> list[StoredEvent]:
    """The events as bytes: a row whose text is no longer UTF-8 or no longer a time can still be read and named."""
    columns = ("at", "kind", "actor", "payload", "lookups", "derived", "digest")
    query = select(HistoryEvent.seq, *(exact_bytes(session, getattr(HistoryEvent, name)) for name in columns))
    rows = session.execute(query.where(HistoryEvent.instance_id == instance_id).order_by(HistoryEvent.seq))
    return [StoredEvent(row[0], *(bytes(value) for value in row[1:])) for row in rows]


def exact_bytes(session: Session, column: InstrumentedAttribute[str]) -> ColumnElement[bytes]:
    """A text column as the bytes that the database holds, whatever somebody has made of them."""
    text = type_coerce(column, String)
    if session.get_bind().dialect.name == "postgresql":  # there a cast would interpret backslashes
        return func.convert_to(text, "UTF8", type_=LargeBinary)
    return cast(text, LargeBinary)


def verify_chain(session: Session, instance_id: UUID) -> list[Finding]:
    """Everything that breaks the chain of an instance: changed, missing or added events, a head that does not match.

    Raises:
        NotFoundError: there is no such instance.
    """
    head = session.execute(select(Instance.seq, Instance.head).where(Instance.id == instance_id)).one_or_none()
    if head is None:
        raise NotFoundError(N_("There is no process instance %(id)s."), id=str(instance_id))
    return chain_findings(instance_id, stored_events(session, instance_id), seq=head[0], head=head[1])


def chain_findings(instance_id: UUID, stored: Sequence[StoredEvent], *, seq: int, head: str) -> list[Finding]:
    """Check `stored` against itself and against the head that the instance's row names."""
    findings = []
    previous, last, last_at = GENESIS, 0, b""
    for event in stored:
        if event.seq != last + 1:
            findings.append(Finding(event.seq, f"events {last + 1} to {event.seq - 1} are missing before it"))
        expected = event.expected(instance_id, previous)
        if expected.encode() != event.digest:
            findings.append(Finding(event.seq, "its content is not what was hashed when it was written"))
        if event.at < last_at:
            findings.append(Finding(event.seq, "it is dated earlier than the event before it"))
        previous, last, last_at = event.digest.decode(errors="replace"), event.seq, event.at
    if last != seq:
        findings.append(Finding(0, f"the history ends at event {last}, the instance says {seq}"))
    if previous != head:
        findings.append(Finding(0, "the last event is not the one that the instance names as its head"))
    return findings
