"""Gateways. A join counts tokens: a waiting task of its spec is one token on the flow it came by.

The library cancels the other waiting tasks and then guesses from the whole history which inputs have completed;
inside a loop it counts those of earlier rounds. BPMN 2.0, 13.4.1 (parallel) and 13.4.3 (inclusive).
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from SpiffWorkflow.bpmn.specs import defaults as bpmn
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from engine.errors import N_, ExpressionError
from engine.spiff.data import merge_tokens
from engine.spiff.messages import MessageEventDefinition
from engine.spiff.step import ACTIVE, MOVED, STEP


class TokenJoin:
    """What parallel and inclusive gateways share; `_may_fire` says which inputs must hold a token."""

    _inputs: list[str]

    def _may_fire(self, workflow: Any, full: set[str]) -> bool:
        raise NotImplementedError

    def _update_hook(self, my_task: Task) -> bool:
        if MOVED in my_task.internal_data:  # put on a fork by hand: it waits for nobody
            my_task._inherit_data()
            return True
        my_task._set_state(TaskState.WAITING)
        tokens = self.ready_tokens(my_task.workflow)
        if my_task not in tokens:
            return False
        my_task.data = merge_tokens(sorted(tokens, key=lambda task: task.parent.last_state_change))
        for task in tokens:
            if task is not my_task:
                STEP.get().absorbed.add(task.id)
                task.cancel()
        return True

    def ready_tokens(self, workflow: Any) -> list[Task]:
        """Those that go on as one now; none when the join waits for another."""
        return STEP.get().unchanged((workflow, self), lambda: self._collect(workflow))

    def _collect(self, workflow: Any) -> list[Task]:
        inputs = Counter(self._inputs)
        queues: dict[str, list[Task]] = {name: [] for name in inputs}
        for task in workflow.tasks.values():
            if task.task_spec is self and task.state == TaskState.WAITING:
                queues[task.parent.task_spec.name].append(task)
        full = {name for name, queue in queues.items() if len(queue) >= inputs[name]}
        if not self._may_fire(workflow, full):
            return []
        return [task for name, queue in queues.items() for task in queue[: inputs[name]]]


class ParallelGateway(TokenJoin, bpmn.ParallelGateway):
    def _may_fire(self, workflow: Any, full: set[str]) -> bool:  # noqa: ARG002
        return len(full) == len(set(self._inputs))

    def _run_hook(self, my_task: Task) -> bool:  # noqa: ARG002
        return True


class InclusiveGateway(TokenJoin, bpmn.InclusiveGateway):
    """Waits for every token that can still reach an empty input, unless it can also reach a filled one."""

    def _may_fire(self, workflow: Any, full: set[str]) -> bool:
        empty = self._upstream(name for name in self._inputs if name not in full)
        reached = self._upstream(full)
        return not any(
            task.task_spec.name in empty and task.task_spec.name not in reached
            for task in workflow.tasks.values()
            if task.has_state(ACTIVE) and task.task_spec is not self
        )

    def _upstream(self, names: Iterable[str]) -> set[str]:
        found: set[str] = set()
        pending = list(names)
        while pending:
            name = pending.pop()
            if name not in found and name != self.name:
                found.add(name)
                pending.extend(self._wf_spec.task_specs[name]._inputs)
        return found

    def _run_hook(self, my_task: Task) -> bool:
        matches, default = self._get_matching_outputs(my_task)
        if not (matches or default):
            raise ExpressionError(N_("No condition holds at the gateway and there is no default flow."))
        my_task._sync_children(matches or default, TaskState.FUTURE)
        for child in my_task.children:
            child.task_spec._predict(child, mask=TaskState.FUTURE | TaskState.PREDICTED_MASK)
        return True


class ExclusiveGateway(bpmn.ExclusiveGateway):
    def _run_hook(self, my_task: Task) -> bool:
        output = self.default_task_spec
        for condition, name in self.cond_task_specs:
            if condition is not None and condition._matches(my_task):
                output = name
                break
        if output is None:
            raise ExpressionError(N_("No condition holds at the gateway and there is no default flow."))
        my_task._sync_children([self._wf_spec.task_specs[output]], TaskState.FUTURE)
        for child in my_task.children:
            child.task_spec._predict(child, mask=TaskState.FUTURE | TaskState.PREDICTED_MASK)
        return True


class EventBasedGateway(bpmn.EventBasedGateway):
    def _update_hook(self, my_task: Task) -> bool:
        ready = super()._update_hook(my_task)
        for definition in self.event_definition.event_definitions if not ready else ():
            if isinstance(definition, MessageEventDefinition):
                definition.update_task(my_task)
        return bool(ready)

    def _run_hook(self, my_task: Task) -> bool:
        result = super()._run_hook(my_task)
        my_task.internal_data.pop("seen_events", None)  # library objects, of no use once the gateway has fired
        return bool(result)
