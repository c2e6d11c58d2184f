"""Events: errors and escalations go outward scope by scope, timers speak ISO 8601, missed cycles fire once.

BPMN 2.0, 10.5.
"""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from SpiffWorkflow.bpmn.specs import control
from SpiffWorkflow.bpmn.specs import defaults as bpmn
from SpiffWorkflow.bpmn.specs.event_definitions import timer
from SpiffWorkflow.bpmn.specs.event_definitions.base import EventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.item_aware_event import CodeEventDefinition, ErrorEventDefinition
from SpiffWorkflow.bpmn.specs.mixins.multiinstance_task import LoopTask
from SpiffWorkflow.bpmn.specs.mixins.subworkflow_task import SubWorkflowTask
from SpiffWorkflow.bpmn.util import BpmnEvent
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from engine.errors import N_, ExpressionError
from engine.spiff.data import same
from engine.spiff.front import front_data
from engine.spiff.prepare import HANDLER
from engine.spiff.step import FINISHED, STEP


def deliver(task: Task, definition: EventDefinition, payload: Any = None) -> Task | None:
    """Give an error or escalation to the innermost enclosing boundary event that catches it; None when there is none.

    The library hands it to *every* waiting boundary event of the instance with that code, in parallel tasks too.
    An exact code goes before a boundary event without a code.
    """
    while task is not None:
        activity = task.parent if isinstance(task.parent and task.parent.task_spec, LoopTask) else task
        around = activity.parent
        if around is not None and isinstance(around.task_spec, control.BoundaryEventSplit):
            catching = [
                child
                for child in around.children
                if child.state == TaskState.WAITING
                and isinstance(child.task_spec, control.BoundaryEvent)
                and _same_code(child.task_spec.event_definition, definition)
            ]
            if catching:
                event = min(catching, key=lambda child: child.task_spec.event_definition.code is None)
                event.task_spec.catch(event, BpmnEvent(definition, payload=payload))
                event.task_spec._update(event)
                return event
        outer = task.workflow.parent_task_id
        task = task.workflow.top_workflow.get_task_from_id(outer) if outer else None
    return None


def _same_code(catching: EventDefinition, thrown: EventDefinition) -> bool:
    return (
        isinstance(catching, CodeEventDefinition)
        and isinstance(catching, ErrorEventDefinition) == isinstance(thrown, ErrorEventDefinition)
        and catching.code in (None, thrown.code)
    )


class ScopedThrow:
    """An error that nobody catches is an incident; an escalation that nobody catches is forgotten, as BPMN says."""

    event_definition: EventDefinition

    def _run_hook(self, my_task: Task) -> bool | None:
        definition = self.event_definition
        if not isinstance(definition, CodeEventDefinition):
            result: bool | None = super()._run_hook(my_task)  # type: ignore[misc]  # mixed into a ThrowingEvent
            return result
        expression = getattr(definition, "expression", None)
        payload = my_task.workflow.script_engine.evaluate(my_task, expression) if expression else None
        if deliver(my_task, definition, payload) is None and isinstance(definition, ErrorEventDefinition):
            raise ExpressionError(N_("Nobody catches the error %(code)s."), code=definition.code)
        return True


class EndEvent(ScopedThrow, bpmn.EndEvent):
    pass


class IntermediateThrowEvent(ScopedThrow, bpmn.IntermediateThrowEvent):
    pass


class BoundaryEvent(bpmn.BoundaryEvent):
    """A non-interrupting event can occur again; an event of a whole scope sees the data of that scope."""

    def _run_hook(self, my_task: Task) -> bool:
        result = super()._run_hook(my_task)
        if self.name.endswith(HANDLER):
            before = my_task.parent.data
            caught = {key: value for key, value in my_task.data.items() if not same(before.get(key, self), value)}
            body = next(child for child in my_task.parent.children if isinstance(child.task_spec, SubWorkflowTask))
            inner = my_task.workflow.top_workflow.subprocesses.get(body.id)
            if inner is not None:
                my_task.data = {**front_data(inner), **caught}
        if self.cancel_activity:
            for activity in _active_beside(my_task):  # the library does it too, but only after the handler has begun
                activity.cancel()
        return bool(result)

    def _on_complete_hook(self, my_task: Task) -> None:
        super()._on_complete_hook(my_task)
        timed = isinstance(self.event_definition, timer.TimerEventDefinition)
        if not timed and not self.cancel_activity and _active_beside(my_task):
            again = my_task.parent._add_child(self, TaskState.WAITING)
            self._predict(again, mask=TaskState.NOT_FINISHED_MASK)
            my_task.workflow.top_workflow.event_manager.add_task(again)

    def _on_cancel(self, my_task: Task) -> None:
        """The library stops listening for everything that came of the event as well."""
        my_task.workflow.top_workflow.event_manager.remove_task(my_task)
        self.cancelled_event.emit(my_task.workflow, my_task)


