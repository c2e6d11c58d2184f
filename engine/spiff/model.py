"""What goes into the kernel and what comes out: plain values, no library object among them.

The history stores inputs and derived events as text; see DESIGN, "The one idea".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from engine.errors import ConflictError, Sentence

Lookup = Callable[[str, dict[str, Any]], Any]
"""`lookup(operator_id, params)` answers a synchronous operator; its answer is recorded with the input."""


class RefusedInputError(ConflictError):
    """The input does not apply to the instance's present state; nothing is recorded."""


@dataclass(frozen=True)
class Input:
    """Something that reached the instance from outside.

    `seq` counts from 1 without gaps; `at` is timezone-aware and never earlier than the one before; `payload` is the
    exact JSON text that is stored and hashed. Kinds and payloads are listed at `Execution.apply`.
    """

    seq: int
    at: datetime
    kind: str
    payload: str


@dataclass(frozen=True)
class ElementInfo:
    """An element of the diagram as its author drew it, before the kernel prepares the XML.

    `scope` is the id of the process or sub-process that holds it; an element inside a sub-process without a lane of
    its own belongs to the lane of that sub-process.
    """

    id: str
    type: str
    name: str = ""
    lane: str = ""
    lane_id: str = ""
    documentation: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    form: str = ""
    variable: str = ""
    operator: str = ""
    source: str = ""
    target: str = ""
    attached_to: str = ""
    scope: str = ""
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class OpenedTask:
    """A user or manual task that became ready in this step and still is. `data` is what it can see."""

    id: UUID
    element: str
    data: dict[str, Any]


@dataclass(frozen=True)
class JobRequest:
    """An asynchronous service task that waits for its result. `retries` and `backoff` only when the diagram says so."""

    task_id: UUID
    element: str
    operator: str
    params: dict[str, Any]
    data: dict[str, Any]
    retries: int | None = None
    backoff: int | None = None


@dataclass(frozen=True, order=True)
class Subscription:
    """Something that an instance waits for: `kind` is message or signal. `correlation` is what a message must carry
    (CompiledDefinition.carried); empty for a receiver that takes every message of that name."""

    kind: str
    name: str
    correlation: str = ""


@dataclass(frozen=True)
class Thrown:
    """A signal, or a message that nobody inside the instance waits for. `time_to_live` when the diagram says so."""

    element: str
    kind: str
    name: str
    payload: Any
    time_to_live: str = ""


@dataclass(frozen=True)
class StepResult:
    """Everything that followed from one input.

    `events` are what a re-execution must repeat: `[task_id, element, old, new, data_digest or None]`, elements that
    the kernel has added included. `visible` is for people: `{"element", "type"}` with type enter, leave, fail, cancel
    or take (a sequence flow), elements of the original diagram only. `closed` holds user tasks of earlier steps with
    'completed' or 'cancelled'; `ended_jobs` the service tasks of earlier steps that this step cancelled, without the
    one whose own error was the input. `subscribed` and `unsubscribed` are what the instance has begun and ceased to
    wait for.
    """

    events: list[list[Any]]
    visible: list[dict[str, str]]
    lookups: list[dict[str, Any]]
    opened: list[OpenedTask]
    closed: list[tuple[UUID, str]]
    jobs: list[JobRequest]
    ended_jobs: list[UUID]
    incidents: list[tuple[UUID, str, Sentence]]
    state: str
    due_at: datetime | None
    data: dict[str, Any]
    thrown: list[Thrown]
    subscribed: list[Subscription]
    unsubscribed: list[Subscription]
