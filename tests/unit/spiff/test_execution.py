"""Inputs that apply and inputs that do not; what can be asked of an execution."""

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from case import T0, Case
from diagram import end, flows, gateway, process, script, service, start, subprocess, user

from engine.errors import ExpressionError, NotFoundError
from engine.spiff import Execution, Input, RefusedInputError, compile_definition

TWO = process(start(), user("u", "v"), end(), flows("s > u > v > e"))


def test_the_second_submission_of_a_task_is_refused_and_changes_nothing() -> None:
    case = Case(TWO)
    task = str(case.task("u"))
    case.give("submit", task=task, data={"x": 1})
    before = case.live.snapshot()
    with pytest.raises(RefusedInputError, match="not open any more"):
        case.live.apply(Input(case.live.seq + 1, T0, "submit", json.dumps({"task": task, "data": {}})))
    assert case.live.snapshot() == before
    case.do("v")
    assert case.state == "completed"


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("submit", {"task": str(uuid4()), "data": {}}),
        ("submit", {"task": "no id", "data": {}}),
        ("submit", {"data": {}}),
        ("submit", {"task": str(uuid4()), "data": [1]}),
        ("result", {"task": str(uuid4()), "value": 1}),
        ("error", {"task": str(uuid4()), "code": "X"}),
        ("start", {"data": {}}),
        ("explode", {}),
        ("_tasks", {}),
    ],
)
def test_inputs_that_do_not_apply_are_refused(kind: str, payload: dict[str, object]) -> None:
    with pytest.raises(RefusedInputError):
        Case(TWO).give(kind, **payload)


def test_a_payload_that_is_no_json_is_refused() -> None:
    case = Case(TWO)
    for wrong in ("{", "[]", '"x"'):
        with pytest.raises(RefusedInputError):
            case.live.apply(Input(2, T0, "submit", wrong))
    case.do("u")


def test_a_data_object_that_a_form_did_not_give_refuses_the_form() -> None:
    write = '<dataOutputAssociation id="o"><targetRef>ref</targetRef></dataOutputAssociation>'
    objects = '<dataObject id="thing"/><dataObjectReference id="ref" dataObjectRef="thing"/>'
    case = Case(process(objects, start(), user("u", inside=write), user("v"), end(), flows("s > u > v > e")))
    with pytest.raises(RefusedInputError, match="cannot take this input"):
        case.do("u", other=1)
    case.do("u", thing=1)
    assert case.ready == ["v"]


def test_inputs_come_in_order_and_time_does_not_run_backwards() -> None:
    case = Case(TWO)
    payload = json.dumps({"task": str(case.task("u")), "data": {}})
    for wrong in (Input(3, T0, "submit", payload), Input(2, T0 - timedelta(seconds=1), "submit", payload)):
        with pytest.raises(RefusedInputError, match="does not follow"):
            case.live.apply(wrong)


def test_nothing_applies_after_the_end() -> None:
    case = Case(TWO)
    result = case.give("cancel", reason="withdrawn")
    assert (result.state, [how for _, how in result.closed], case.told) == ("cancelled", ["cancelled"], ["cancel u"])
    with pytest.raises(RefusedInputError, match="has ended"):
        case.give("cancel", reason="again")


def test_cancelling_ends_jobs_and_tasks_at_every_depth() -> None:
    inner = subprocess("sp", start("is"), service("x"), end("ie"), flows("is > x > ie"))
    case = Case(
        process(start(), gateway("parallel", "f"), inner, user("u"), end(), flows("s > f > sp > e", "f > u > e"))
    )
    result = case.give("cancel", reason="")
    assert (len(result.ended_jobs), len(result.closed), result.data) == (1, 1, {})


def test_what_a_step_ends_is_listed_in_an_order_that_loading_does_not_change() -> None:
    inner = subprocess("sp", start("is"), service("x"), end("ie"), flows("is > x > ie"))
    text = process(
        start(),
        gateway("parallel", "f"),
        inner,
        user("u"),
        service("y"),
        end(),
        flows("s > f > sp > e", "f > u > y > e"),
    )
    for seed in "abcd":
        case = Case(text, seed=seed)
        case.do("u")
        assert len(case.give("cancel", reason="").ended_jobs) == 2


def test_a_step_that_never_waits_is_refused() -> None:
    text = process(
        start(),
        user("u"),
        gateway("exclusive", "m"),
        script("x", "n = 1"),
        gateway("exclusive", "g", default="f_g_e"),
        end(),
        flows("s > u > m > x > g", "g > m if n == 1", "g > e"),
    )
    case = Case(text)
    with pytest.raises(RefusedInputError, match="runs in a circle"):
        case.do("u")
    assert case.ready == ["u"]


def test_expressions_see_what_their_task_sees_at_the_time_of_the_step() -> None:
    case = Case(TWO, {"case": {"head": "li"}})
    task = case.task("u")
    assert case.live.evaluate(task, "case.head") == "li"
    assert case.live.evaluate(task, "now()").startswith("2026-01-05T01:00:00")
    with pytest.raises(ExpressionError):
        case.live.evaluate(task, "nobody")
    with pytest.raises(NotFoundError):
        case.live.evaluate(uuid4(), "1")


def test_the_data_of_a_running_instance_is_what_all_its_tokens_know() -> None:
    inner = subprocess("sp", start("is"), user("x", "y"), end("ie"), flows("is > x > y > ie"))
    text = process(
        start(), gateway("parallel", "f", "j"), inner, user("u"), end(), flows("s > f > sp > j > e", "f > u > j")
    )
    case = Case(text, {"log": ["s"]})
    case.do("u", log=["s", "u"], by_u=1)
    case.do("x", log=["s", "x"])
    assert (sorted(case.data["log"]), case.data["by_u"]) == (["s", "u", "x"], 1)


def test_types_survive_saving_and_loading() -> None:
    values = {
        "t": True,
        "one": 1,
        "f": 1.0,
        "none": None,
        "text": "1",
        "list": [True, 1],
        "typename": {"typename": "x"},
    }
    case = Case(TWO, values)
    case.do("u")
    assert json.dumps(case.data) == json.dumps(values)


def test_a_snapshot_is_text_and_small() -> None:
    case = Case(TWO, {"x": 1})
    snapshot = case.live.snapshot()
    assert isinstance(snapshot, str)
    assert json.loads(snapshot)["seq"] == 1
    assert len(snapshot) < 4000
    restored = Execution(compile_definition({"a.bpmn": TWO}, "P"), case.live.key, snapshot)
    assert (restored.seq, restored.data, restored.state) == (1, {"x": 1}, "running")


def test_an_execution_that_has_not_started_has_nothing_to_save() -> None:
    execution = Execution(compile_definition({"a.bpmn": TWO}, "P"), uuid4())
    assert (execution.seq, execution.state, execution.due_at, execution.data) == (0, "running", None, {})
    with pytest.raises(RefusedInputError):
        execution.snapshot()