def _active_beside(event: Task) -> list[Task]:
    """The activity to which a boundary event is attached, unless it has ended."""
    return [
        child
        for child in event.parent.children
        if not isinstance(child.task_spec, control.BoundaryEvent) and not child.has_state(FINISHED)
    ]


# ---- timers


class _Timer:
    """`event_value` in a task's internal data is when it fires; it fires at that instant, not after it."""

    expression: str

    def read(self, text: Any) -> Any:
        """The event value of a timer that is set now. Raises ExpressionError when `text` is no ISO 8601 time."""
        if not isinstance(text, str):
            raise ExpressionError(N_("A timer is an ISO 8601 text, not %(value)s."), value=repr(text)[:60])
        try:
            return self._compute(text)
        except ExpressionError:
            raise
        except Exception as error:  # the library raises bare Exceptions for texts that it cannot read
            raise ExpressionError(N_("%(text)s is not an ISO 8601 time."), text=text[:60]) from error

    def _compute(self, text: str) -> Any:
        raise NotImplementedError

    def _value(self, my_task: Task) -> Any:
        value = my_task.internal_data.get("event_value")
        if value is None:
            value = self.read(my_task.workflow.script_engine.evaluate(my_task, self.expression))
            my_task.internal_data["event_value"] = value
        return value

    def has_fired(self, my_task: Task) -> bool:
        if datetime.fromisoformat(self._value(my_task)) <= STEP.get().at:
            my_task.internal_data["event_fired"] = True
        return bool(my_task.internal_data.get("event_fired", False))


class DateTimer(_Timer, timer.TimeDateEventDefinition):
    def _compute(self, text: str) -> str:
        instant = timer.TimerEventDefinition.parse_time_or_duration(text)
        return str(instant.astimezone(UTC).isoformat())


class DurationTimer(_Timer, timer.DurationTimerEventDefinition):
    def _compute(self, text: str) -> str:
        parsed = timer.TimerEventDefinition.parse_iso_duration(text)
        if not parsed:
            raise ValueError(text)
        return str((STEP.get().at + timer.TimerEventDefinition.get_timedelta_from_start(parsed)).isoformat())


class CycleTimer(_Timer, timer.CycleTimerEventDefinition):
    """Cycles that were missed while nobody looked fire once, not in a burst; they still count against R<n>."""

    def has_fired(self, my_task: Task) -> bool:
        self._value(my_task)
        return bool(my_task.internal_data.get("event_fired", False))

    def _compute(self, text: str) -> dict[str, Any]:
        cycles, start, duration = timer.TimerEventDefinition.parse_iso_recurring_interval(text)
        if duration <= timedelta(0):
            raise ExpressionError(N_("A cycle needs a duration longer than nothing."))
        return {"cycles": cycles, "next": start.isoformat(), "duration": duration.total_seconds()}

    def cycle_complete(self, my_task: Task) -> bool:
        value = self._value(my_task)
        if value["cycles"] == 0:
            my_task.internal_data["event_fired"] = True
            return False
        if datetime.fromisoformat(value["next"]) > STEP.get().at:
            return False
        my_task.internal_data["event_value"] = cycles_after(value, STEP.get().at)
        return True


def cycles_after(value: dict[str, Any], at: datetime) -> dict[str, Any]:
    """The cycles that remain after `at`, all that were due until then being used up."""
    late = (at - datetime.fromisoformat(value["next"])).total_seconds()
    if late < 0:
        return value
    passed = math.floor(late / value["duration"]) + 1 if value["duration"] else 1
    left = value["cycles"]
    if left > 0:
        passed = min(passed, left)
        left -= passed
    following = datetime.fromisoformat(value["next"]) + timedelta(seconds=value["duration"] * passed)
    return {**value, "cycles": left, "next": following.isoformat()}


TIMERS = {
    timer.TimeDateEventDefinition: DateTimer,
    timer.DurationTimerEventDefinition: DurationTimer,
    timer.CycleTimerEventDefinition: CycleTimer,
}


def due_at(event_tasks: list[Task]) -> datetime | None:
    """The instant of the next timer among waiting tasks."""
    found = []
    for task in event_tasks:
        value = task.internal_data.get("event_value")
        if isinstance(value, dict):
            value = value["next"] if value["cycles"] != 0 else None
        if isinstance(value, str):
            found.append(datetime.fromisoformat(value))
    return min(found, default=None)
