"""Process instances. Every change goes through `step`: state, history, tasks, jobs and notices in one transaction.

The functions take a session and never commit; the edge does, once (DESIGN, "Flow of one step").
"""

import platform
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import version as installed_version
from typing import Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy import insert, select
from sqlalchemy.orm import Session, make_transient_to_detached

from engine import (
    clock,
    definitions,
    history,
    live,
    operators,
    outbox,
    payloads,
    personal,
    projections,
    subscriptions,
    versions,
)
from engine.columns import Base
from engine.errors import N_, ConflictError, FieldError, InvalidFormError, NotFoundError
from engine.models import HistoryEvent, Instance, ProcessDefinition
from engine.projections import ENDED
from engine.spiff import WHILE_SUSPENDED, Input, StepResult

SNAPSHOT_EVERY = 20
"""Inputs between two snapshots: what a restart has to repeat at most."""

LONGEST_REASON = 1000

_BEGIN = insert(Base.metadata.tables["instances"])


def start(
    session: Session,
    process_id: str,
    data: Mapping[str, Any],
    *,
    by: str,
    version: int | None = None,
    business_key: str = "",
    event: str | None = None,
    facts: Mapping[str, Any] | None = None,
    starter: str | None = None,
    repeats: "Repetition | None" = None,
) -> Instance:
    """Start an instance of the newest version (or of `version`) with `data`.

    Its first event records the version, its digest and the versions of the engine and its libraries. It begins at the
    start event `event`, to which `facts` belong (the `payload` of a message, and where it came from); without one it
    begins where the process waits for nothing. `starter` is whose request it is, when that is not `by`. With `repeats`
    it begins at a step of another instance instead (engine.modification).

    Raises:
        NotFoundError: there is no such process. InvalidFormError, OversizedError: `data` cannot be stored.
        ConflictError: the process does not start there.
    """
    payloads.encode(dict(data))
    definition = definitions.get(session, process_id, version)
    at = clock.now()
    new_id = uuid4()
    if repeats:
        entered = personal.moved(session, repeats.instance_id, new_id, data)
    else:
        entered = personal.seal_entering(session, new_id, definition.id, data)
    row = {
        "id": new_id,
        "definition_id": definition.id,
        "process_id": definition.process_id,
        "version": definition.version,
        "business_key": business_key,
        "state": "running",
        "started_by": starter or by,
        "started_at": at,
        "changed_at": at,
        "ended_at": None,
        "due_at": None,
        "seq": 0,
        "head": history.GENESIS,
        "data": entered,
        "snapshot": None,
        "snapshot_seq": 0,
        "restarted_from": repeats.instance_id if repeats else None,
        "revision": 1,
    }
    session.connection().execute(_BEGIN, row)  # a synchronous operator of the first step may refer to the row
    instance = Instance(**row)
    make_transient_to_detached(instance)
    session.add(instance)
    chosen = {} if event is None else {"event": event, **(facts or {})}
    repeated = repeats.payload() if repeats else {}
    payload = {"data": instance.data, **chosen, **repeated, **_origin(definition)}
    step(session, instance, "start", payload, by=by, at=at)
    return instance


@dataclass(frozen=True)
class Repetition:
    """Which part of which instance a new one repeats: from where it stood at `element` after its event `seq`."""

    instance_id: UUID
    element: str
    seq: int
    reason: str

    def payload(self) -> dict[str, Any]:
        origin = {"instance": str(self.instance_id), "seq": self.seq, "reason": self.reason}
        return {"at": self.element, "restart": origin}


def _origin(definition: ProcessDefinition) -> dict[str, Any]:
    return {"process": versions.reference(definition), "versions": _versions()}


@cache
def _versions() -> dict[str, str]:
    packages = {name: installed_version(name) for name in ("diaoqu", "SpiffWorkflow", "lxml", "orjson")}
    return {**packages, "python": platform.python_version()}


