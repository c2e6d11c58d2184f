"""Every rule of the lint has a file named for its defect in tests/unit/lint; “--” and the rest tell variants apart."""

from pathlib import Path

import pytest

from engine import operators
from engine.errors import DefinitionError, Problem
from engine.lint import lint
from engine.operators import JobContext
from engine.spiff import compile_definition

ASSETS = Path(__file__).parent / "lint"
DIAGRAMS = sorted(path.name for path in ASSETS.glob("*.bpmn"))
TABLES = sorted(path.name for path in ASSETS.glob("*.dmn"))
WARNINGS = {
    "unknown-extension", "unknown-error-code", "unknown-property", "unknown-group", "no-form", "no-label",
    "no-candidate", "layout", "correlation-unknown", "no-effect", "unknown-attribute",
}  # fmt: skip
GROUPS = {"employee", "operator"}


@operators.operator("test/echo", zh="回声", en="Echo", errors=("TEST_FAILED",))
def echo(context: JobContext, *, text: str, times: int = 1) -> list[str]:
    """Give the text back."""
    return [text] * times


@operators.operator("test/letter_to", zh="寄信", en="Write to", personal=True)
def letter_to(context: JobContext, *, text: str) -> bool:
    """Needs to know whom."""
    return bool(text)


def companions(name: str) -> dict[str, str | bytes]:
    """What every deployment of these tests also contains."""
    forms = ("plain.form", "person.form")
    files: dict[str, str | bytes] = {f"forms/{form}": (ASSETS / form).read_bytes() for form in forms}
    if name.endswith(".bpmn"):
        files["needed.dmn"] = (ASSETS / "sound--first.dmn").read_bytes()
    return files


def found_in(name: str) -> list[Problem]:
    return lint({name: (ASSETS / name).read_bytes(), **companions(name)}, groups=GROUPS)


@pytest.mark.parametrize("name", DIAGRAMS + TABLES)
def test_each_file_has_exactly_the_defect_that_it_is_named_for(name: str) -> None:
    rule = name.rpartition(".")[0].partition("--")[0]
    problems = found_in(name)
    assert {problem.rule for problem in problems} == (set() if rule == "sound" else {rule}), problems
    for problem in problems:
        assert problem.file == name
        assert 1 <= problem.line <= (ASSETS / name).read_bytes().count(b"\n") + 1
        severity = "warning" if rule in WARNINGS or name == "parameter-type--declared.bpmn" else "error"
        assert problem.severity == severity


@pytest.mark.parametrize("name", DIAGRAMS)
def test_what_the_kernel_refuses_the_lint_refuses_too(name: str) -> None:
    problems = [problem for problem in found_in(name) if problem.severity == "error"]
    try:
        text = (ASSETS / name).read_text()
        compile_definition({name: text, "needed.dmn": (ASSETS / "sound--first.dmn").read_text()}, "test_process")
    except (DefinitionError, UnicodeDecodeError):
        assert problems


def test_a_problem_names_the_line_and_the_element() -> None:
    (problem,) = found_in("abstract-task.bpmn")
    line = (ASSETS / "abstract-task.bpmn").read_text().splitlines()[problem.line - 1]
    assert line.strip() == '<task id="step"/>'
    assert problem.element == "step"
    assert str(problem) == (
        f"abstract-task.bpmn:{problem.line}: step: abstract-task: "
        "say what kind of task this is: user, script, service, …"
    )


def test_a_personal_field_is_named_where_a_diagram_computes_with_it() -> None:
    (problem,) = found_in("personal.bpmn")
    line = (ASSETS / "personal.bpmn").read_text().splitlines()[problem.line - 1]
    assert "visitor.phone" in line
    assert str(problem) == (
        f"personal.bpmn:{problem.line}: choose_to_turned_away: personal: "
        "computes with the personal data visitor.phone, which is encrypted here"
    )
    (problem,) = found_in("personal.dmn")
    assert (problem.element, "visitor.phone" in problem.message) == ("expression_urgent", True)


A_FORM = (
    '{{"type": "default", "components": [{{"type": "textfield", "key": "who", "id": "f", "label": "谁", {more}}}]}}'
)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('"properties": {"from": "visitor.name"}', "from: visitor.name is personal, this is not"),
        ('"properties": {"from": "visitor.name.upper()", "personal": "true"}', "from: computes with"),
        ('"properties": {"from": "visitor.name", "personal": "true"}', ""),
        ('"properties": {"from": "visitor.purpose"}', ""),
    ],
)
def test_personal_data_is_prefilled_into_personal_fields_only(more: str, said: str) -> None:
    files = {"forms/next.form": A_FORM.format(more=more), **companions("x.bpmn")}
    files["ask.bpmn"] = (ASSETS / "sound--personal-parameter.bpmn").read_bytes()
    found = lint(files)
    assert [(problem.file, problem.line, problem.element, problem.rule) for problem in found] == (
        [("forms/next.form", 1, "who", "personal")] if said else []
    )
    assert all(said in problem.message for problem in found)


