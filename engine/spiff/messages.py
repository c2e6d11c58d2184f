"""Messages and signals: what they carry, and how a message finds the one that it is for.

A message is correlated by keys (BPMN 2.0, 8.4.2): a receiver that knows the value of one of the message's keys takes
only messages with that value. A key becomes known when the instance sends or catches a message that carries it, or,
with a correlationSubscription, from the instance's own data while it waits. What is nobody's yet matches any message.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import orjson
from SpiffWorkflow.bpmn import BpmnEvent
from SpiffWorkflow.bpmn.specs.event_definitions.base import EventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.multiple import MultipleEventDefinition
from SpiffWorkflow.spiff.specs import event_definitions as spiff
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from engine.errors import N_, ExpressionError
from engine.spiff.data import copy_json
from engine.spiff.model import Subscription
from engine.spiff.scripting import ENGINE
from engine.spiff.step import STEP

ANY = ""
"""The correlation of a receiver that takes every message of its name."""

CAUGHT = "caught"
"""Where a task keeps the payload until it runs; under the name that the diagram gives it could hide other facts."""


class MessageEventDefinition(spiff.MessageEventDefinition):
    """The library compares the keys of *all* messages, and forgets them at the edge of a sub-process.

    `time_to_live` is how long a thrown message waits for its receiver; empty when the diagram does not say.
    """

    time_to_live = ""

    @classmethod
    def of(cls, found: spiff.MessageEventDefinition, time_to_live: str) -> "MessageEventDefinition":
        """The same as the library has parsed it."""
        made = cls(
            found.name, found.correlation_properties, found.expression, found.message_var, found.process_correlations
        )
        made.time_to_live = time_to_live
        return made

    def throw(self, my_task: Task) -> None:
        payload = {} if self.expression is None else copy_json(ENGINE.evaluate(my_task, self.expression))
        if self.expression is not None:
            _remember(my_task.workflow, self.correlate(payload))
        if _catch_inside(my_task, BpmnEvent(self, payload)) == 0:
            STEP.get().throw(my_task, "message", self.name, payload, self.time_to_live)

    def catches(self, my_task: Task, event: BpmnEvent) -> bool:
        if self != event.event_definition:
            return False
        return bool(self.wanted(my_task) & self.carried(event.payload))

    def catch(self, my_task: Task, event: BpmnEvent) -> None:
        my_task.internal_data[CAUGHT] = event.payload
        _remember(my_task.workflow, self.correlate(event.payload))
        EventDefinition.catch(self, my_task, event)

    def update_task(self, my_task: Task) -> None:
        """What a correlationSubscription says, when the receiver begins to wait."""
        names = {**my_task.workflow.data_objects, **my_task.data}
        my_task.workflow.correlations.update(self.calculate_correlations(ENGINE, self.process_correlations, names))

    def update_task_data(self, my_task: Task) -> None:
        payload = my_task.internal_data.pop(CAUGHT, None)
        if self.message_var is not None:
            my_task.data[self.message_var] = payload

    def reset(self, my_task: Task) -> None:
        my_task.internal_data.pop(CAUGHT, None)
        EventDefinition.reset(self, my_task)

    def wanted(self, my_task: Task) -> set[str]:
        """What a message must carry for the receiver at `my_task`: one of these, or anything."""
        names = {key for item in self.correlation_properties for key in item.correlation_keys}
        known = _known(my_task.workflow)
        return _digests({name: known[name] for name in names if name in known}) or {ANY}

    def carried(self, payload: Any) -> set[str]:
        """What a message with this payload carries. One that lacks what this receiver compares is for nobody here."""
        if not self.correlation_properties:
            return {ANY}
        try:
            return {ANY, *_digests(self.correlate(payload))}
        except ExpressionError:
            return set()

    def correlate(self, payload: Any) -> dict[str, dict[str, Any]]:
        """The keys of a message: name -> property -> value. Raises ExpressionError."""
        if self.correlation_properties and not isinstance(payload, Mapping):
            raise ExpressionError(
                N_("The message %(name)s is correlated: its payload must be an object."), name=self.name
            )
        found: dict[str, dict[str, Any]] = self.calculate_correlations(ENGINE, self.correlation_properties, payload)
        return found


class SignalEventDefinition(spiff.SignalEventDefinition):
    """A signal is for everybody: for those who wait inside the instance at once, for all others as well."""

    def throw(self, my_task: Task) -> None:
        payload = None if self.expression is None else copy_json(ENGINE.evaluate(my_task, self.expression))
        _catch_inside(my_task, BpmnEvent(self, payload))
        STEP.get().throw(my_task, "signal", self.name, payload)

    def catch(self, my_task: Task, event: BpmnEvent) -> None:
        my_task.internal_data[CAUGHT] = event.payload
        EventDefinition.catch(self, my_task, event)

    def update_task_data(self, my_task: Task) -> None:
        payload = my_task.internal_data.pop(CAUGHT, None)
        if self.variable is not None:
            my_task.data[self.variable] = payload

    def reset(self, my_task: Task) -> None:
        my_task.internal_data.pop(CAUGHT, None)
        EventDefinition.reset(self, my_task)


def _catch_inside(my_task: Task, event: BpmnEvent) -> int:
    caught: int = my_task.workflow.top_workflow.event_manager.catch(event, internal=False)
    return caught


# ---- correlation


def _scopes(workflow: Any) -> Iterable[Any]:
    """A (sub-)process and those around it, innermost first."""
    while workflow is not None:
        yield workflow
        workflow = workflow.parent_workflow


def _known(workflow: Any) -> dict[str, dict[str, Any]]:
    """The keys that a receiver inside `workflow` knows; the nearest scope goes before those around it."""
    known: dict[str, dict[str, Any]] = {}
    for scope in _scopes(workflow):
        known = {**scope.correlations, **known}
    return known


def _remember(workflow: Any, correlations: Mapping[str, dict[str, Any]]) -> None:
    """Parallel instances of a sub-process keep keys of their own; around them the first value stays."""
    whole = {key: values for key, values in correlations.items() if None not in values.values()}
    workflow.correlations.update(whole)
    for scope in _scopes(workflow.parent_workflow):
        for key, values in whole.items():
            scope.correlations.setdefault(key, values)


def _digests(correlations: Mapping[str, dict[str, Any]]) -> set[str]:
    """The keys as texts that can be compared and looked up; they say nothing about the values."""
    return {
        "sha256:" + sha256(orjson.dumps([key, values], option=orjson.OPT_SORT_KEYS)).hexdigest()
        for key, values in correlations.items()
        if None not in values.values()
    }


# ---- receivers


def definitions(definition: Any) -> list[Any]:
    """The event definitions that a catching element waits for; those behind an event-based gateway are several."""
    return list(definition.event_definitions) if isinstance(definition, MultipleEventDefinition) else [definition]


def listening(tasks: Iterable[Task]) -> set[Subscription]:
    """The messages and signals that these catching tasks wait for."""
    found = set()
    for task in tasks:
        if task.state != TaskState.WAITING:
            continue
        for definition in definitions(task.task_spec.event_definition):
            if isinstance(definition, MessageEventDefinition):
                found |= {Subscription("message", definition.name, key) for key in definition.wanted(task)}
            elif isinstance(definition, SignalEventDefinition):
                found.add(Subscription("signal", definition.name))
    return found
