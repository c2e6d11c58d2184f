"""Tokens that a person moves: cancelled where they stand, put on another element, their data corrected.

What is put on an element forks off where the tokens before it came from, so that joins, which merge what each branch
has changed since its fork, go on as drawn. Whatever would leave the diagram in a state that it can never reach by
itself, or never leave again, is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from SpiffWorkflow.bpmn.specs import control
from SpiffWorkflow.bpmn.specs.mixins.multiinstance_task import LoopTask
from SpiffWorkflow.bpmn.specs.mixins.subworkflow_task import CallActivity, SubWorkflowTask
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from engine.errors import N_
from engine.spiff.data import common_ancestor, copy_json
from engine.spiff.definition import CHILD, CompiledDefinition
from engine.spiff.joins import EventBasedGateway, InclusiveGateway, TokenJoin
from engine.spiff.model import RefusedInputError
from engine.spiff.prepare import HANDLER, PRE
from engine.spiff.specs import hold
from engine.spiff.step import ACTIVE, FINISHED, MOVED, STEP

_ATTACHED = control.BoundaryEvent | control.BoundaryEventJoin


def modify(
    top: Any,
    definition: CompiledDefinition,
    *,
    cancel: Sequence[str],
    start: Sequence[str],
    set: Mapping[str, Any],
    unset: Sequence[str],
) -> None:
    """Cancel the tokens at some elements, correct the data, put a token on each of others.

    Raises:
        RefusedInputError: it cannot be done soundly; nothing has been changed yet, or the execution is to be discarded.
    """
    if not (cancel or start or set or unset):
        raise RefusedInputError(N_("There is nothing to change."))
    for element in (*cancel, *start):
        _check_element(definition, element)
    leaving = {element: _tokens_at(top, definition, element) for element in cancel}
    gone = [task for tasks in leaving.values() for task in tasks]
    entering = [(element, *_place(top, element, gone)) for element in start]
    for task in gone:
        _withdraw(task)
    _correct(top, set, unset)
    for element, flow, anchor in entering:
        if flow.completed:
            raise RefusedInputError(N_("%(element)s lies in a sub-process that is not running."), element=element)
        _put(anchor, _entry(flow.spec, element))
    for flow in {id(task.workflow): task.workflow for task in gone}.values():
        if not flow.completed:
            _settle_joins(flow)


def start_at(top: Any, definition: CompiledDefinition, element: str) -> None:
    """Begin a new instance with its one token at `element` instead of at a start event.

    Raises:
        RefusedInputError: `element` is no place where a token can be put, or it lies in a multi-instance activity or
            in another process.
    """
    _check_element(definition, element)
    way = _way_in(definition, top.spec, element)
    if way is None:
        raise RefusedInputError(
            N_("%(element)s lies in a multi-instance activity, in another process or in a handler of events."),
            element=element,
        )
    hold(top)
    flow = top
    for scope in way:
        STEP.get().held.add(scope)
        around = _put(flow.task_tree, _entry(flow.spec, scope, script=False))
        if around.task_spec.name != scope:
            around.run()
            around = next(child for child in around.children if child.task_spec.name == scope)
        flow = top.subprocesses[around.id]
    _check_entry(flow.spec, element)
    _put(flow.task_tree, _entry(flow.spec, element))


# ---- what may be named


def _check_element(definition: CompiledDefinition, element: str) -> None:
    info = definition.elements.get(element) if isinstance(element, str) else None
    if info is None or info.type == "sequenceFlow":
        raise RefusedInputError(N_("There is no element %(element)s in this version."), element=str(element)[:100])
    if info.type in ("startEvent", "boundaryEvent"):
        raise RefusedInputError(N_("%(element)s is an event: no token can be put there or taken."), element=element)


def _check_entry(spec: Any, element: str) -> None:
    found = spec.task_specs[element]
    if element + HANDLER in spec.task_specs:
        raise RefusedInputError(N_("%(element)s is an event: no token can be put there or taken."), element=element)
    if isinstance(found, TokenJoin) and len(found._inputs) > 1:
        raise RefusedInputError(N_("%(element)s joins branches: start what follows it."), element=element)
    if any(isinstance(before, EventBasedGateway) for before in found.inputs):
        raise RefusedInputError(N_("%(element)s waits at a gateway: start the gateway."), element=element)


def _entry(spec: Any, element: str, *, script: bool = True) -> Any:
    """Where a token comes in: the script before it, what attaches its boundary events, or the element itself."""
    names = (*([element + PRE] if script else []), f"{element}.BoundaryEventSplit", element)
    return next(spec.task_specs[name] for name in names if name in spec.task_specs)


def _way_in(definition: CompiledDefinition, spec: Any, element: str) -> list[str] | None:
    """The sub-processes around `element`, outermost first; none of several instances, called or triggered."""
    if element in spec.task_specs:
        return []
    for name, found in spec.task_specs.items():
        embedded = isinstance(found, SubWorkflowTask) and not isinstance(found, CallActivity)
        if embedded and not name.endswith(CHILD) and name + HANDLER not in spec.task_specs:
            inner = _way_in(definition, definition.subprocesses[found.spec], element)
            if inner is not None:
                return [name, *inner]
    return None


# ---- tokens


def _flows(top: Any) -> Iterator[Any]:
    yield from (flow for flow in (top, *top.subprocesses.values()) if not flow.completed)


def _in_multi_instance(flow: Any) -> bool:
    while flow.parent_task_id is not None:
        owner = flow.top_workflow.get_task_from_id(flow.parent_task_id)
        if isinstance(owner.parent and owner.parent.task_spec, LoopTask):
            return True
        flow = owner.workflow
    return False


def is_token(task: Task) -> bool:
    instance = isinstance(task.parent and task.parent.task_spec, LoopTask)
    return task.has_state(ACTIVE) and not isinstance(task.task_spec, _ATTACHED) and not instance


def _tokens_at(top: Any, definition: CompiledDefinition, element: str) -> list[Task]:
    found = [
        task
        for flow in _flows(top)
        for task in flow.tasks.values()
        if is_token(task) and definition.nearest_element(task) == element
    ]
    if not found:
        raise RefusedInputError(N_("Nothing is active at %(element)s."), element=element)
    if any(_in_multi_instance(task.workflow) for task in found):
        raise RefusedInputError(N_("%(element)s is inside a multi-instance activity."), element=element)
    return found


def _place(top: Any, element: str, gone: Sequence[Task]) -> tuple[Any, Task]:
    """The running process that holds `element`, and the task from which its new token forks off."""
    flows = [flow for flow in _flows(top) if element in flow.spec.task_specs]
    if not flows:
        raise RefusedInputError(N_("%(element)s lies in a sub-process that is not running."), element=element)
    if len(flows) > 1 or _in_multi_instance(flows[0]):
        raise RefusedInputError(N_("%(element)s is inside a multi-instance activity."), element=element)
    (flow,) = flows
    _check_entry(flow.spec, element)
    replaced = [task for task in gone if task.workflow is flow]
    tokens = replaced or [task for task in flow.tasks.values() if is_token(task)]
    anchor = common_ancestor([_before(task) for task in tokens]) or flow.task_tree
    return flow, anchor


def _before(task: Task) -> Task:
    """What a token came from, beyond the split that attaches its boundary events."""
    before = task.parent
    return before.parent if isinstance(before.task_spec, control.BoundaryEventSplit) else before


def _withdraw(task: Task) -> None:
    """Cancel a token with everything that is attached to its activity; what its events have sent goes on."""
    flow, split = task.workflow, task.parent
    task.cancel()
    if not isinstance(split and split.task_spec, control.BoundaryEventSplit):
        return
    for child in split.children:
        if not child.has_state(FINISHED):
            child.cancel()
    for other in list(flow.tasks.values()):
        waits = isinstance(other.task_spec, control.BoundaryEventJoin) and not other.has_state(FINISHED)
        if waits and other.task_spec.split_task == split.task_spec.name and other.is_descendant_of(split):
            other.cancel()


def _put(anchor: Task, spec: Any) -> Task:
    """A token on `spec` that forks off after `anchor`."""
    token = anchor._add_child(spec, TaskState.FUTURE)
    token.triggered = True  # nobody who compares the tree with the diagram removes it
    token.internal_data[MOVED] = True
    spec._predict(token, mask=TaskState.FUTURE | TaskState.PREDICTED_MASK)
    spec._update(token)
    return token


def _settle_joins(flow: Any) -> None:
    """What waits for a token that has been cancelled waits no longer; a process without any token is refused."""
    if not any(is_token(task) for task in flow.tasks.values()):
        raise RefusedInputError(
            N_("Nothing would be active afterwards: cancel the instance, or the sub-process, instead.")
        )
    settle_joins(flow)


def settle_joins(flow: Any) -> None:
    """Joins look again at what they wait for: the tokens that are still under way."""
    for task in list(flow.tasks.values()):
        joins = isinstance(task.task_spec, InclusiveGateway | control._EndJoin)
        if joins and task.state == TaskState.WAITING:
            task.task_spec._update(task)


# ---- data


def _correct(top: Any, changed: Mapping[str, Any], removed: Sequence[str]) -> None:
    """As though it had always been so: also in finished tasks, against which joins compare what branches have changed.

    A called process that takes named inputs only has variables of its own, and keeps them.
    """
    if not all(isinstance(name, str) and name for name in (*changed, *removed)):
        raise RefusedInputError(N_("The names of variables are texts."))
    names = {*changed, *removed}
    if not names:
        return
    if {*removed} & {*changed}:
        raise RefusedInputError(N_("A variable is either set or removed."))
    for flow in _flows(top):
        inputs = flow.spec.io_specification
        if flow is not top and inputs is not None and inputs.data_inputs:
            continue
        _check_names(flow, names)
        for task in flow.tasks.values():
            if task.data or is_token(task) or task is flow.task_tree:
                kept = {name: value for name, value in task.data.items() if name not in names}
                waits = task.state == TaskState.WAITING and not task.data
                task.data = {} if waits else {**kept, **copy_json(dict(changed))}
            correction = task.internal_data.get("correction")
            if correction:
                task.internal_data["correction"] = {key: correction[key] for key in correction if key not in names}


def _check_names(flow: Any, names: set[str]) -> None:
    own = set(flow.spec.data_objects) & names
    for task in flow.tasks.values():
        if isinstance(task.task_spec, LoopTask) and not task.has_state(FINISHED) and task.has_state(ACTIVE):
            items = (getattr(task.task_spec, name, None) for name in ("input_item", "output_item", "data_output"))
            own |= {item.bpmn_id for item in items if item is not None} & names
    if own:
        raise RefusedInputError(
            N_("%(names)s belong to a data object or to a running multi-instance activity."),
            names=", ".join(sorted(own)),
        )
