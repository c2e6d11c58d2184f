"""The functions and methods of the language. Each takes the budget first and returns plain JSON."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from engine.errors import N_
from engine.expressions import times
from engine.expressions.values import (
    MAX_ITEMS,
    MAX_RANGE,
    SCALARS,
    Budget,
    Refusal,
    is_number,
    kind_of,
    number,
    text_key,
)

Function = Callable[..., Any]


def _wrong(name: str, value: Any) -> Refusal:
    return Refusal(
        N_("%(name)s cannot be used on %(kind)s (line %(line)s, column %(column)s)."), name=name, kind=kind_of(value)
    )


def sequence(budget: Budget, value: Any, name: str) -> list[Any]:
    """What a loop over `value` walks: a snapshot, so that the loop may change what it came from."""
    if not isinstance(value, list | dict | str):
        raise _wrong(name, value)
    budget.items(len(value))
    return list(value)


def _len(budget: Budget, value: Any) -> int:
    if not isinstance(value, list | dict | str):
        raise _wrong("len", value)
    budget.spend(1)
    return len(value)


def comparable(budget: Budget, left: Any, right: Any) -> None:
    """Order is defined for two numbers, two texts or two lists of those."""
    budget.weigh(left)
    budget.weigh(right)
    fits = (
        (is_number(left) and is_number(right))
        or (type(left) is str and type(right) is str)
        or (type(left) is bool and type(right) is bool)
        or (type(left) is list and type(right) is list)
    )
    if not fits:
        raise Refusal(
            N_("%(left)s and %(right)s have no order (line %(line)s, column %(column)s)."),
            left=kind_of(left),
            right=kind_of(right),
        )


def _candidates(budget: Budget, name: str, values: tuple[Any, ...]) -> list[Any]:
    found = sequence(budget, values[0], name) if len(values) == 1 else list(values)
    for previous, following in pairwise(found):
        comparable(budget, previous, following)
    return found


_NOTHING = object()


def _min(budget: Budget, *values: Any, default: Any = _NOTHING) -> Any:
    found = _candidates(budget, "min", values)
    return default if not found and default is not _NOTHING else min(found)


def _max(budget: Budget, *values: Any, default: Any = _NOTHING) -> Any:
    found = _candidates(budget, "max", values)
    return default if not found and default is not _NOTHING else max(found)


def _sum(budget: Budget, values: Any, start: Any = 0) -> int | float:
    total = number(start)
    for value in sequence(budget, values, "sum"):
        total = number(total + (int(value) if type(value) is bool else number(value)))
    return total


def _sorted(budget: Budget, values: Any, *, key: Any = None, reverse: Any = False) -> list[Any]:
    found = sequence(budget, values, "sorted")
    if key is not None:
        if not all(type(item) is dict and text_key(key) in item for item in found):
            raise Refusal(
                N_("sorted: not every entry has %(key)s (line %(line)s, column %(column)s)."), key=str(key)[:60]
            )
        keys = [item[key] for item in found]
    else:
        keys = found
    for previous, following in pairwise(keys):
        comparable(budget, previous, following)
    budget.spend(len(found) * max(1, len(found).bit_length()) // 8)
    ordered = sorted(range(len(found)), key=keys.__getitem__, reverse=bool(reverse))
    return [budget.copy(found[index]) for index in ordered]


def _any(budget: Budget, values: Any) -> bool:
    return any(sequence(budget, values, "any"))


def _all(budget: Budget, values: Any) -> bool:
    return all(sequence(budget, values, "all"))


def _round(budget: Budget, value: Any, digits: Any = None) -> int | float:
    budget.spend(1)
    if digits is None:
        return number(round(number(value)))
    if type(digits) is not int or not -15 <= digits <= 15:
        raise Refusal(N_("round takes -15 to 15 digits (line %(line)s, column %(column)s)."))
    return number(round(number(value), digits))


def _abs(budget: Budget, value: Any) -> int | float:
    budget.spend(1)
    return number(abs(number(value)))


def _str(budget: Budget, value: Any) -> str:
    budget.weigh(value)
    text = value if type(value) is str else str(value)
    budget.text(len(text))
    return text


def _int(budget: Budget, value: Any = 0) -> int | float:
    return number(int(_convertible(budget, "int", value)))


def _float(budget: Budget, value: Any = 0) -> int | float:
    return number(float(_convertible(budget, "float", value)))


def _convertible(budget: Budget, name: str, value: Any) -> Any:
    budget.spend(1)
    if not (is_number(value) or type(value) is bool or (type(value) is str and len(value) <= 40)):
        raise _wrong(name, value)
    return value


def _bool(budget: Budget, value: Any = False) -> bool:
    budget.spend(1)
    return bool(value)


def _list(budget: Budget, value: Any = None) -> list[Any]:
    return [] if value is None else [budget.copy(item) for item in sequence(budget, value, "list")]


def _dict(budget: Budget, value: Any = None) -> dict[str, Any]:
    if value is None:
        return {}
    if type(value) is dict:
        copied: dict[str, Any] = budget.copy(value)
        return copied
    made: dict[str, Any] = {}
    for pair in sequence(budget, value, "dict"):
        if type(pair) is not list or len(pair) != 2:
            raise Refusal(N_("dict needs pairs of key and value (line %(line)s, column %(column)s)."))
        made[text_key(pair[0])] = budget.copy(pair[1])
    return made


def _range(budget: Budget, *bounds: Any) -> list[int]:
    if not 1 <= len(bounds) <= 3 or any(type(bound) is not int for bound in bounds):
        raise Refusal(N_("range takes one to three whole numbers (line %(line)s, column %(column)s)."))
    if len(bounds) == 3 and bounds[2] == 0:
        raise Refusal(N_("The step of a range or slice must not be 0 (line %(line)s, column %(column)s)."))
    span = range(*bounds)
    count = max(0, -((span.start - span.stop) // span.step))
    if count > MAX_RANGE:
        raise Refusal(N_("A range has at most %(limit)s numbers (line %(line)s, column %(column)s)."), limit=MAX_RANGE)
    budget.items(count)
    return list(span)


def _enumerate(budget: Budget, values: Any, start: Any = 0) -> list[Any]:
    if type(start) is not int:
        raise _wrong("enumerate", start)
    return [
        [number(index), budget.copy(item)] for index, item in enumerate(sequence(budget, values, "enumerate"), start)
    ]


def _zip(budget: Budget, *values: Any) -> list[Any]:
    columns = [sequence(budget, value, "zip") for value in values]
    return [[budget.copy(item) for item in row] for row in zip(*columns, strict=False)]


def _get(budget: Budget, value: Any, key: Any, default: Any = None) -> Any:
    budget.spend(1)
    if value is None:
        return default
    if type(value) is not dict:
        raise _wrong("get", value)
    return value.get(text_key(key), default)


def _timed(function: Function) -> Function:
    def call(budget: Budget, *arguments: Any) -> Any:
        budget.spend(5)
        return function(*arguments)

    return call


FUNCTIONS: dict[str, Function] = {
    "len": _len, "min": _min, "max": _max, "sum": _sum, "sorted": _sorted, "any": _any, "all": _all, "round": _round,
    "abs": _abs, "str": _str, "int": _int, "float": _float, "bool": _bool, "list": _list, "dict": _dict,
    "range": _range, "enumerate": _enumerate, "zip": _zip, "get": _get, "now": _timed(times.now),
    "parse_time": _timed(times.parse_time), "hours_between": _timed(times.hours_between),
    "before": _timed(times.before), "add_time": _timed(times.add_time),
}  # fmt: skip

NAMES = frozenset(FUNCTIONS) | {"defined"}
"""All function names; `defined` needs the variables and lives in the walker."""


def _lower(budget: Budget, text: str) -> str:
    budget.text(len(text) * 3)
    return text.lower()


def _upper(budget: Budget, text: str) -> str:
    budget.text(len(text) * 3)
    return text.upper()


def _strip(budget: Budget, text: str, characters: Any = None) -> str:
    budget.text(len(text))
    return text.strip(characters)


def _startswith(budget: Budget, text: str, prefix: Any) -> bool:
    budget.spend(1)
    return text.startswith(_text(prefix, "startswith"))


def _endswith(budget: Budget, text: str, suffix: Any) -> bool:
    budget.spend(1)
    return text.endswith(_text(suffix, "endswith"))


def _split(budget: Budget, text: str, separator: Any = None) -> list[str]:
    budget.text(len(text))
    parts = text.split(None if separator is None else _text(separator, "split"))
    budget.items(len(parts))
    return parts


def _join(budget: Budget, text: str, parts: Any) -> str:
    found = [_text(part, "join") for part in sequence(budget, parts, "join")]
    budget.text(sum(map(len, found)) + len(text) * len(found))
    return text.join(found)


def _replace(budget: Budget, text: str, old: Any, new: Any) -> str:
    old, new = _text(old, "replace"), _text(new, "replace")
    budget.text(len(text))
    budget.text(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _text(value: Any, name: str) -> str:
    if type(value) is not str:
        raise _wrong(name, value)
    return value


def _keys(budget: Budget, value: dict[str, Any]) -> list[str]:
    budget.items(len(value))
    return list(value)


def _values(budget: Budget, value: dict[str, Any]) -> list[Any]:
    return [budget.copy(item) for item in _counted(budget, value.values(), len(value))]


def _items(budget: Budget, value: dict[str, Any]) -> list[list[Any]]:
    return [[key, budget.copy(item)] for key, item in _counted(budget, value.items(), len(value))]


def _counted(budget: Budget, values: Iterable[Any], count: int) -> Iterable[Any]:
    budget.items(count)
    return values


def _append(budget: Budget, value: list[Any], item: Any) -> None:
    budget.spend(1)
    if len(value) >= MAX_ITEMS:
        raise Refusal(N_("The list grows too long (line %(line)s, column %(column)s)."))
    value.append(budget.copy(item))


METHODS: dict[type, dict[str, Function]] = {
    str: {
        "lower": _lower, "upper": _upper, "strip": _strip, "startswith": _startswith, "endswith": _endswith,
        "split": _split, "join": _join, "replace": _replace,
    },
    dict: {"get": _get, "keys": _keys, "values": _values, "items": _items},
    list: {"append": _append},
}  # fmt: skip
MUTATING = frozenset({"append"})
METHOD_NAMES = frozenset(name for methods in METHODS.values() for name in methods)


def method(value: Any, name: str) -> Function:
    """Raises Refusal when values of this kind have no such method."""
    try:
        return METHODS[type(value)][name]
    except KeyError:
        raise _wrong(f".{name}()", value) from None


def call(function: Function, name: str, budget: Budget, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Call one of the functions above; whatever Python thinks of the arguments becomes a Refusal."""
    try:
        return function(budget, *arguments, **keywords)
    except Refusal:
        raise
    except (TypeError, ValueError, OverflowError, AttributeError, RecursionError, IndexError):
        shown = ", ".join(
            repr(item)[:30] if isinstance(item, SCALARS) else str(kind_of(item)) for item in arguments[:4]
        )
        raise Refusal(
            N_("%(name)s cannot be used on these values: %(values)s (line %(line)s, column %(column)s)."),
            name=name,
            values=shown,
        ) from None
