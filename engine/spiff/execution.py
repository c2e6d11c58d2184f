"""One process instance: a definition, a key, and the inputs that reached it; everything else is derived.

Given the same definition, key and inputs (with the recorded answers of synchronous operators), every execution leads
to the same events, data and snapshots, whatever was saved and loaded in between.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

import orjson
from SpiffWorkflow.bpmn import BpmnEvent, BpmnWorkflow
from SpiffWorkflow.bpmn.specs.mixins.multiinstance_task import LoopTask
from SpiffWorkflow.exceptions import SpiffWorkflowException
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from engine import expressions
from engine.errors import N_, ExpressionError, NotFoundError
from engine.spiff import migrating, moving
from engine.spiff import snapshot as snapshots
from engine.spiff.data import copy_json
from engine.spiff.definition import CompiledDefinition
from engine.spiff.events import due_at
from engine.spiff.front import front_data
from engine.spiff.inputs import KINDS, WHILE_SUSPENDED, read_payload
from engine.spiff.messages import MessageEventDefinition, SignalEventDefinition, definitions, listening
from engine.spiff.model import (
    Input,
    JobRequest,
    Lookup,
    OpenedTask,
    RefusedInputError,
    StepResult,
    Subscription,
    Thrown,
)
from engine.spiff.pruning import drop_orphans, prune
from engine.spiff.scripting import ENGINE, evaluate
from engine.spiff.specs import ServiceTask, fail
from engine.spiff.starts import begin
from engine.spiff.step import STEP, Step, inside
from engine.spiff.telling import derived_events, visible_events

READY = TaskState.READY
_EPOCH = datetime.fromtimestamp(0, UTC)


class Execution:
    """The live state of an instance, in memory. Not for several threads at once; different instances may run in
    parallel. `seq` is the number of the last input; 0 before `start`.
    """

    prune_above: ClassVar[int] = 150
    """Finished tasks are dropped from the tree after a step that leaves more tasks than this."""

    def __init__(self, definition: CompiledDefinition, key: UUID, snapshot: str | None = None) -> None:
        self.definition = definition
        self.key = key
        self.seq = 0
        self.at = _EPOCH
        self._workflow: Any = None  # a BpmnWorkflow from `start` on
        self._open: dict[UUID, Task] = {}
        self._listening: set[Subscription] = set()
        self._suspended = False
        self._void = False
        self._target: CompiledDefinition | None = None
        if snapshot is not None:
            state = orjson.loads(snapshot)
            self._suspended = state.get("suspended", False)
            self.seq, self.at = state["seq"], datetime.fromisoformat(state["at"])
            with inside(Step(key, 0, self.at)):
                self._workflow = snapshots.load(definition, state)
            self._open = {task.id: task for task in self._tasks() if _is_open(task)}
            self._listening = self.listening

    # ---- the one way to change it

    def apply(self, given: Input, lookup: Lookup | None = None, target: CompiledDefinition | None = None) -> StepResult:
        """Take one input and run until nothing can move without another.

        Kinds and payloads: start {data, event, payload, at} · submit {task, data} · result {task, value} ·
        error {task, code, message} · timer {} · message {name, payload} · signal {name, payload} · cancel {reason} ·
        retry {task, data} · suspend {reason} · resume {reason} · modify {cancel, start, set, unset, reason} ·
        migrate {reason}, of which `at`, `cancel` and `start` name elements.
        `target` is the version to which `migrate` goes.
        `lookup` answers synchronous operators. When it raises a DiaoquError, that is recorded as well and becomes an
        incident: it must leave nothing half-written then.

        After any exception discard the object and restore it from a snapshot and the inputs since.

        Raises:
            RefusedInputError: the input does not apply to the present state, nobody catches the error, or the step
                does not end. Nothing is to be recorded.
        """
        if self._void:
            raise RefusedInputError(N_("This execution was left in the middle of a step; restore it first."))
        if given.seq != self.seq + 1 or given.at < self.at:
            raise RefusedInputError(N_("Input %(seq)s does not follow %(last)s."), seq=given.seq, last=self.seq)
        kind = getattr(self, f"_{given.kind}", None) if given.kind in KINDS else None
        if kind is None:
            raise RefusedInputError(N_("There is no input of the kind %(kind)s."), kind=given.kind)
        if (self._workflow is None) != (given.kind == "start"):
            raise RefusedInputError(N_("The instance has been started already, or not yet."))
        if self._workflow is not None and self.state not in ("running", "suspended"):
            raise RefusedInputError(N_("The instance has ended."))
        if self._suspended and given.kind not in WHILE_SUSPENDED:
            raise RefusedInputError(N_("The instance is suspended."))
        step = Step(self.key, given.seq, given.at, lookup, self.definition.way_into)
        payload = read_payload(given)
        try:
            with inside(step):
                self.at, self._target = given.at, target
                kind(**payload)
                if given.kind != "suspend":
                    self._settle(step)
                result = self._result_of(step, payload["task"] if given.kind == "error" else None)
                self._prune()
        except SpiffWorkflowException as error:
            self._void = True
            raise RefusedInputError(N_("The process cannot take this input: %(error)s"), error=str(error)) from error
        except BaseException:
            self._void = bool(step.trace)
            raise
        self.seq = given.seq
        return result

    def _settle(self, step: Step) -> None:
        workflow = self._workflow
        while self._run_ready(step):
            pass
        workflow.is_completed()  # it sets `completed`: ask inside the step
        if step.removed:
            drop_orphans(workflow)
        waiting = workflow.event_manager.tasks  # the library forgets to drop removed tasks here
        for key in [key for key, task in waiting.items() if task.workflow.tasks.get(key) is not task]:
            del waiting[key]
        workflow.get_events()  # what the library would hand out: `step.thrown` is more exact

    def _run_ready(self, step: Step) -> bool:
        """Run what is ready, innermost processes first, then look at the timers; whether anything moved.

        As in the library, except that a task which another one has just cancelled is not run all the same, and that a
        loop inside one step does not grow the tree.
        """
        workflow, before = self._workflow, len(step.trace)
        inner = sorted(workflow.get_active_subprocesses(), key=lambda flow: flow.depth, reverse=True)
        for flow in (*inner, workflow):
            while ready := [task for task in flow.tasks.values() if task._state == READY and not task.task_spec.manual]:
                for task in ready:
                    if _runs_by_itself(task) and flow.tasks.get(task.id) is task:
                        task.run()
                step.kept = self._prune(step.kept)
            owner = self._find(flow.parent_task_id) if flow is not workflow else None
            if owner is not None and not owner.has_state(TaskState.FINISHED_MASK):
                owner.task_spec._update(owner)
        if not self._suspended:
            workflow.refresh_timers()
        return len(step.trace) > before

    def _prune(self, kept: int = 0) -> int:
        """Answers how many tasks were kept. Within a step it waits until they have doubled: else a long one costs their
        square."""
        if self._size() <= max(self.prune_above, 2 * kept):
            return kept
        prune(self._workflow)
        return self._size()

    def _size(self) -> int:
        return sum(len(flow.tasks) for flow in self._flows())

    # ---- the kinds of input; each raises RefusedInputError when it does not apply

    def _start(
        self, data: dict[str, Any], event: str | None = None, payload: Any = None, at: str | None = None
    ) -> None:
        chosen = self.definition.start_event(event, payload) if at is None else None
        self._workflow = BpmnWorkflow(self.definition.spec, self.definition.subprocesses, script_engine=ENGINE)
        self._workflow.task_tree.data.update(data)
        if at is None:
            begin(self._workflow, chosen, payload)
        else:
            moving.start_at(self._workflow, self.definition, at)

    def _submit(self, task: str, data: dict[str, Any]) -> None:
        found = self._named(task)
        if found is None or found.state != TaskState.READY or not found.task_spec.manual:
            raise RefusedInputError(N_("This task is not open any more."))
        found.data.update(data)
        found.run()

    def _result(self, task: str, value: Any) -> None:
        found = self._job(task)
        found.task_spec.store_result(found, value)
        found.complete()

    def _error(self, task: str, code: str, message: str = "") -> None:
        found = self._job(task)
        try:
            fail(found, code, message)
        except ExpressionError as error:
            raise RefusedInputError(error.template, **error.params) from error

    def _retry(self, task: str, data: dict[str, Any] | None = None) -> None:
        found = self._named(task)
        if found is None or found.state != TaskState.STARTED or "incident" not in found.internal_data:
            raise RefusedInputError(N_("This task has no incident."))
        internal = found.internal_data
        del internal["incident"]
        where = internal.pop("failed_in")
        found.data.update(copy_json(data or {}))
        if where == "decide":
            found.task_spec.decide(found)
        elif where == "run":
            STEP.get().retried.add(found.id)
            found._set_state(TaskState.READY)
        else:
            internal["correction"] = data or {}
            found._set_state(TaskState.FUTURE)
            found.task_spec._update(found)

    def _timer(self) -> None:
        if (due := self.due_at) is None or due > self.at:
            raise RefusedInputError(N_("No timer is due."))
        self._workflow.refresh_timers()

    def _message(self, name: str, payload: Any = None) -> None:
        self._catch(MessageEventDefinition, name, payload)

    def _signal(self, name: str, payload: Any = None) -> None:
        self._catch(SignalEventDefinition, name, payload)

    def _cancel(self, reason: str = "") -> None:  # noqa: ARG002 - recorded in the history, without effect here
        self._workflow.cancel()

    def _suspend(self, reason: str = "") -> None:  # noqa: ARG002 - as above
        if self._suspended:
            raise RefusedInputError(N_("The instance is suspended."))
        self._suspended = True

    def _resume(self, reason: str = "") -> None:  # noqa: ARG002 - as above
        """What became due meanwhile fires in this step, once."""
        if not self._suspended:
            raise RefusedInputError(N_("The instance is not suspended."))
        self._suspended = False

    def _modify(
        self,
        cancel: Sequence[str] = (),
        start: Sequence[str] = (),
        set: Mapping[str, Any] | None = None,
        unset: Sequence[str] = (),
        reason: str = "",  # noqa: ARG002 - as above
    ) -> None:
        moving.modify(self._workflow, self.definition, cancel=cancel, start=start, set=set or {}, unset=unset)

    def _migrate(self, reason: str = "") -> None:  # noqa: ARG002 - as above
        if self._target is None:
            raise RefusedInputError(N_("The version to which this instance went is not at hand."))
        STEP.get().way_into = self._target.way_into
        self._workflow = migrating.migrate(self._workflow, self.definition, self._target)
        self.definition = self._target
        self._open = {task.id: task for task in self._tasks() if _is_open(task)}

    def fit(self, target: CompiledDefinition) -> migrating.Fit:
        """How the instance stands towards another version of its process (engine.spiff.migrating)."""
        return migrating.fit(self._workflow, self.definition, target)

    def _catch(self, kind: Any, name: str, payload: Any) -> None:
        manager = self._workflow.event_manager
        waiting = (one for task in manager.tasks.values() for one in definitions(task.task_spec.event_definition))
        definition = next((one for one in waiting if isinstance(one, kind) and one.name == name), None)
        if definition is None or manager.catch(BpmnEvent(definition, payload), internal=False) == 0:
            raise RefusedInputError(N_("The process does not wait for %(name)s."), name=name)

    def _named(self, task: str) -> Task | None:
        try:
            return self._find(UUID(task))
        except (ValueError, AttributeError) as error:
            raise RefusedInputError(N_("%(task)s is not the id of a task."), task=str(task)[:60]) from error

    def _find(self, key: UUID) -> Task | None:
        return next((flow.tasks[key] for flow in self._flows() if key in flow.tasks), None)

    def _job(self, task: str) -> Task:
        found = self._named(task)
        if found is None or not _is_job(found):
            raise RefusedInputError(N_("This service task does not wait for a result any more."))
        return found

    # ---- what followed

    def _result_of(self, step: Step, failed_job: str | None) -> StepResult:
        before, heard = self._open, self._listening
        self._listening = self.listening
        touched = {change.task.id: change.task for change in step.trace if _is_open(change.task)}
        self._open = {key: task for key, task in {**before, **touched}.items() if self._is_in_tree(task)}
        fresh = [task for key, task in self._open.items() if key not in before]
        gone = [before[key] for key in sorted(before.keys() - self._open.keys())]  # a loaded state has another order
        withdrawn = [
            change.task.id
            for change in step.trace
            if change.new == TaskState.CANCELLED and "incident" in change.task.internal_data
        ]
        element = self.definition.nearest_element
        return StepResult(
            events=derived_events(step),
            visible=visible_events(step, self.definition),
            lookups=step.lookups,
            opened=[
                OpenedTask(task.id, element(task), copy_json(task.data)) for task in fresh if task.task_spec.manual
            ],
            closed=[
                (task.id, "completed" if task.state == TaskState.COMPLETED else "cancelled")
                for task in gone
                if task.task_spec.manual
            ],
            jobs=[_request(task, element(task)) for task in fresh if not task.task_spec.manual],
            ended_jobs=[
                task.id
                for task in gone
                if not task.task_spec.manual and task.state != TaskState.COMPLETED and str(task.id) != failed_job
            ]
            + [key for key in withdrawn if key not in before],
            incidents=[
                (task.id, element(task), told)
                for task, told in step.incidents.values()
                if task.internal_data.get("incident") == str(told) and self._is_in_tree(task)
            ],
            state=self.state,
            due_at=self.due_at,
            data=self.data,
            thrown=[Thrown(element(task), *event) for task, *event in step.thrown],
            subscribed=sorted(self._listening - heard),
            unsubscribed=sorted(heard - self._listening),
        )

    def _is_in_tree(self, task: Task) -> bool:
        flow = task.workflow
        attached = flow is self._workflow or self._workflow.subprocesses.get(flow.parent_task_id) is flow
        open_still = _is_open(task) or ("incident" in task.internal_data and task.state == TaskState.STARTED)
        return attached and flow.tasks.get(task.id) is task and open_still

    # ---- looking at it

    @property
    def state(self) -> str:
        """'running', 'suspended', 'completed' or 'cancelled'; 'running' before the start too."""
        if self._workflow is None or not self._workflow.completed:
            return "suspended" if self._suspended else "running"
        return "completed" if self._workflow.success else "cancelled"

    @property
    def due_at(self) -> datetime | None:
        """When a `timer` input is next worth sending."""
        if self._workflow is None or self._workflow.completed:
            return None
        return due_at(list(self._workflow.event_manager.tasks.values()))

    @property
    def listening(self) -> set[Subscription]:
        """The messages and signals that the instance waits for."""
        if self._workflow is None or self._workflow.completed:
            return set()
        return listening(self._workflow.event_manager.tasks.values())

    @property
    def data(self) -> dict[str, Any]:
        """What all tokens of the instance know together; after the end, what they left."""
        return {} if self._workflow is None else front_data(self._workflow)

    def task_data(self, task_id: UUID) -> dict[str, Any]:
        """What one task can see. Raises NotFoundError."""
        return copy_json(self._known(task_id).data)

    def evaluate(self, task_id: UUID, expression: str) -> Any:
        """The value of an expression with the names that a task sees, at the time of the last step.

        Raises:
            NotFoundError: there is no such task.
            ExpressionError: the expression fails.
        """
        task = self._known(task_id)
        with expressions.at(self.at):
            return evaluate(expression, {**task.workflow.data_objects, **task.data})

    def snapshot(self) -> str:
        """The state as JSON text; a cache, never the truth.

        Raises:
            RefusedInputError: nothing has started, or a step was left in the middle.
        """
        if self._workflow is None or self._void:
            raise RefusedInputError(N_("There is no state to save."))
        facts: dict[str, Any] = {"seq": self.seq, "at": self.at.isoformat()}
        return snapshots.save(self._workflow, {**facts, "suspended": True} if self._suspended else facts)

    def _known(self, task_id: UUID) -> Task:
        task = self._find(task_id)
        if task is None:
            raise NotFoundError(N_("There is no such task."))
        return task

    def _flows(self) -> list[Any]:
        return [] if self._workflow is None else [self._workflow, *self._workflow.subprocesses.values()]

    def _tasks(self) -> list[Task]:
        return [task for flow in self._flows() for task in flow.tasks.values()]


def _runs_by_itself(task: Task) -> bool:
    return task._state == READY and not task.task_spec.manual


def _is_job(task: Task) -> bool:
    return task.state == TaskState.STARTED and isinstance(task.task_spec, ServiceTask) and "job" in task.internal_data


def _is_open(task: Task) -> bool:
    if task._state == READY:
        return bool(task.task_spec.manual) and not isinstance(task.task_spec, LoopTask)
    return _is_job(task)


def _request(task: Task, element: str) -> JobRequest:
    job, spec = task.internal_data["job"], task.task_spec
    return JobRequest(
        task.id,
        element,
        job["operator"],
        copy_json(job["params"]),
        copy_json(task.data),
        spec.retries,
        spec.retry_backoff_base,
    )
