"""Files as other modelers export them deploy, or are refused with every reason, each at its element.

The diagrams in modelers/ are drawn for these tests, in the manner of each tool. What changes no token's way, colours
and another engine's housekeeping, is a warning.
"""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "unit" / "spiff"))

from case import Case  # noqa: E402

from engine.errors import Problem  # noqa: E402
from engine.lint import lint  # noqa: E402

MODELERS = HERE / "modelers"


def problems_of(name: str) -> list[Problem]:
    return lint({f"{name}.bpmn": (MODELERS / f"{name}.bpmn").read_bytes()})


REFUSALS = {
    "bpmn_io": {
        ("Process_1x2y3z4", "not-executable"),
        ("Activity_0bbb222", "abstract-task"),
        ("Activity_0ccc333", "no-operator"),
    },
    "bizagi": {
        ("Id_5f0f1c2e-0000-4000-8000-000000000001", "not-executable"),
        ("Id_5f0f1c2e-0000-4000-8000-000000000003", "abstract-task"),
    },
    "camunda_7": {
        ("approve", "foreign-extension"),
        ("decide", "no-default-flow"),
        ("yes", "foreign-expression"),
        ("no", "foreign-expression"),
        ("pay", "foreign-extension"),
        ("pay", "no-operator"),
        ("note", "foreign-expression"),
        ("note", "expression"),
    },
    "camunda_8": {
        ("check", "foreign-extension"),
        ("to_send", "foreign-expression"),
        ("send", "foreign-extension"),
        ("send", "no-operator"),
    },
    "flowable": {
        ("leave", "foreign-extension"),
        ("asked", "foreign-extension"),
        ("grant", "foreign-extension"),
        ("tell", "foreign-extension"),
        ("tell", "no-operator"),
    },
    "signavio": set(),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_an_export_is_refused_for_each_element_that_would_not_run(name: str) -> None:
    problems = problems_of(name)
    assert {(found.element, found.rule) for found in problems if found.severity == "error"} == REFUSALS[name]
    lines = (MODELERS / f"{name}.bpmn").read_text().splitlines()
    assert all(0 < found.line <= len(lines) for found in problems)


def test_every_modeler_has_an_expectation() -> None:
    assert {path.stem for path in MODELERS.glob("*.bpmn")} == set(REFUSALS)


@pytest.mark.parametrize(
    ("name", "hints"),
    [
        ("bpmn_io", {"background-color", "stroke"}),
        ("bizagi", {"BizagiExtensions"}),
        ("camunda_7", {"executionPlatform", "historyTimeToLive", "versionTag", "asyncAfter"}),
        ("camunda_8", {"executionPlatform", "versionTag", "userTask"}),
        ("flowable", {"palette", "historyLevel", "formFieldValidation", "async"}),
        ("signavio", {"signavioDiagramMetaData"}),
    ],
)
def test_what_changes_no_way_is_a_warning(name: str, hints: set[str]) -> None:
    told = [found for found in problems_of(name) if found.rule == "unknown-extension"]
    assert {found.severity for found in told} == {"warning"}
    assert {found.message.split()[0] for found in told} == hints


def test_a_refusal_says_what_to_use_instead() -> None:
    told = " ".join(found.message for found in problems_of("camunda_7"))
    assert "formKey is for another engine and would be ignored: use the property formJsonSchemaFilename" in told
    assert "candidateGroups is for another engine and would be ignored: use the property assignee" in told
    assert "topic is for another engine and would be ignored: name an operator" in told


def test_an_export_that_deploys_also_runs() -> None:
    text = (MODELERS / "signavio.bpmn").read_text(encoding="utf-8")
    case = Case({"signavio.bpmn": text}, process_id="sid-11111111-aaaa-4bbb-8ccc-000000000004")
    case.do("sid-11111111-aaaa-4bbb-8ccc-000000000008", seen=True)
    assert (case.state, case.data) == ("completed", {"seen": True})
