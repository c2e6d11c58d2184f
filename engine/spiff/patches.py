"""The places where the library cannot be subclassed. Called once, when the package is imported.

Each stands for something the library does wrongly, told where it is repaired. No other package uses the library, so
nobody else sees the changes.
"""

import sys
from collections.abc import Sequence
from datetime import UTC
from types import SimpleNamespace
from typing import Any, NoReturn
from uuid import UUID

from SpiffWorkflow import task as library_task
from SpiffWorkflow.bpmn import BpmnWorkflow
from SpiffWorkflow.bpmn.script_engine.python_environment import TaskDataEnvironment
from SpiffWorkflow.bpmn.specs import control
from SpiffWorkflow.bpmn.specs.event_definitions import timer as library_timer
from SpiffWorkflow.exceptions import SpiffWorkflowException
from SpiffWorkflow.specs.base import TaskSpec
from SpiffWorkflow.task import Task
from SpiffWorkflow.util import deep_merge
from SpiffWorkflow.util.task import TaskIterator, TaskState
from SpiffWorkflow.workflow import Workflow

from engine.errors import N_, DiaoquError, ExpressionError
from engine.spiff.data import copy_json, merge_tokens
from engine.spiff.model import RefusedInputError
from engine.spiff.step import ACTIVE, FINISHED, STEP, StepDatetime
from engine.spiff.waiting import (
    UNFINISHED,
    WAITING,
    all_others_ended,
    refresh_timers,
    says_no_until_told,
    stands_by,
    update_waiting_tasks,
)

MODELLED = (DiaoquError, SpiffWorkflowException)
"""What a diagram can do wrong; everything else is a fault of the program and voids the step."""


def install() -> None:
    if getattr(TaskIterator, "unlimited", False):
        return
    TaskIterator.unlimited = True
    library_task.uuid4 = lambda: STEP.get().new_id()
    library_task.time = SimpleNamespace(time=lambda: 0.0)  # Task.__init__ only; set_state writes the real value
    library_timer.datetime = StepDatetime
    library_timer.LOCALTZ = UTC  # else the host's zone decides when naive dates are due
    deep_merge.copy = copy_json  # else parallel branches change each other's past
    TaskDataEnvironment.evaluate = TaskDataEnvironment.execute = _refuse_python
    Task._set_state = _set_state
    Task._add_child = _add_child
    Task._inherit_data = _inherit_data
    Task.cancel = _cancel
    Task.is_descendant_of = _is_descendant_of
    Task.find_ancestor = _find_ancestor
    TaskSpec._run = _run
    TaskSpec._update = _update
    TaskSpec._predict = _predict
    Workflow._remove_task = _remove_task
    TaskIterator.__init__ = _without_limit
    Workflow.update_waiting_tasks = update_waiting_tasks
    BpmnWorkflow.refresh_timers = refresh_timers
    Workflow.is_completed = _is_completed
    control.BoundaryEventJoin._update_hook = _boundary_join
    control._EndJoin._run_hook = _end_join
    control._EndJoin._check_threshold_unstructured = all_others_ended


def _refuse_python(*_args: Any, **_kwargs: Any) -> NoReturn:
    """The library's default script engine is remote code execution; nothing may reach it."""
    raise ExpressionError(N_("Python is not an expression language of this engine."))


def _set_state(task: Task, state: int) -> None:
    if state != task._state:
        STEP.get().change(task, task._state, state)


_original_add_child = Task._add_child


def _add_child(task: Task, task_spec: TaskSpec, state: int = TaskState.MAYBE) -> Task:
    """A task that is born waiting (an instance of a loop) leaves a trace too."""
    child = _original_add_child(task, task_spec, state if state < TaskState.WAITING else TaskState.FUTURE)
    if state == TaskState.READY:
        child._ready()
    elif state >= TaskState.WAITING:
        child._set_state(state)
    return child


def _inherit_data(task: Task) -> None:
    """The parent's value of a variable replaces the task's; lists are not merged by guesswork."""
    task.data = {**task.data, **copy_json(task.parent.data), **copy_json(task.internal_data.get("correction", {}))}


def _cancel(task: Task) -> None:
    """As in the library, but a timer cycle that ends leaves alone the tokens that its cycles have sent."""
    if task.has_state(FINISHED):
        for child in task.children:
            child.cancel()
        return
    task._set_state(TaskState.CANCELLED)
    if isinstance(task.task_spec, control.BoundaryEvent):
        for child in task.children:
            if child.state < TaskState.WAITING or isinstance(child.task_spec, control.BoundaryEventJoin):
                task.workflow._remove_task(child.id)
    else:
        task._drop_children()
    task.task_spec._on_cancel(task)


