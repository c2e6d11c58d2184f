"""Hit policies of decision tables, by hand from DMN 1.3, 8.2.10; aggregates of nothing as FEEL has them (10.3.4.4).

Each rule of a table here matches from its own number on: `n` = 0 matches none, 1 the first, 2 the first two, and so on.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from engine.errors import ExpressionError
from engine.spiff.dmn import DecisionTable, parse

POLICIES = ("UNIQUE", "ANY", "FIRST", "PRIORITY", "RULE ORDER", "OUTPUT ORDER", "COLLECT")


def output(name: str, values: str = "", default: str = "") -> str:
    listed = f"<outputValues><text>{values}</text></outputValues>" if values else ""
    otherwise = f"<defaultOutputEntry><text>{default}</text></defaultOutputEntry>" if default else ""
    return f'<output id="o_{name}" name="{name}">{listed}{otherwise}</output>'


def table(
    policy: str, outputs: str, *rules: tuple[str, ...], allowed: str = "", cells: Sequence[str] = ()
) -> DecisionTable:
    policy, _, aggregation = policy.partition("+")
    cells = cells or [f"&gt;= {number}" for number in range(1, len(rules) + 1)]
    rows = "".join(
        f'<rule id="r{number}"><inputEntry><text>{cell}</text></inputEntry>'
        + "".join(f"<outputEntry><text>{result}</text></outputEntry>" for result in rule)
        + "</rule>"
        for number, (cell, rule) in enumerate(zip(cells, rules, strict=True), 1)
    )
    aggregated = f' aggregation="{aggregation}"' if aggregation else ""
    listed = f"<inputValues><text>{allowed}</text></inputValues>" if allowed else ""
    text = (
        '<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/"><decision id="fees">'
        f'<decisionTable id="t" hitPolicy="{policy}"{aggregated}><input label="number"><inputExpression><text>n</text>'
        f"</inputExpression>{listed}</input>{outputs}{rows}</decisionTable></decision></definitions>"
    )
    tables, problems = parse(etree.fromstring(text), "fees.dmn")
    assert problems == []
    return tables["fees"]


# ---- none, one and several matching rules, one and two outputs ------------------------------------------------------

ONE = (("2",), ("3",), ("2",))
TWO = (("2", '"b"'), ("3", '"a"'), ("2", '"a"'))
NOTHING = {"fee": None, "who": None}
FIRST = {"fee": 2, "who": "b"}
SECOND = {"fee": 3, "who": "a"}
THIRD = {"fee": 2, "who": "a"}


@pytest.mark.parametrize(
    ("policy", "none", "one", "three"),
    [
        ("UNIQUE", None, 2, ExpressionError),
        ("ANY", None, 2, ExpressionError),
        ("FIRST", None, 2, 2),
        ("PRIORITY", None, 2, 3),  # output values 3, 2: the highest first
        ("RULE ORDER", [], [2], [2, 3, 2]),
        ("OUTPUT ORDER", [], [2], [3, 2, 2]),
        ("COLLECT", [], [2], [2, 3, 2]),
        ("COLLECT+SUM", None, 2, 7),
        ("COLLECT+MIN", None, 2, 2),
        ("COLLECT+MAX", None, 2, 3),
        ("COLLECT+COUNT", 0, 1, 3),  # DMN 1.1: of distinct outputs; since 1.2, and in Camunda: of all
    ],
)
def test_what_a_policy_makes_of_one_output(policy: str, none: Any, one: Any, three: Any) -> None:
    decision = table(policy, output("fee", "3, 2"), *ONE)
    assert decision.decide({"n": 0}) == {"fee": none}
    assert decision.decide({"n": 1}) == {"fee": one}
    if three is ExpressionError:
        with pytest.raises(ExpressionError, match=r"the rules 1 \(r1\), 2 \(r2\), 3 \(r3\) match"):
            decision.decide({"n": 3})
    else:
        assert decision.decide({"n": 3}) == {"fee": three}


@pytest.mark.parametrize(
    ("policy", "none", "one", "three"),
    [
        ("UNIQUE", NOTHING, FIRST, ExpressionError),
        ("ANY", NOTHING, FIRST, ExpressionError),
        ("FIRST", NOTHING, FIRST, FIRST),
        ("PRIORITY", NOTHING, FIRST, THIRD),  # by fee 2 before 3, then by who: a before b
        ("RULE ORDER", {"fees": []}, {"fees": [FIRST]}, {"fees": [FIRST, SECOND, THIRD]}),
        ("OUTPUT ORDER", {"fees": []}, {"fees": [FIRST]}, {"fees": [THIRD, FIRST, SECOND]}),
        ("COLLECT", {"fees": []}, {"fees": [FIRST]}, {"fees": [FIRST, SECOND, THIRD]}),
    ],
)
def test_what_a_policy_makes_of_two_outputs(policy: str, none: Any, one: Any, three: Any) -> None:
    decision = table(policy, output("fee", "2, 3") + output("who", '"a", "b"'), *TWO)
    assert decision.decide({"n": 0}) == none
    assert decision.decide({"n": 1}) == one
    if three is ExpressionError:
        with pytest.raises(ExpressionError, match=r"the rules 1 \(r1\), 2 \(r2\), 3 \(r3\) match"):
            decision.decide({"n": 3})
    else:
        assert decision.decide({"n": 3}) == three


def test_rules_that_agree_are_one_result_of_an_any_table() -> None:
    assert table("ANY", output("fee"), ("2",), ("2.0",), ("1 + 1",)).decide({"n": 3}) == {"fee": 2}


def test_priority_passes_over_outputs_without_values_and_equals_stay_in_the_order_of_the_table() -> None:
    """8.2.10: outputs for which no values are provided take no part in the ordering."""
    rules = (("9", '"b"'), ("1", '"a"'), ("5", '"a"'))
    outputs = output("fee") + output("who", '"a", "b"')
    assert table("PRIORITY", outputs, *rules).decide({"n": 3}) == {"fee": 1, "who": "a"}
    ordered = table("OUTPUT ORDER", outputs, *rules).decide({"n": 3})["fees"]
    assert [row["fee"] for row in ordered] == [1, 5, 9]


def decided(variable: str, outputs: str, *cells: str) -> dict[str, Any]:
    """What a table of one rule without inputs gives."""
    row = "".join(f"<outputEntry><text>{cell}</text></outputEntry>" for cell in cells)
    tables, problems = parse(
        etree.fromstring(
            f'<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/"><decision id="fees">{variable}'
            f'<decisionTable hitPolicy="COLLECT">{outputs}<rule>{row}</rule></decisionTable></decision></definitions>'
        ),
        "fees.dmn",
    )
    assert problems == []
    return tables["fees"].decide({})


def test_the_variable_of_a_decision_takes_its_rows() -> None:
    outputs = output("fee") + output("who")
    assert decided('<variable name="due"/>', outputs, "1", '"a"') == {"due": [{"fee": 1, "who": "a"}]}


def test_an_output_without_a_name_is_the_variable_of_its_decision() -> None:
    """8.2: a single output has no name, only a value."""
    assert decided('<variable name="due"/>', "<output/>", "1") == {"due": [1]}
    assert decided("", "<output/>", "1") == {"fees": [1]}


# ---- default outputs, empty cells, allowed values -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "fee"),
    [
        *((policy, 9) for policy in ("UNIQUE", "ANY", "FIRST", "PRIORITY")),
        *((policy, [9]) for policy in ("RULE ORDER", "OUTPUT ORDER", "COLLECT")),
        *((f"COLLECT+{aggregation}", 9) for aggregation in ("SUM", "MIN", "MAX")),
        ("COLLECT+COUNT", 0),
    ],
)
def test_the_default_output_stands_for_a_rule_where_none_matches(policy: str, fee: Any) -> None:
    decision = table(policy, output("fee", "2, 3, 9", default="base * 3"), ("2",))
    assert decision.decide({"n": 0, "base": 3}) == {"fee": fee}
    assert decision.decide({"n": 1, "base": 3})["fee"] in (2, [2], 1)


def test_an_output_without_a_default_is_null_beside_one_that_has_one() -> None:
    outputs = output("fee", default="9") + output("who")
    assert table("FIRST", outputs, *TWO).decide({"n": 0}) == {"fee": 9, "who": None}


def test_an_empty_cell_is_null_and_an_aggregation_passes_over_it() -> None:
    rules = (("2",), ("",), ("null",))
    assert table("COLLECT", output("fee"), *rules).decide({"n": 3}) == {"fee": [2, None, None]}
    assert table("COLLECT+COUNT", output("fee"), *rules).decide({"n": 3}) == {"fee": 2}
    assert table("COLLECT+SUM", output("fee"), *rules).decide({"n": 2}) == {"fee": 2}
    assert table("COLLECT+SUM", output("fee"), ("",)).decide({"n": 1}) == {"fee": None}


@pytest.mark.parametrize("aggregation", ["SUM", "MIN", "MAX"])
@pytest.mark.parametrize("cell", ['"2"', "true", "null", "[1]"])
def test_an_aggregation_of_what_is_no_number_names_the_rule(aggregation: str, cell: str) -> None:
    decision = table(f"COLLECT+{aggregation}", output("fee"), ("2",), (cell,))
    with pytest.raises(ExpressionError, match=rf"Decision fees, table t: rule 2 \(r2\): .*{aggregation} takes numbers"):
        decision.decide({"n": 2})


def test_a_sum_is_exact_and_what_cannot_be_stored_is_refused() -> None:
    assert table("COLLECT+SUM", output("fee"), *[("0.1",)] * 10).decide({"n": 10}) == {"fee": 1.0}
    assert table("COLLECT+SUM", output("fee"), ("1",), ("0.5",)).decide({"n": 2}) == {"fee": 1.5}
    for cell in ("2 ** 53", "1e308"):
        with pytest.raises(ExpressionError, match="Decision fees, table t: the sum holds a number that is too large"):
            table("COLLECT+SUM", output("fee"), (cell,), (cell,)).decide({"n": 2})


@pytest.mark.parametrize("allowed", ["1, 2", "[1..2]", "&lt; 3", "not(3)"])
def test_a_value_that_its_column_does_not_allow_is_an_error(allowed: str) -> None:
    assert table("FIRST", output("fee"), ("7",), allowed=allowed).decide({"n": 1}) == {"fee": 7}
    with pytest.raises(ExpressionError, match="table t: the input number is 3, which is not among its input values"):
        table("FIRST", output("fee"), ("7",), allowed=allowed).decide({"n": 3})
    assert table("FIRST", output("fee", allowed), ("n",)).decide({"n": 2}) == {"fee": 2}
    told = r"rule 1 \(r1\): the output fee is 3, which is not among its output values"
    with pytest.raises(ExpressionError, match=told):
        table("FIRST", output("fee", allowed), ("n",)).decide({"n": 3})
    with pytest.raises(ExpressionError, match="the default output: the output fee is 3"):
        table("FIRST", output("fee", allowed, default="3"), ("n",), cells=["5"]).decide({"n": 0})


@pytest.mark.parametrize(("policy", "fees"), [("PRIORITY", 2), ("OUTPUT ORDER", [3, 2, None])])
def test_an_empty_cell_has_the_lowest_priority(policy: str, fees: Any) -> None:
    rules = (("",), ("2",), *([("3",)] if policy == "OUTPUT ORDER" else []))
    assert table(policy, output("fee", "3, 2"), *rules).decide({"n": 3}) == {"fee": fees}


def test_a_priority_list_holds_every_value_that_a_rule_gives() -> None:
    with pytest.raises(ExpressionError, match=r"rule 2 \(r2\): the output fee is 4, which is not among"):
        table("PRIORITY", output("fee", "3, 2"), ("2",), ("n * 2",)).decide({"n": 2})


# ---- random tables against a reference ------------------------------------------------------------------------------


def reference(policy: str, matching: list[int], order: list[int]) -> Any:
    """What a table with one output gives, from the outputs of its matching rules; raises ValueError for an incident."""
    if len({"UNIQUE": matching, "ANY": set(matching)}.get(policy, ())) > 1:
        raise ValueError(policy)
    by_priority = [value for first in order for value in matching if value == first]
    lists = {"RULE ORDER": matching, "OUTPUT ORDER": by_priority, "COLLECT": matching}
    if policy in lists:
        return lists[policy]
    if policy == "COLLECT+COUNT":
        return len(matching)
    single = {"PRIORITY": by_priority[:1], "COLLECT+MIN": [min(matching, default=0)]}
    single |= {"COLLECT+MAX": [max(matching, default=0)], "COLLECT+SUM": [sum(matching)]}
    return single.get(policy, matching)[0] if matching else None


@given(
    policy=st.sampled_from([*POLICIES, *(f"COLLECT+{name}" for name in ("SUM", "MIN", "MAX", "COUNT"))]),
    rules=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), max_size=6),
    order=st.permutations(range(4)),
    n=st.integers(0, 4),
)
@settings(deadline=None, derandomize=True, max_examples=300)
def test_any_table_gives_what_the_reference_gives(
    policy: str, rules: list[tuple[int, int, int]], order: list[int], n: int
) -> None:
    outputs = output("fee", ", ".join(map(str, order)))
    cells = [f"[{low}..{high}]" for low, high, _ in rules]
    decision = table(policy, outputs, *((str(value),) for _, _, value in rules), cells=cells)
    matching = [value for low, high, value in rules if low <= n <= high]
    try:
        expected = reference(policy, matching, order)
    except ValueError:
        with pytest.raises(ExpressionError, match=policy):
            decision.decide({"n": n})
    else:
        assert decision.decide({"n": n}) == {"fee": expected}
