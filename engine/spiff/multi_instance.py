"""Multi-instance activities and standard loops. BPMN 2.0, 13.3.6 and 13.3.7.

The library's completion condition sees the last instance only, its output is in the order of completion, it refuses
to start twice in a rework loop, and open instances that it removes leave their sub-processes behind.
"""

from collections.abc import Mapping
from typing import Any

from SpiffWorkflow.bpmn.specs.bpmn_task_spec import BpmnTaskSpec
from SpiffWorkflow.bpmn.specs.data_spec import TaskDataReference
from SpiffWorkflow.spiff.specs import defaults as spiff
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from engine.errors import N_, ExpressionError
from engine.spiff.data import copy_json, merge_branches
from engine.spiff.patches import MODELLED
from engine.spiff.scripting import evaluate
from engine.spiff.step import FINISHED, STEP

MAX_INSTANCES = 1000


class MultiInstance:
    """What parallel and sequential multi-instance activities share.

    `loopDataInputRef` may be any expression that gives a list or an object; it is evaluated once. The output is in the
    order of the input, with null where an instance set no output item. `completionCondition` sees the finished
    instance's data, the output collected so far, and BPMN's nrOfInstances, nrOfCompletedInstances,
    nrOfActiveInstances, nrOfTerminatedInstances. Without an output collection the instances' changes are merged.
    """

    data_input: Any
    data_output: Any
    input_item: Any
    output_item: Any
    cardinality: str | None
    condition: str | None
    sequential: bool

    def _update_hook(self, my_task: Task) -> bool | None:
        BpmnTaskSpec._update_hook(self, my_task)
        items = self._items(my_task)
        my_task.internal_data.update(merged=[], collected=[], total=len(items), remaining=list(items))
        in_place = self.data_output is not None and self._input_name() == self.data_output.bpmn_id
        my_task.internal_data["keyed"] = in_place or bool(items and isinstance(items[0][0], str))
        names = [reference.bpmn_id for reference in (self.input_item, self.output_item) if reference is not None]
        hidden = {name: my_task.data.pop(name) for name in names if name in my_task.data}
        if hidden:  # by the items, until the activity has ended
            my_task.internal_data["hidden"] = hidden
        if self.data_output is not None and not in_place:
            my_task.data[self.data_output.bpmn_id] = {} if my_task.internal_data["keyed"] else []
        if not items:
            my_task.data.update(my_task.internal_data.pop("hidden", {}))
            return True
        my_task._set_state(TaskState.STARTED)
        for _ in items[:1] if self.sequential else items:
            self._start_next(my_task)
        return None

    def _input_name(self) -> str | None:
        return self.data_input.bpmn_id if self.data_input is not None else None

    def _items(self, my_task: Task) -> list[list[Any]]:
        """Pairs of key (or index) and item."""
        if self.data_input is None:
            count = evaluate(self.cardinality, my_task.data)
            if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_INSTANCES:
                raise ExpressionError(N_("The number of instances is %(count)s."), count=repr(count)[:40])
            return [[index, index] for index in range(count)]
        if isinstance(self.data_input, TaskDataReference):
            found = evaluate(self.data_input.bpmn_id, my_task.data)
        else:
            found = copy_json(self.data_input.get(my_task))
        if not isinstance(found, list | dict) or len(found) > MAX_INSTANCES:
            raise ExpressionError(
                N_("%(name)s is not a list of at most %(limit)s items."), name=self._input_name(), limit=MAX_INSTANCES
            )
        return [[key, item] for key, item in (found.items() if isinstance(found, dict) else enumerate(found))]

    def _start_next(self, my_task: Task) -> None:
        key, item = my_task.internal_data["remaining"].pop(0)
        spec = my_task.workflow.spec.task_specs[self.task_spec]  # type: ignore[attr-defined]  # mixed into a LoopTask
        child = my_task._add_child(spec, TaskState.WAITING)
        child.triggered = True
        child.internal_data["key_or_index"] = key
        if self.input_item is not None:
            child.data[self.input_item.bpmn_id] = copy_json(item)
        child.task_spec._update(child)

    def merge_child(self, workflow: Any, child: Task) -> None:  # noqa: ARG002
        """Called by the library when an instance has completed."""
        my_task = child.parent
        my_task.data = copy_json(my_task.data)
        if self.data_output is not None and self.output_item is not None:
            value = copy_json(child.data.get(self.output_item.bpmn_id))
            my_task.internal_data["collected"].append([child.internal_data["key_or_index"], value])
            self._write_output(my_task)
        else:
            self._merge(my_task, child)
        my_task.internal_data["merged"].append(str(child.id))
        self.decide(my_task, child)

    def _write_output(self, my_task: Task) -> None:
        name = self.data_output.bpmn_id
        collected = my_task.internal_data["collected"]
        if my_task.internal_data["keyed"]:
            for key, value in collected:
                my_task.data[name][key] = value
        else:
            my_task.data[name] = [value for _, value in sorted(collected, key=lambda pair: pair[0])]

    def _merge(self, my_task: Task, child: Task) -> None:
        items = {reference.bpmn_id for reference in (self.input_item, self.output_item) if reference is not None}
        changed = {key: value for key, value in child.data.items() if key not in items}
        if self.sequential:
            my_task.data = copy_json(changed)
        else:
            base = {key: value for key, value in my_task.parent.data.items() if key not in items}
            my_task.data = merge_branches(base, [my_task.data, changed])

    def decide(self, my_task: Task, last: Task | None = None) -> None:
        """Go on, end, or start the next instance; a failing condition is an incident of the whole activity."""
        internal = my_task.internal_data
        try:
            ends = self._condition_holds(my_task, last)
        except MODELLED as error:
            internal["failed_in"] = "decide"
            STEP.get().incident(my_task, error)
            return
        internal.pop("incident", None)
        if ends:
            internal["remaining"] = []
            for child in list(self._instances(my_task)):  # type: ignore[attr-defined]  # mixed into a LoopTask
                if not child.has_state(FINISHED):
                    child.cancel()
        if ends or len(internal["merged"]) >= internal["total"]:
            my_task.data.update(internal.pop("hidden", {}))
            my_task._set_state(TaskState.READY)
        elif self.sequential and internal["remaining"]:
            self._start_next(my_task)

    def _condition_holds(self, my_task: Task, last: Task | None) -> bool:
        if not (self.condition or "").strip():
            return False
        internal = my_task.internal_data
        active = sum(not child.has_state(FINISHED) for child in self._instances(my_task))  # type: ignore[attr-defined]  # see above
        view: Mapping[str, Any] = {
            **my_task.data,
            **(last.data if last is not None else {}),
            "nrOfInstances": internal["total"],
            "nrOfCompletedInstances": len(internal["merged"]),
            "nrOfActiveInstances": active,
            "nrOfTerminatedInstances": 0,
            **({self.data_output.bpmn_id: my_task.data[self.data_output.bpmn_id]} if self.data_output else {}),
        }
        return bool(evaluate(self.condition, view))


class ParallelMultiInstanceTask(MultiInstance, spiff.ParallelMultiInstanceTask):
    sequential = False


class SequentialMultiInstanceTask(MultiInstance, spiff.SequentialMultiInstanceTask):
    sequential = True


class StandardLoopTask(spiff.StandardLoopTask):
    def merge_child(self, workflow: Any, child: Task) -> None:  # noqa: ARG002
        my_task = child.parent
        my_task.data = copy_json(child.data)
        my_task.internal_data["merged"].append(str(child.id))
        self.decide(my_task)

    def decide(self, my_task: Task, last: Task | None = None) -> None:  # noqa: ARG002
        try:
            ends = self.loop_complete(my_task)
        except MODELLED as error:
            my_task.internal_data["failed_in"] = "decide"
            STEP.get().incident(my_task, error)
            return
        if ends:
            my_task._set_state(TaskState.READY)
        else:
            self.create_child(my_task)
