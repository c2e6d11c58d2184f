"""docs/conformance.md names the tests that show each clause: they exist, and no test of a clause is left out."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TABLE = (HERE.parents[1] / "docs" / "conformance.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| id |", "| rule |"))
]
IN_SCOPE = ("1.1", "1.2", "2.1", "2.2", "2.3", "3.1", "3.2", "3.3", "4.1", "4.2", "5.1", "N1", "P1", "P2", "P3")


def written_in(pattern: str) -> list[str]:
    """The names of the tests in these files, in their order."""
    texts = [path.read_text() for path in sorted(HERE.glob(pattern))]
    return [name for text in texts for name in re.findall(r"^def (test_\w+)\(", text, re.M)]


def named(text: str) -> set[str]:
    return set(re.findall(r"`(test_\w+)`", text))


def test_every_test_that_the_table_names_exists() -> None:
    known = {*written_in("test_procedure_*.py"), *written_in("test_diagram.py")}
    assert sorted(named(TABLE) - known) == []


def test_every_test_of_a_clause_is_named_by_the_table() -> None:
    written = written_in("test_procedure_*.py")
    assert len(written) == len(set(written)), "the name alone says which test it is"
    assert sorted(set(written) - named(TABLE)) == []


@pytest.mark.parametrize("clause", IN_SCOPE)
def test_every_clause_in_scope_is_shown_on_real_parts(clause: str) -> None:
    (row,) = [row for row in ROWS if row[0] == clause]
    assert named(row[-1]) & set(written_in("test_procedure_*.py"))


def test_every_rule_of_conduct_is_shown_on_real_parts() -> None:
    rules = [row for row in ROWS if row[1] in ("internal", "law", "standard")]
    assert len(rules) == 11
    real = set(written_in("test_procedure_*.py"))
    assert [row[0] for row in rules if not named(row[-1]) & real] == []
