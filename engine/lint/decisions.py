"""What a file of decision tables asks for that would not be done, or that could only fail when a case comes to it.

What cannot be read at all is refused where it is read, by engine.spiff.dmn.
"""

from collections.abc import Iterator
from typing import Any

from engine.errors import N_, ExpressionError, Problem, Sentence
from engine.lint.xml import Node
from engine.spiff import dmn
from engine.spiff.unary import Test, constants, literal, unary_tests

_NUMBERS = ("SUM", "MIN", "MAX")
_REQUIRED = {
    "requiredDecision": N_(
        "needs the decision %(name)s first, which is not run by itself: ask for that one in a business rule task "
        "before this one, and read its outputs as variables"
    ),
    "requiredKnowledge": N_(
        "needs the business knowledge %(name)s, which is not run: write it into the cells, or into a script task before"
    ),
}
Finding = tuple[Node, str, Sentence]


def check_decisions(root: Node, file: str) -> list[Problem]:
    """Decisions that need others; outputs without a place of their own; cells that no value of their column fits."""
    found = []
    for decision in root.iter("{*}decision"):
        table = decision.find("{*}decisionTable")
        findings = [*_requirements(decision), *(() if table is None else _table(decision, table))]
        for node, rule, sentence in findings:
            element = node.get("id") or decision.get("id") or ""
            found.append(Problem(file, node.sourceline or 1, element, rule, sentence))
    return found


def _requirements(decision: Node) -> Iterator[Finding]:
    """Inputs and authorities that a decision names are drawings; decisions and knowledge would have to be run."""
    for kind, told in _REQUIRED.items():
        for node in decision.iterfind(f"{{*}}*/{{*}}{kind}"):
            named = (node.get("href") or "").rpartition("#")[2]
            yield node.getparent(), "required-decision", Sentence(told, {"name": named})


def _table(decision: Node, table: Node) -> Iterator[Finding]:
    policy = (table.get("hitPolicy") or "UNIQUE").upper()
    aggregation = (table.get("aggregation") or "").upper()
    inputs, outputs = table.findall("{*}input"), table.findall("{*}output")
    names = [node.get("name") for node in outputs]
    for place, node in enumerate(outputs):
        if names[place] in names[:place]:
            yield node, "dmn-output", Sentence(N_("two outputs are called %(name)s"), {"name": names[place]})
    rows = dmn.result_variable(decision)
    if policy in dmn.LISTS and len(outputs) > 1 and not rows.isidentifier():
        told = N_(
            "the rows go into a variable, and “%(name)s” is no name for one: give the decision a variable element"
        )
        yield decision, "dmn-output", Sentence(told, {"name": rows})
    for number, row in enumerate(table.findall("{*}rule"), 1):
        for column, cell in zip(inputs, row.findall("{*}inputEntry"), strict=False):
            yield from _never_matching(column, cell, number)
        for column, cell in zip(outputs, row.findall("{*}outputEntry"), strict=False):
            yield from _not_allowed(column, cell, Sentence(N_("rule %(number)s"), {"number": number}), aggregation)
    for column in outputs:
        default = column.find("{*}defaultOutputEntry")
        if default is not None and _text(default):
            yield from _not_allowed(column, default, Sentence(N_("the default output")), aggregation)
            if aggregation == "COUNT":
                yield default, "dmn-values", Sentence(N_("COUNT of no rule is 0: take the default output away"))


def _never_matching(column: Node, cell: Node, number: int) -> Iterator[Finding]:
    allowed = _allowed(column, "inputValues")
    listed = constants(_text(cell))
    if allowed and listed is not None and not any(_holds(allowed, value) for value in listed):
        told = N_("rule %(number)s: the input values do not hold %(text)s: it never matches")
        yield cell, "dmn-values", Sentence(told, {"number": number, "text": _text(cell)[:40]})


def _not_allowed(column: Node, cell: Node, where: Sentence, aggregation: str) -> Iterator[Finding]:
    text = literal(_text(cell))
    listed = constants(text)
    if not text or listed is None or len(listed) != 1:
        return
    value = listed[0]
    if aggregation in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
        told = N_("%(where)s: %(aggregation)s takes numbers, and %(text)s is none")
        yield cell, "dmn-values", Sentence(told, {"where": where, "aggregation": aggregation, "text": text[:40]})
    elif (allowed := _allowed(column, "outputValues")) and not _holds(allowed, value):
        told = N_("%(where)s: the output values do not hold %(text)s")
        yield cell, "dmn-values", Sentence(told, {"where": where, "text": text[:40]})


def _allowed(column: Node, kind: str) -> Test | None:
    text = _text(column.find(f"{{*}}{kind}"))
    try:
        return unary_tests(text) if text else None
    except ExpressionError:
        return None  # said where the table is read


def _holds(allowed: Test, value: Any) -> bool:
    """Whether it may be; what depends on the data of a case is not held against it."""
    try:
        return allowed(value, {})
    except ExpressionError:
        return True


def _text(node: Node | None) -> str:
    return "" if node is None else (node.findtext("{*}text") or "").strip()
