"""Delivers messages to the one instance that waits for them, or to the process that they start; signals to everybody.

    waiting ── the receiver takes it, in one transaction with its step ──► delivered
      │ ▲      nobody waits, or more than one: looked at again when somebody begins to wait, and every minute
      │ └────────┘
      ├── its time to live is over ──► expired (reported at /operations)
      │                                   both, by a person with a reason ──► delivered, or discarded
      └── a signal whose receiver has gone on ──► missed

The receiver's event names the sender, its event and its element. BPMN 2.0, 8.4.2 and 10.5.
"""

import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from engine import (
    clock,
    definitions,
    identity,
    instances,
    notifications,
    outbox,
    payloads,
    starts,
    subscriptions,
    wakeup,
)
from engine.db import Database
from engine.errors import N_, ConflictError, DiaoquError, NotFoundError, Sentence, sentence_of
from engine.models import Instance, Message, ProcessDefinition, StartEvent
from engine.spiff import Thrown

ACTOR = "message"
KEPT = timedelta(hours=24)
"""How long a message waits for its receiver when neither its diagram nor the settings say otherwise."""
LOOK_AGAIN = timedelta(minutes=1)
LOT = 500
UNDELIVERED = ("waiting", "expired")

_LOG = logging.getLogger(__name__)


# ---- sending from outside -------------------------------------------------------------------------------------------


def send(
    session: Session,
    name: str,
    payload: dict[str, Any],
    *,
    by: str,
    business_key: str = "",
) -> Message:
    """Send a message that no instance has thrown; it is delivered at once when somebody waits for it.

    Raises:
        ConflictError: more than one instance waits for it, or the one cannot take it now; nothing is stored.
        InvalidFormError, OversizedError: the payload cannot be stored.
    """
    payloads.encode({"name": name, "payload": payload, "business_key": business_key})
    at = clock.now()
    message = Message(
        id=uuid4(), kind="message", name=name, payload=payload, business_key=business_key, sent_by=by, sent_at=at,
        due_at=at, state="waiting",
    )  # fmt: skip
    session.add(message)
    _attempt(session, message, at, by)
    return message


def broadcast(session: Session, name: str, payload: Any, *, by: str) -> int:
    """Send a signal that no instance has thrown to all that listen now; answers how many. Delivered by the worker."""
    payloads.encode({"name": name, "payload": payload})
    at = clock.now()
    rows = list(outbox.signals(session, Thrown("", "signal", name, payload)))
    for place, row in enumerate(rows):
        row.id, row.sent_by, row.sent_at, row.due_at, row.place, row.state = uuid4(), by, at, at, place, "waiting"
    session.add_all(rows)
    wakeup.announce(session)
    return len(rows)


# ---- delivering -----------------------------------------------------------------------------------------------------


def deliver_due(database: Database, *, kept: timedelta = KEPT, at: datetime | None = None) -> int:
    """Try to deliver what is due at `at` (default: now), each in a transaction of its own; answers how many arrived.

    `kept` is the time to live of messages whose diagram does not give one.
    """
    at = at or clock.now()
    _ask_the_unknown(database, at)
    with database.reading() as session:
        query = select(Message.id).where(Message.state == "waiting", Message.due_at <= at)
        due = session.scalars(query.order_by(Message.due_at, Message.sent_at, Message.place).limit(LOT)).all()
    return sum(_deliver(database, message_id, at, kept) for message_id in due)


def _ask_the_unknown(database: Database, at: datetime) -> None:
    with database.reading() as session:
        unknown = subscriptions.unknown(session, LOT)
    for instance_id in unknown:
        with database.transaction() as session:
            subscriptions.refresh(session, instances.lock(session, instance_id), at)


def _deliver(database: Database, message_id: UUID, at: datetime, kept: timedelta) -> bool:
    error = Sentence("")
    try:
        with database.transaction() as session:
            message = _locked(session, message_id)
            if message is None:
                return False  # somebody else was faster
            _attempt(session, message, at, ACTOR)
            if message.state != "waiting":
                return message.state == "delivered"
    except DiaoquError as refusal:
        error = refusal.sentence
        _LOG.warning("message %s could not be delivered: %s", message_id, error)
    except Exception as fault:  # noqa: BLE001 - one that nobody can take must not keep back those behind it
        error = sentence_of(fault)
        _LOG.exception("message %s could not be delivered", message_id)
    with database.transaction() as session:
        message = _locked(session, message_id)
        if message is not None:
            _postpone(session, message, at, kept, error)
    return False


def _locked(session: Session, message_id: UUID) -> Message | None:
    query = select(Message).where(Message.id == message_id, Message.state == "waiting")
    return session.scalars(query.with_for_update(skip_locked=True)).one_or_none()


def _postpone(session: Session, message: Message, at: datetime, kept: timedelta, error: Sentence) -> None:
    expires_at = message.expires_at or message.sent_at + kept
    message.error = error
    if expires_at > at:
        message.due_at = min(expires_at, at + LOOK_AGAIN)
        return
    message.state, message.ended_at = "expired", at
    notifications.notify(
        session,
        {*identity.members(session, "operator"), *identity.members(session, "admin")},
        N_("Nobody has taken the message %(name)s."),
        {"name": message.name},
        link="/operations",
        instance_id=message.sender_id,
        at=at,
    )


def _attempt(session: Session, message: Message, at: datetime, by: str) -> None:
    """Give a message to its receiver; it stays `waiting` when there is none. Raises as `instances.advance`."""
    if message.kind == "signal":
        taken = _receive_signal(session, message)
        message.state = "missed" if taken is None else "delivered"
    else:
        taken = _receive_message(session, message, at, by)
    if taken is not None:
        message.state, message.received_by, message.payload, message.error = "delivered", taken.id, None, Sentence("")
    if message.state != "waiting":
        message.ended_at = at


