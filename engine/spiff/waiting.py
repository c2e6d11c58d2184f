"""Who is asked, after each completed task, whether it can go on.

The library asks everything that waits, and walks the whole tree for it: a step in which many tokens begin to wait costs
their square, and their cube where each looks for the others. What has said no within a step is asked again only when
the answer can have become another; otherwise in the same order, with the same effects.
"""

from typing import Any

from SpiffWorkflow.bpmn.specs import control
from SpiffWorkflow.bpmn.specs.event_definitions.base import EventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.item_aware_event import CodeEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.multiple import MultipleEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.timer import CycleTimerEventDefinition, TimerEventDefinition
from SpiffWorkflow.bpmn.specs.mixins.events.event_types import CatchingEvent
from SpiffWorkflow.specs.base import TaskSpec
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from engine.spiff.joins import ParallelGateway, TokenJoin
from engine.spiff.messages import MessageEventDefinition, SignalEventDefinition, definitions
from engine.spiff.step import STEP

WAITING = TaskState.WAITING
UNFINISHED = TaskState.NOT_FINISHED_MASK


def update_waiting_tasks(workflow: Any) -> None:
    step, tasks = STEP.get(), workflow.tasks
    waiting = [task for task in tasks.values() if task._state == WAITING and task not in step.settled]
    asked = [task for task in waiting if _may_move(task)]
    if not asked:
        return
    only, children = None, []
    if len(asked) == 1:  # it often says no, and then there is no need to know who comes after it
        (only,) = asked
        before, children = step.ticks, list(only._children)
        only.task_spec._update(only)
        if step.ticks == before:
            return
    pending, follows = [workflow.task_tree], only is None
    while pending:
        task = pending.pop()
        if task._state >= TaskState.FUTURE:
            below = children if task is only else task._children
            pending.extend([tasks[child] for child in reversed(below) if child in tasks])
        if follows and task._state == WAITING and task not in step.settled:
            task.task_spec._update(task)
        follows = follows or task is only


def refresh_timers(workflow: Any) -> None:
    settled = STEP.get().settled
    for task in list(workflow.event_manager.tasks.values()):
        timed = isinstance(task.task_spec.event_definition, TimerEventDefinition | MultipleEventDefinition)
        if timed and task not in settled:
            task.task_spec._update(task)


def _may_move(task: Task) -> bool:
    """False when asking it now is certain to have no effect."""
    spec = task.task_spec
    if isinstance(spec, TokenJoin):
        return task in spec.ready_tokens(task.workflow)
    return not isinstance(spec, control._EndJoin) or all_others_ended(spec, task)


def all_others_ended(spec: TaskSpec, my_task: Task) -> bool:
    """Whether a process is at its end; below the join there is only that."""
    return not any(
        task._state & UNFINISHED
        and task is not my_task
        and not (task.parent is not None and task.parent.task_spec is spec)
        for task in my_task.workflow.tasks.values()
    )


def stands_by(task: Task) -> bool:
    """Whether a join behind an activity holds what a non-interrupting event leaves there each time that it occurs.

    When the activity ends, its own token goes on and cancels these.
    """
    event = task.parent.task_spec
    return isinstance(event, control.BoundaryEvent) and not event.cancel_activity


def says_no_until_told(task: Task) -> bool:
    """Whether a task that goes on waiting does so for the rest of the step, unless somebody turns to it."""
    spec = task.task_spec
    if isinstance(spec, control.BoundaryEventJoin):
        return stands_by(task)
    if isinstance(spec, ParallelGateway):  # the token that is missing is asked when it arrives
        return not spec.ready_tokens(task.workflow)
    if not isinstance(spec, CatchingEvent) or spec.data_input_associations or spec.io_specification:
        return False
    return all(_is_quiet(one, task) for one in definitions(spec.event_definition))


def _is_quiet(definition: EventDefinition, task: Task) -> bool:
    if isinstance(definition, CycleTimerEventDefinition):
        value = task.internal_data.get("event_value")
        return isinstance(value, dict) and value["cycles"] != 0
    if isinstance(definition, MessageEventDefinition):
        return not definition.process_correlations
    return isinstance(definition, TimerEventDefinition | SignalEventDefinition | CodeEventDefinition)
