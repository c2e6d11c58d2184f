"""A BPMN error of one task reaches only that task's boundary events, or those of the scopes around it."""

import itertools

import pytest
from case import Case
from diagram import (
    ERROR,
    ESCALATION,
    boundary,
    end,
    flows,
    gateway,
    instances,
    process,
    script,
    service,
    start,
    subprocess,
    throw,
    user,
)

from engine.spiff import RefusedInputError

CAMERAS = process(
    start(),
    subprocess(
        "retrieve",
        instances("application.cameras", item="camera", output="acquisitions", output_item="taken"),
        start("rs"),
        service("acquire", result="acquisition", n="camera"),
        boundary("unreachable", "acquire", ERROR),
        user("decide"),
        script("note_skip", "taken = {'camera': camera, 'skipped': True}"),
        script("note", "taken = {'camera': camera, 'item': acquisition['item']}"),
        end("re"),
        end("rx"),
        flows("rs > acquire > note > re", "unreachable > decide > note_skip > rx"),
    ),
    user("playback"),
    end(),
    flows("s > retrieve > playback > e"),
)


def three_cameras() -> Case:
    return Case(CAMERAS, {"application": {"cameras": ["gate", "lobby", "garage"]}})


def job_of(case: Case, camera: str) -> str:
    return next(str(job.task_id) for job in case.results[0].jobs if job.params == {"n": camera})


@pytest.mark.parametrize("failing", ["gate", "lobby", "garage"])
def test_with_three_cameras_in_parallel_one_failure_leaves_the_other_two_running(failing: str) -> None:
    case = three_cameras()
    assert sorted(job.params["n"] for job in case.results[0].jobs) == ["garage", "gate", "lobby"]

    result = case.give("error", task=job_of(case, failing), code="NVR", message="no route to host")

    assert result.ended_jobs == []
    assert [task.element for task in result.opened] == ["decide"]
    assert result.opened[0].data["camera"] == failing
    assert len(case.jobs()) == 2
    assert case.told == [
        "enter unreachable",
        "fail acquire",
        "leave unreachable",
        "take f_unreachable_decide",
        "enter decide",
    ]
    for number, camera in enumerate(sorted({"gate", "lobby", "garage"} - {failing})):
        assert case.give("result", task=job_of(case, camera), value={"item": number}).state == "running"
    case.do("decide")
    assert case.ready == ["playback"]
    taken = case.data["acquisitions"]
    assert [entry["camera"] for entry in taken] == ["gate", "lobby", "garage"]
    assert [entry["camera"] for entry in taken if entry.get("skipped")] == [failing]


def test_all_cameras_may_fail_each_on_its_own() -> None:
    case = three_cameras()
    for camera in ("lobby", "gate", "garage"):
        case.give("error", task=job_of(case, camera), code="NVR")
    assert case.ready == ["decide"] * 3
    assert case.jobs() == {}


@pytest.mark.parametrize("order", list(itertools.permutations("123")))
def test_parallel_tasks_that_catch_the_same_code_fail_one_by_one(order: tuple[str, ...]) -> None:
    parts = "".join(
        service(f"x{i}") + boundary(f"b{i}", f"x{i}", ERROR) + user(f"fix{i}") + gateway("exclusive", f"m{i}")
        for i in "123"
    )
    lines = [f"f > x{i} > m{i} > j" for i in "123"] + [f"b{i} > fix{i} > m{i}" for i in "123"]
    case = Case(process(start(), gateway("parallel", "f", "j"), parts, end(), flows("s > f", *lines, "j > e")))
    case.fail(f"x{order[0]}")
    assert (case.ready, len(case.jobs())) == ([f"fix{order[0]}"], 2)
    case.finish(f"x{order[1]}")
    case.fail(f"x{order[2]}")
    case.do(f"fix{order[2]}")
    case.do(f"fix{order[0]}")
    assert case.state == "completed"


def test_the_error_of_an_instance_cancels_the_activity_that_catches_it_as_a_whole() -> None:
    case = Case(
        process(
            start(),
            service("x", inside=instances(count="3")),
            boundary("b", "x", ERROR),
            user("fix"),
            end(),
            flows("s > x > e", "b > fix > e"),
        )
    )
    assert len(case.fail("x").ended_jobs) == 2
    assert case.ready == ["fix"]
    case.do("fix")
    assert case.state == "completed"


