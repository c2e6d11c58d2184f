"""Input entries of decision tables: the subset of FEEL's unary tests (DMN 1.3, 9.2) that table editors write.

`-`, a value, values separated by commas, `< 5`, `>= 5`, `[1..5]`, `not(…)`; or a condition in the expression language
in which `?` stands for the input. Nothing else. The lists of allowed input and output values are written the same way.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from engine import expressions
from engine.errors import N_, ExpressionError
from engine.spiff.data import same
from engine.spiff.scripting import evaluate

Test = Callable[[Any, Mapping[str, Any]], bool]

_RANGE = re.compile(r"([\[\](])\s*(.+?)\s*\.\.\s*(.+?)\s*([\[\])])", re.DOTALL)
_COMPARISON = re.compile(r"(<=|>=|<|>|!=|==|=)\s*(.+)", re.DOTALL)
_NOT = re.compile(r"not\s*\((.+)\)", re.DOTALL)
_WORDS = {"true": "True", "false": "False", "null": "None"}
_INPUT = "dmn_input"


def unary_tests(text: str) -> Test:
    """The meaning of one input entry.

    Raises:
        ExpressionError: it is outside the documented subset.
    """
    text = text.strip()
    if text in ("", "-"):
        return _anything
    negated = _NOT.fullmatch(text)
    if negated and "?" not in _outside_quotes(text):
        inner = unary_tests(negated[1])
        return lambda value, names: not inner(value, names)
    if "?" in _outside_quotes(text):
        expression = _checked(_replace_input(text))
        return lambda value, names: bool(evaluate(expression, {**names, _INPUT: value}))
    tests = [_single(part) for part in _split(text)]
    return lambda value, names: any(test(value, names) for test in tests)


def constants(text: str) -> list[Any] | None:
    """The values that an entry lists, in their order; None when it says anything else: a condition, a variable, `-`."""
    found = []
    for part in _split(text):
        try:
            found.append(evaluate(literal(part), {}))
        except ExpressionError:
            return None
    return found


def literal(text: str) -> str:
    """FEEL's words for the values that the expression language calls otherwise."""
    return _WORDS.get(text.strip(), text.strip())


def equal(left: Any, right: Any) -> bool:
    """Equality of FEEL: 1 is 1.0, but no text and no truth value is a number."""
    return same(_number(left), _number(right))


def _anything(_value: Any, _names: Mapping[str, Any]) -> bool:
    return True


def _single(text: str) -> Test:
    text = text.strip()
    interval = _RANGE.fullmatch(text)
    if interval:
        low, high = _checked(interval[2]), _checked(interval[3])
        above = f"{_INPUT} {'>=' if interval[1] == '[' else '>'} ({low})"
        below = f"{_INPUT} {'<=' if interval[4] == ']' else '<'} ({high})"
        return _comparison(f"{above} and {below}")
    comparison = _COMPARISON.fullmatch(text)
    if comparison:
        operator = {"=": "=="}.get(comparison[1], comparison[1])
        return _comparison(f"{_INPUT} {operator} ({_checked(comparison[2])})")
    expression = _checked(text)
    return lambda value, names: equal(value, evaluate(expression, names))


def _comparison(expression: str) -> Test:
    return lambda value, names: value is not None and bool(evaluate(expression, {**names, _INPUT: value}))


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _checked(text: str) -> str:
    text = literal(text)
    for _line, _column, message in expressions.check(text):
        raise ExpressionError(N_("“%(text)s”: %(message)s"), text=text[:60], message=message)
    return text


def _pieces(text: str) -> list[tuple[str, bool]]:
    """The text cut into pieces, each with whether it is a quoted string."""
    parts = re.split(r"(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')", text)
    return [(part, bool(index % 2)) for index, part in enumerate(parts)]


def _outside_quotes(text: str) -> str:
    return "".join(part for part, quoted in _pieces(text) if not quoted)


def _replace_input(text: str) -> str:
    return "".join(part if quoted else part.replace("?", _INPUT) for part, quoted in _pieces(text))


def _split(text: str) -> list[str]:
    """At commas outside quotes and brackets."""
    parts, depth = [""], 0
    for piece, quoted in _pieces(text):
        if quoted:
            parts[-1] += piece
            continue
        for char in piece:
            if char == "," and depth == 0:
                parts.append("")
                continue
            depth += (char in "([{") - (char in ")]}")
            parts[-1] += char
    return parts