def advance(session: Session, instance_id: UUID, kind: str, payload: Mapping[str, Any], *, by: str) -> StepResult:
    """Give one input to an instance: lock it, step its tokens, and store everything that follows.

    Raises:
        NotFoundError: there is no such instance.
        ConflictError: it has ended, the input does not apply to its present state, or somebody else changed it.
        InvalidFormError, OversizedError: the payload cannot be stored.
    """
    return step(session, lock(session, instance_id), kind, payload, by=by)


def step(
    session: Session,
    instance: Instance,
    kind: str,
    payload: Mapping[str, Any],
    *,
    by: str,
    at: datetime | None = None,
    target: ProcessDefinition | None = None,
) -> StepResult:
    """As `advance`, for an instance whose row the caller has locked. `at` defaults to now.

    `target` is the version to which the instance goes (engine.migration).
    """
    if kind not in WHILE_SUSPENDED or instance.state in ENDED:
        check_running(session, instance)
    at = step_time(instance, at)
    text = payloads.encode(dict(payload))
    execution = live.take(session, instance)
    consult = _lookup(session, instance, by, at)
    going = definitions.compiled(session, target.id) if target is not None else None
    result = execution.apply(Input(execution.seq + 1, at, kind, text), consult, going)
    ended = result.state in ENDED
    follows: dict[str, Any] = {
        "state": result.state,
        "data": result.data,
        "due_at": None if ended else result.due_at,
        "business_key": instance.business_key,  # an operator may have given it one in this step
    }
    if ended:
        follows["ended_at"] = at
    if target is not None:
        follows |= {"definition_id": target.id, "version": target.version}
    if target is not None or instance.seq + 1 - instance.snapshot_seq >= SNAPSHOT_EVERY:
        follows |= {"snapshot": execution.snapshot(), "snapshot_seq": instance.seq + 1}
    history.append(
        session,
        instance,
        at=at,
        kind=kind,
        actor=by,
        payload=text,
        lookups=orjson.dumps(result.lookups).decode(),
        derived=live.derived(result),
        follows=follows,
    )
    compiled = definitions.compiled(session, instance.definition_id)
    projections.project(session, instance, compiled, execution, result, by=by, at=at)
    subscriptions.project(session, instance, result, at)
    outbox.put(session, instance, result.thrown, by=by, at=at)
    if not ended:
        live.keep(session, instance, execution)
    return result


def check_running(session: Session, instance: Instance) -> None:
    """Raises ConflictError when it has ended, or when it is suspended: by whom, when and why."""
    if instance.state in ENDED:
        raise ConflictError(N_("This case has ended (%(state)s); nothing was changed."), state=instance.state)
    if instance.state == "suspended":
        stopped = suspension(session, instance.id)
        raise ConflictError(
            N_("%(username)s has suspended this case, at %(at)s: %(reason)s"),
            username=stopped.by,
            at=stopped.at.isoformat(timespec="seconds"),
            reason=stopped.reason,
        )


@dataclass(frozen=True)
class Suspension:
    """Who suspended an instance, when and why."""

    by: str
    at: datetime
    reason: str


def suspension(session: Session, instance_id: UUID) -> Suspension:
    """The last suspension of an instance that has been suspended."""
    query = select(HistoryEvent).where(HistoryEvent.instance_id == instance_id, HistoryEvent.kind == "suspend")
    event = session.scalars(query.order_by(HistoryEvent.seq.desc()).limit(1)).one()
    return Suspension(event.actor, event.at, orjson.loads(event.payload).get("reason", ""))


def record(session: Session, instance: Instance, kind: str, payload: Mapping[str, Any], *, by: str) -> None:
    """Write a decision that moves no token (history.DECISIONS) into the history. The caller holds the row's lock.

    Raises:
        ConflictError: another process changed the instance meanwhile. InvalidFormError, OversizedError: see `start`.
    """
    text = payloads.encode(dict(payload))
    history.append(session, instance, at=step_time(instance), kind=kind, actor=by, payload=text)


