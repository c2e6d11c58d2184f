"""Where the tokens of a process stand, and the data that they carry together."""

from typing import Any

from SpiffWorkflow.bpmn.specs import control
from SpiffWorkflow.bpmn.specs.mixins.multiinstance_task import LoopTask
from SpiffWorkflow.bpmn.specs.mixins.subworkflow_task import CallActivity, SubWorkflowTask
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from engine.spiff.data import common_ancestor, copy_json, merge_branches
from engine.spiff.step import ACTIVE


def front_data(workflow: Any) -> dict[str, Any]:
    """The data of a process as a person would expect to see it: what all its tokens know, merged.

    Embedded sub-processes show what they know so far; instances of a multi-instance activity and called processes
    show nothing before they end.
    """
    if workflow.completed:
        ended = workflow.last_task.data if workflow.last_task is not None else {}
        data = workflow.data if workflow.success and workflow.data else ended
        return {key: copy_json(value) for key, value in data.items() if key != "data_objects"}
    tokens = [
        task
        for task in workflow.tasks.values()
        if task.has_state(ACTIVE)
        and not isinstance(task.task_spec, control.BoundaryEvent | control.BoundaryEventJoin)
        and not isinstance(task.parent and task.parent.task_spec, LoopTask)
    ]
    if not tokens:
        return copy_json(workflow.last_task.data) if workflow.last_task is not None else {}
    known = [_known(task) for task in tokens]
    if len(known) == 1:
        return known[0]
    fork = common_ancestor(tokens)
    return merge_branches(fork.data if fork is not None else {}, known)


def _known(task: Task) -> dict[str, Any]:
    inner = task.workflow.top_workflow.subprocesses.get(task.id)
    embedded = isinstance(task.task_spec, SubWorkflowTask) and not isinstance(task.task_spec, CallActivity)
    if embedded and inner is not None and not inner.completed:
        return front_data(inner)
    if task.state == TaskState.WAITING and not task.data and task.parent is not None:
        return copy_json(task.parent.data)  # a token that waits at a join
    return copy_json(task.data)
