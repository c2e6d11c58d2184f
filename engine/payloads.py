"""Data that may enter a history: plain JSON that comes back exactly as it went in.

The bytes are stored and hashed, so whatever would not survive the round trip (NaN, lone surrogates, integers beyond
2^53) is refused before anything is written. The key `typename` is refused because SpiffWorkflow takes a dictionary
with that key for one of its own objects when it loads an instance (FINDINGS, repairs).
"""

import math
from collections.abc import Mapping
from typing import Any

import orjson

from engine.errors import N_, FieldError, InvalidFormError, OversizedError

DEPTH = 40
SIZE = 1_000_000
"""The largest payload in bytes; footage never travels through the engine."""

_INTEGERS = 2**53


def encode(value: Any, *, where: str = "data", limit: int = SIZE) -> str:
    """The exact JSON text that is stored for `value`.

    Raises:
        InvalidFormError: something in `value` is not storable; its only field is the path to it.
        OversizedError: the text is longer than `limit` bytes.
    """
    check_json(value, where)
    raw = orjson.dumps(value)
    if len(raw) > limit:
        raise OversizedError(
            N_("The data is too large: %(size)s bytes, at most %(limit)s are accepted."), size=len(raw), limit=limit
        )
    return raw.decode()


def check_json(value: Any, where: str, depth: int = 0) -> None:
    """Raises InvalidFormError naming the path of the first value that is not plain, storable JSON."""
    if depth > DEPTH:
        raise _refusal(where, N_("This is nested too deeply."))
    if isinstance(value, str):
        _check_text(value, where)
    elif value is None or isinstance(value, bool):
        return
    elif isinstance(value, int):
        if abs(value) > _INTEGERS:
            raise _refusal(where, N_("%(value)s is too large a number."), value=str(value)[:40])
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _refusal(where, N_("%(value)s is not a number."), value=str(value))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or key == "typename":
                raise _refusal(where, N_("The name %(name)s is not allowed here."), name=repr(key)[:100])
            _check_text(key, where)
            check_json(item, f"{where}.{key}", depth + 1)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            check_json(item, f"{where}[{place}]", depth + 1)
    else:
        raise _refusal(where, N_("A value of type %(type)s cannot be stored."), type=type(value).__name__)


def _check_text(text: str, where: str) -> None:
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise _refusal(where.encode(errors="replace").decode(), N_("This holds a character that cannot be stored."))


def _refusal(where: str, template: str, **params: Any) -> InvalidFormError:
    return InvalidFormError({where: FieldError(template, params)})
