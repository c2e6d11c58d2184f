"""Decision tables: every hit policy of DMN (1.3, 8.2.10; the same up to 1.6, 8.2.11).

Input expressions and output entries are in the expression language of the diagrams, input entries and lists of allowed
values in the subset of engine.spiff.unary. Where the standard leaves room it is as in Camunda's engine: COUNT counts
all outputs (DMN 1.1 said: distinct ones), and an aggregation passes over empty cells.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from SpiffWorkflow.task import Task

from engine import expressions
from engine.errors import N_, ExpressionError, Problem, Sentence
from engine.spiff.data import plain
from engine.spiff.prepare import Node
from engine.spiff.scripting import evaluate
from engine.spiff.unary import Test, constants, equal, literal, unary_tests

POLICIES = ("UNIQUE", "ANY", "FIRST", "PRIORITY", "RULE ORDER", "OUTPUT ORDER", "COLLECT")
AGGREGATIONS = ("SUM", "MIN", "MAX", "COUNT")
LISTS = frozenset({"RULE ORDER", "OUTPUT ORDER", "COLLECT"})
"""Policies of which every matching rule counts."""
ORDERED = frozenset({"PRIORITY", "OUTPUT ORDER"})
"""Policies for which the order of the output values decides."""


@dataclass(frozen=True)
class Input:
    title: str
    expression: str
    allowed: Test | None


@dataclass(frozen=True)
class Output:
    """`order` are the output values from the highest priority to the lowest; None when they are no list of values."""

    name: str
    allowed: Test | None
    order: Sequence[Any] | None
    default: str

    def rank(self, value: Any) -> int:
        """The place of `value` among them; that of an empty cell comes after all of them."""
        order = self.order or ()
        return next((place for place, other in enumerate(order) if equal(value, other)), len(order))


@dataclass(frozen=True)
class Rule:
    """`title` is its number in the table, its id, and what stands beside it as annotation."""

    title: str
    tests: tuple[Test, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class DecisionTable:
    """A table as it stands in its file. `rows` is the variable that takes several rows of several outputs."""

    id: str
    table: str
    policy: str
    aggregation: str
    rows: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    rules: tuple[Rule, ...]

    def decide(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """The variables that the decision sets; docs/supported-elements.md says which, also when no rule matches.

        Raises:
            ExpressionError: a cell fails, a value is not among those that its column allows, an aggregation meets
                something that is no number, or several rules match where the hit policy allows one result. It names
                the decision, the table and the rules.
        """
        matching = list(self._matching(names))
        if self.policy == "UNIQUE" and len(matching) > 1:
            self._fail(N_("the rules %(rules)s match, and UNIQUE allows one"), rules=_listed(matching))
        results = [self._result(rule, names) for rule in matching]
        if self.policy in LISTS:
            return self._collected(results or self._defaults(names))
        if self.policy == "ANY" and not all(_agree(results[0], result) for result in results):
            told = N_("the rules %(rules)s match with different results, and ANY wants the same of all")
            self._fail(told, rules=_listed(matching))
        results = self._in_order(results) or self._defaults(names)
        return results[0] if results else {output.name: None for output in self.outputs}

    def result(self, my_task: Task) -> dict[str, Any]:
        """Called by the library's business rule task."""
        return self.decide(my_task.data)

    # ---- the rules that match

    def _matching(self, names: Mapping[str, Any]) -> Iterator[Rule]:
        values = [self._value(column, names) for column in self.inputs]
        for rule in self.rules:
            try:
                matches = all(test(value, names) for test, value in zip(rule.tests, values, strict=True))
            except ExpressionError as error:
                self._fail_in(rule, error)
            if matches:
                yield rule
                if self.policy == "FIRST":
                    return

    def _value(self, column: Input, names: Mapping[str, Any]) -> Any:
        try:
            value = evaluate(column.expression, names)
            allowed = column.allowed is None or column.allowed(value, names)
        except ExpressionError as error:
            self._fail(N_("the input %(input)s: %(reason)s"), error, input=column.title, reason=error.sentence)
        if not allowed:
            told = N_("the input %(input)s is %(value)s, which is not among its input values")
            self._fail(told, input=column.title, value=_shown(value))
        return value

    # ---- what they give

    def _result(self, rule: Rule, names: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._entries(rule.outputs, names)
        except ExpressionError as error:
            self._fail_in(rule, error)

    def _defaults(self, names: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The default output entries, as though a rule gave them; nothing when there are none."""
        texts = [output.default for output in self.outputs]
        if not any(texts) or self.aggregation == "COUNT":
            return []
        try:
            return [self._entries(texts, names)]
        except ExpressionError as error:
            self._fail(N_("the default output: %(reason)s"), error, reason=error.sentence)

    def _entries(self, texts: Sequence[str], names: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for output, text in zip(self.outputs, texts, strict=True):
            if self.aggregation and not text:
                continue
            value = evaluate(text, names) if text else None
            if text and output.allowed is not None and not output.allowed(value, names):
                told = N_("the output %(output)s is %(value)s, which is not among its output values")
                raise ExpressionError(told, output=output.name, value=_shown(value))
            if text and self.aggregation in ("SUM", "MIN", "MAX") and not _is_number(value):
                told = N_("the output %(output)s is %(value)s, and %(aggregation)s takes numbers")
                raise ExpressionError(told, output=output.name, value=_shown(value), aggregation=self.aggregation)
            found[output.name] = value
        return found

    # ---- what becomes of several

    def _in_order(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """By the output values, the leftmost output first; what ranks the same keeps the order of the table."""
        ordering = [output for output in self.outputs if output.order] if self.policy in ORDERED else []
        return sorted(results, key=lambda result: [output.rank(result[output.name]) for output in ordering])

    def _collected(self, results: list[dict[str, Any]]) -> dict[str, Any]:
        if len(self.outputs) > 1:
            return {self.rows: self._in_order(results)}
        (name,) = (output.name for output in self.outputs)
        values = [result[name] for result in self._in_order(results) if name in result]
        if not self.aggregation:
            return {name: values}
        try:
            return {name: _aggregated(self.aggregation, values)}
        except ExpressionError as error:
            self._fail("%(reason)s", error, reason=error.sentence)

    # ---- errors

    def _fail(self, told: str, cause: Exception | None = None, **params: Any) -> NoReturn:
        where = N_("Decision %(decision)s, table %(table)s: %(reason)s")
        reason = Sentence(told, params)
        raise ExpressionError(where, decision=self.id, table=self.table, reason=reason) from cause

    def _fail_in(self, rule: Rule, error: ExpressionError) -> NoReturn:
        self._fail(N_("rule %(rule)s: %(reason)s"), error, rule=rule.title, reason=error.sentence)


def _aggregated(aggregation: str, values: list[Any]) -> Any:
    if aggregation == "COUNT":
        return len(values)
    if not values:
        return None
    if aggregation == "SUM":
        return plain(_sum(values), "the sum")
    return min(values) if aggregation == "MIN" else max(values)


def _sum(values: list[int | float]) -> int | float:
    """Exactly rounded, so that no order of the rules and no version of Python gives another sum."""
    if all(isinstance(value, int) for value in values):
        return sum(values)
    try:
        return math.fsum(values)
    except OverflowError as error:
        raise ExpressionError(N_("%(where)s holds a number that is too large."), where="the sum") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(equal(value, other[name]) for name, value in one.items())


def _listed(rules: Sequence[Rule]) -> str:
    return ", ".join(rule.title for rule in rules)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:60]


# ---- reading a file -------------------------------------------------------------------------------------------------


def parse(root: Node, file: str) -> tuple[dict[str, DecisionTable], list[Problem]]:
    """All decision tables of a DMN document by the id of their decision, and what is wrong with them."""
    tables: dict[str, DecisionTable] = {}
    problems: list[Problem] = []
    for decision in root.iter("{*}decision"):
        name = decision.get("id") or ""
        reading = _Reading(name, file, problems)
        table = decision.find("{*}decisionTable")
        if table is None:
            reading.problem(decision, "no-decision-table", N_("the decision holds no decision table"))
        else:
            tables[name] = reading.table(decision, table)
    return tables, problems


class _Reading:
    """One decision as it is read; what is wrong goes to `problems`."""

    def __init__(self, decision: str, file: str, problems: list[Problem]) -> None:
        self.decision = decision
        self.file = file
        self.problems = problems

    def problem(self, node: Node, rule: str, template: str, /, **params: Any) -> None:
        told = Sentence(template, params)
        self.problems.append(Problem(self.file, node.sourceline or 0, node.get("id") or self.decision, rule, told))

    def table(self, decision: Node, table: Node) -> DecisionTable:
        policy = (table.get("hitPolicy") or "UNIQUE").upper()
        aggregation = (table.get("aggregation") or "").upper()
        inputs = tuple(self._input(node) for node in table.findall("{*}input"))
        columns = table.findall("{*}output")
        rows = result_variable(decision)
        unnamed = rows if len(columns) == 1 else ""  # a single output without a name is the value of the decision
        outputs = tuple(self._output(node, policy, unnamed) for node in columns)
        if not outputs:
            self.problem(table, "dmn-output", N_("the table has no output"))
        self._check_policy(table, policy, aggregation, outputs)
        rules = []
        for number, row in enumerate(table.findall("{*}rule"), 1):
            if len(row.findall("{*}inputEntry")) != len(inputs) or len(row.findall("{*}outputEntry")) != len(outputs):
                told = N_("rule %(number)s has not one cell for each column")
                self.problem(row, "dmn-rule", told, number=number)
            else:
                rules.append(self._rule(number, row))
        named = table.get("id") or self.decision
        return DecisionTable(self.decision, named, policy, aggregation, rows, inputs, outputs, tuple(rules))

    def _check_policy(self, table: Node, policy: str, aggregation: str, outputs: Sequence[Output]) -> None:
        params: dict[str, Any] = {"policy": policy, "aggregation": aggregation}
        if policy not in POLICIES:
            told = N_("%(policy)s is no hit policy: take one of %(known)s")
            params["known"] = ", ".join(POLICIES)
        elif aggregation and policy != "COLLECT":
            told = N_("%(aggregation)s aggregates what COLLECT collects: %(policy)s takes none")
        elif aggregation and aggregation not in AGGREGATIONS:
            told = N_("%(aggregation)s is no aggregation: take one of %(known)s, or none for a list")
            params["known"] = ", ".join(AGGREGATIONS)
        elif aggregation and len(outputs) > 1:
            told = N_(
                "%(aggregation)s takes one output: draw a table for each, or collect rows and compute in a script"
            )
        elif policy in ORDERED and not any(output.order for output in outputs):
            told = N_("%(policy)s goes by the list of output values: give one output its values, the highest first")
        else:
            return
        self.problem(table, "hit-policy", told, **params)

    def _input(self, node: Node) -> Input:
        expression = (node.findtext("{*}inputExpression/{*}text") or "").strip()
        if expression:
            self._check(node, expression)
        else:
            self.problem(node, "dmn-cell", N_("the input has no expression"))
        return Input(node.get("label") or expression, expression, self._allowed(node, "inputValues"))

    def _output(self, node: Node, policy: str, unnamed: str) -> Output:
        name = node.get("name") or unnamed
        if not name.isidentifier():
            self.problem(node, "dmn-output", N_("the output needs a variable name"))
        values = (node.findtext("{*}outputValues/{*}text") or "").strip()
        order = constants(values) if values else None
        if values and order is None and policy in ORDERED:
            told = N_("%(policy)s goes by a list of values, not by conditions: %(values)s")
            self.problem(node, "hit-policy", told, policy=policy, values=values[:40])
        default = literal(node.findtext("{*}defaultOutputEntry/{*}text") or "")
        if default:
            self._check(node, default)
        return Output(name, self._allowed(node, "outputValues"), order, default)

    def _allowed(self, node: Node, kind: str) -> Test | None:
        text = (node.findtext(f"{{*}}{kind}/{{*}}text") or "").strip()
        if text in ("", "-"):
            return None
        try:
            return unary_tests(text)
        except ExpressionError as error:
            told = N_("the list of allowed values: %(message)s")
            self.problem(node, "dmn-cell", told, message=error.sentence)
            return None

    def _rule(self, number: int, row: Node) -> Rule:
        tests = []
        for cell in row.findall("{*}inputEntry"):
            try:
                tests.append(unary_tests(cell.findtext("{*}text") or ""))
            except ExpressionError as error:
                told = N_("rule %(number)s: %(message)s")
                self.problem(cell, "dmn-cell", told, number=number, message=error.sentence)
        texts = []
        for cell in row.findall("{*}outputEntry"):
            texts.append(literal(cell.findtext("{*}text") or ""))
            if texts[-1]:
                self._check(cell, texts[-1])
        return Rule(_title(number, row), tuple(tests), tuple(texts))

    def _check(self, node: Node, expression: str) -> None:
        for _line, _column, message in expressions.check(expression):
            self.problem(node, "dmn-cell", N_("“%(text)s”: %(message)s"), text=expression[:40], message=message)


def result_variable(decision: Node) -> str:
    """The variable of a decision: the name that the file gives it, else the decision's id."""
    variable = decision.find("{*}variable")
    return (variable.get("name") if variable is not None else "") or decision.get("id") or ""


def _title(number: int, row: Node) -> str:
    notes = [row.findtext("{*}description"), *(node.findtext("{*}text") for node in row.findall("{*}annotationEntry"))]
    note = next((text.strip() for text in notes if text and text.strip()), "")
    about = ", ".join(part for part in (row.get("id"), note[:60]) if part)
    return f"{number} ({about})" if about else str(number)
