"""Drives one instance four times at once and insists that all four say the same.

Live in memory; saved and loaded before every input; with the tree pruned after every input; and both together, each on
a definition compiled for itself. So every test of this folder is also a test of determinism.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid5

import orjson

from engine import operators
from engine.spiff import CompiledDefinition, Execution, Input, Lookup, StepResult, compile_definition, replaying

NAMESPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
T0 = datetime(2026, 1, 5, 1, tzinfo=UTC)


class Pruned(Execution):
    prune_above: ClassVar[int] = 0


@operators.operator("test/fetch", zh="取", en="Fetch")
def fetch(context: Any, *, n: Any = 0) -> Any:
    raise AssertionError("the kernel never runs a job")


@operators.operator("test/ask", zh="问", en="Ask", synchronous=True)
def ask(context: Any, *, question: Any = "") -> Any:
    raise AssertionError("the kernel asks through the lookup only")


class Case:
    """`files` may be the text of one diagram with the process P; it starts at `event` when that is given."""

    def __init__(
        self,
        files: str | Mapping[str, str],
        data: Mapping[str, Any] | None = None,
        *,
        process_id: str = "P",
        lookup: Lookup | None = None,
        seed: str = "case",
        at: datetime = T0,
        event: str = "",
        payload: Any = None,
        at_element: str = "",
    ) -> None:
        texts = {"test.bpmn": files} if isinstance(files, str) else files
        key = uuid5(NAMESPACE, seed)
        self.at = at
        self.lookup = lookup
        self.inputs: list[Input] = []
        self.results: list[StepResult] = []
        self._process = process_id
        self._first = self._definition = compile_definition(texts, process_id)
        self._again = compile_definition(texts, process_id)
        self._targets: dict[int, CompiledDefinition] = {}
        self.live = Execution(self._definition, key)
        self._others: list[tuple[Execution, bool]] = [
            (Execution(self._again, key), True),
            (Pruned(self._again, key), False),
            (Pruned(self._again, key), True),
        ]
        begin = {"event": event, "payload": payload} if event else {}
        if at_element:
            begin = {"at": at_element}
        self.give("start", data=dict(data or {}), **begin)

    # ---- giving inputs

    def migrate(self, text: str | Mapping[str, str], **facts: Any) -> StepResult:
        """Go over to another diagram; `facts` are for the record, which names both versions."""
        texts = {"test.bpmn": text} if isinstance(text, str) else text
        self._targets[len(self.inputs) + 1] = target = compile_definition(texts, self._process)
        again = self._again
        self._again = compile_definition(texts, self._process)
        try:
            result = self._give("migrate", {**facts, "reason": "a test"}, target, again)
        except Exception:
            self._again = again
            raise
        self._definition = target
        return result

    def give(self, kind: str, **payload: Any) -> StepResult:
        """One input; a refused one leaves the case as it was."""
        return self._give(kind, payload, None, self._again)

    def _give(
        self, kind: str, payload: dict[str, Any], target: CompiledDefinition | None, known: CompiledDefinition
    ) -> StepResult:
        given = Input(len(self.inputs) + 1, self.at, kind, orjson.dumps(payload).decode())
        try:
            result = self.live.apply(given, self.lookup, target)
        except Exception:
            self._rebuild()
            raise
        for place, (other, reloads) in enumerate(self._others):
            if reloads and other.seq:
                other = type(other)(known, other.key, other.snapshot())
                self._others[place] = (other, True)
            again = other.apply(given, replaying(result.lookups), target and self._again)
            assert again == result, f"{type(other).__name__}, reloaded: {reloads}"
        assert self._others[0][0].snapshot() == self.live.snapshot()
        self.inputs.append(given)
        self.results.append(result)
        return result

    def _rebuild(self) -> None:
        self.live = Execution(self._first, self.live.key)
        for given, result in zip(self.inputs, self.results, strict=True):
            assert self.live.apply(given, replaying(result.lookups), self._targets.get(given.seq)) == result

    def do(self, element: str, **data: Any) -> StepResult:
        """Submit the (first) open user task of that name."""
        return self.give("submit", task=str(self.task(element)), data=data)

    def finish(self, element: str, value: Any = None) -> StepResult:
        return self.give("result", task=str(self.job(element)), value=value)

    def fail(self, element: str, code: str = "NVR", message: str = "") -> StepResult:
        return self.give("error", task=str(self.job(element)), code=code, message=message)

    def later(self, **span: float) -> StepResult | None:
        """Let time pass, and send a timer input when one is due."""
        self.at += timedelta(**span)
        due = self.live.due_at
        return self.give("timer") if due is not None and due <= self.at else None

    # ---- looking

    def open(self) -> dict[UUID, str]:
        return self.undecided() if self.state == "running" else {}

    def undecided(self) -> dict[UUID, str]:
        """As `open`, also while the instance is suspended."""
        found = {}
        for result in self.results:
            found |= {task.id: task.element for task in result.opened}
            for task_id, _how in result.closed:
                del found[task_id]
        return found

    def jobs(self) -> dict[UUID, str]:
        found = {}
        for given, result in zip(self.inputs, self.results, strict=True):
            if given.kind in ("result", "error"):
                found.pop(UUID(orjson.loads(given.payload)["task"]), None)
            for task_id in result.ended_jobs:
                del found[task_id]
            found |= {job.task_id: job.element for job in result.jobs}
        return found if self.state == "running" else {}

    def task(self, element: str) -> UUID:
        return next(task_id for task_id, name in self.open().items() if name == element)

    def job(self, element: str) -> UUID:
        return next(task_id for task_id, name in self.jobs().items() if name == element)

    @property
    def ready(self) -> list[str]:
        return sorted(self.open().values())

    @property
    def state(self) -> str:
        return self.live.state

    @property
    def data(self) -> dict[str, Any]:
        return self.live.data

    @property
    def told(self) -> list[str]:
        """What people see of the last step, as `type element`."""
        return [f"{event['type']} {event['element']}" for event in self.results[-1].visible]

    def left(self, element: str) -> int:
        """How often an element has been completed."""
        events = [event for result in self.results for event in result.visible]
        return events.count({"element": element, "type": "leave"})
