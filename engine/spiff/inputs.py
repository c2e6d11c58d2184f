"""The kinds of input and what each carries."""

from collections.abc import Mapping
from typing import Any

import orjson

from engine.errors import N_
from engine.spiff.model import Input, RefusedInputError

KINDS: Mapping[str, Mapping[str, tuple[type, bool]]] = {
    "start": {"data": (dict, True), "event": (str, False), "payload": (object, False), "at": (str, False)},
    "submit": {"task": (str, True), "data": (dict, True)},
    "result": {"task": (str, True), "value": (object, True)},
    "error": {"task": (str, True), "code": (str, True), "message": (str, False)},
    "timer": {},
    "message": {"name": (str, True), "payload": (object, False)},
    "signal": {"name": (str, True), "payload": (object, False)},
    "cancel": {"reason": (str, False)},
    "retry": {"task": (str, True), "data": (dict, False)},
    "suspend": {"reason": (str, False)},
    "resume": {"reason": (str, False)},
    "modify": {
        "cancel": (list, False),
        "start": (list, False),
        "set": (dict, False),
        "unset": (list, False),
        "reason": (str, False),
    },
    "migrate": {"reason": (str, False)},
}
"""What each kind takes from its payload, of which type, and whether it must be there; the rest is for the record."""

WHILE_SUSPENDED = frozenset({"resume", "modify", "migrate", "cancel"})
"""What a suspended instance still takes."""


def read_payload(given: Input) -> dict[str, Any]:
    """What the input's kind takes from its payload. Raises RefusedInputError."""
    try:
        payload = orjson.loads(given.payload)
    except orjson.JSONDecodeError as error:
        raise RefusedInputError(N_("The input %(kind)s is no JSON."), kind=given.kind) from error
    taken = {}
    for name, (kind, required) in KINDS[given.kind].items():
        present = isinstance(payload, dict) and name in payload
        if (required and not present) or (present and not isinstance(payload[name], kind)):
            raise RefusedInputError(N_("The input %(kind)s needs %(name)s."), kind=given.kind, name=name)
        if present:
            taken[name] = payload[name]
    return taken
