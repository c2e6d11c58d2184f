"""One step at a time: ids, clock and trace come from the step, never from the machine.

The library creates tasks, reads clocks and changes states deep inside; `engine.spiff.patches` makes it ask here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple, TypeVar, cast
from uuid import UUID, uuid5

from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from engine import expressions
from engine.errors import N_, BpmnError, DiaoquError, Sentence
from engine.spiff.data import copy_json, plain
from engine.spiff.model import Lookup, RefusedInputError

MAX_CHANGES = 20_000
"""State changes in one step; more means an endless loop in the diagram."""

MOVED = "moved"
"""Marks a token in its internal data that a person has put where it is: it came by no sequence flow."""

T = TypeVar("T")

ACTIVE = TaskState.WAITING | TaskState.READY | TaskState.STARTED
FINISHED = TaskState.FINISHED_MASK


class LookupFailedError(DiaoquError):
    """A synchronous operator refused; its service task becomes an incident."""


class Change(NamedTuple):
    """A state change of a task. `way` is by which elements a token came: a sequence flow where that is known, before
    it the boundary event that sends a token at each of its cycles."""

    task: Task
    old: int
    new: int
    way: tuple[str, ...]


class Step:
    """The context of one input: everything random or temporal, and the record of what happened."""

    def __init__(
        self,
        namespace: UUID,
        seq: int,
        at: datetime,
        lookup: Lookup | None = None,
        way_into: Callable[[Task], tuple[str, ...]] | None = None,
    ) -> None:
        self.namespace = namespace
        self.seq = seq
        self.at = at
        self.lookup = lookup
        self.way_into = way_into
        self.trace: list[Change] = []
        self.lookups: list[dict[str, Any]] = []
        self.incidents: dict[UUID, tuple[Task, Sentence]] = {}
        self.absorbed: set[UUID] = set()
        self.failed: set[UUID] = set()
        self.thrown: list[tuple[Task, str, str, Any, str]] = []
        self.retried: set[UUID] = set()
        self.held: set[str] = set()  # sub-processes that begin nowhere: a token is put into them by hand
        self.settled: set[Task] = set()  # what waits and need not be asked again (engine.spiff.waiting)
        self.removed = False
        self.kept = 0  # tasks that were left when the tree was last pruned
        self._seconds = at.timestamp()
        self._ids = 0
        self.ticks = 0
        self._answers: dict[Any, tuple[int, Any]] = {}

    def new_id(self) -> UUID:
        self._ids += 1
        return uuid5(self.namespace, f"{self.seq}/{self._ids}")

    def tick(self) -> float:
        """`at` plus a microsecond per change: joins sort by it.

        Raises:
            RefusedInputError: the step does not end.
        """
        self.ticks += 1
        if self.ticks > MAX_CHANGES:
            raise RefusedInputError(N_("The process runs in a circle without ever waiting for anything."))
        return self._seconds + self.ticks * 1e-6

    def unchanged(self, question: Any, answer: Callable[[], T]) -> T:
        """The answer that was given last, as long as no task has changed its state since."""
        told = self._answers.get(question)
        if told is None or told[0] != self.ticks:
            self._answers[question] = told = (self.ticks, answer())
        return cast("T", told[1])

    def change(self, task: Task, old: int, new: int) -> None:
        task._state = new
        task.last_state_change = self.tick()
        if new >= TaskState.WAITING:
            entered = old < TaskState.WAITING and not new & FINISHED
            way = self.way_into(task) if entered and self.way_into is not None else ()
            self.trace.append(Change(task, old, new, way))

    def incident(self, task: Task, error: Exception) -> None:
        """A script, condition or parameter failed: the task stays STARTED until a `retry` input."""
        task.internal_data["incident"] = str(error)
        told = error.sentence if isinstance(error, DiaoquError) else Sentence(str(error))
        self.incidents[task.id] = (task, told)

    def throw(self, task: Task, kind: str, name: str, payload: Any, time_to_live: str = "") -> None:
        """A message that nobody inside the instance waits for, or a signal, leaves the instance."""
        self.thrown.append((task, kind, name, payload, time_to_live))

    def consult(self, operator: str, params: dict[str, Any]) -> Any:
        """The answer of a synchronous operator, recorded.

        Raises:
            BpmnError: the operator reports a modelled failure.
            LookupFailedError: it refused otherwise.
        """
        record: dict[str, Any] = {"operator": operator, "params": copy_json(params)}
        self.lookups.append(record)
        if self.lookup is None:
            raise LookupFailedError(N_("%(operator)s cannot be asked here."), operator=operator)
        try:
            record["result"] = plain(self.lookup(operator, copy_json(params)), operator)
        except RefusedInputError:
            raise
        except BpmnError as error:
            record["error"] = {"code": error.code, "message": error.message}
            raise
        except DiaoquError as error:
            record["failure"] = str(error)
            raise LookupFailedError("%(message)s", message=error.sentence) from error
        return copy_json(record["result"])


STEP: ContextVar[Step] = ContextVar("step")


@contextmanager
def inside(step: Step) -> Iterator[None]:
    """Within the block the library asks `step`, and the expressions' clock is the step's instant."""
    token = STEP.set(step)
    try:
        with expressions.at(step.at):
            yield
    finally:
        STEP.reset(token)


class StepDatetime(datetime):
    """Stands in for `datetime` in the library's timer module: every reading of one step is the same instant."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return STEP.get().at.astimezone(tz or UTC)


def replaying(lookups: list[dict[str, Any]]) -> Lookup:
    """A lookup that gives the recorded answers in order.

    It raises RefusedInputError when the step asks for something else than it did the first time.
    """
    pending = list(reversed(lookups))

    def answer(operator: str, params: dict[str, Any]) -> Any:
        if not pending or pending[-1]["operator"] != operator or pending[-1]["params"] != params:
            raise RefusedInputError(
                N_("The step asks %(operator)s, which the history does not hold."), operator=operator
            )
        record = pending.pop()
        if "error" in record:
            raise BpmnError(record["error"]["code"], record["error"]["message"])
        if "failure" in record:
            raise LookupFailedError("%(message)s", message=record["failure"])
        return copy_json(record["result"])

    return answer
