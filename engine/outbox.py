"""Messages and signals that leave an instance: stored in the transaction of the step that threw them, or not at all."""

from collections.abc import Collection, Iterator
from datetime import datetime
from uuid import UUID, uuid5

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from engine import calendar, wakeup
from engine.models import Instance, Message, StartEvent, Subscription
from engine.spiff import Thrown


def put(session: Session, instance: Instance, thrown: Collection[Thrown], *, by: str, at: datetime) -> None:
    """Store what the step has thrown that is the newest event of `instance`'s history.

    A message is one row. A signal is a row for each that listens at this moment: every other instance, and every
    process that it starts.
    """
    rows: list[Message] = []
    for one in thrown:
        if one.kind == "message":
            rows.append(Message(expires_at=calendar.due(at, one.time_to_live), **_contents(one)))
        else:
            rows += signals(session, one, besides=instance.id)
    for place, row in enumerate(rows):
        row.id = uuid5(instance.id, f"{instance.seq}/thrown/{place}")
        row.sender_id, row.sender_seq, row.place = instance.id, instance.seq, place
        row.sent_by, row.sent_at, row.due_at, row.state = by, at, at, "waiting"
    if rows:
        session.add_all(rows)
        wakeup.announce(session)


def _contents(one: Thrown) -> dict[str, object]:
    return {"kind": one.kind, "name": one.name, "payload": one.payload, "sender_element": one.element}


def signals(session: Session, signal: Thrown, *, besides: UUID | None = None) -> Iterator[Message]:
    """A row for each that listens to a signal now, without its sender and its times."""
    listening = select(Subscription.instance_id).where(Subscription.kind == "signal", Subscription.name == signal.name)
    starting = select(StartEvent).where(StartEvent.kind == "signal", StartEvent.name == signal.name)
    with session.no_autoflush:
        for instance_id in session.scalars(listening.order_by(Subscription.instance_id)).all():
            if instance_id != besides:
                yield Message(target_id=instance_id, **_contents(signal))
        for start in session.scalars(starting.order_by(StartEvent.definition_id, StartEvent.element)).all():
            yield Message(target_definition_id=start.definition_id, target_element=start.element, **_contents(signal))


def look_again(session: Session, names: Collection[str], at: datetime) -> None:
    """Somebody new waits for messages of these names: what lies here undelivered is worth another attempt."""
    if names:
        waiting = (Message.state == "waiting", Message.kind == "message", Message.name.in_(sorted(names)))
        session.execute(update(Message).where(*waiting, Message.due_at > at).values(due_at=at))
        wakeup.announce(session)