def checked_reason(reason: Any) -> str:
    """The reason that a person gave, without the space around it. Raises InvalidFormError: there is none."""
    text = reason.strip() if isinstance(reason, str) else ""
    if not text or len(text) > LONGEST_REASON:
        raise InvalidFormError({"reason": FieldError(N_("Please say why, in at most 1000 characters."), {})})
    return text


def step_time(instance: Instance, at: datetime | None = None) -> datetime:
    """The time of the next event: now, but never earlier than the event before it, whatever the clock does."""
    at = at or clock.now()
    return max(at, instance.changed_at) if instance.seq else at


def _lookup(session: Session, instance: Instance, by: str, at: datetime) -> Any:
    """What answers synchronous operators in this step. A refusing operator leaves nothing behind in the database."""
    data = instance.data

    def answer(operator_id: str, params: dict[str, Any]) -> Any:
        found = operators.get(operator_id)
        operators.check_parameters(found, params)
        context = operators.StepContext(session=session, at=at, instance_id=instance.id, actor=by, data=data)
        with nullcontext() if found.refuses_first else session.begin_nested():
            value = found.function(context, **params)
        return orjson.loads(payloads.encode(value, where=operator_id))

    return answer


# ---- other inputs ---------------------------------------------------------------------------------------------------


def cancel(session: Session, instance_id: UUID, reason: str, *, by: str) -> StepResult:
    """End an instance where it stands; its open tasks and jobs are cancelled.

    Raises as `advance`; InvalidFormError when there is no reason.
    """
    return advance(session, instance_id, "cancel", {"reason": checked_reason(reason)}, by=by)


def send_message(session: Session, instance_id: UUID, name: str, payload: Mapping[str, Any], *, by: str) -> StepResult:
    """Deliver a message to an instance that waits for it. Raises as `advance`; ConflictError when it does not wait."""
    personal.refuse(dict(payload))
    return advance(session, instance_id, "message", {"name": name, "payload": dict(payload)}, by=by)


# ---- reading --------------------------------------------------------------------------------------------------------


def get(session: Session, instance_id: UUID | str) -> Instance:
    """Raises NotFoundError."""
    found = session.get(Instance, identifier(instance_id))
    if found is None:
        raise NotFoundError(N_("There is no process instance %(id)s."), id=str(instance_id))
    return found


def lock(session: Session, instance_id: UUID | str) -> Instance:
    """The instance as it is now, its row locked until the transaction ends. Raises NotFoundError."""
    query = select(Instance).where(Instance.id == identifier(instance_id)).with_for_update()
    found = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if found is None:
        raise NotFoundError(N_("There is no process instance %(id)s."), id=str(instance_id))
    return found


def identifier(value: UUID | str) -> UUID:
    """Raises NotFoundError when `value` cannot be an id at all."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except ValueError as error:
        raise NotFoundError(N_("There is no process instance %(id)s."), id=value[:100]) from error


def visible_events(session: Session, instance_id: UUID) -> list[dict[str, Any]]:
    """What happened on the diagram, in order: `{seq, at, actor, kind, element, type, label}` for each element touched.

    `type` is enter, leave, fail, cancel or take (a sequence flow). Raises NotFoundError.
    """
    instance = get(session, instance_id)
    found = []
    for event, elements in versions.along(session, instance, history.events(session, instance_id)):
        for visible in orjson.loads(event.derived).get("visible", ()):
            info = elements.get(visible["element"])
            found.append(
                {
                    "seq": event.seq,
                    "at": event.at,
                    "actor": event.actor,
                    "kind": event.kind,
                    "element": visible["element"],
                    "type": visible["type"],
                    "label": info.name if info else "",
                }
            )
    return found


def active_elements(session: Session, instance_id: UUID) -> list[str]:
    """The elements of the diagram that hold a token now, in the order in which they were entered."""
    tokens: Counter[str] = Counter()
    for event in visible_events(session, instance_id):
        if event["type"] == "enter":
            tokens[event["element"]] += 1
        elif event["type"] != "take" and tokens[event["element"]] > 0:
            tokens[event["element"]] -= 1
    return [element for element, count in tokens.items() if count]