def _receive_message(session: Session, message: Message, at: datetime, by: str) -> Instance | None:
    name, payload, key = message.name, message.payload, message.business_key
    found = receiver(session, name, payload, at=at, business_key=key)
    if found is not None:
        instance = instances.lock(session, found)
        if subscriptions.receivers(session, name, payload, at=at, business_key=key, only=instance.id):
            instances.step(session, instance, "message", _input(message), by=by)
            return instance
    begins = starts.waiting(session, "message", name)
    return _start(session, message, begins[0], by) if begins else None


def receiver(session: Session, name: str, payload: Any, *, at: datetime, business_key: str = "") -> UUID | None:
    """The instance that waits for this message; None when none does.

    Raises:
        ConflictError: more than one does.
    """
    found = subscriptions.receivers(session, name, payload, at=at, business_key=business_key)
    if len(found) > 1:
        raise ConflictError(
            N_("More than one instance waits for the message %(name)s (%(first)s, %(second)s): nobody got it."),
            name=name,
            first=str(found[0]),
            second=str(found[1]),
        )
    return found[0] if found else None


def _receive_signal(session: Session, message: Message) -> Instance | None:
    if message.target_id is None:
        start = session.get(StartEvent, (message.target_definition_id, message.target_element))
        return None if start is None else _start(session, message, start, ACTOR)
    instance = instances.lock(session, message.target_id)
    if not subscriptions.listens(session, instance.id, message.name):
        return None
    instances.step(session, instance, "signal", _input(message), by=ACTOR)
    return instance


def _start(session: Session, message: Message, start: StartEvent, by: str) -> Instance:
    definition: ProcessDefinition = definitions.by_id(session, start.definition_id)
    sender = None if message.sender_id is None else instances.get(session, message.sender_id)
    return instances.start(
        session,
        definition.process_id,
        {},
        by=by,
        starter=message.sent_by if sender is None else sender.started_by,
        version=definition.version,
        business_key=message.business_key,
        event=start.element,
        facts=_input(message),
    )


def _input(message: Message) -> dict[str, Any]:
    """What the receiver's history keeps: the contents, from which event of which instance they came, why by hand."""
    found: dict[str, Any] = {"name": message.name, "payload": message.payload, "message": str(message.id)}
    if message.reason:
        found["reason"] = message.reason
    if message.sender_id is not None:
        found["from"] = {
            "instance": str(message.sender_id),
            "event": message.sender_seq,
            "element": message.sender_element,
        }
    return found


# ---- by hand --------------------------------------------------------------------------------------------------------


def deliver_now(database: Database, message_id: UUID, reason: str, *, by: str) -> Message:
    """Deliver an undelivered message at once, also one whose time is over; the receiver's history says who and why.

    Raises:
        NotFoundError. InvalidFormError: there is no reason.
        ConflictError: it has been delivered or discarded meanwhile, or nobody waits for it.
        DiaoquError: its receiver cannot take it, which from then on is told beside it.
    """
    reason = instances.checked_reason(reason)
    refusal: DiaoquError | None = None
    with database.transaction() as session:
        message = _undelivered(session, message_id)
        message.ended_by, message.reason = by, reason
        try:
            with session.begin_nested():
                _attempt(session, message, clock.now(), by)
        except DiaoquError as error:
            refusal = error
        if message.state == "delivered":
            return message
        message.ended_by = message.reason = ""
        if refusal is not None:
            message.error = refusal.sentence
    raise refusal or ConflictError(N_("Nobody waits for the message %(name)s just now."), name=message.name)


def discard(session: Session, message_id: UUID, reason: str, *, by: str) -> Message:
    """End an undelivered message: it never arrives. The history of the instance that threw it says who and why.

    Raises:
        NotFoundError. ConflictError: it has been delivered or discarded meanwhile. InvalidFormError: no reason given.
    """
    reason = instances.checked_reason(reason)
    message = _undelivered(session, message_id)
    message.state, message.ended_at, message.ended_by, message.reason = "discarded", clock.now(), by, reason
    if message.sender_id is not None:
        sender = instances.lock(session, message.sender_id)
        named = {"name": message.name, "message": str(message.id), "element": message.sender_element}
        facts = {**named, "event": message.sender_seq, "reason": reason}
        instances.record(session, sender, "discard_message", facts, by=by)
    return message


def _undelivered(session: Session, message_id: UUID) -> Message:
    """The message, locked. Raises NotFoundError, ConflictError."""
    query = select(Message).where(Message.id == get(session, message_id).id).with_for_update()
    message = session.scalars(query.execution_options(populate_existing=True)).one()
    if message.state not in UNDELIVERED:
        raise ConflictError(N_("This message waits no more; it is %(state)s."), state=message.state)
    return message


# ---- reading --------------------------------------------------------------------------------------------------------


def get(session: Session, message_id: UUID) -> Message:
    """Raises NotFoundError."""
    message = session.get(Message, message_id)
    if message is None or message.kind != "message":
        raise NotFoundError(N_("There is no message %(id)s."), id=str(message_id))
    return message


def undelivered(session: Session, *, limit: int = 200) -> list[Message]:
    """Messages that wait for a receiver or waited in vain, the newest first."""
    query = select(Message).where(Message.state.in_(UNDELIVERED), Message.kind == "message")
    return list(session.scalars(query.order_by(Message.sent_at.desc(), Message.id).limit(limit)))


def discarded(session: Session, *, limit: int = 200) -> list[Message]:
    """Messages that a person has discarded, the last one first."""
    query = select(Message).where(Message.state == "discarded", Message.kind == "message")
    return list(session.scalars(query.order_by(Message.ended_at.desc(), Message.id).limit(limit)))
