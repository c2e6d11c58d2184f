"""Back-testing: what would have happened to every finished instance, had a revised diagram been in force?

Each instance is executed twice side by side, on its own version and on the revised one, with the same recorded inputs
and the same recorded answers of operators. Tasks have other ids on another diagram, so an input for a task goes to the
one of the same element. Nothing is written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from engine import definitions, history, live, versions
from engine.errors import N_, BpmnError, DefinitionError, DiaoquError
from engine.lint import lint
from engine.models import HistoryEvent, Instance
from engine.spiff import CompiledDefinition, Execution, Input, RefusedInputError, StepResult, replaying

FINISHED = ("completed", "cancelled")

TIMERS = 100
"""Additional timer events in one instance, after which a revised diagram counts as going its own way."""


@dataclass(frozen=True)
class Difference:
    """Where the revised diagram would have done something else: at the event `seq`, and what."""

    seq: int
    what: str

    def __str__(self) -> str:
        return f"event {self.seq}: {self.what}"


@dataclass(frozen=True)
class Outcome:
    """One instance on the revised diagram. Without differences, it would have gone exactly the same way."""

    instance_id: UUID
    business_key: str
    process_id: str
    version: int
    events: int
    differences: list[Difference]


def backtest(session: Session, files: Mapping[str, str]) -> Iterator[Outcome]:
    """Execute all finished instances of the processes in `files` on them, oldest first.

    What `files` lacks is taken from the newest deployment, as if they were deployed now.

    Raises:
        DefinitionError: the files could not be deployed.
        ConflictError: a process is defined in two files.
    """
    every = {**definitions.current_files(session), **files}
    problems = [problem for problem in lint(every) if problem.severity == "error"]
    if problems:
        raise DefinitionError(problems)
    revised = {name: definitions.compile_files(every, name) for name in _affected(session, every, files)}
    query = select(Instance.id).where(Instance.state.in_(FINISHED), Instance.process_id.in_(revised))
    for instance_id in session.scalars(query.order_by(Instance.started_at, Instance.id)).all():
        instance = session.get_one(Instance, instance_id)
        events = history.events(session, instance_id)
        pair = _Pair(session, instance, events, revised[instance.process_id])
        differences = list(pair.run(events))
        key, process_id, version = instance.business_key, instance.process_id, instance.version
        yield Outcome(instance_id, key, process_id, version, len(events), differences)
        session.expunge_all()


def _affected(session: Session, every: Mapping[str, str], files: Mapping[str, str]) -> list[str]:
    """The processes in `files`, and those that would get a new version because of them."""
    deployed = {definition.process_id: definition.digest for definition in definitions.latest_versions(session)}
    return [
        process_id
        for process_id, (file, _name) in definitions.processes(every).items()
        if file in files or deployed.get(process_id) != definitions.digest_of(every, file)
    ]


class _Twin:
    """An execution and what it waits for: task ids by element, in the order in which they began to wait."""

    def __init__(self, compiled: CompiledDefinition, key: UUID) -> None:
        self.elements = compiled.elements
        self.execution = Execution(compiled, key)
        self.waiting: dict[str, str] = {}
        self.result: StepResult | None = None

    def apply(self, event: HistoryEvent, payload: dict[str, Any], lookup: Any) -> StepResult:
        text = event.payload if payload == orjson.loads(event.payload) else orjson.dumps(payload).decode()
        return self._apply(Input(self.execution.seq + 1, event.at, event.kind, text), payload.get("task"), lookup)

    def migrate(self, event: HistoryEvent, target: CompiledDefinition, lookup: Any) -> None:
        """Go over to another version; what waits keeps its task."""
        given = Input(self.execution.seq + 1, event.at, event.kind, event.payload)
        self._apply(given, None, lookup, target)
        self.elements = target.elements

    def fire(self, at: Any, lookup: Any) -> StepResult:
        """Fire the timers that are due at `at`."""
        return self._apply(Input(self.execution.seq + 1, at, "timer", "{}"), None, lookup)

    def _apply(
        self, given: Input, task: str | None, lookup: Any, target: CompiledDefinition | None = None
    ) -> StepResult:
        result = self.result = self.execution.apply(given, lookup, target)
        over = {str(each) for each in (*(task_id for task_id, _how in result.closed), *result.ended_jobs)}
        if task is not None:
            over.add(task)
        for task_id in over:
            self.waiting.pop(task_id, None)
        begun = [*((each.id, each.element) for each in result.opened), *((e.task_id, e.element) for e in result.jobs)]
        begun += [(task_id, element) for task_id, element, _message in result.incidents]
        self.waiting.update((str(task_id), element) for task_id, element in begun)
        return result

    def place(self, task: str) -> tuple[str, int] | None:
        """The element of a waiting task, and the how many-th of that element it is."""
        if task not in self.waiting:
            return None
        element = self.waiting[task]
        return element, self._of(element).index(task)

    def at_place(self, element: str, number: int) -> str | None:
        """The task that waits there."""
        found = self._of(element)
        return found[number] if number < len(found) else None

    def name(self, element: str) -> str:
        info = self.elements.get(element)
        return f"«{info.name}» ({element})" if info and info.name else element

    def _of(self, element: str) -> list[str]:
        return [task for task, each in self.waiting.items() if each == element]


class _Pair:
    """One instance on its own version and on the revised one."""

    def __init__(
        self, session: Session, instance: Instance, events: Sequence[HistoryEvent], revised: CompiledDefinition
    ) -> None:
        self._session = session
        began = instance.definition_id
        if any(event.kind == "migrate" for event in events):
            began = versions.first(session, events[0].payload).id
        self.own = _Twin(definitions.compiled(session, began), instance.id)
        self.revised = _Twin(revised, instance.id)
        self._data: set[str] = set()
        self._timers = 0

    def run(self, events: Iterable[HistoryEvent]) -> Iterator[Difference]:
        """Everything that differs, up to the first input that the revised diagram does not take."""
        last = 0
        for event in events:
            if event.kind in history.DECISIONS:
                continue
            last = event.seq
            try:
                own_due = self.own.result.due_at if self.own.result else None
                payload = orjson.loads(event.payload)
                place = self.own.place(payload["task"]) if "task" in payload else None
                answers = replaying(orjson.loads(event.lookups))
                if event.kind == "migrate":  # the revised diagram is where it is from the beginning
                    self.own.migrate(event, versions.target(self._session, event.payload), answers)
                    continue
                old = self.own.apply(event, payload, answers)
            except (DiaoquError, BpmnError) as error:
                yield Difference(event.seq, f"it cannot be repeated on its own version (verify it): {error}")
                return
            if not live.repeats(old, event.derived):
                yield Difference(event.seq, "it leads elsewhere on its own version already (verify it)")
                return
            try:
                for message in self._step(event, payload, place, old, own_due):
                    yield Difference(event.seq, message)
            except _StopError as stop:
                yield Difference(event.seq, str(stop))
                return
        if self.revised.result is not None and self.revised.result.state == "running":
            names = sorted({self.revised.name(element) for element in self.revised.waiting.values()})
            yield Difference(last, f"it does not end: it still waits for {', '.join(names) or 'an event'}")

    def _step(
        self, event: HistoryEvent, payload: dict[str, Any], place: tuple[str, int] | None, old: StepResult, due: Any
    ) -> Iterator[str]:
        yield from self._timers_before(event, due)
        if "task" in payload:
            element, number = place or ("", 0)
            task = self.revised.at_place(element, number)
            if task is None:
                raise _StopError(f"nobody waits for the {event.kind} of {self.own.name(element)} by {event.actor}")
            payload = {**payload, "task": task}
        answers = _Answers(orjson.loads(event.lookups))
        try:
            new = self.revised.apply(event, payload, answers)
        except (DiaoquError, BpmnError) as error:
            raise _StopError(f"the {event.kind} by {event.actor} is not taken: {error}") from error
        yield from answers.differences()
        yield from self._compare(old, new)

    def _timers_before(self, event: HistoryEvent, own_due: Any) -> Iterator[str]:
        """Timers that only the revised diagram would have fired before this event."""
        while (result := self.revised.result) is not None and result.state == "running":
            due = result.due_at
            if due is None or due == own_due or due >= event.at:
                return
            self._timers += 1
            if self._timers > TIMERS:
                raise _StopError("its timers fire again and again")
            yield f"before it, a timer fires at {history.stored_instant(due)}"
            answers = _Answers([])
            try:
                self.revised.fire(due, answers)
            except (DiaoquError, BpmnError) as error:
                raise _StopError(f"that timer cannot fire: {error}") from error

    def _compare(self, old: StepResult, new: StepResult) -> Iterator[str]:
        yield from self._paths(old, new)
        asked = {
            twin: [(job.element, job.operator, job.params) for job in each.jobs]
            for twin, each in (("old", old), ("new", new))
        }
        for element, operator, params in asked["new"]:
            same = [each for each in asked["old"] if each[0] == element]
            if same and not any(each[1:] == (operator, params) for each in same):
                before = same[0][2] if same[0][1] == operator else {}
                yield f"{self.revised.name(element)} asks {operator} for something else: {_changed(before, params)}"
        sent = [Counter((one.element, one.kind, one.name) for one in result.thrown) for result in (old, new)]
        for twin, more, word in (
            (self.own, sent[0] - sent[1], "no longer sends"),
            (self.revised, sent[1] - sent[0], "sends"),
        ):
            for element, kind, name in more:
                yield f"{twin.name(element)} {word} the {kind} {name}"
        changed = {name for name in old.data.keys() | new.data.keys() if old.data.get(name) != new.data.get(name)}
        if fresh := sorted(changed - self._data):
            yield f"other data: {', '.join(fresh)}"
        self._data = changed
        if old.state != new.state and new.state != "running":
            yield f"it ends here: {new.state}"

    def _paths(self, old: StepResult, new: StepResult) -> Iterator[str]:
        words = {"enter": "reaches", "leave": "passes", "fail": "fails at", "cancel": "cancels"}
        paths = [
            Counter((each["type"], each["element"]) for each in result.visible if each["type"] != "take")
            for result in (old, new)
        ]
        for twin, more, prefix in (
            (self.own, paths[0] - paths[1], "no longer "),
            (self.revised, paths[1] - paths[0], ""),
        ):
            for kind, word in words.items():
                entered = [element for each, element in more if each == "enter"]
                found = [element for each, element in more if each == kind]
                if kind == "leave":  # an element that is both reached and passed is told once
                    found = [element for element in found if element not in entered]
                if found:
                    yield f"it {prefix}{word} {', '.join(twin.name(element) for element in found)}"


class _StopError(Exception):
    """The revised diagram cannot go on with the recorded inputs."""


class _Answers:
    """Gives the recorded answers to synchronous operators, in any order; remembers what was asked otherwise."""

    def __init__(self, recorded: list[dict[str, Any]]) -> None:
        self._pending = recorded
        self._otherwise: list[str] = []

    def __call__(self, operator: str, params: dict[str, Any]) -> Any:
        same = [each for each in self._pending if each["operator"] == operator]
        if not same:
            raise RefusedInputError(N_("it asks %(operator)s, whose answer is not recorded"), operator=operator)
        exact = [each for each in same if each["params"] == params]
        record = (exact or same)[0]
        if not exact:
            self._otherwise.append(f"it asks {operator} for something else: {_changed(record['params'], params)}")
        self._pending.remove(record)
        return replaying([{**record, "params": params}])(operator, params)

    def differences(self) -> Iterator[str]:
        yield from self._otherwise
        yield from (f"it no longer asks {record['operator']}" for record in self._pending)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return ", ".join(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))
