"""What an administrator may do to the course of an instance: move its tokens, correct its data, begin again at a step.

A modification is one input of the instance's history and is re-executed like any other. What is sound is decided in
engine.spiff.moving. A restart is the first input of a new instance; both histories name the other.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from engine import definitions, history, instances, live, personal, replay, versions
from engine.errors import N_, ConflictError, NotFoundError, Sentence
from engine.models import Instance, Task
from engine.projections import OPEN
from engine.spiff import StepResult


@dataclass(frozen=True)
class Change:
    """Elements whose tokens are cancelled, elements on which a token is put, variables that are set or removed."""

    cancel: Sequence[str] = ()
    start: Sequence[str] = ()
    set: Mapping[str, Any] = field(default_factory=dict)
    unset: Sequence[str] = ()

    def payload(self, reason: str) -> dict[str, Any]:
        lists = {"cancel": list(self.cancel), "start": list(self.start), "unset": list(self.unset)}
        return {**lists, "set": dict(self.set), "reason": reason}


def modify(session: Session, instance_id: UUID | str, change: Change, reason: str, *, by: str) -> StepResult:
    """Move tokens and correct data, in one step. An element that is both cancelled and started begins anew.

    A started element sees the data as they were where its token forks off, as corrected. What was decided when a task
    was opened (who may take it, when it is due) stays as it is; begin the task anew to have it decided again.

    Raises:
        NotFoundError. ConflictError: the instance has ended, or it cannot be done soundly (says why).
        InvalidFormError: there is no reason, or the data cannot be stored. OversizedError.
    """
    reason = instances.checked_reason(reason)
    instance = instances.lock(session, instance_id)
    change = replace(change, set=personal.seal_data(session, instance, change.set))
    result = instances.step(session, instance, "modify", change.payload(reason), by=by)
    if result.state in ("running", "suspended"):
        _show_corrections(session, instance)
    return result


def _show_corrections(session: Session, instance: Instance) -> None:
    """Open tasks show the corrected data at once."""
    execution = live.take(session, instance)
    for task in session.scalars(select(Task).where(Task.instance_id == instance.id, Task.state.in_(OPEN))):
        task.data = execution.task_data(task.id)
    session.flush()
    live.keep(session, instance, execution)


@dataclass(frozen=True)
class Preview:
    """What a modification would lead to. `active` counts the tokens of each element; `fails` are new incidents."""

    state: str
    active: Mapping[str, int]
    opens: Sequence[str]
    runs: Sequence[str]
    fails: Mapping[str, Sentence]
    data: Mapping[str, Any]


def preview(session: Session, instance_id: UUID | str, change: Change, reason: str, *, by: str) -> Preview:
    """Do what `modify` would do, look at it, and undo it; nothing of it is stored. Raises as `modify`."""
    identifier = instances.identifier(instance_id)
    savepoint = session.begin_nested()
    try:
        result = modify(session, identifier, change, reason, by=by)
        return Preview(
            state=result.state,
            active=_active(session, identifier) if result.state in ("running", "suspended") else {},
            opens=[task.element for task in result.opened],
            runs=[job.element for job in result.jobs],
            fails={element: told for _task, element, told in result.incidents},
            data=result.data,
        )
    finally:
        savepoint.rollback()


def _active(session: Session, instance_id: UUID) -> dict[str, int]:
    stays = Counter(stay.element for stay in stays_of(session, instance_id) if stay.until is None)
    return dict(stays)


# ---- restarting


@dataclass(frozen=True)
class Stay:
    """How long a token stood at an element: it came with event `since` and left with event `until`, if it has left.

    `how` it left: leave, fail or cancel.
    """

    element: str
    since: int
    since_at: datetime
    until: int | None = None
    until_at: datetime | None = None
    how: str = ""
    by: str = ""


def stays_of(session: Session, instance_id: UUID) -> list[Stay]:
    """All stays that lasted beyond a step, in the order in which they began: where one can begin again.

    Raises NotFoundError.
    """
    return sorted(_stays(instances.visible_events(session, instance_id)), key=lambda stay: stay.since)


def _stays(events: Sequence[dict[str, Any]]) -> Iterator[Stay]:
    begun: dict[str, list[Stay]] = {}
    for event in events:
        element = event["element"]
        if event["type"] == "enter":
            begun.setdefault(element, []).append(Stay(element, event["seq"], event["at"]))
        elif event["type"] != "take" and begun.get(element):
            stay = begun[element].pop(0)
            if stay.since < event["seq"]:
                ended = (event["seq"], event["at"], event["type"], event["actor"])
                yield Stay(element, stay.since, stay.since_at, *ended)
    yield from (stay for left in begun.values() for stay in left)


def restart(
    session: Session,
    instance_id: UUID | str,
    element: str,
    reason: str,
    *,
    by: str,
    until: int | None = None,
    version: int | None = None,
    newest: bool = False,
) -> Instance:
    """Start a new instance that stands at `element` with the data from before the original left it there.

    Which of several stays is meant is said by `until`, the number of the event that ended it; by default the last. The
    new instance runs on the version of the original, on `version`, or on the newest. The original is left as it is.

    Raises:
        NotFoundError: there is no such instance or version. ConflictError: the original never stood there, or a new
            instance cannot begin there. InvalidFormError: there is no reason.
    """
    reason = instances.checked_reason(reason)
    original = instances.lock(session, instance_id)
    stays = [stay for stay in stays_of(session, original.id) if stay.element == element]
    if until is not None:
        stays = [stay for stay in stays if stay.until == until]
    if not stays:
        raise ConflictError(N_("This case never stood at %(element)s."), element=element[:100])
    last = stays[-1]
    seq = last.until - 1 if last.until is not None else original.seq
    repeats = instances.Repetition(original.id, element, seq, reason)
    chosen = None if newest else original.version if version is None else version
    data = _data_after(session, original, seq)
    copy = instances.start(
        session,
        original.process_id,
        data,
        by=by,
        version=chosen,
        business_key=original.business_key,
        starter=original.started_by,
        repeats=repeats,
    )
    facts = {"instance": str(copy.id), "element": element, "seq": seq, "reason": reason}
    instances.record(session, original, "restarted", facts, by=by)
    return copy


def _data_after(session: Session, instance: Instance, seq: int) -> dict[str, Any]:
    """What the tokens of an instance knew together after its event `seq`, found by executing it again."""
    stored = [event for event in history.stored_events(session, instance.id) if event.seq <= seq]
    began = versions.first(session, stored[0].payload.decode())
    compiled = definitions.compiled(session, began.id)
    broken, result = replay.repeat(compiled, instance.id, stored, partial(versions.target, session))
    if broken is not None or result is None:
        raise ConflictError(
            N_("Event %(seq)s of this case's history cannot be repeated: verify the case."),
            seq=broken.seq if broken is not None else 0,
        )
    return result.data


def restarts(session: Session, instance_id: UUID) -> list[Instance]:
    """The instances that repeat a part of this one, oldest first."""
    query = select(Instance).where(Instance.restarted_from == instance_id)
    return list(session.scalars(query.order_by(Instance.started_at, Instance.id)))


def original_of(session: Session, instance: Instance) -> Instance | None:
    """The instance of which this one repeats a part. Raises NotFoundError when the row names one that is not there."""
    if instance.restarted_from is None:
        return None
    found = session.get(Instance, instance.restarted_from)
    if found is None:
        raise NotFoundError(N_("There is no process instance %(id)s."), id=str(instance.restarted_from))
    return found
