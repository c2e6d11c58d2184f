"""A running instance goes over to another version of its process.

What has been done stays done, whatever the new version says of it; only what is active must have its place there. Every
token keeps its task, its data and what it waits for. Whatever would lose a token, strand one at a join, send two where
there was one, or leave something waiting otherwise than drawn, is refused with the element and a code.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import orjson
from SpiffWorkflow.bpmn.specs import control
from SpiffWorkflow.bpmn.specs.mixins.multiinstance_task import LoopTask
from SpiffWorkflow.bpmn.specs.mixins.subworkflow_task import SubWorkflowTask
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from engine.errors import N_
from engine.spiff import snapshot as snapshots
from engine.spiff.definition import CHILD, CompiledDefinition
from engine.spiff.joins import EventBasedGateway, InclusiveGateway, ParallelGateway, TokenJoin
from engine.spiff.model import ElementInfo, RefusedInputError
from engine.spiff.moving import is_token, settle_joins
from engine.spiff.specs import ServiceTask
from engine.spiff.step import ACTIVE, FINISHED

REFUSALS: Mapping[str, str] = {
    "removed": N_("%(element)s is active, and the other version does not have it."),
    "moved": N_("%(element)s is active, and lies in another sub-process in the other version."),
    "type-changed": N_("%(element)s is active, and is something else in the other version."),
    "attached-changed": N_("%(element)s is active, and other events are attached to it in the other version."),
    "event-changed": N_("%(element)s waits for an event that is another one in the other version."),
    "job-changed": N_("The job of %(element)s is under way, and the other version asks for something else."),
    "multi-instance-changed": N_("%(element)s is under way several times, and repeats otherwise in the other version."),
    "calls-another": N_("%(element)s is under way, and calls another process in the other version."),
    "join-changed": N_("A token waits at %(element)s, which does not join its branch in the other version."),
    "never-joined": N_("%(element)s would wait for a branch on which nothing is under way."),
    "done-twice": N_("%(element)s would be done by two branches that were joined before it."),
}
"""Why an instance cannot go over, by code; `element` is the one of the diagram."""

WARNINGS: Mapping[str, str] = {
    "skipped": N_("%(element)s is new and lies behind this case: it is not done."),
    "done-otherwise": N_("%(element)s has been done as the earlier version says."),
}
"""What a person should know before an instance goes over."""

Reason = tuple[str, str]
"""A code of REFUSALS or WARNINGS, and the element."""

_STEPS = (
    "Task",
    "task",
    "subProcess",
    "transaction",
    "callActivity",
    "intermediateThrowEvent",
    "intermediateCatchEvent",
)

_ATTACHED = control.BoundaryEvent | control.BoundaryEventJoin
_PREDICTED = TaskState.PREDICTED_MASK | TaskState.FUTURE


@dataclass(frozen=True)
class Fit:
    """How an instance stands towards another version: why it cannot go over, and which new steps it has passed."""

    refused: list[Reason]
    skipped: list[str]


def fit(top: Any, old: CompiledDefinition, new: CompiledDefinition) -> Fit:
    """Compare what is active with the version `new`; nothing is changed."""
    reasons: list[Reason] = []
    reached: set[str] = set()
    for flow, spec in _pairs(top, new):
        if spec is None:
            continue  # its sub-process is among the reasons
        active = [task for task in flow.tasks.values() if task.has_state(ACTIVE)]
        reasons += [(code, _shown(old, task)) for task in active if (code := _misfit(flow, task, spec, new))]
        reasons += _unjoined(old, new, flow, spec, active)
        reasons += _doubled(new, flow, spec, [task for task in active if is_token(task)])
        reached |= _ahead(new, spec, {task.task_spec.name for task in active})
    passed = {
        element.id: element.scope
        for element in new.elements.values()
        if element.type.endswith(_STEPS) and element.id not in old.elements and element.id not in reached
    }
    return Fit(list(dict.fromkeys(reasons)), [name for name, scope in passed.items() if scope not in passed])


def migrate(top: Any, old: CompiledDefinition, new: CompiledDefinition) -> Any:
    """The workflow of `new` in which every token stands where it stood in `top`, which is left as it is.

    Raises:
        RefusedInputError: it does not fit; says the first reason.
    """
    for code, element in fit(top, old, new).refused:
        raise RefusedInputError(REFUSALS[code], element=called(element, old, new))
    state = orjson.loads(snapshots.save(top, {}))
    going = _carry_over(state, top, new)
    moved = snapshots.load(new, state)
    every = {task.id: task for flow in (moved, *moved.subprocesses.values()) for task in flow.tasks.values()}
    for task in [every[key] for key in going]:
        if task.children:  # instances of a loop, or tokens that a timer has sent
            for output in task.task_spec.outputs:
                task._add_child(output, TaskState.FUTURE)
        else:
            task.task_spec._predict_hook(task)
        task.task_spec._predict(task, mask=_PREDICTED)
    for flow in (moved, *moved.subprocesses.values()):
        settle_joins(flow)
    return moved


def called(element: str, old: CompiledDefinition, new: CompiledDefinition) -> str:
    """What people call an element: its name, or its id when it has none."""
    info = old.elements.get(element) or new.elements.get(element)
    return info.name if info is not None and info.name else element


def _carry_over(state: dict[str, Any], top: Any, new: CompiledDefinition) -> list[Any]:
    """Rewrite a saved state for another version: what is only predicted is dropped, what has been done at an element
    that is no more stands for the beginning. Answers the active tasks whose outputs are to be predicted anew."""
    specs = {flow.parent_task_id and str(flow.parent_task_id): spec for flow, spec in _pairs(top, new)}
    tasks = {task.id: task for flow in (top, *top.subprocesses.values()) for task in flow.tasks.values()}
    kept: set[str] = set()
    going: list[Any] = []
    flows = [flow for flow in state["flows"] if flow[0] in specs]
    for flow in flows:
        spec, rows = specs[flow[0]], []
        predicted = {row[0] for row in flow[7] if row[3] & _PREDICTED}
        for row in flow[7]:
            if row[0] in predicted:
                continue
            remaining = [child for child in row[2] if child not in predicted]
            if len(remaining) < len(row[2]):
                going.append(next(key for key in tasks if str(key) == row[0]))
            row[2] = remaining
            if row[4] not in spec.task_specs:
                row[4] = spec.start.name
            rows.append(row)
        flow[7] = rows
        kept.update(row[0] for row in rows)
    state["flows"] = flows
    state["listening"] = [key for key in state["listening"] if key in kept]
    return going


def _pairs(top: Any, new: CompiledDefinition) -> Iterator[tuple[Any, Any]]:
    """Every process that is under way, outermost first, and what `new` has in its place; None when that is nothing."""
    found = {id(top): new.spec}
    yield top, new.spec
    for flow in sorted(top.subprocesses.values(), key=lambda each: each.depth):
        owner = top.get_task_from_id(flow.parent_task_id)
        if owner is None or owner.has_state(FINISHED) or id(owner.workflow) not in found:
            continue
        around = found[id(owner.workflow)]
        place: Any = around.task_specs.get(owner.task_spec.name) if around is not None else None
        same = isinstance(place, SubWorkflowTask) and place.spec == owner.task_spec.spec
        found[id(flow)] = new.subprocesses.get(place.spec) if same else None
        yield flow, found[id(flow)]


# ---- one active task


def _misfit(flow: Any, task: Task, spec: Any, new: CompiledDefinition) -> str | None:
    """Why an active task has no place in `spec`, as a code of REFUSALS."""
    old, place = task.task_spec, spec.task_specs.get(task.task_spec.name)
    if place is None:
        if isinstance(old, control.BoundaryEventJoin):
            return "attached-changed"
        return "moved" if old.name.removesuffix(CHILD) in new.elements else "removed"
    if type(place) is not type(old):
        return "type-changed"
    if _attached(flow.spec, old.name) != _attached(spec, old.name):
        return "attached-changed"
    if isinstance(old, control.BoundaryEventJoin):
        same = old.split_task == place.split_task and _attached_at(flow.spec, old) == _attached_at(spec, place)
        return None if same else "attached-changed"
    if isinstance(old, LoopTask):
        return None if _facts(old, _LOOP) == _facts(place, _LOOP) else "multi-instance-changed"
    if isinstance(old, SubWorkflowTask):
        return None if old.spec == place.spec else "calls-another"
    if isinstance(old, TokenJoin) and task.state == TaskState.WAITING:
        return None if task.parent.task_spec.name in place._inputs else "join-changed"
    if isinstance(old, ServiceTask) and "job" in task.internal_data:
        return None if _facts(old, _JOB) == _facts(place, _JOB) else "job-changed"
    if task.state == TaskState.WAITING and hasattr(old, "event_definition"):
        return None if _event(old) == _event(place) else "event-changed"
    return None


def _attached(spec: Any, name: str) -> list[str]:
    """The boundary events of an activity."""
    split = spec.task_specs.get(f"{name}.BoundaryEventSplit")
    return sorted(split._outputs) if split is not None else []


def _attached_at(spec: Any, join: Any) -> list[str]:
    return sorted(spec.task_specs[join.split_task]._outputs)


def _event(spec: Any) -> list[Any]:
    """What a catching element waits for; of an event-based gateway also where each event leads."""
    leads = spec._outputs if isinstance(spec, EventBasedGateway) else []
    return [described(spec.event_definition), getattr(spec, "cancel_activity", None), leads]


_JOB = ("operation_name", "operation_params", "result_variable", "retries", "retry_backoff_base")
_LOOP = ("data_input", "data_output", "input_item", "output_item", "cardinality", "condition", "maximum", "test_before")


def _facts(spec: Any, names: Iterable[str]) -> list[Any]:
    return [described(getattr(spec, name, None)) for name in names]


def _shown(definition: CompiledDefinition, task: Task) -> str:
    name = task.task_spec.name.partition(".BoundaryEvent")[0]
    return name if name in definition.elements else definition.nearest_element(task)


# ---- the branches together


def _unjoined(
    old: CompiledDefinition, new: CompiledDefinition, flow: Any, spec: Any, active: list[Task]
) -> list[Reason]:
    """Parallel joins ahead that would wait for ever; one that does so already is no reason."""
    doomed = set(_doomed(spec, active)) - set(_doomed(flow.spec, active))
    return [("never-joined", _nearest(old, new, name)) for name in sorted(doomed)]


def _doomed(spec: Any, active: list[Task]) -> Iterator[str]:
    for join in spec.task_specs.values():
        if not isinstance(join, ParallelGateway) or len(join._inputs) < 2:
            continue
        filled = {task.parent.task_spec.name for task in active if task.task_spec.name == join.name}
        reached = _reach(spec, {task.task_spec.name for task in active} - {join.name}, stop={join.name})
        if (filled or reached & set(join._inputs)) and not set(join._inputs) <= filled | reached:
            yield join.name


def _doubled(new: CompiledDefinition, flow: Any, spec: Any, tokens: list[Task]) -> list[Reason]:
    """Two branches that nothing but a join brought together must not run the same steps now."""
    names = sorted({task.task_spec.name for task in tokens} & spec.task_specs.keys())
    reasons = []
    for one, other in combinations(names, 2):
        before = _own_way(flow.spec, one) & _own_way(flow.spec, other)
        after = _own_way(spec, one) & _own_way(spec, other)
        common = [name for name in new.elements if name in after and new.elements[name].type != "endEvent"]
        if common and not any(name in new.elements and new.elements[name].type != "endEvent" for name in before):
            reasons.append(("done-twice", common[0]))
    return reasons


def _own_way(spec: Any, name: str) -> set[str]:
    joins = {
        each.name
        for each in spec.task_specs.values()
        if isinstance(each, ParallelGateway | InclusiveGateway) and len(each._inputs) > 1
    }
    return _reach(spec, {name} - joins, stop=joins)


def _reach(spec: Any, names: Iterable[str], *, stop: Iterable[str] = ()) -> set[str]:
    """The specs at which tokens at `names` can arrive, themselves included, without passing `stop`."""
    stop, found, pending = set(stop), set(), list(names)
    while pending:
        name = pending.pop()
        if name in found or name in stop or name not in spec.task_specs:
            continue
        found.add(name)
        pending.extend(spec.task_specs[name]._outputs)
    return found


def _ahead(new: CompiledDefinition, spec: Any, names: set[str]) -> set[str]:
    """The elements that can still be reached from `names`, those of sub-processes that have yet to begin included."""
    found: set[str] = set()
    pending = [(spec, names)]
    while pending:
        flow, begin = pending.pop()
        for name in _reach(flow, begin) - found:
            found.add(name.removesuffix(CHILD))
            inner = flow.task_specs[name]
            if isinstance(inner, LoopTask):
                inner = flow.task_specs[inner.task_spec]
            if isinstance(inner, SubWorkflowTask) and name not in names:
                called = new.subprocesses[inner.spec]
                pending.append((called, {called.start.name}))
    return found


def _nearest(old: CompiledDefinition, new: CompiledDefinition, name: str) -> str:
    base = name.partition("__")[0]
    return name if name in new.elements or base not in {**old.elements, **new.elements} else base


# ---- what is the same


def differing(old: CompiledDefinition, new: CompiledDefinition) -> set[str]:
    """The elements of `old` that `new` does not have, or has otherwise: another name, form, condition, parameter."""
    return {
        element.id
        for element in old.elements.values()
        if element.type not in ("sequenceFlow", "startEvent")
        and _picture(old, element) != _picture(new, new.elements.get(element.id))
    }


def _picture(definition: CompiledDefinition, info: ElementInfo | None) -> Any:
    if info is None:
        return None
    told = {name: value for name, value in vars(info).items() if name not in ("file", "line", "documentation")}
    specs = [part.task_specs.get(info.id) for part in (definition.spec, *definition.subprocesses.values())]
    return told, [described(spec) for spec in specs if spec is not None]


_BETWEEN = frozenset(
    {"id", "description", "inputs", "outputs", "_inputs", "_outputs", "_wf_spec", "lookahead", "position", "locks"}
)
"""What a spec says about its neighbours and about the program, not about itself."""


def described(value: Any, depth: int = 0) -> Any:
    """A library object as plain values that can be compared, without its neighbours."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): described(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [described(item, depth + 1) for item in value]
    kind = type(value).__name__
    if depth > _DEEPEST or not hasattr(value, "__dict__") or kind == "Event":
        return kind
    facts = {name: described(item, depth + 1) for name, item in vars(value).items() if name not in _BETWEEN}
    return {"kind": kind, **facts}


_DEEPEST = 12
