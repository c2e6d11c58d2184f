"""The registry of operators: what a service task of a diagram may call, with typed parameters.

An operator is a plain function. Its keyword parameters are what a diagram may pass; their annotations are checked at
deployment and at run time. An *asynchronous* operator (the default) becomes a job: it runs outside any transaction,
must be idempotent and resumable, and its JSON result is recorded as an input event. A *synchronous* operator runs
inside the step: its answer is recorded with the input, so that re-execution needs no database (DESIGN, "The one idea").
What a refusing one has written is undone; one that refuses before it writes says so, and spares the step a savepoint.
"""

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from engine.db import Database
from engine.errors import N_, EngineError
from engine.settings import Settings

JSON_TYPES: Mapping[Any, str] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    list: "list",
    dict: "dict",
    Any: "any",
}


class Progress(Protocol):
    """What a running job may do besides its work."""

    def __call__(self, **facts: Any) -> None:
        """Report progress (`fraction` 0..1 and whatever helps: bytes, media_seconds, speed, recorder).

        Raises:
            JobCancelledError: the lease was lost or the task was cancelled; stop at once.
        """


@dataclass(frozen=True)
class JobContext:
    """What an asynchronous operator knows besides its parameters. `data` is the instance's data when the job ran.

    `attempt` counts from 1; after the `last_attempt` any failure becomes an incident.
    """

    job_id: UUID
    epoch: int
    task_id: UUID
    instance_id: UUID
    business_key: str
    data: Mapping[str, Any]
    database: Database
    settings: Settings
    progress: Progress
    attempt: int = 1
    last_attempt: bool = True

    @property
    def scratch(self) -> Path:
        """A folder that survives a crash of the worker and is the same at every attempt of this job."""
        return self.settings.scratch / str(self.job_id)


@dataclass(frozen=True)
class StepContext:
    """What a synchronous operator knows: the step's own `session` and time (`at`)."""

    session: Session
    at: datetime
    instance_id: UUID
    actor: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    required: bool
    default: Any = None


@dataclass(frozen=True)
class Operator:
    id: str
    function: Callable[..., Any]
    synchronous: bool
    label_zh: str
    label_en: str
    parameters: tuple[Parameter, ...]
    errors: tuple[str, ...]
    retries: int
    personal: bool
    exclusive: Callable[[Session, Mapping[str, Any]], tuple[str, int, str]] | None
    refuses_first: bool = False

    @property
    def description(self) -> str:
        return inspect.getdoc(self.function) or ""


class UnknownOperatorError(EngineError):
    """A diagram names an operator that is not installed."""


class OperatorParameterError(EngineError):
    """A service task passes a parameter that its operator does not know, or of the wrong type."""


_REGISTRY: dict[str, Operator] = {}


def operator(
    id: str,
    *,
    zh: str,
    en: str,
    synchronous: bool = False,
    errors: tuple[str, ...] = (),
    retries: int = 5,
    personal: bool = False,
    exclusive: Callable[[Session, Mapping[str, Any]], tuple[str, int, str]] | None = None,
    refuses_first: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function `(context, *, param, …) -> JSON` as the operator `noun/verb`.

    `errors` are the BPMN error codes it may raise. `exclusive(session, params)` gives (key, limit, site): no more than
    `limit` jobs with that key run at once, on workers of that site (a recorder allows one playback, FINDINGS).
    `refuses_first` promises that a synchronous operator writes nothing before the last thing that it may refuse.
    With `personal` a job gets the personal data among its parameters opened, others as it is stored, encrypted.

    Raises:
        ValueError: the id is taken, or a parameter's annotation is not str, int, float, bool, list, dict or Any; or a
            synchronous operator, whose parameters are recorded, asks for personal data.
    """
    if personal and synchronous:
        raise ValueError(f"{id}: a synchronous operator cannot ask for personal data")

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        present = _REGISTRY.get(id)
        if present is not None and _origin(present.function) != _origin(function):
            raise ValueError(f"operator {id} is registered twice")
        parameters = []
        hints = typing.get_type_hints(function)
        for parameter in list(inspect.signature(function).parameters.values())[1:]:
            annotation = _without_none(hints[parameter.name])
            base = typing.get_origin(annotation) or annotation
            if base not in JSON_TYPES:
                raise ValueError(f"{id}: parameter {parameter.name} has no JSON type")
            required = parameter.default is inspect.Parameter.empty
            parameters.append(
                Parameter(parameter.name, JSON_TYPES[base], required, None if required else parameter.default)
            )
        _REGISTRY[id] = Operator(
            id, function, synchronous, zh, en, tuple(parameters), errors, retries, personal, exclusive, refuses_first
        )
        return function

    return register


def _without_none(annotation: Any) -> Any:
    """`dict | None` is how an optional parameter is annotated; a diagram passes the dict or leaves it out."""
    arguments = [argument for argument in typing.get_args(annotation) if argument is not type(None)]
    optional = type(None) in typing.get_args(annotation) and len(arguments) == 1
    return arguments[0] if optional else annotation


def _origin(function: Callable[..., Any]) -> tuple[str, str]:
    return function.__module__, function.__qualname__


def get(operator_id: str) -> Operator:
    """Raises UnknownOperatorError when no installed package registers it."""
    try:
        return _REGISTRY[operator_id]
    except KeyError:
        raise UnknownOperatorError(N_("There is no operator %(operator)s."), operator=operator_id) from None


def catalogue() -> list[Operator]:
    """All registered operators, by id."""
    return [_REGISTRY[key] for key in sorted(_REGISTRY)]


def check_parameters(found: Operator, params: Mapping[str, Any]) -> None:
    """Raises OperatorParameterError when `params` do not fit the operator's signature."""
    known = {parameter.name: parameter for parameter in found.parameters}
    for name, value in params.items():
        if name not in known:
            raise OperatorParameterError(N_("%(operator)s has no parameter %(name)s."), operator=found.id, name=name)
        kind = known[name].type
        fits = {
            "str": isinstance(value, str),
            "int": isinstance(value, int) and not isinstance(value, bool),
            "float": isinstance(value, int | float) and not isinstance(value, bool),
            "bool": isinstance(value, bool),
            "list": isinstance(value, list),
            "dict": isinstance(value, dict),
            "any": True,
        }[kind]
        if not fits and not (value is None and not known[name].required):
            raise OperatorParameterError(
                N_("%(operator)s: %(name)s must be %(kind)s."), operator=found.id, name=name, kind=kind
            )
    for name, parameter in known.items():
        if parameter.required and name not in params:
            raise OperatorParameterError(N_("%(operator)s needs the parameter %(name)s."), operator=found.id, name=name)