def test_an_error_end_event_leaves_the_innermost_scope_that_catches_it() -> None:
    def inner(i: int) -> str:
        return subprocess(
            f"sp{i}",
            start(f"is{i}"),
            gateway("parallel", f"f{i}"),
            user(f"u{i}", f"o{i}"),
            end(f"ie{i}", ERROR),
            end(f"oe{i}"),
            flows(f"is{i} > f{i} > u{i} > ie{i}", f"f{i} > o{i} > oe{i}"),
        )

    rest = "".join(
        inner(i) + boundary(f"b{i}", f"sp{i}", ERROR) + user(f"fix{i}", f"next{i}") + end(f"e{i}") for i in (1, 2)
    )
    lines = [f"f > sp{i} > next{i} > e{i}" for i in (1, 2)] + [f"b{i} > fix{i} > e{i}" for i in (1, 2)]
    case = Case(process(start(), gateway("parallel", "f"), rest, flows("s > f", *lines)))
    case.do("u1")
    assert case.ready == ["fix1", "o2", "u2"]


def test_an_error_that_nobody_catches_is_refused_and_changes_nothing() -> None:
    case = Case(process(start(), service("x"), boundary("b", "x", ERROR), end(), flows("s > x > e", "b > e")))
    with pytest.raises(RefusedInputError, match="Nobody catches the error OTHER: cable cut"):
        case.fail("x", "OTHER", "cable cut")
    case.finish("x")
    assert case.state == "completed"


def test_an_error_end_event_that_nobody_catches_is_an_incident() -> None:
    case = Case(process(start(), user("u"), end("e", ERROR), flows("s > u > e")))
    result = case.do("u")
    assert [(element, str(told)) for _, element, told in result.incidents] == [("e", "Nobody catches the error NVR.")]
    assert result.state == "running"


def test_an_exact_code_goes_before_a_boundary_event_without_a_code() -> None:
    any_error = "<errorEventDefinition/>"
    case = Case(
        process(
            start(),
            service("x"),
            boundary("b_any", "x", any_error),
            boundary("b_nvr", "x", ERROR),
            user("any", "nvr"),
            end(),
            flows("s > x > e", "b_any > any > e", "b_nvr > nvr > e"),
        )
    )
    case.fail("x")
    assert case.ready == ["nvr"]


def test_the_error_reaches_the_handler_as_a_variable_when_the_diagram_names_one() -> None:
    named = process(
        start(), service("x"), boundary("b", "x", ERROR), user("fix"), end(), flows("s > x > e", "b > fix > e")
    ).replace(
        '<error id="er" name="failed" errorCode="NVR"/>',
        '<error id="er" name="failed" errorCode="NVR"><extensionElements><spiffworkflow:variableName>failure'
        "</spiffworkflow:variableName></extensionElements></error>",
    )
    case = Case(named)
    result = case.fail("x", "NVR", "no answer")
    assert result.opened[0].data == {"failure": {"code": "NVR", "message": "no answer"}}


@pytest.mark.parametrize("interrupting", [True, False])
@pytest.mark.parametrize("thrower", ["end", "throw"])
def test_an_escalation_reaches_its_own_scope_only(thrower: str, interrupting: bool) -> None:
    def inner(i: int) -> str:
        if thrower == "end":
            last = end(f"ie{i}", ESCALATION) + flows(f"is{i} > x{i} > ie{i}")
        else:
            last = throw(f"it{i}", ESCALATION) + user(f"after{i}") + end(f"ie{i}")
            last += flows(f"is{i} > x{i} > it{i} > after{i} > ie{i}")
        return subprocess(f"sp{i}", start(f"is{i}"), user(f"x{i}"), last)

    rest = "".join(
        inner(i)
        + boundary(f"b{i}", f"sp{i}", ESCALATION, interrupting=interrupting)
        + user(f"h{i}", f"n{i}")
        + end(f"e{i}")
        for i in (1, 2)
    )
    lines = [f"f > sp{i} > n{i} > e{i}" for i in (1, 2)] + [f"b{i} > h{i} > e{i}" for i in (1, 2)]
    case = Case(process(start(), gateway("parallel", "f"), rest, flows("s > f", *lines)))
    case.do("x1")
    going_on = [] if interrupting else ["n1" if thrower == "end" else "after1"]
    assert case.ready == sorted(["h1", "x2", *going_on])
    while case.ready:
        case.do(case.ready[0])
    assert case.state == "completed"
