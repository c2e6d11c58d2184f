"""What happened in a step, told twice: as a proof (every change) and for people (elements of their diagram)."""

from hashlib import sha256
from typing import Any

import orjson
from SpiffWorkflow.bpmn.specs.control import BoundaryEvent
from SpiffWorkflow.bpmn.specs.mixins.multiinstance_task import LoopTask
from SpiffWorkflow.util.task import TaskState

from engine.spiff.definition import CompiledDefinition
from engine.spiff.step import FINISHED, Change, Step

_NAMES = {state: TaskState.get_name(state) for state in TaskState._values}


def derived_events(step: Step) -> list[list[Any]]:
    """`[task_id, element, old, new, data_digest]`, in the order in which they happened; the digest when completed."""
    events = []
    for task, old, new, _way in step.trace:
        digest = None
        if new == TaskState.COMPLETED:
            digest = "sha256:" + sha256(orjson.dumps(task.data, option=orjson.OPT_SORT_KEYS)).hexdigest()
        events.append([str(task.id), task.task_spec.name, _NAMES[old], _NAMES[new], digest])
    return events


def visible_events(step: Step, definition: CompiledDefinition) -> list[dict[str, str]]:
    """The same for people. A multi-instance activity shows its instances; it shows itself only when it has none."""
    told: list[dict[str, str]] = []

    def tell(element: str | None, kind: str) -> None:
        if element is not None:
            told.append({"element": element, "type": kind})

    for change in step.trace:
        task = change.task
        element = definition.element_of(task)
        for event in change.way[:-1]:
            tell(event, "enter")
            tell(event, "leave")
        for flow in change.way[-1:]:
            tell(flow, "take")
        if element is None:
            continue
        if isinstance(task.task_spec, LoopTask):
            if change.new == TaskState.COMPLETED and not task.internal_data.get("merged"):
                tell(element, "enter")
                tell(element, "leave")
            continue
        if _enters(step, change):
            tell(element, "enter")
        if change.new == TaskState.COMPLETED and task.id not in step.failed:
            tell(element, "leave")
        elif change.new & FINISHED and _was_seen(change):
            tell(element, _how_it_ended(step, change))
    for task, _message in step.incidents.values():
        if "incident" in task.internal_data:
            tell(definition.nearest_element(task), "fail")
    return [event for event in told if event["element"] in definition.elements]


def _enters(step: Step, change: Change) -> bool:
    """A boundary event is entered when it fires, not when its activity starts; what failed is entered again."""
    if change.task.id in step.retried and change.old == TaskState.STARTED and change.new == TaskState.READY:
        return True
    if isinstance(change.task.task_spec, BoundaryEvent):
        return change.new == TaskState.READY
    return change.old < TaskState.WAITING and not change.new & FINISHED


def _was_seen(change: Change) -> bool:
    if isinstance(change.task.task_spec, BoundaryEvent):
        return change.old == TaskState.READY
    return change.old >= TaskState.WAITING


def _how_it_ended(step: Step, change: Change) -> str:
    if change.task.id in step.failed:
        return "fail"
    return "leave" if change.task.id in step.absorbed else "cancel"
