"""What a compiled definition knows about its diagram, and what is refused because it would not run as drawn."""

import pytest
from diagram import (
    ERROR,
    MESSAGE,
    boundary,
    catch,
    end,
    flows,
    gateway,
    handler,
    instances,
    process,
    script,
    service,
    start,
    subprocess,
    throw,
    timer,
    user,
)

from engine.errors import DefinitionError
from engine.spiff import ElementInfo, compile_definition

DESCRIBED = (
    "<documentation>clause 1.2</documentation><extensionElements><spiffworkflow:properties>"
    '<spiffworkflow:property name="formJsonSchemaFilename" value="head.form"/>'
    '<spiffworkflow:property name="signature" value="required"/></spiffworkflow:properties>'
    "<spiffworkflow:variableName>head_decision</spiffworkflow:variableName></extensionElements>"
)


def plain(*middle: str, extra: str = "") -> str:
    return process(start(), *middle, end(), flows("s > u > e"), extra)


def problems(text: str, process_id: str = "P", **others: str) -> list[tuple[str, str]]:
    with pytest.raises(DefinitionError) as caught:
        compile_definition({"a.bpmn": text, **others}, process_id)
    return [(problem.element, problem.rule) for problem in caught.value.problems]


def test_elements_are_those_of_the_original_diagram() -> None:
    text = process(
        start(),
        user("sign", inside=DESCRIBED, more='name="签字"'),
        boundary("late", "sign", timer("timeDuration", "P1D")),
        service("x"),
        end(),
        flows("s > sign > x > e", "late > e"),
        handler("w", MESSAGE, end("we"), flows("w_s > we")),
    ).replace("<userTask", "\n<userTask", 1)
    elements = compile_definition({"a.bpmn": text}, "P").elements
    assert elements["sign"] == ElementInfo(
        id="sign",
        type="userTask",
        name="签字",
        documentation="clause 1.2",
        properties={"formJsonSchemaFilename": "head.form", "signature": "required"},
        form="head.form",
        variable="head_decision",
        scope="P",
        file="a.bpmn",
        line=2,
    )
    assert (elements["late"].attached_to, elements["x"].operator) == ("sign", "test/fetch")
    flow = elements["f_sign_x"]
    assert (flow.type, flow.source, flow.target) == ("sequenceFlow", "sign", "x")
    assert (elements["w"].type, elements["w_s"].scope) == ("subProcess", "w")
    assert not [name for name in elements if "__" in name]


def test_called_processes_are_found_in_the_other_files() -> None:
    caller = plain('<callActivity id="u" calledElement="Q"/>')
    called = process(start("qs"), user("q"), end("qe"), flows("qs > q > qe"), id="Q")
    compiled = compile_definition({"a.bpmn": caller, "b.bpmn": called}, "P")
    assert compiled.elements["q"].file == "b.bpmn"
    assert problems(caller) == [("u", "missing-process")]
    again = called.replace('<userTask id="q" ></userTask>', '<callActivity id="q" calledElement="P"/>')
    assert ("P", "recursive-call") in problems(caller, **{"b.bpmn": again})


def test_a_problem_names_file_line_and_element() -> None:
    text = plain('\n\n<userTask id="u"/>', '\n<task id="abstract"/>')
    with pytest.raises(DefinitionError) as caught:
        compile_definition({"a.bpmn": text}, "P")
    assert [str(problem) for problem in caught.value.problems] == [
        "a.bpmn:4: abstract: abstract-task: say what kind of task this is: user, script, service, …",
        "a.bpmn:4: abstract: unreachable: no path from a start event leads here",
    ]


LINK = '<linkEventDefinition name="L"/>'
REFUSED = {
    "missing-process": plain(user("u")).replace('id="P"', 'id="Other"'),
    "not-executable": plain(user("u")).replace('isExecutable="true"', ""),
    "not-xml": "<definitions>",
    "dtd": '<!DOCTYPE x [<!ENTITY a "b">]>' + plain(user("u")),
    "duplicate-id": plain(user("u"), extra='<userTask id="u"/>'),
    "reserved-id": plain(user("u"), user("u__split"), extra=flows("u > u__split > e")),
    "unsupported": plain('<complexGateway id="u"/>'),
    "unreachable": plain(user("u", "z"), extra=flows("z > e")),
    "dead-end": plain(user("u", "z"), extra=flows("u > z")),
    "dangling-flow": plain(user("u"), extra=flows("u > nowhere")),
    "start-event": process(user("u"), end(), flows("u > e")),
    "end-event": process(start(), user("u"), flows("s > u")),
    "link": process(start(), throw("u", LINK), end(), flows("s > u")),
    "no-operator": plain('<serviceTask id="u"/>'),
    "no-event-definition": plain(catch("u", "")),
    "multiple-event": plain(catch("u", MESSAGE + timer("timeDuration", "PT1H"))),
    "unsupported-event": plain(user("u"), boundary("b", "u", "<compensateEventDefinition/>"), extra=flows("b > e")),
    "inner-start-event": plain(subprocess("u", start("is", MESSAGE), end("ie"), flows("is > ie"))),
    "timer-cycle": plain(user("u"), boundary("b", "u", timer("timeCycle", "R/PT1H")), extra=flows("b > e")),
    "boundary": plain(user("u"), boundary("b", "nowhere", ERROR), extra=flows("b > e")),
    "multi-instance": plain(user("u", inside="<multiInstanceLoopCharacteristics/>")),
    "data": plain(
        user("u", inside='<dataInputAssociation id="i"><sourceRef>nowhere</sourceRef></dataInputAssociation>')
    ),
    "double-flow": plain(gateway("exclusive", "u", default="f_u_e"), extra=flows("u > e if x").replace("f_u_e", "f2")),
    "ignored-condition": plain(gateway("parallel", "u"), user("z"), extra=flows("u > z if x", "z > e")),
    "no-condition": plain(gateway("exclusive", "u"), user("z"), extra=flows("u > z", "z > e")),
    "event-gateway": plain(gateway("eventBased", "u")),
}


@pytest.mark.parametrize("rule", REFUSED)
def test_what_would_not_run_as_drawn_is_refused(rule: str) -> None:
    assert rule in {found for _, found in problems(REFUSED[rule])}


def test_two_timers_behind_one_event_gateway_are_refused() -> None:
    text = process(
        start(),
        gateway("eventBased", "g"),
        catch("t1", timer("timeDuration", "PT1H")),
        catch("t2", timer("timeDuration", "PT2H")),
        end(),
        flows("s > g > t1 > e", "g > t2 > e"),
    )
    assert problems(text) == [("g", "event-gateway")]


def test_comments_in_the_file_change_nothing() -> None:
    text = process(
        start(),
        script("u", "x = 1").replace("<script>", "<!-- why --><script>"),
        end(),
        flows("s > u > e"),
        handler("w", "<!-- when -->" + MESSAGE, end("we"), flows("w_s > we")),
    ).replace("<process", "<!-- what --><?tool note?><process")
    assert "u" in compile_definition({"a.bpmn": text}, "P").elements


def test_two_activities_may_name_their_items_alike() -> None:
    text = process(
        start(),
        user("a", "b", inside=instances("cameras", item="camera")),
        script("c", "x = 1"),
        end(),
        flows("s > a > b > c > e"),
    )
    assert set(compile_definition({"a.bpmn": text}, "P").elements) > {"a", "b", "c"}
