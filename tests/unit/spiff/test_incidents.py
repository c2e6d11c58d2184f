"""A script, condition or parameter that fails stops its own token only, and can be repaired and tried again."""

from uuid import UUID

import pytest
from case import Case
from diagram import end, flows, gateway, process, script, service, start, user
from SpiffWorkflow.bpmn.script_engine import PythonScriptEngine

from engine.errors import ExpressionError
from engine.spiff import RefusedInputError


def only_incident(case: Case) -> tuple[UUID, str, str]:
    [(task_id, element, sentence)] = case.results[-1].incidents
    return task_id, element, str(sentence)


@pytest.mark.parametrize("kind", ["exclusive", "inclusive"])
def test_a_gateway_where_no_condition_holds_waits_for_a_person(kind: str) -> None:
    text = process(
        start(),
        user("u"),
        gateway(kind, "g"),
        user("a", "b"),
        end(),
        flows("s > u > g", "g > a if x == 1", "g > b if x == 2", "a > e", "b > e"),
    )
    case = Case(text)
    case.do("u", x=9)
    task_id, element, message = only_incident(case)
    assert (element, case.state, case.ready, case.told[-1]) == ("g", "running", [], "fail g")
    assert message == "No condition holds at the gateway and there is no default flow."
    case.give("retry", task=str(task_id), data={"x": 2})
    assert (case.ready, case.told[:2]) == (["b"], ["enter g", "leave g"])


def test_a_failing_script_is_tried_again_with_corrected_data_while_others_go_on() -> None:
    text = process(
        start(),
        gateway("parallel", "f", "j"),
        user("u", "w"),
        script("divide", "z = 1 / x"),
        end(),
        flows("s > f > u > divide > j > e", "f > w > j"),
    )
    case = Case(text, {"x": 1})
    case.do("u", x=0)
    task_id, element, _message = only_incident(case)
    assert (element, case.ready) == ("divide", ["w"])
    case.give("retry", task=str(task_id))
    assert only_incident(case)[0] == task_id, "it failed again"
    case.do("w")
    case.give("retry", task=str(task_id), data={"x": 2})
    assert (case.state, case.data["z"]) == ("completed", 0.5)


def test_a_script_that_failed_half_way_has_changed_nothing() -> None:
    case = Case(process(start(), script("sc", "a = 1\nb = missing"), end(), flows("s > sc > e")), {"a": 0})
    assert case.data == {"a": 0}


def test_a_parameter_that_fails_or_does_not_fit_is_an_incident_of_the_service_task() -> None:
    case = Case(process(start(), service("x", n="cameras[5]"), end(), flows("s > x > e")), {"cameras": []})
    task_id, element, _message = only_incident(case)
    assert (element, case.results[-1].jobs) == ("x", [])
    result = case.give("retry", task=str(task_id), data={"cameras": [0] * 6})
    assert [job.params for job in result.jobs] == [{"n": 0}]


@pytest.mark.parametrize(
    ("operator", "params", "message"),
    [
        ("test/nobody", {}, "There is no operator test/nobody."),
        ("test/fetch", {"camera": "1"}, "test/fetch has no parameter camera."),
    ],
)
def test_an_operator_that_does_not_exist_or_does_not_know_the_parameter(
    operator: str, params: dict[str, str], message: str
) -> None:
    case = Case(process(start(), service("x", operator, **params), end(), flows("s > x > e")))
    assert only_incident(case)[1:] == ("x", message)


def test_what_has_no_incident_cannot_be_retried() -> None:
    case = Case(process(start(), user("u"), end(), flows("s > u > e")))
    with pytest.raises(RefusedInputError, match="no incident"):
        case.give("retry", task=str(case.task("u")), data={})


def test_the_past_keeps_its_data_when_a_later_script_changes_a_nested_value() -> None:
    text = process(start(), user("u", "w"), script("sc", "d['k'].append(2)"), end(), flows("s > u > sc > w > e"))
    case = Case(text)
    before = case.task("u")
    result = case.do("u", d={"k": [1]})
    assert result.opened[0].data == {"d": {"k": [1, 2]}}
    assert case.live.task_data(before) == {"d": {"k": [1]}}


def test_the_librarys_own_script_engine_refuses_to_work() -> None:
    for run in (PythonScriptEngine().environment.evaluate, PythonScriptEngine().environment.execute):
        with pytest.raises(ExpressionError):
            run("1", {})


@pytest.mark.parametrize(
    "hostile",
    [
        "().__class__.__base__.__subclasses__()",
        "__import__('os').system('true')",
        "open('/etc/passwd').read()",
        "(lambda: 1)()",
        "exec('x = 1')",
        "9 ** 9 ** 9",
        "'x' * 10 ** 12",
        "[i for i in range(10 ** 12)]",
    ],
)
def test_no_expression_of_a_diagram_reaches_python(hostile: str) -> None:
    places = {
        "script": process(start(), script("x", f"y = {hostile}"), end(), flows("s > x > e")),
        "parameter": process(start(), service("x", n=hostile.replace("<", "&lt;")), end(), flows("s > x > e")),
        "condition": process(
            start(),
            gateway("exclusive", "x", default="f_x_e"),
            end(),
            end("e2"),
            flows("s > x > e", f"x > e2 if {hostile}"),
        ),
    }
    for place, text in places.items():
        case = Case(text)
        assert only_incident(case)[1] == "x", place
