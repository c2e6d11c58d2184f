"""Live executions kept between steps, so that a step costs no loading.

An execution is taken out of the cache for a step and comes back only when the transaction has committed. So a step
that failed or was rolled back can never leave an object behind that disagrees with the history: it is simply gone,
and the next step rebuilds it from the snapshot and the later inputs.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import event
from sqlalchemy.orm import Session

from engine import definitions, history, versions
from engine.errors import N_, ConflictError
from engine.models import Instance
from engine.spiff import Execution, Input, StepResult, replaying

CAPACITY = 256

_STEPPED = "executions of this transaction"


@dataclass(frozen=True)
class _Entry:
    revision: int
    head: str
    execution: Execution


_CACHE: OrderedDict[UUID, _Entry] = OrderedDict()
_LOCK = threading.Lock()


def take(session: Session, instance: Instance) -> Execution:
    """The execution at `instance`'s present state, for the caller alone. Give it back with `keep` after the step."""
    own: dict[UUID, _Entry] = session.info.get(_STEPPED, {})
    entry = own.pop(instance.id, None)
    if entry is None:
        with _LOCK:
            entry = _CACHE.pop(instance.id, None)
    if entry is not None and (entry.revision, entry.head) == (instance.revision, instance.head):
        return entry.execution
    return rebuild(session, instance)


def keep(session: Session, instance: Instance, execution: Execution) -> None:
    """Put `execution` into the cache when `session` commits. The step must have been flushed."""
    entry = _Entry(instance.revision, instance.head, execution)
    session.info.setdefault(_STEPPED, {})[instance.id] = entry


def forget(instance_id: UUID | None = None) -> None:
    """Drop one instance from the cache, or all of them."""
    with _LOCK:
        if instance_id is None:
            _CACHE.clear()
        else:
            _CACHE.pop(instance_id, None)


def is_live(instance: Instance) -> bool:
    """Whether the next step of `instance` needs no rebuilding."""
    with _LOCK:
        entry = _CACHE.get(instance.id)
    return entry is not None and (entry.revision, entry.head) == (instance.revision, instance.head)


def rebuild(session: Session, instance: Instance) -> Execution:
    """Load the last snapshot and repeat what came after it.

    Raises:
        ConflictError: the repeated steps lead elsewhere than the recorded ones; `diaoqu verify` names the event.
    """
    compiled = definitions.compiled(session, instance.definition_id)
    if not instance.seq:
        return Execution(compiled, instance.id)
    rows = history.events(session, instance.id, after=instance.snapshot_seq)
    if any(row.kind == "migrate" for row in rows):  # the snapshot, or the beginning, is of an earlier version
        rows, snapshot = history.events(session, instance.id), None
        compiled = definitions.compiled(session, versions.first(session, rows[0].payload).id)
    else:
        snapshot = instance.snapshot
    execution = Execution(compiled, instance.id, snapshot)
    for row in rows:
        if row.kind in history.DECISIONS:
            continue
        given = Input(execution.seq + 1, row.at, row.kind, row.payload)
        going = versions.target(session, row.payload) if row.kind == "migrate" else None
        result = execution.apply(given, replaying(orjson.loads(row.lookups)), going)
        if not repeats(result, row.derived):
            raise ConflictError(
                N_("Event %(seq)s of this case's history cannot be repeated: verify the case."), seq=row.seq
            )
    return execution


def derived(result: StepResult, *, with_thrown: bool = True) -> str:
    """The exact text that the history keeps of what followed from an input; re-execution must give it again.

    Of a thrown message or signal it keeps where it came from and a digest of what it carried.
    """
    facts: dict[str, Any] = {
        "events": result.events,
        "visible": result.visible,
        "jobs": [[str(job.task_id), job.element, job.operator, job.params] for job in result.jobs],
        "state": result.state,
        "data": definitions.text_digest(orjson.dumps(result.data).decode()),
    }
    if with_thrown and result.thrown:
        facts["thrown"] = [
            [one.element, one.kind, one.name, definitions.text_digest(orjson.dumps(one.payload).decode())]
            for one in result.thrown
        ]
    return orjson.dumps(facts).decode()


def repeats(result: StepResult, recorded: str) -> bool:
    """Whether a step led to what was recorded. Histories before messages left their instance say nothing of them."""
    return recorded in (derived(result), derived(result, with_thrown=False))


@event.listens_for(Session, "after_commit")
def _committed(session: Session) -> None:
    if session.in_nested_transaction():
        return
    stepped: dict[UUID, _Entry] = session.info.pop(_STEPPED, {})
    with _LOCK:
        for instance_id, entry in stepped.items():
            _CACHE[instance_id] = entry
            _CACHE.move_to_end(instance_id)
        while len(_CACHE) > CAPACITY:
            _CACHE.popitem(last=False)


@event.listens_for(Session, "after_soft_rollback")
def _rolled_back(session: Session, _transaction: Any) -> None:
    session.info.pop(_STEPPED, None)
