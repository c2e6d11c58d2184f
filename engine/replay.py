"""Re-execution as proof: the recorded inputs, given again to the deployed diagram, must lead to the same state.

`verify` checks three things: that the stored bytes are what was hashed when they were written, that the diagram is
what was deployed, and that every derived event and the final data come out again, the answers of synchronous
operators being taken from the record.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from multiprocessing import get_context
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.orm import Session

from engine import definitions, erasure, history, instances, live, versions
from engine.db import Database
from engine.erasure import Erasure
from engine.errors import BpmnError, DiaoquError
from engine.history import Finding, StoredEvent
from engine.models import Instance, ProcessDefinition
from engine.seals import Ledger
from engine.spiff import CompiledDefinition, Execution, Input, StepResult, replaying

BATCH = 50
"""Instances that a process verifies before it asks for more."""


_OTHER = "it started another version of the process than the instance names"
_ELSEWHERE = "it went over to another version of the process than the instance names"
_GONE = "the version of the process that it names is not what is deployed here"


@dataclass(frozen=True)
class Verification:
    """What `verify` found. `sealed` is the number of the last event whose chain head has been sealed elsewhere.

    An `erasure` is no finding: the history is proven all the same (engine/erasure.py).
    """

    findings: list[Finding] = field(default_factory=list)
    events: int = 0
    sealed: int = 0
    erasure: Erasure | None = None

    @property
    def ok(self) -> bool:
        return not self.findings


def verify(session: Session, instance_id: UUID, *, trusted: Collection[str] | None = None) -> Verification:
    """Check an instance's chain, its seals, its diagram, and that its inputs lead to its state.

    Findings name the event. `trusted` are the fingerprints of the keys that may have sealed it (seals.trusted_keys).

    Raises:
        NotFoundError: there is no such instance.
    """
    return Verifier(session, Ledger(session, trusted)).verify(instance_id)


class Verifier:
    """Verifies many instances with one look at each diagram and each seal."""

    def __init__(self, session: Session, ledger: Ledger) -> None:
        self.session = session
        self.ledger = ledger
        self._altered: dict[int, list[str]] = {}
        self._compiled: dict[int, CompiledDefinition] = {}

    def verify(self, instance_id: UUID) -> Verification:
        """As the function of this name."""
        instance = instances.get(self.session, instance_id)
        stored = history.stored_events(self.session, instance_id)
        digests = {event.seq: event.digest.decode(errors="replace") for event in stored}
        findings = history.chain_findings(instance_id, stored, seq=instance.seq, head=instance.head)
        contradicted, sealed = self.ledger.compare("process", instance_id, digests)
        findings += contradicted
        findings += self._repeat(instance, stored)
        try:
            found = erasure.recorded(stored)
        except (ValueError, LookupError, TypeError):  # a damaged event, named above
            found = None
        findings += erasure.keys_left(self.session, instance, found)
        return Verification(findings=findings, events=len(stored), sealed=sealed, erasure=found)

    def _altered_files(self, definition_id: int) -> list[str]:
        if definition_id not in self._altered:
            self._altered[definition_id] = definitions.altered_files(self.session, definition_id)
        return self._altered[definition_id]

    def _repeat(self, instance: Instance, stored: list[StoredEvent]) -> list[Finding]:
        began, findings = self._course(instance, stored)
        try:
            compiled = self._compile_again(began)
        except DiaoquError as error:
            return [*findings, Finding(0, f"the deployed diagram cannot be executed: {error}")]
        broken, result = repeat(compiled, instance.id, stored, self._target)
        return [*findings, broken] if broken else findings + _compare(instance, result)

    def _course(self, instance: Instance, stored: Sequence[StoredEvent]) -> tuple[ProcessDefinition, list[Finding]]:
        """The version that the first event started, and whether the migrations lead from it to the one of the row."""
        row = definitions.by_id(self.session, instance.definition_id)
        passed, findings = {row.id}, []
        began, last, at = row, versions.reference(row), 0
        for event in stored:
            if event.seq > 1 and event.kind != b"migrate":
                continue
            try:
                facts = orjson.loads(event.payload)
                named = facts["process"] if event.seq == 1 else facts["to"]
                definition = versions.resolve(self.session, named)
            except (LookupError, TypeError, ValueError, DiaoquError):
                findings.append(Finding(event.seq, _OTHER if event.seq == 1 else _GONE))
                continue
            passed.add(definition.id)
            if event.seq == 1:
                began = definition
            elif facts.get("from") != last:
                findings.append(Finding(event.seq, "the instance was on another version than the one that it left"))
            last, at = named, event.seq
        if stored and last != versions.reference(row):
            findings.append(Finding(at or 1, _OTHER if at <= 1 else _ELSEWHERE))
        altered = dict.fromkeys(name for key in sorted(passed) for name in self._altered_files(key))
        return began, [
            *(Finding(0, f"the stored text of {name} is not what was deployed") for name in altered),
            *findings,
        ]

    def _target(self, payload: str) -> CompiledDefinition:
        return self._compile_again(versions.resolve(self.session, orjson.loads(payload).get("to")))

    def _compile_again(self, definition: ProcessDefinition) -> CompiledDefinition:
        """From the stored text, not from the cache of the process: what is verified is the database."""
        if definition.id not in self._compiled:
            texts = definitions.files(self.session, definition.id)
            self._compiled[definition.id] = definitions.compile_files(texts, definition.process_id)
        return self._compiled[definition.id]


def repeat(
    compiled: CompiledDefinition,
    instance_id: UUID,
    stored: Iterable[StoredEvent],
    target: Callable[[str], CompiledDefinition] | None = None,
) -> tuple[Finding | None, StepResult | None]:
    """Give the recorded inputs to the diagram again: the first event that leads elsewhere, or else the last result.

    `target` answers the version to which a `migrate` event went, by its payload.
    """
    execution = Execution(compiled, instance_id)
    result: StepResult | None = None
    for event in stored:
        try:
            if event.kind.decode() in history.DECISIONS:
                continue
            at = datetime.fromisoformat(event.at.decode())
            given = Input(execution.seq + 1, at, event.kind.decode(), event.payload.decode())
            going = target(given.payload) if target is not None and given.kind == "migrate" else None
            result = execution.apply(given, replaying(orjson.loads(event.lookups)), going)
        except (DiaoquError, BpmnError, ValueError, TypeError, KeyError) as error:
            return Finding(event.seq, f"it cannot be repeated: {error}"), None
        if not live.repeats(result, event.derived.decode(errors="replace")):
            return Finding(event.seq, "repeating it leads elsewhere than what was recorded"), None
    return None, result


def _compare(instance: Instance, result: StepResult | None) -> list[Finding]:
    if result is None:
        return [Finding(0, "the history is empty")]
    findings = []
    if result.state != instance.state:
        findings.append(Finding(0, f"the inputs lead to {result.state}, the instance says {instance.state}"))
    if orjson.dumps(result.data) != orjson.dumps(instance.data):
        findings.append(Finding(0, "the inputs lead to other data than the instance holds"))
    return findings


# ---- on all cores ---------------------------------------------------------------------------------------------------


def verify_many(
    database_url: str,
    instance_ids: Sequence[UUID],
    *,
    trusted: Collection[str] | None = None,
    processes: int | None = None,
    imports: Sequence[str] = (),
) -> Iterator[tuple[UUID, Verification]]:
    """Verify many instances with a process per core, in their order. `imports` are modules that register operators."""
    count = min(processes or os.cpu_count() or 1, 1 + len(instance_ids) // BATCH)
    if count == 1:
        with _verifying(database_url, trusted) as verify_one:
            yield from map(verify_one, instance_ids)
        return
    prepare = (database_url, trusted, tuple(imports))
    with ProcessPoolExecutor(count, get_context("spawn"), _prepare, prepare) as pool:
        yield from pool.map(_verify_here, instance_ids, chunksize=BATCH)


VerifyOne = Callable[[UUID], tuple[UUID, Verification]]
_HERE: list[VerifyOne] = []
_OPEN = ExitStack()


def _prepare(database_url: str, trusted: Collection[str] | None, imports: Sequence[str]) -> None:
    for name in imports:
        import_module(name)
    _HERE[:] = [_OPEN.enter_context(_verifying(database_url, trusted))]


def _verify_here(instance_id: UUID) -> tuple[UUID, Verification]:
    return _HERE[0](instance_id)


@contextmanager
def _verifying(database_url: str, trusted: Collection[str] | None) -> Iterator[VerifyOne]:
    database = Database(database_url)
    try:
        with database.reading() as session:
            verifier = Verifier(session, Ledger(session, trusted))

            def verify_one(instance_id: UUID) -> tuple[UUID, Verification]:
                if not database.sqlite:  # where a step or a seal between two queries would look like a contradiction
                    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                try:
                    return instance_id, verifier.verify(instance_id)
                finally:
                    session.rollback()

            yield verify_one
    finally:
        database.dispose()


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
