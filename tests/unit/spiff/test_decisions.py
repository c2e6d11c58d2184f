"""Decision tables: hit policies, the subset of unary tests, and what is refused when a definition is compiled."""

from typing import Any

import pytest
from case import Case
from diagram import end, flows, process, start, user

from engine.errors import DefinitionError, ExpressionError
from engine.spiff.dmn import unary_tests

DIAGRAM = process(
    start(),
    '<businessRuleTask id="decide"><extensionElements><spiffworkflow:calledDecisionId>votes'
    "</spiffworkflow:calledDecisionId></extensionElements></businessRuleTask>",
    user("u"),
    end(),
    flows("s > decide > u > e"),
)


def table(*rules: tuple[str, str, str], policy: str = "UNIQUE", expression: str = "request.urgency") -> str:
    rows = "".join(
        f'<rule id="r{number}"><inputEntry id="i{number}"><text>{first}</text></inputEntry>'
        f'<inputEntry id="j{number}"><text>{second}</text></inputEntry>'
        f'<outputEntry id="o{number}"><text>{output}</text></outputEntry></rule>'
        for number, (first, second, output) in enumerate(rules)
    )
    return (
        '<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/" id="d" namespace="t">'
        f'<decision id="votes"><decisionTable id="t" hitPolicy="{policy}">'
        f'<input id="a"><inputExpression id="ae"><text>{expression}</text></inputExpression></input>'
        '<input id="b"><inputExpression id="be"><text>members</text></inputExpression></input>'
        f'<output id="o" name="needed"/>{rows}</decisionTable></decision></definitions>'
    )


def decide(text: str, urgency: Any, members: Any) -> Case:
    data = {"request": {"urgency": urgency}, "members": members}
    return Case({"test.bpmn": DIAGRAM, "votes.dmn": text}, data)


RULES = (
    ('"emergency"', "-", "1"),
    ('"normal","urgent"', "&lt; 4", "members // 2 + 1"),
    ('"normal","urgent"', "&gt;= 4", "3"),
)


@pytest.mark.parametrize(
    ("urgency", "members", "needed"), [("emergency", 9, 1), ("urgent", 3, 2), ("normal", 4, 3), ("other", 4, None)]
)
def test_the_matching_rule_decides_and_none_gives_null(urgency: str, members: int, needed: int | None) -> None:
    case = decide(table(*RULES), urgency, members)
    assert case.data["needed"] == needed
    assert case.ready == ["u"]


def test_two_matching_rules_are_an_incident_of_a_unique_table_and_a_choice_of_a_first_one() -> None:
    both = (("-", "-", "1"), ("-", "&gt; 1", "2"))
    case = decide(table(*both), "x", 5)
    assert case.results[0].incidents[0][1:] == ("decide", "Rules 1 and 2 of the decision votes both match.")
    assert decide(table(*both, policy="FIRST"), "x", 5).data["needed"] == 1
    assert decide(table(*both, policy="COLLECT"), "x", 5).data["needed"] == [1, 2]
    assert decide(table(*both, policy="ANY"), "x", 5).results[0].incidents != []
    same = (("-", "-", "2"), ("-", "&gt; 1", "2"))
    assert decide(table(*same, policy="ANY"), "x", 5).data["needed"] == 2


@pytest.mark.parametrize(
    ("cell", "matching", "other"),
    [
        ("-", [1, "x", None], []),
        ("5", [5, 5.0], [4, "5", True, None]),
        ("true", [True], [1, False, "true"]),
        ('"a","b, c"', ["a", "b, c"], ["b", "c", 1]),
        ("not(1, 2)", [3], [1, 2]),
        ("< 5, > 10", [4, 11], [5, 10, None]),
        ("[1..5]", [1, 5], [0, 6, None]),
        ("(1..5)", [2], [1, 5]),
        ("[limit..9[", [3, 8], [2, 9]),
        ("? % 2 == 0 and ? > limit", [4], [2, 3]),
        ("len(?) > 1 and '?' not in ?", ["ab"], ["a", "a?"]),
    ],
)
def test_the_subset_of_unary_tests(cell: str, matching: list[Any], other: list[Any]) -> None:
    test = unary_tests(cell)
    assert [value for value in [*matching, *other] if test(value, {"limit": 3})] == matching


@pytest.mark.parametrize(
    "cell", ["for x in y return x", "1 +", "().__class__", "date and time(x)", "[1..", "lambda: 1"]
)
def test_cells_outside_the_subset_are_refused(cell: str) -> None:
    with pytest.raises(ExpressionError):
        unary_tests(cell)


def test_the_problems_of_a_table_name_their_file_line_and_cell() -> None:
    wrong = table(("1 +", "-", "import os"), policy="PRIORITY", expression="request.").replace("<rule", "\n<rule")
    with pytest.raises(DefinitionError) as caught:
        decide(wrong, "x", 1)
    found = {(problem.file, problem.line, problem.element, problem.rule) for problem in caught.value.problems}
    assert found >= {
        ("votes.dmn", 1, "t", "hit-policy"),
        ("votes.dmn", 1, "a", "dmn-cell"),
        ("votes.dmn", 2, "i0", "dmn-cell"),
        ("votes.dmn", 2, "o0", "dmn-cell"),
    }


def test_a_decision_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DefinitionError, match="1 problem") as caught:
        Case(DIAGRAM)
    assert (caught.value.problems[0].element, caught.value.problems[0].line) == ("decide", 1)
