"""Decision tables: hit policies, the subset of unary tests, and what is refused when a definition is compiled."""

from pathlib import Path
from typing import Any

import pytest
from case import Case
from diagram import end, flows, process, start, user

from engine.errors import DefinitionError, ExpressionError
from engine.spiff.unary import unary_tests

CONFORMANCE = Path(__file__).parents[2] / "conformance"
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


def test_two_matching_rules_of_a_unique_table_are_an_incident_that_names_both() -> None:
    case = decide(table(("-", "-", "1"), ("-", "&gt; 1", "2")), "x", 5)
    told = "Decision votes, table t: the rules 1 (r0), 2 (r1) match, and UNIQUE allows one"
    ((_task, element, sentence),) = case.results[0].incidents
    assert (element, str(sentence)) == ("decide", told)


def drawn(name: str, **data: Any) -> dict[str, Any]:
    """What the diagram of that name in tests/conformance knows after its tables have been asked."""
    files = {path.name: path.read_text(encoding="utf-8") for path in CONFORMANCE.glob(f"{name}.*")}
    case = Case(files, process_id=name)
    case.do("a", **data)
    assert case.results[-1].incidents == []
    return case.data


def test_a_case_gets_lists_rows_and_aggregates() -> None:
    assert drawn("decision_table_collect", n=2, k=3) == {
        **{"n": 2, "k": 3, "fee": [2, 1.5, 4], "total": 7.5, "least": 1.5, "most": 4, "matched": 3},
        "due": [
            {"fee_of": 2, "reason": "rule 1"},
            {"fee_of": 1.5, "reason": "rule 2"},
            {"fee_of": 4, "reason": "rule 3"},
        ],
    }
    assert drawn("decision_table_collect", n=0, k=0) == {
        **{"n": 0, "k": 0, "fee": [], "due": [], "total": None, "least": None, "most": 0, "matched": 0}
    }


def test_a_case_gets_what_stands_first_in_the_output_values() -> None:
    assert drawn("decision_table_priority", n=2, k=3) == {
        **{"n": 2, "k": 3, "approver": "committee", "days": 5, "told": ["reviewer", "committee", "head"]},
        "approvers": ["committee", "head", "reviewer"],
        "in_order": [
            {"asked": "committee", "within": 5},
            {"asked": "head", "within": 1},
            {"asked": "reviewer", "within": 3},
        ],
    }
    assert drawn("decision_table_priority", n=0, k=0) == {
        **{"n": 0, "k": 0, "approver": "reviewer", "days": None, "told": [], "approvers": [], "in_order": []}
    }


def test_a_cell_that_fails_is_an_incident_that_names_its_rule_with_its_annotation() -> None:
    text = table(("-", "-", "1"), ("-", "-", "members // absent"))
    noted = text.replace('<rule id="r1">', '<rule id="r1"><description>按出席人数</description>')
    for hit, told in ((text, "2 (r1)"), (noted, "2 (r1, 按出席人数)")):
        case = decide(hit.replace("UNIQUE", "COLLECT"), "x", 5)
        (incident,) = case.results[0].incidents
        assert str(incident[2]).startswith(f"Decision votes, table t: rule {told}: There is no variable absent")
        assert case.give("retry", task=str(incident[0]), data={"absent": 2}).incidents == []
        assert case.data["needed"] == [1, 2]


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
