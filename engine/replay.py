"""Re-execution as proof: the recorded inputs, given again to the deployed diagram, must lead to the same state.

`verify` checks three things: that the stored bytes are what was hashed when they were written, that the diagram is
what was deployed, and that every derived event and the final data come out again, the answers of synchronous
operators being taken from the record.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.orm import Session

from engine import definitions, history, instances, live
from engine.errors import BpmnError, DiaoquError
from engine.history import Finding, StoredEvent
from engine.models import Instance
from engine.spiff import CompiledDefinition, Execution, Input, StepResult, replaying


@dataclass(frozen=True)
class Verification:
    """What `verify` found. `sealed` is the number of the last event whose chain head has been sealed elsewhere."""

    findings: list[Finding] = field(default_factory=list)
    events: int = 0
    sealed: int = 0

    @property
    def ok(self) -> bool:
        return not self.findings


def verify(session: Session, instance_id: UUID) -> Verification:
    """Check an instance's chain, its diagram, and that its inputs lead to its state; findings name the event.

    Raises:
        NotFoundError: there is no such instance.
    """
    instance = instances.get(session, instance_id)
    stored = history.stored_events(session, instance_id)
    findings = history.chain_findings(instance_id, stored, seq=instance.seq, head=instance.head)
    findings += [
        Finding(0, f"the stored text of {name} is not what was deployed")
        for name in definitions.altered_files(session, instance.definition_id)
    ]
    findings += _repeat(session, instance, stored)
    return Verification(findings=findings, events=len(stored))


def _repeat(session: Session, instance: Instance, stored: list[StoredEvent]) -> list[Finding]:
    try:
        compiled = _compile_again(session, instance)
    except DiaoquError as error:
        return [Finding(0, f"the deployed diagram cannot be executed: {error}")]
    execution = Execution(compiled, instance.id)
    result: StepResult | None = None
    findings = []
    for event in stored:
        try:
            if event.kind.decode() in history.DECISIONS:
                continue
            if result is None:
                findings += _origin(instance, event, session)
            result = _apply(execution, event)
        except (DiaoquError, BpmnError, ValueError, TypeError, KeyError) as error:
            return [*findings, Finding(event.seq, f"it cannot be repeated: {error}")]
        if live.derived(result).encode() != event.derived:
            return [*findings, Finding(event.seq, "repeating it leads elsewhere than what was recorded")]
    return findings + _compare(instance, result)


def _compile_again(session: Session, instance: Instance) -> CompiledDefinition:
    """From the stored text, not from the cache: what is verified is the database."""
    texts = definitions.files(session, instance.definition_id)
    return definitions.compile_files(texts, instance.process_id)


def _apply(execution: Execution, event: StoredEvent) -> StepResult:
    at = datetime.fromisoformat(event.at.decode())
    given = Input(execution.seq + 1, at, event.kind.decode(), event.payload.decode())
    return execution.apply(given, replaying(orjson.loads(event.lookups)))


def _origin(instance: Instance, event: StoredEvent, session: Session) -> list[Finding]:
    """The first event says which version it started; the row must point at that one."""
    process: dict[str, Any] = orjson.loads(event.payload).get("process", {})
    definition = definitions.by_id(session, instance.definition_id)
    recorded = (process.get("id"), process.get("version"), process.get("digest"))
    if recorded != (definition.process_id, definition.version, definition.digest):
        return [Finding(event.seq, "it started another version of the process than the instance names")]
    return []


def _compare(instance: Instance, result: StepResult | None) -> list[Finding]:
    if result is None:
        return [Finding(0, "the history is empty")]
    findings = []
    if result.state != instance.state:
        findings.append(Finding(0, f"the inputs lead to {result.state}, the instance says {instance.state}"))
    if orjson.dumps(result.data) != orjson.dumps(instance.data):
        findings.append(Finding(0, "the inputs lead to other data than the instance holds"))
    return findings


def events_of(session: Session, instance_id: UUID) -> list[dict[str, Any]]:
    """The history as plain values, for export and for pages that step through it. Raises NotFoundError."""
    instances.get(session, instance_id)
    return [
        {
            "seq": row.seq,
            "at": history.stored_instant(row.at),
            "kind": row.kind,
            "actor": row.actor,
            "payload": orjson.loads(row.payload),
            "lookups": orjson.loads(row.lookups),
            "derived": orjson.loads(row.derived),
            "digest": row.digest,
        }
        for row in history.events(session, instance_id)
    ]