def test_a_problem_inside_an_extension_names_the_element_around_it() -> None:
    (problem,) = found_in("unknown-operator.bpmn")
    assert problem.element == "step"


CALLER = """<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" id="d_{name}" targetNamespace="urn:test">
<process id="{name}" isExecutable="true"><startEvent id="begin"/><callActivity id="call" calledElement="{called}"/>
<endEvent id="finish"/><sequenceFlow id="in" sourceRef="begin" targetRef="call"/>
<sequenceFlow id="out" sourceRef="call" targetRef="finish"/></process></definitions>"""


def test_a_called_process_may_be_in_another_file_or_deployed_already() -> None:
    caller = CALLER.format(name="outer", called="test_process")
    assert [problem.rule for problem in lint({"outer.bpmn": caller})] == ["missing-process"]
    assert lint({"outer.bpmn": caller}, known_processes={"test_process"}) == []
    both = {"outer.bpmn": caller, **companions("x.bpmn"), "inner.bpmn": (ASSETS / "sound--user-task.bpmn").read_text()}
    assert lint(both) == []


def test_processes_that_call_one_another_in_a_circle_are_refused() -> None:
    files = {
        "a.bpmn": CALLER.format(name="a", called="b"),
        "b.bpmn": CALLER.format(name="b", called="c"),
        "c.bpmn": CALLER.format(name="c", called="b"),
    }
    assert [(problem.file, problem.rule) for problem in lint(files)] == [
        ("b.bpmn", "recursive-call"),
        ("c.bpmn", "recursive-call"),
    ]


WAITING = """<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" id="d_{name}" targetNamespace="urn:test">
<message id="letter" name="letter"/><process id="{name}" isExecutable="true"><startEvent id="begin">
<messageEventDefinition messageRef="letter"/></startEvent><endEvent id="finish"/>
<sequenceFlow id="out" sourceRef="begin" targetRef="finish"/></process></definitions>"""


def test_a_process_that_starts_by_events_only_cannot_be_called() -> None:
    files = {"a.bpmn": CALLER.format(name="a", called="b"), "b.bpmn": WAITING.format(name="b")}
    (problem,) = lint(files)
    assert (problem.file, problem.line, problem.element, problem.rule) == ("a.bpmn", 2, "call", "called-start")
    with pytest.raises(DefinitionError):
        compile_definition(files, "a")


def test_a_message_starts_one_process_of_a_deployment_only() -> None:
    (problem,) = lint({"a.bpmn": WAITING.format(name="a"), "b.bpmn": WAITING.format(name="b")})
    assert (problem.file, problem.line, problem.element, problem.rule) == ("b.bpmn", 2, "begin", "double-start")
    assert "the message letter starts a in a.bpmn already" in problem.message


def test_two_files_cannot_define_the_same_process_or_decision() -> None:
    sound = (ASSETS / "sound--first.dmn").read_text()
    files = {"a.bpmn": CALLER.format(name="a", called="x"), "b.bpmn": CALLER.format(name="a", called="x")}
    assert [problem.rule for problem in lint({**files, "c.dmn": sound, "d.dmn": sound}, known_processes={"x"})] == [
        "duplicate-process",
        "duplicate-decision",
    ]


def test_the_problems_of_forms_and_catalogues_are_found_too() -> None:
    files = {
        "forms/broken.form": '{"components": [{"type": "filepicker", "key": "a", "id": "a", "label": "a"}]}',
        "forms/gbk.form": "表".encode("gbk"),
        "translations/en.json": '{"a": 1}',
        "translations/fr.json": "{",
        "translations/zh.json": '{"调取": "Retrieval"}',
    }
    assert [(problem.file, problem.rule) for problem in lint(files)] == [
        ("forms/broken.form", "form-type"),
        ("forms/gbk.form", "not-utf8"),
        ("translations/en.json", "translation"),
        ("translations/fr.json", "translation"),
    ]


@pytest.mark.parametrize("name", ["../x.bpmn", "/x.bpmn", "a\\x.bpmn", "x.exe", ".bpmn", "a/../x.bpmn", "x.bpmn\n", ""])
def test_a_file_name_stays_inside_the_deployment(name: str) -> None:
    assert [problem.rule for problem in lint({name: "<a/>"})] == ["file-name"]


def test_chinese_file_names_are_fine() -> None:
    assert [problem.rule for problem in lint({"调取 流程.bpmn": "<a/>"})] == ["not-bpmn"]


def test_too_many_files_are_refused() -> None:
    assert [problem.rule for problem in lint({f"{n}.form": "{}" for n in range(201)})] == ["file-count"]


def test_groups_are_checked_only_when_some_are_known() -> None:
    name = "unknown-group.bpmn"
    assert lint({name: (ASSETS / name).read_bytes(), **companions(name)}) == []