def _is_descendant_of(task: Task, other: Task) -> bool:
    ancestor = task.parent
    while ancestor is not None and ancestor is not other:
        ancestor = ancestor.parent
    return ancestor is not None


def _find_ancestor(task: Task, spec_name: str) -> Task | None:
    ancestor = task.parent
    while ancestor is not None and ancestor.task_spec.name != spec_name:
        ancestor = ancestor.parent
    return ancestor


def _run(spec: TaskSpec, my_task: Task) -> bool | None:
    """A failing script or condition leaves the task STARTED with an incident; ERROR would be final for the library."""
    try:
        return spec._run_hook(my_task)
    except RefusedInputError:
        raise
    except MODELLED as error:
        my_task.internal_data["failed_in"] = "run"
        STEP.get().incident(my_task, error)
        return None


def _predict(
    spec: TaskSpec,
    my_task: Task,
    seen: Sequence[TaskSpec] = (),
    looked_ahead: int = 0,
    mask: int = TaskState.PREDICTED_MASK,
) -> None:
    """As in the library, which looks ahead for ever when a loop has no decision in it; once round is enough."""
    if my_task.has_state(mask):
        spec._predict_hook(my_task)
    way = (*seen, spec) if my_task.state == TaskState.FUTURE else seen
    if my_task.has_state(TaskState.DEFINITE_MASK) or looked_ahead + 1 < spec.lookahead:
        for child in my_task.children:
            if child.has_state(mask) and not (child.state == TaskState.FUTURE and child.task_spec in way):
                child.task_spec._predict(child, way, looked_ahead + 1, mask)


def _update(spec: TaskSpec, my_task: Task) -> None:
    """As in the library; a timer, collection or cardinality that cannot be computed is an incident too."""
    if my_task.has_state(TaskState.PREDICTED_MASK):
        spec._predict(my_task)
    elif my_task.state == TaskState.FUTURE and spec._outputs and not my_task._children:
        spec._predict(my_task, mask=TaskState.FUTURE | TaskState.PREDICTED_MASK)
    settled = STEP.get().settled
    settled.discard(my_task)
    try:
        ready = spec._update_hook(my_task)
    except RefusedInputError:
        raise
    except MODELLED as error:
        my_task.internal_data["failed_in"] = "update"
        my_task._set_state(TaskState.STARTED)
        STEP.get().incident(my_task, error)
        return
    if ready:
        my_task._ready()
    elif my_task._state == WAITING and says_no_until_told(my_task):
        settled.add(my_task)


def _remove_task(workflow: Workflow, task_id: UUID) -> None:
    """An active task that leaves the tree is cancelled, and so is its sub-process."""
    task = workflow.tasks[task_id]
    for child in task.children:
        workflow._remove_task(child.id)
    if task.has_state(ACTIVE):
        task._set_state(TaskState.CANCELLED)
        task.task_spec._on_cancel(task)
    task.parent._children.remove(task.id)
    workflow.tasks.pop(task_id)
    STEP.get().removed = True
    workflow._task_removed_notify(task)


_original_iterator_init = TaskIterator.__init__


def _without_limit(iterator: TaskIterator, *args: Any, **kwargs: Any) -> None:
    """By default nothing below depth 1000 exists, and a long loop looks completed."""
    _original_iterator_init(iterator, *args, **kwargs)
    iterator.max_depth = sys.maxsize


def _is_completed(workflow: Workflow) -> bool:
    """As in the library, without walking the tree."""
    workflow.completed = workflow.completed or not any(task._state & UNFINISHED for task in workflow.tasks.values())
    return bool(workflow.completed)


_original_boundary_join = control.BoundaryEventJoin._update_hook


def _boundary_join(spec: TaskSpec, my_task: Task) -> bool:
    """As in the library, which asks also those that only stand by whether the activity has ended."""
    if stands_by(my_task):
        my_task._set_state(WAITING)
        return False
    return bool(_original_boundary_join(spec, my_task))


def _end_join(spec: TaskSpec, my_task: Task) -> bool:
    """By default the branch that ends last wins, with stale values of everything it did not touch."""
    ended = [
        task
        for task in my_task.workflow.tasks.values()
        if task.task_spec is spec
        and (task is my_task or task.has_state(FINISHED))
        and task.parent.state == TaskState.COMPLETED
    ]
    my_task.data = merge_tokens(sorted(ended, key=lambda task: task.parent.last_state_change))
    my_task.workflow.data.update(copy_json(my_task.data))
    return True
