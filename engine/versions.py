"""Which version of its process an instance was on at which of its events.

Its first event records the version that it started on; each `migrate` event records from which to which it went, with
their digests (engine.migration). The instance's row says where it is now.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
from sqlalchemy.orm import Session

from engine import definitions
from engine.errors import N_, ConflictError, NotFoundError
from engine.models import HistoryEvent, Instance, ProcessDefinition
from engine.spiff import CompiledDefinition, ElementInfo


def reference(definition: ProcessDefinition) -> dict[str, Any]:
    """How a history names a version."""
    return {"id": definition.process_id, "version": definition.version, "digest": definition.digest}


def resolve(session: Session, named: Any) -> ProcessDefinition:
    """The version that a history names.

    Raises:
        ConflictError: there is none, or it is not what was deployed then.
    """
    try:
        found = definitions.get(session, named["id"], named["version"])
    except (LookupError, TypeError, NotFoundError):
        found = None
    if found is None or reference(found) != named:
        raise ConflictError(N_("The version that this case's history names is not deployed here."))
    return found


def target(session: Session, payload: str) -> CompiledDefinition:
    """The version to which a `migrate` event went. Raises ConflictError."""
    return definitions.compiled(session, resolve(session, orjson.loads(payload).get("to")).id)


def first(session: Session, first_payload: str) -> ProcessDefinition:
    """The version on which an instance started, by the payload of its first event. Raises ConflictError."""
    return resolve(session, orjson.loads(first_payload).get("process"))


def along(
    session: Session, instance: Instance, events: Iterable[HistoryEvent]
) -> Iterator[tuple[HistoryEvent, Mapping[str, ElementInfo]]]:
    """All events of an instance, in order, each with the elements of the version that it was on then.

    Where the history names no version that is deployed here, the elements stay those of the version before.
    """
    events = list(events)
    known = definitions.compiled(session, instance.definition_id)
    if any(event.kind == "migrate" for event in events):
        known = _named(session, events[0].payload, "process") or known
    for event in events:
        if event.kind == "migrate":
            known = _named(session, event.payload, "to") or known
        yield event, known.elements


def _named(session: Session, payload: str, name: str) -> CompiledDefinition | None:
    try:
        return definitions.compiled(session, resolve(session, orjson.loads(payload).get(name)).id)
    except ConflictError:
        return None
