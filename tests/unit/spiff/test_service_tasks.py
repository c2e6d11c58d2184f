"""Service tasks: jobs that wait for their result, and synchronous operators whose answers are recorded."""

from typing import Any

import pytest
from case import NAMESPACE, T0, Case
from diagram import ERROR, boundary, end, flows, process, service, start, user

from engine.errors import BpmnError, ConflictError
from engine.spiff import Execution, Input, RefusedInputError, compile_definition, replaying

ASKING = process(
    start(),
    service("x", "test/ask", result="answer", question="'who ' + name"),
    boundary("b", "x", ERROR),
    user("u", "fix"),
    end(),
    flows("s > x > u > e", "b > fix > e"),
)


def answering(value: Any) -> Any:
    def lookup(operator: str, params: dict[str, Any]) -> Any:
        if isinstance(value, Exception):
            raise value
        return [operator, params, value]

    return lookup


def test_an_asynchronous_operator_becomes_a_job_and_its_result_a_variable() -> None:
    text = process(start(), service("x", result="got", n="1 + 1"), user("u"), end(), flows("s > x > u > e"))
    case = Case(text, {"a": 1})
    [job] = case.results[0].jobs
    assert (job.element, job.operator, job.params, job.data) == ("x", "test/fetch", {"n": 2}, {"a": 1})
    result = case.finish("x", {"file": [1]})
    assert result.opened[0].data == {"a": 1, "got": {"file": [1]}}
    assert result.ended_jobs == []
    with pytest.raises(RefusedInputError, match="does not wait for a result any more"):
        case.give("result", task=str(job.task_id), value=2)


def test_a_result_without_a_variable_leaves_the_data_alone() -> None:
    case = Case(process(start(), service("x"), user("u"), end(), flows("s > x > u > e")))
    assert case.finish("x", {"file": 1}).opened[0].data == {}


def test_the_answer_of_a_synchronous_operator_is_recorded_and_need_not_be_asked_again() -> None:
    case = Case(ASKING, {"name": "ann"}, lookup=answering("me"))
    [lookup] = case.results[0].lookups
    assert lookup == {
        "operator": "test/ask",
        "params": {"question": "who ann"},
        "result": ["test/ask", {"question": "who ann"}, "me"],
    }
    assert case.data["answer"] == lookup["result"]


def test_a_modelled_failure_of_a_synchronous_operator_goes_to_the_boundary_event() -> None:
    case = Case(ASKING, {"name": "ann"}, lookup=answering(BpmnError("NVR", "gone")))
    assert case.ready == ["fix"]
    assert case.results[0].lookups[0]["error"] == {"code": "NVR", "message": "gone"}
    assert "fail x" in case.told


def test_a_failure_that_nobody_models_is_an_incident_and_is_recorded_too() -> None:
    case = Case(ASKING, {"name": "ann"}, lookup=answering(BpmnError("OTHER", "gone")))
    assert list(map(str, case.results[0].incidents[0][1:])) == ["x", "Nobody catches the error OTHER: gone"]
    other = Case(ASKING, {"name": "ann"}, lookup=answering(ConflictError("The register is closed.")))
    assert list(map(str, other.results[0].incidents[0][1:])) == ["x", "The register is closed."]
    other.lookup = answering("open again")
    other.give("retry", task=str(other.results[0].incidents[0][0]))
    assert other.ready == ["u"]


def test_a_fault_of_the_program_is_no_incident_and_leaves_no_usable_execution() -> None:
    execution = Execution(compile_definition({"a.bpmn": ASKING}, "P"), NAMESPACE)
    with pytest.raises(ZeroDivisionError):
        execution.apply(Input(1, T0, "start", '{"data": {"name": "x"}}'), answering(ZeroDivisionError()))
    with pytest.raises(RefusedInputError, match="middle of a step"):
        execution.apply(Input(1, T0, "start", '{"data": {"name": "x"}}'), answering(1))


def test_a_replay_that_asks_for_something_else_is_refused() -> None:
    recorded = [{"operator": "test/ask", "params": {"question": "who bob"}, "result": 1}]
    for lookups in (recorded, []):
        execution = Execution(compile_definition({"a.bpmn": ASKING}, "P"), NAMESPACE)
        with pytest.raises(RefusedInputError, match="which the history does not hold"):
            execution.apply(Input(1, T0, "start", '{"data": {"name": "ann"}}'), replaying(lookups))


def test_an_answer_that_json_cannot_carry_is_an_incident() -> None:
    case = Case(ASKING, {"name": "ann"}, lookup=answering({1, 2}))
    assert case.results[0].incidents[0][1] == "x"
