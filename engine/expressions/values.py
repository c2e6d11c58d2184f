"""JSON values and what they may cost.

Every container that an expression stores in another one is copied, so values are trees: no cycles, and no small
structure that prints as a gigabyte. All work is charged to one budget, in units of about a microsecond.
"""

import math
from collections.abc import Mapping
from typing import Any

from engine.errors import N_, Sentence

STEPS = 250_000
"""What one evaluation may cost: a unit per syntax node visited, per value copied, per 64 characters touched."""
MAX_TEXT = 100_000
MAX_ITEMS = 50_000
MAX_DEPTH = 60
MAX_INT = 2**63 - 1
MAX_RANGE = 10_000

SCALARS = (type(None), bool, int, float, str)


class Refusal(Exception):
    """Never leaves this package: the walker adds line and column and raises an ExpressionError."""

    def __init__(self, template: str, **params: Any) -> None:
        self.template = template
        self.params = params
        super().__init__(template)


class Budget:
    """What is left to spend. Raises Refusal when it is used up."""

    def __init__(self, steps: int = STEPS) -> None:
        self.left = steps

    def spend(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise Refusal(N_("This takes too many steps (line %(line)s, column %(column)s)."))

    def text(self, length: int) -> None:
        """Pay for a text of `length` characters that is about to be made or searched."""
        if length > MAX_TEXT:
            raise Refusal(N_("The text grows too long (line %(line)s, column %(column)s)."))
        self.spend(length // 64)

    def items(self, count: int) -> None:
        """Pay for a list or dict of `count` entries that is about to be made or walked."""
        if count > MAX_ITEMS:
            raise Refusal(N_("The list grows too long (line %(line)s, column %(column)s)."))
        self.spend(count)

    def weigh(self, value: Any) -> None:
        """Pay for an operation that looks at all of `value` (comparing, sorting, printing)."""
        if isinstance(value, str):
            self.spend(len(value) // 64)
        elif isinstance(value, list | dict | tuple):
            self.copy(value)

    def copy(self, value: Any, depth: int = 0) -> Any:
        """A copy of `value` made of plain JSON types only."""
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int or kind is float:
            return number(value)
        if depth >= MAX_DEPTH:
            raise Refusal(N_("The value is nested too deeply (line %(line)s, column %(column)s)."))
        if isinstance(value, list | tuple):
            self.items(len(value))
            return [self.copy(item, depth + 1) for item in value]
        if isinstance(value, Mapping):
            self.items(len(value))
            copied = {}
            for key, item in value.items():
                copied[text_key(key)] = self.copy(item, depth + 1)
            return copied
        raise not_json(value)


def not_json(value: Any) -> Refusal:
    return Refusal(
        N_("A value of type %(kind)s is not allowed here, only JSON (line %(line)s, column %(column)s)."),
        kind=type(value).__name__,
    )


def text_key(key: Any) -> str:
    if type(key) is not str:
        raise Refusal(N_("A key must be text, not %(kind)s (line %(line)s, column %(column)s)."), kind=kind_of(key))
    return key


def number(value: Any) -> int | float:
    """`value` if it is a number that JSON and every database can hold."""
    if type(value) is int:
        if abs(value) > MAX_INT:
            raise Refusal(N_("The number is too large (line %(line)s, column %(column)s)."))
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise Refusal(N_("The result is not a finite number (line %(line)s, column %(column)s)."))
        return value
    raise Refusal(N_("A number is needed here, not %(kind)s (line %(line)s, column %(column)s)."), kind=kind_of(value))


def is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def kind_of(value: Any) -> Sentence:
    """The type of `value` in the words of docs/expressions.md."""
    words = {
        type(None): N_("None"),
        bool: N_("true/false"),
        int: N_("number"),
        float: N_("number"),
        str: N_("text"),
        list: N_("list"),
        dict: N_("dict"),
    }
    return Sentence(words.get(type(value), type(value).__name__))


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: unlike Python's ==, True is not 1 and 1 is not 1.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    return bool(left == right)
