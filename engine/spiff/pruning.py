"""The size of the task tree: finished tasks that nothing can refer to any more are dropped.

The history holds them. The library needs only open tasks, their parents, and the forks above them; without this a
rework loop costs more in every round.
"""

from typing import Any

from SpiffWorkflow.bpmn.specs import control
from SpiffWorkflow.bpmn.specs.mixins.multiinstance_task import LoopTask
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from engine.spiff.step import FINISHED


def prune(top: Any) -> None:
    """Call it after a step, when the tree is large; what follows does not depend on whether it was called."""
    for part in [top, *top.subprocesses.values()]:
        order = _preorder(part.task_tree)
        live = _live(part, order)
        for task in order:
            if task.parent is None:
                continue
            if task.id not in live:
                if task.id in task.parent._children:
                    task.parent._children.remove(task.id)
            elif _can_be_bridged(part, task, live):
                (child,) = task.children
                task.parent._children[task.parent._children.index(task.id)] = child.id
                child._parent = task._parent
            else:
                continue
            del part.tasks[task.id]
    drop_orphans(top)


def _preorder(root: Task) -> list[Task]:
    found, pending = [], [root]
    while pending:
        task = pending.pop()
        found.append(task)
        pending.extend(reversed(task.children))
    return found


def _live(part: Any, order: list[Task]) -> set[Any]:
    live: set[Any] = set()
    for task in reversed(order):
        if (
            not task.has_state(FINISHED)
            or isinstance(task.task_spec, control._EndJoin)
            or task.parent is None
            or task is part.last_task
            or _in_open_loop(task)
            or any(child in live for child in task._children)
        ):
            live.add(task.id)
    return live


def _in_open_loop(task: Task) -> bool:
    return isinstance(task.parent and task.parent.task_spec, LoopTask) and not task.parent.has_state(FINISHED)


def _can_be_bridged(part: Any, task: Task, live: set[Any]) -> bool:
    """A completed link of a chain, between a parent and one finished child."""
    if task.state != TaskState.COMPLETED or task is part.last_task or len(task._children) != 1:
        return False
    (child,) = task.children
    return (
        child.has_state(FINISHED)
        and child.id in live
        and not _is_open_split(child)
        and not isinstance(child.task_spec, control._EndJoin)
        and not isinstance(task.task_spec, control._EndJoin)
        and not _in_open_loop(task)
    )


def _is_open_split(task: Task) -> bool:
    """Whether an activity with boundary events goes on: a token that replaces it forks off before them."""
    return isinstance(task.task_spec, control.BoundaryEventSplit) and any(
        not child.has_state(FINISHED) for child in task.children
    )


def drop_orphans(top: Any) -> None:
    """Forget sub-processes whose task is no longer in the tree, and what waits inside them."""
    known = set(top.tasks)
    for part in sorted(top.subprocesses.values(), key=lambda part: part.depth):
        if part.parent_task_id in known:
            known.update(part.tasks)
        else:
            del top.subprocesses[part.parent_task_id]
    for task_id in [task_id for task_id in top.event_manager.tasks if task_id not in known]:
        del top.event_manager.tasks[task_id]
