"""Start events: what starts a process from outside, and when the next start by a timer is due. BPMN 2.0, 10.5.2.

A process has one start event without an event at most; a person or a call activity starts it there. Each of its other
start events waits outside any instance (engine.starts) for its message, its signal or its time.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_OID

from SpiffWorkflow.bpmn import BpmnEvent
from SpiffWorkflow.bpmn.specs import defaults as bpmn
from SpiffWorkflow.bpmn.specs.control import StartEventJoin, StartEventSplit
from SpiffWorkflow.bpmn.specs.event_definitions.base import EventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.simple import NoneEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.timer import TimerEventDefinition
from SpiffWorkflow.task import Task

from engine.spiff.events import cycles_after
from engine.spiff.messages import MessageEventDefinition, SignalEventDefinition
from engine.spiff.scripting import evaluate
from engine.spiff.step import Step, inside


class StartEvent(bpmn.StartEvent):
    """`trigger` is what it waits for before there is an instance; in an instance nothing waits here."""

    def __init__(self, wf_spec: Any, bpmn_id: str, event_definition: EventDefinition, **kwargs: Any) -> None:
        super().__init__(wf_spec, bpmn_id, NoneEventDefinition(), **kwargs)
        self.trigger = event_definition

    @property
    def is_plain(self) -> bool:
        return isinstance(self.trigger, NoneEventDefinition)

    @property
    def carries_payload(self) -> bool:
        return isinstance(self.trigger, MessageEventDefinition | SignalEventDefinition)

    def _run_hook(self, my_task: Task) -> bool:
        if self.carries_payload:
            self.trigger.update_task_data(my_task)
        return bool(super()._run_hook(my_task))


@dataclass(frozen=True)
class Trigger:
    """A start event that waits for something: `kind` is message, signal or timer; a timer has no `name`."""

    element: str
    kind: str
    name: str
    spec: StartEvent

    def first(self, at: datetime) -> dict[str, Any] | None:
        """When a timer starts the process for the first time after `at`; None for a date that is over.

        `{"next": ISO 8601, "cycles": how many remain (-1: without end), "duration": seconds}`.

        Raises:
            ExpressionError: the text is no ISO 8601 time.
        """
        with inside(Step(NAMESPACE_OID, 0, at)):
            found = self.spec.trigger.read(evaluate(self.spec.trigger.expression, {}))
        schedule = found if isinstance(found, dict) else {"next": found, "cycles": 1, "duration": 0.0}
        return following(schedule, at)


def following(schedule: dict[str, Any], at: datetime) -> dict[str, Any] | None:
    """The schedule after `at`: whatever was due until then is over, once for all. None when nothing remains."""
    left = cycles_after(schedule, at)
    return left if left["cycles"] else None


def trigger_of(spec: StartEvent, element: str) -> Trigger | None:
    if isinstance(spec.trigger, TimerEventDefinition):
        return Trigger(element, "timer", "", spec)
    if isinstance(spec.trigger, MessageEventDefinition):
        return Trigger(element, "message", spec.trigger.name, spec)
    return Trigger(element, "signal", spec.trigger.name, spec) if spec.carries_payload else None


def begin(workflow: Any, chosen: StartEvent | None, payload: Any) -> None:
    """Let the process of a new workflow start at one start event; None: at the one that waits for nothing."""
    for task in workflow.task_tree.children:
        spec = task.task_spec
        if not spec.is_plain if chosen is None else spec is not chosen:
            workflow._remove_task(task.id)
        elif spec.carries_payload:
            spec.trigger.catch(task, BpmnEvent(spec.trigger, payload))


def separate_starts(spec: Any) -> None:
    """The library lets the start events of a process race inside each instance; here each starts its own."""
    (first, *_more) = spec.start.outputs
    if isinstance(first, StartEventSplit):
        starts = first.outputs
        for start in starts:
            start.inputs = [spec.start]
            start._outputs = [out.name for out in start.outputs if not isinstance(out, StartEventJoin)]
        spec.start.outputs = starts
        for added in ("StartEventSplit", "StartEventJoin"):
            del spec.task_specs[added]


def only_plain_starts(spec: Any) -> None:
    """A called process starts where it waits for nothing; its other start events are for others."""
    plain = [start.name for start in spec.start.outputs if start.is_plain]
    spec.start._outputs = plain or spec.start._outputs
