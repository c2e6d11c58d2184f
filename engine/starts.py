"""Start events that wait outside any instance: registered when a version is deployed, gone with the next version."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from engine import outbox
from engine.models import ProcessDefinition, StartEvent
from engine.spiff import CompiledDefinition


def register(session: Session, definition: ProcessDefinition, compiled: CompiledDefinition, at: datetime) -> None:
    """From now on the start events of this version of a process wait, and none of an earlier one.

    A timer counts from `at`; a date that is over then starts nothing. Raises ExpressionError when a timer's text is
    no ISO 8601 time.
    """
    earlier = select(ProcessDefinition.id).where(ProcessDefinition.process_id == definition.process_id)
    session.execute(delete(StartEvent).where(StartEvent.definition_id.in_(earlier)))
    for trigger in compiled.triggers:
        schedule = trigger.first(at) if trigger.kind == "timer" else None
        session.add(
            StartEvent(
                definition_id=definition.id,
                element=trigger.element,
                kind=trigger.kind,
                name=trigger.name,
                schedule=schedule,
                due_at=None if schedule is None else datetime.fromisoformat(schedule["next"]),
            )
        )
    outbox.look_again(session, {one.name for one in compiled.triggers if one.kind == "message"}, at)


def waiting(session: Session, kind: str, name: str) -> list[StartEvent]:
    """The start events that wait for a message or signal of this name."""
    query = select(StartEvent).where(StartEvent.kind == kind, StartEvent.name == name)
    return list(session.scalars(query.order_by(StartEvent.definition_id, StartEvent.element)))
