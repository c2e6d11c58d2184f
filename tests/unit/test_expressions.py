"""The language of docs/expressions.md: what it says, and how it says no."""

from datetime import UTC, datetime
from typing import Literal

import pytest

from engine.errors import ExpressionError
from engine.expressions import at, check, evaluate, execute

NAMES = {
    "review": {"decision": "approve", "comment": ""},
    "votes": [{"decision": "approve", "weight": 2}, {"decision": "refuse", "weight": 1}],
    "urgency": "normal",
    "days": 3,
    "审核": {"结论": "同意"},
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("review.decision == 'approve'", True),
        ("review['decision'] in ('approve', 'send_back')", True),
        ("not review.comment", True),
        ("days + 1 if days > 2 else 0", 4),
        ("7 // 2 + 7 % 2 + 2 ** 3 - -1", 13),
        ("7 / 2", 3.5),
        ("'a' + 'b' * 2", "abb"),
        ("[1] + [2] * 2", [1, 2, 2]),
        ("1 < days <= 3", True),
        ("days is None", False),
        ("votes[-1].weight", 1),
        ("'abcdef'[1:5:2]", "bd"),
        ("[1, 2, 3][1:]", [2, 3]),
        ("[v.decision for v in votes if v.weight > 1]", ["approve"]),
        ("{v.decision: v.weight for v in votes}", {"approve": 2, "refuse": 1}),
        ("{**review, 'by': 'me'}", {"decision": "approve", "comment": "", "by": "me"}),
        ("sum(v.decision == 'approve' for v in votes)", 1),
        ("any(v.decision == 'approve' or v.missing for v in votes)", True),
        ("all(v.weight > 0 for v in votes)", True),
        ("max(v.weight for v in votes)", 2),
        ("min([], default=0)", 0),
        ("sorted(votes, key='weight')[0].decision", "refuse"),
        ("sorted([2, 3, 1], reverse=True)", [3, 2, 1]),
        ("len('中文') + len(votes) + len(review)", 6),
        ("f'{审核.结论}: {days:03d} {days / 7:.2f} {1234567:,d}'", "同意: 003 0.43 1,234,567"),
        ("', '.join(v.decision for v in votes)", "approve, refuse"),
        ("' A,b '.strip().lower().split(',')", ["a", "b"]),
        ("'a-b'.replace('-', '/').upper().startswith('A/')", True),
        ("review.get('nothing', 'default')", "default"),
        ("get(None, 'key', 1)", 1),
        ("[key for key, value in review.items() if value]", ["decision"]),
        ("review.keys() + review.values()", ["decision", "comment", "approve", ""]),
        ("list(zip(range(2), ['a', 'b']))", [[0, "a"], [1, "b"]]),
        ("[[i, x] for i, x in enumerate('ab', 1)]", [[1, "a"], [2, "b"]]),
        ("dict([['a', 1]])", {"a": 1}),
        ("int('12') + float('0.5') + abs(-1)", 13.5),
        ("str(3) + str(True) + str(None)", "3TrueNone"),
        ("round(2.567, 1)", 2.6),
        ("bool(votes) and bool('')", False),
        ("defined('review.decision') and not defined('review.nothing') and not defined('nothing')", True),
        ("days\n  + 1\n  # counted from the first vote\n  + 1", 5),
        ("(1, (2, 3))", [1, [2, 3]]),
    ],
)
def test_an_expression_has_the_value_that_the_page_promises(expression: str, value: object) -> None:
    found = evaluate(expression, NAMES)
    assert found == value
    assert type(found) is type(value)
    assert check(expression) == []


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("reviev.decision", "There is no variable reviev (line 1, column 1)."),
        ("days + 审核.理由", "There is no entry 理由 (line 1, column 8)."),
        ("审核.结论 + missing", "There is no variable missing (line 1, column 9)."),
        ("days +\n missing", "There is no variable missing (line 2, column 2)."),
        ("votes[2]", "There is no entry 2 (line 1, column 1)."),
        ("days.hours", "number has no entry hours (line 1, column 1)."),
        ("'3' + 3", "text and number cannot be combined like this (line 1, column 1)."),
        ("'3' < 3", "text and number have no order (line 1, column 1)."),
        ("1 / 0", "Division by zero (line 1, column 1)."),
        ("{1: 2}", "A key must be text, not number (line 1, column 1)."),
        ("1e308 * 10", "The result is not a finite number (line 1, column 1)."),
        ("(-1) ** 0.5", "A number is needed here, not complex (line 1, column 1)."),
        ("len(3)", "len cannot be used on number (line 1, column 1)."),
        ("'a'.join([1])", "join cannot be used on number (line 1, column 1)."),
        ("int('many')", "int cannot be used on these values: 'many' (line 1, column 1)."),
        ("sorted([1], 2)", "sorted cannot be used on these values: list, 2 (line 1, column 1)."),
        ("[x for x, y in [[1]]]", "A list of 2 entries is needed (line 1, column 1)."),
        ("days = 3", "Write == to compare; a single = assigns."),
        ("days 3", "This cannot be read: invalid syntax (line 1, column 6)."),
        ("   ", "The expression is empty."),
    ],
)
def test_a_wrong_expression_says_what_is_wrong_and_where(expression: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(expression, NAMES)
    assert str(caught.value) == message
    assert caught.value.params["line"] >= 1


def test_true_and_1_stay_what_they_are() -> None:
    assert evaluate("[True, 1, 1.0]", {}) == [True, 1, 1.0]
    assert [type(value) for value in evaluate("[True, 1, 1.0]", {})] == [bool, int, float]


def test_a_comprehension_leaves_no_variable_behind() -> None:
    with pytest.raises(ExpressionError, match="no variable v"):
        evaluate("len([v for v in votes]) + v", NAMES)
    with pytest.raises(ExpressionError, match="no variable v"):
        evaluate("any(v.weight for v in votes) and v", NAMES)


def test_the_value_shares_nothing_with_the_variables() -> None:
    names = {"votes": [{"decision": "approve"}]}
    evaluate("votes", names)[0]["decision"] = "changed"
    assert names == {"votes": [{"decision": "approve"}]}


def test_a_variable_that_is_not_json_is_refused() -> None:
    with pytest.raises(ExpressionError, match="type datetime is not allowed"):
        evaluate("started", {"started": datetime(2026, 2, 1, tzinfo=UTC)})
    with pytest.raises(ExpressionError, match="type set is not allowed"):
        evaluate("case.members", {"case": {"members": {"a"}}})


def test_a_script_returns_what_it_changed_and_leaves_its_input_alone() -> None:
    names = {"votes": [{"decision": "approve"}, {"decision": "refuse"}], "untouched": 1, "count": 5}
    changed = execute(
        """
        approvals = []
        for index, vote in enumerate(votes):
            if vote.decision != "approve":
                continue
            approvals.append(index)
        votes[0].seen = True
        count += len(approvals)
        first, second = [1, 2]
        _scratch = untouched
        """,
        names,
    )
    assert changed == {
        "approvals": [0],
        "votes": [{"decision": "approve", "seen": True}, {"decision": "refuse"}],
        "count": 6,
        "first": 1,
        "second": 2,
    }
    assert names == {"votes": [{"decision": "approve"}, {"decision": "refuse"}], "untouched": 1, "count": 5}


def test_a_script_notices_that_a_value_became_another_kind_of_equal_value() -> None:
    assert execute("flags[0] = 1", {"flags": [True]}) == {"flags": [1]}
    assert execute("x = flags[0]", {"flags": [True]}) == {"x": True}


def test_what_a_script_stores_is_a_copy() -> None:
    changed = execute("a = []\nb = [a, a]\na.append(b)\nb[0].append(1)\nc = str(a)", {})
    assert changed == {"a": [[[], []]], "b": [[1], []], "c": "[[[], []]]"}


def test_a_loop_may_be_left_early_and_may_grow_what_it_walks() -> None:
    assert execute("n = [1]\nfor x in n:\n    n.append(x)\n    if x == 1:\n        break", {}) == {"n": [1, 1]}


@pytest.mark.parametrize(
    "script",
    [
        "import os",
        "from os import path",
        "def f(): pass",
        "class A: pass",
        "while True: pass",
        "with a: pass",
        "try:\n    x = 1\nexcept E: pass",
        "raise x",
        "del x",
        "global x",
        "x: int = 1",
        "len = 3",
        "for len in [1]: pass",
        "for a.b in [1]: pass",
        "for x in [1]:\n    pass\nelse:\n    pass",
        "break",
        "assert x",
        "x = y = lambda: 1",
        "(x := 1)",
        "x @= 1",
        "x |= 1",
        "match x:\n    case 1: pass",
        "a, *b = [1, 2]",
        "'abc'[0] = 'x'",
        "[1, 2][0:1] = [3]",
    ],
)
def test_a_script_is_assignments_ifs_and_fors_only(script: str) -> None:
    with pytest.raises(ExpressionError):
        execute(script, {"x": 1, "a": {"b": 1}})


def told(text: str, mode: Literal["eval", "exec"] = "eval") -> list[tuple[int, int, str]]:
    return [(line, column, str(sentence)) for line, column, sentence in check(text, mode)]


def test_check_lists_everything_with_its_place() -> None:
    assert told("\n  x = lambda: 1\n  y = getattr(x)\n", "exec") == [
        (2, 7, "lambda is not part of the language (line 2, column 7)."),
        (3, 7, "There is no function getattr (line 3, column 7)."),
    ]
    assert told("a b") == [(1, 3, "This cannot be read: invalid syntax (line 1, column 3).")]
    assert check("x = 1", "exec") == []
    assert check("x = 1") != []


def test_a_part_of_another_fenced_text_cannot_close_the_fence() -> None:
    with pytest.raises(ExpressionError):
        evaluate("a) + (b", {"a": 1, "b": 1})


def test_now_is_the_time_of_the_step_and_unknown_outside() -> None:
    instant = datetime(2026, 2, 1, 2, tzinfo=UTC)
    with at(instant):
        assert evaluate("now()", {}) == "2026-02-01T02:00:00+00:00"
        assert evaluate("hours_between('2026-02-01T08:00:00+08:00', now())", {}) == 2.0
    with pytest.raises(ExpressionError, match="only inside a step"):
        evaluate("now()", {})
    with pytest.raises(ValueError, match="aware"), at(datetime(2026, 2, 1)):  # noqa: DTZ001 - that is the point
        pass


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("parse_time('2026-02-01T10:00:00+08:00')", "2026-02-01T02:00:00+00:00"),
        ("hours_between('2026-02-01T10:00:00+08:00', '2026-02-01T01:30:00Z')", -0.5),
        ("before('2026-02-01T09:00:00+08:00', '2026-02-01T02:00:00Z')", True),
        ("add_time('2026-01-31T10:00:00+08:00', 'P1M')", "2026-02-28T10:00:00+08:00"),
        ("add_time('2026-01-31T10:00:00+08:00', 'P1DT2H')", "2026-02-01T12:00:00+08:00"),
        ("add_time('2026-01-01T00:00:00Z', '-P1Y')", "2025-01-01T00:00:00+00:00"),
    ],
)
def test_times_are_iso_texts_with_an_offset(expression: str, value: object) -> None:
    assert evaluate(expression, {}) == value


@pytest.mark.parametrize(
    "expression",
    [
        "parse_time('2026-02-01T10:00:00')",
        "parse_time('yesterday')",
        "parse_time(3)",
        "add_time('2026-02-01T10:00:00Z', '1 day')",
        "add_time('2026-02-01T10:00:00Z', 'P')",
        "add_time('2026-02-01T10:00:00Z', 'P1DT')",
        "add_time('2026-02-01T10:00:00Z', 'P9999Y')",
        "parse_time('0001-01-01T00:00:00+14:00')",
        "hours_between('2026-02-01T10:00:00Z')",
    ],
)
def test_a_wrong_time_is_refused(expression: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(expression, {})
