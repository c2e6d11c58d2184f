"""The state of an instance as text: everything that the library keeps between two steps, in the library's own order.

A snapshot is only a cache. It holds each task's full data (the library stores what differs by `==` from the parent's,
which loses `True` against `1`), sub-processes and listeners in their stored order; equal data is stored once.
"""

from typing import Any
from uuid import UUID

import orjson
from SpiffWorkflow.bpmn import BpmnWorkflow
from SpiffWorkflow.bpmn.util.subworkflow import BpmnSubWorkflow
from SpiffWorkflow.task import Task

from engine.spiff.data import copy_json
from engine.spiff.definition import CompiledDefinition
from engine.spiff.scripting import ENGINE

FORMAT = 1


def save(workflow: BpmnWorkflow, facts: dict[str, Any]) -> str:
    table: list[orjson.Fragment] = []
    index: dict[bytes, int] = {}

    def place(value: dict[str, Any]) -> int:
        raw = orjson.dumps(value)
        if raw not in index:
            index[raw] = len(table)
            table.append(orjson.Fragment(raw))
        return index[raw]

    flows = [
        (
            key,
            flow.data,
            flow.correlations,
            flow.last_task and flow.last_task.id,
            flow.success,
            flow.completed,
            flow.task_tree.id,
            [_row(task, place) for task in flow.tasks.values()],
        )
        for key, flow in ((None, workflow), *workflow.subprocesses.items())
    ]
    listening = list(workflow.event_manager.tasks)
    document = {"format": FORMAT, **facts, "flows": flows, "data": table, "listening": listening}
    return orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS).decode()


def _row(task: Task, place: Any) -> tuple[Any, ...]:
    return (
        task.id,
        task._parent,
        task._children,
        task._state,
        task.task_spec.name,
        task.triggered,
        task.last_state_change,
        task.internal_data or None,
        place(task.data) if task.data else None,
    )


def load(definition: CompiledDefinition, state: dict[str, Any]) -> BpmnWorkflow:
    """The workflow of a snapshot that `save` has written, parsed. Call it inside a step."""
    top = BpmnWorkflow(definition.spec, definition.subprocesses, script_engine=ENGINE, deserializing=True)
    every: dict[str, Task] = {}
    for key, data, correlations, last, success, completed, root, rows in state["flows"]:
        flow = top
        if key is not None:
            owner = every[key]
            spec = definition.subprocesses[owner.task_spec.spec]
            flow = BpmnSubWorkflow(spec, owner.id, top, deserializing=True)
            top.subprocesses[owner.id] = flow
            flow.completed_event.connect(owner.task_spec._on_subworkflow_completed, owner)
        for row in rows:
            every[row[0]] = _restore(flow, row, state["data"])
        flow.task_tree = flow.tasks[UUID(root)]
        flow.data, flow.correlations, flow.success, flow.completed = data, correlations, success, completed
        flow.last_task = every.get(last)
    for task_id in state["listening"]:
        top.event_manager.add_task(every[task_id])
    return top


def _restore(flow: BpmnWorkflow, row: list[Any], table: list[Any]) -> Task:
    task_id, parent, children, status, name, triggered, changed, internal, place = row
    task = Task(flow, flow.spec.task_specs[name], state=status, id=UUID(task_id))
    task._parent, task._children = parent and UUID(parent), [UUID(child) for child in children]
    task.triggered, task.last_state_change = triggered, changed
    task.internal_data = internal or {}
    if place is not None:
        task.data = copy_json(table[place])
    return task
