"""Decision tables (DMN 1.3, decisionTable with hit policy UNIQUE, ANY, FIRST, RULE ORDER or COLLECT).

Input expressions and output entries are in the expression language of the diagrams. Input entries are the subset of
FEEL's unary tests that decision table editors write: `-`, a value, values separated by commas, `< 5`, `>= 5`,
`[1..5]`, `not(…)`; or a condition in the expression language in which `?` stands for the input. Nothing else.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from SpiffWorkflow.task import Task

from engine import expressions
from engine.errors import N_, ExpressionError, Problem, Sentence
from engine.spiff.data import same
from engine.spiff.prepare import Node
from engine.spiff.scripting import evaluate

Test = Callable[[Any, Mapping[str, Any]], bool]

_POLICIES = ("UNIQUE", "ANY", "FIRST", "RULE ORDER", "COLLECT")
_RANGE = re.compile(r"([\[\](])\s*(.+?)\s*\.\.\s*(.+?)\s*([\[\])])", re.DOTALL)
_COMPARISON = re.compile(r"(<=|>=|<|>|!=|==|=)\s*(.+)", re.DOTALL)
_NOT = re.compile(r"not\s*\((.+)\)", re.DOTALL)
_WORDS = {"true": "True", "false": "False", "null": "None"}
_INPUT = "dmn_input"


@dataclass(frozen=True)
class Rule:
    number: int
    tests: tuple[Test, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class DecisionTable:
    """A table as it stands in its file."""

    id: str
    policy: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rules: tuple[Rule, ...]

    def decide(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """The value of every output; null when no rule matches, a list each for COLLECT and RULE ORDER.

        Raises:
            ExpressionError: a cell fails, or several rules match where the hit policy allows one result.
        """
        values = [evaluate(expression, names) for expression in self.inputs]
        matching = []
        for rule in self.rules:
            if all(test(value, names) for test, value in zip(rule.tests, values, strict=True)):
                matching.append(rule)
                if self.policy == "FIRST":
                    break
        results = [
            {
                name: evaluate(cell, names) if cell else None
                for name, cell in zip(self.outputs, rule.outputs, strict=True)
            }
            for rule in matching
        ]
        if self.policy in ("COLLECT", "RULE ORDER"):
            return {name: [result[name] for result in results] for name in self.outputs}
        if len(matching) > 1 and (self.policy == "UNIQUE" or not all(same(results[0], result) for result in results)):
            raise ExpressionError(
                N_("Rules %(first)s and %(second)s of the decision %(decision)s both match."),
                first=matching[0].number,
                second=matching[1].number,
                decision=self.id,
            )
        return results[0] if results else dict.fromkeys(self.outputs)

    def result(self, my_task: Task) -> dict[str, Any]:
        """Called by the library's business rule task."""
        return self.decide(my_task.data)


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
    literal = _checked(text)
    return lambda value, names: same(_number(value), _number(evaluate(literal, names)))


def _comparison(expression: str) -> Test:
    return lambda value, names: value is not None and bool(evaluate(expression, {**names, _INPUT: value}))


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _checked(text: str) -> str:
    text = _WORDS.get(text.strip(), text.strip())
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


def parse(root: Node, file: str) -> tuple[dict[str, DecisionTable], list[Problem]]:
    """All decision tables of a DMN document by the id of their decision, and what is wrong with them."""
    tables: dict[str, DecisionTable] = {}
    problems: list[Problem] = []
    for decision in root.iter("{*}decision"):
        table = decision.find("{*}decisionTable")
        name = decision.get("id") or ""

        def problem(node: Node, rule: str, template: str, /, *, id: str = name, **params: Any) -> None:
            told = Sentence(template, params)
            problems.append(Problem(file, node.sourceline or 0, node.get("id") or id, rule, told))

        if table is None:
            problem(decision, "no-decision-table", N_("the decision holds no decision table"))
            continue
        policy = (table.get("hitPolicy") or "UNIQUE").upper()
        if policy not in _POLICIES or table.get("aggregation"):
            told = N_("the hit policy %(policy)s %(aggregation)s is not supported")
            problem(table, "hit-policy", told, policy=policy, aggregation=table.get("aggregation") or "")
        inputs = [(node.findtext("{*}inputExpression/{*}text") or "").strip() for node in table.findall("{*}input")]
        outputs = [node.get("name") or "" for node in table.findall("{*}output")]
        for place, expression in enumerate(inputs):
            node = table.findall("{*}input")[place]
            _report(problem, node, expression)
        for place, output in enumerate(outputs):
            if not output.isidentifier():
                problem(table.findall("{*}output")[place], "dmn-output", N_("the output needs a variable name"))
        rules = []
        for number, row in enumerate(table.findall("{*}rule"), 1):
            cells = row.findall("{*}inputEntry")
            results = row.findall("{*}outputEntry")
            if len(cells) != len(inputs) or len(results) != len(outputs):
                problem(row, "dmn-rule", N_("rule %(number)s has not one cell for each column"), number=number)
                continue
            tests = []
            for cell in cells:
                try:
                    tests.append(unary_tests(cell.findtext("{*}text") or ""))
                except ExpressionError as error:
                    told = N_("rule %(number)s: %(message)s")
                    problem(cell, "dmn-cell", told, number=number, message=error.sentence)
            texts = []
            for cell in results:
                text = (cell.findtext("{*}text") or "").strip()
                text = _WORDS.get(text, text)
                if text:
                    _report(problem, cell, text)
                texts.append(text)
            rules.append(Rule(number, tuple(tests), tuple(texts)))
        tables[name] = DecisionTable(name, policy, tuple(inputs), tuple(outputs), tuple(rules))
    return tables, problems


def _report(problem: Callable[..., None], node: Node, expression: str) -> None:
    if not expression:
        problem(node, "dmn-cell", N_("the input has no expression"))
        return
    for _line, _column, message in expressions.check(expression):
        problem(node, "dmn-cell", N_("“%(text)s”: %(message)s"), text=expression[:40], message=message)
