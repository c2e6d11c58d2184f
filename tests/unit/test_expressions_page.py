"""docs/expressions.md says what is so."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.errors import ExpressionError
from engine.expressions import at, check, evaluate, execute, functions, values
from engine.expressions.syntax import MAX_NESTING, MAX_SOURCE

PAGE = (Path(__file__).parents[2] / "docs" / "expressions.md").read_text()
NAMES = {
    "votes": [{"by": "li", "decision": "approve"}, {"by": "wu", "decision": "refuse"}],
    "review": {"decision": "approve", "by": "chen"},
    "case": {"number": "2026-0007", "members": ["li", "wu", "he"]},
}
EXAMPLES = [line.split("→") for line in PAGE.splitlines() if "→" in line]


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 15


@pytest.mark.parametrize(("expression", "value"), EXAMPLES)
def test_an_example_of_the_page_has_the_value_given_there(expression: str, value: str) -> None:
    with at(datetime(2026, 2, 1, 2, tzinfo=UTC)):
        assert json.dumps(evaluate(expression, NAMES)) == json.dumps(json.loads(value))


def test_the_script_of_the_page_runs() -> None:
    script = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert script is not None
    assert check(script[1], "exec") == []
    votes = [{"decision": "approve"}, {"decision": "refuse", "comment": "too wide"}]
    with at(datetime(2026, 2, 1, 2, tzinfo=UTC)):
        changed = execute(script[1], {"votes": votes, "votes_needed": 1, "case": {}})
    assert changed == {
        "approvals": 1,
        "reasons": ["too wide"],
        "outcome": "approve",
        "case": {"closed_at": "2026-02-01T02:00:00+00:00"},
    }


@pytest.mark.parametrize(
    ("expression", "message"), re.findall(r"^\| `([^`$]+)` \| ([A-Za-z][^|]+\.) \|$", PAGE, re.MULTILINE)
)
def test_a_message_of_the_page_is_what_one_reads(expression: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(expression, NAMES)
    assert str(caught.value) == message


def test_every_function_and_method_is_on_the_page() -> None:
    assert [name for name in sorted(functions.NAMES) if f"`{name}(" not in PAGE] == []
    assert [name for name in sorted(functions.METHOD_NAMES) if f".{name}(" not in PAGE] == []


def test_the_limits_are_on_the_page() -> None:
    for limit in (values.STEPS, values.MAX_TEXT, values.MAX_ITEMS, values.MAX_RANGE, MAX_SOURCE):
        assert f"{limit:,}" in PAGE
    assert f"{MAX_NESTING} levels of nesting" in PAGE
    assert f"nested {values.MAX_DEPTH} deep" in PAGE
