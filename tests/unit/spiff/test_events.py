"""Timers, messages, signals, links, event sub-processes and the flows that leave activities. BPMN 2.0, 10.5."""

from datetime import UTC, datetime

import pytest
from case import T0, Case
from diagram import (
    ERROR,
    ESCALATION,
    MESSAGE,
    SIGNAL,
    boundary,
    catch,
    end,
    flows,
    gateway,
    handler,
    process,
    script,
    start,
    subprocess,
    throw,
    timer,
    user,
)

from engine.spiff import Input, RefusedInputError


def reminding(event: str) -> str:
    return process(
        start(),
        user("u"),
        boundary("b", "u", event, interrupting=False),
        script("remind", "reminded = 1"),
        end(),
        end("e2"),
        flows("s > u > e", "b > remind > e2"),
    )


@pytest.mark.parametrize(
    ("kind", "text", "hours", "fired"),
    [
        ("timeDuration", "PT1H", (0.5, 1, 3), [0, 1, 1]),
        ("timeDuration", " P1D ", (23, 24), [0, 1]),
        ("timeDuration", "wait", (0.5, 1), [0, 1]),
        ("timeDuration", "'PT1H'", (0.5, 1), [0, 1]),
        ("timeDate", "2026-01-05T03:00:00Z", (1, 2), [0, 1]),
        ("timeDate", "2026-01-05T03:00:00+01:00", (0.5, 1), [0, 1]),
        ("timeCycle", "R3/PT1H", (0.5, 1, 2, 3, 4), [0, 1, 2, 3, 3]),
        ("timeCycle", "R/2026-01-05T01:00:00Z/P1D", (1, 25, 49), [1, 2, 3]),
        ("timeCycle", "R/PT1H", (5.5, 5.6, 6.5), [1, 1, 2]),
        ("timeCycle", "R3/PT1H", (2.5, 3.5, 9), [1, 2, 2]),
    ],
)
def test_timers_are_written_as_iso_8601_and_missed_cycles_fire_once(
    kind: str, text: str, hours: tuple[float, ...], fired: list[int]
) -> None:
    case = Case(reminding(timer(kind, text)), {"wait": "PT1H"})
    found, before = [], 0.0
    for hour in hours:
        case.later(hours=hour - before)
        found.append(case.left("remind"))
        before = hour
    assert found == fired
    case.do("u")
    assert case.state == "completed"


def test_a_timer_fires_at_its_instant_and_says_when_that_is() -> None:
    case = Case(process(start(), catch("t", timer("timeDuration", "PT1H")), end(), flows("s > t > e")))
    assert case.results[0].due_at == datetime(2026, 1, 5, 2, tzinfo=UTC)
    with pytest.raises(RefusedInputError, match="No timer is due"):
        case.give("timer")
    case.at = datetime(2026, 1, 5, 2, tzinfo=UTC)
    assert case.give("timer").state == "completed"


@pytest.mark.parametrize("text", ["'soon'", "5", "missing", "'P'"])
def test_a_timer_that_cannot_be_read_is_an_incident(text: str) -> None:
    case = Case(process(start(), catch("t", timer("timeDuration", text)), end(), flows("s > t > e")))
    [(task_id, element, _message)] = case.results[0].incidents
    assert (element, case.state, case.told[-1]) == ("t", "running", "fail t")
    if text == "missing":
        case.give("retry", task=str(task_id), data={"missing": "PT2H"})
        assert case.live.due_at == datetime(2026, 1, 5, 3, tzinfo=UTC)
        case.later(hours=2)
        assert case.state == "completed"


def test_the_reminder_timer_and_the_escalation_timer_of_one_task() -> None:
    text = process(
        start(),
        user("u"),
        boundary("r", "u", timer("timeCycle", "R/P1D"), interrupting=False),
        boundary("x", "u", timer("timeDuration", "P3D")),
        script("remind", "n = n + 1"),
        user("chair"),
        end(),
        end("e2"),
        flows("s > u > e", "r > remind > e2", "x > chair > e"),
    )
    case = Case(text, {"n": 0})
    for _ in range(3):
        case.later(days=1)
    assert (case.left("remind"), case.ready) == (3, ["chair"])
    assert "cancel u" in case.told
    case.do("chair")
    assert (case.state, case.live.due_at) == ("completed", None)


def test_what_a_timer_cycle_has_started_outlives_the_task_that_it_reminded_of() -> None:
    text = process(
        start(),
        user("u"),
        boundary("r", "u", timer("timeCycle", "R/P1D"), interrupting=False),
        user("call"),
        catch("wait", timer("timeDuration", "P2D")),
        end(),
        end("e2"),
        flows("s > u > e", "r > call > wait > e2"),
    )
    case = Case(text)
    case.later(days=1)
    case.later(days=1)
    assert case.told == ["enter r", "leave r", "take f_r_call", "enter call"]
    case.do("call")
    case.do("u")
    assert (case.state, case.ready) == ("running", ["call"])
    case.do("call")
    case.later(days=2)
    assert case.state == "completed"


# ---- messages and signals


def test_a_message_goes_into_the_variable_that_the_diagram_names() -> None:
    event = (
        '<messageEventDefinition messageRef="m"><extensionElements><spiffworkflow:messageVariable>answer'
        "</spiffworkflow:messageVariable></extensionElements></messageEventDefinition>"
    )
    case = Case(process(start(), catch("c", event), user("u"), end(), flows("s > c > u > e")))
    with pytest.raises(RefusedInputError, match="does not wait for stop"):
        case.give("message", name="stop", payload={})
    assert case.give("message", name="go", payload={"ok": [1]}).opened[0].data == {"answer": {"ok": [1]}}


def test_a_non_interrupting_message_may_come_again_and_again() -> None:
    text = process(
        start(),
        user("u"),
        boundary("b", "u", MESSAGE, interrupting=False),
        user("h"),
        end(),
        flows("s > u > e", "b > h > e"),
    )
    case = Case(text)
    for number in (1, 2, 3):
        case.give("message", name="go", payload={})
        assert case.ready.count("h") == number
    for name in ("h", "u", "h", "h"):
        case.do(name)
    assert case.state == "completed"


@pytest.mark.parametrize("order", ["before", "after"])
def test_an_activity_that_one_signal_both_reminds_and_ends_is_left_once(order: str) -> None:
    reminds = boundary("reminds", "u", SIGNAL, interrupting=False)
    ends = boundary("ends", "u", SIGNAL)
    text = process(
        start(),
        user("u"),
        reminds + ends if order == "before" else ends + reminds,
        user("after", "told", "instead"),
        end(),
        flows("s > u > after > e", "reminds > told > e", "ends > instead > e"),
    )
    case = Case(text)
    case.give("signal", name="alarm", payload={})
    assert sorted(case.ready) == ["instead", "told"]
    for name in ("told", "instead"):
        case.do(name)
    assert case.state == "completed"


@pytest.mark.long
def test_a_signal_that_calls_itself_back_for_ever_is_refused() -> None:
    """Each round leaves a token that waits for the activity; when all were asked about it every time, 20,000 changes
    took most of an hour."""
    text = process(
        start(),
        user("u"),
        boundary("b", "u", SIGNAL, interrupting=False),
        throw("again", SIGNAL),
        end(),
        flows("s > u > e", "b > again > e"),
    )
    live = Case(text).live
    with pytest.raises(RefusedInputError, match="runs in a circle"):
        live.apply(Input(2, T0, "signal", '{"name": "alarm", "payload": {}}'))


def test_a_signal_end_event_is_thrown_inside_and_a_message_is_handed_out() -> None:
    text = process(
        start(),
        gateway("parallel", "f"),
        user("a", "b"),
        end("se", SIGNAL),
        catch("c", SIGNAL),
        end("me", MESSAGE),
        flows("s > f > a > se", "f > c > b > me"),
    )
    case = Case(text)
    case.do("a")
    assert case.ready == ["b"]
    result = case.do("b")
    assert (result.state, [event.name for event in result.thrown]) == ("completed", ["go"])


def test_a_link_goes_on_where_its_other_end_is() -> None:
    link = '<linkEventDefinition name="L"/>'
    case = Case(
        process(
            start(), user("a", "b"), throw("out", link), catch("in", link), end(), flows("s > a > out", "in > b > e")
        )
    )
    case.do("a")
    assert case.ready == ["b"]


# ---- flows that leave activities


@pytest.mark.parametrize(("x", "opened"), [(0, ["d"]), (2, ["a"]), (3, ["a", "b"])])
def test_conditional_flows_of_a_task(x: int, opened: list[str]) -> None:
    text = process(
        start(),
        user("u", more='default="f_u_d"'),
        user("a", "b", "d"),
        end(),
        flows("s > u", "u > a if x > 1", "u > b if x > 2", "u > d", "a > e", "b > e", "d > e"),
    )
    case = Case(text)
    case.do("u", x=x)
    assert case.ready == opened
    assert f"take f_u_{opened[0]}" in case.told
    for name in opened:
        case.do(name)
    assert case.state == "completed"


def test_several_flows_of_a_task_and_of_a_boundary_event_are_parallel() -> None:
    text = process(
        start(),
        user("u", "a", "b", "c", "k"),
        boundary("x", "u", MESSAGE),
        gateway("parallel", "j"),
        end(),
        flows("s > u > a > j > e", "u > b > j", "x > c > e", "x > k > e"),
    )
    case = Case(text)
    case.do("u")
    assert case.ready == ["a", "b"]
    other = Case(text)
    other.give("message", name="go", payload={})
    assert other.ready == ["c", "k"]


def test_scripts_before_and_after_a_task_are_steps_of_their_own() -> None:
    extension = (
        "<extensionElements><spiffworkflow:preScript>asked = name.upper()</spiffworkflow:preScript>"
        "<spiffworkflow:postScript>double = x * 2</spiffworkflow:postScript></extensionElements>"
    )
    case = Case(
        process(start(), user("u", inside=extension), user("v"), end(), flows("s > u > v > e")), {"name": "gate"}
    )
    assert case.results[0].opened[0].data["asked"] == "GATE"
    result = case.do("u", x=None)
    [(task_id, element, _message)] = result.incidents
    assert element == "u"
    result = case.give("retry", task=str(task_id), data={"x": 21})
    assert result.opened[0].data["double"] == 42
    assert "take f_u_v" in case.told


# ---- event sub-processes

EVENTS = {
    "message": MESSAGE,
    "signal": SIGNAL,
    "timer": timer("timeDuration", "PT1H"),
    "error": ERROR,
    "escalation": ESCALATION,
}
CASES = [
    (kind, interrupting, level)
    for kind in EVENTS
    for interrupting in (True, False)
    for level in ("process", "subprocess")
    if interrupting or kind != "error"
]


@pytest.mark.parametrize(("kind", "interrupting", "level"), CASES)
def test_an_event_subprocess_starts_on_its_event_only_and_sees_the_data_of_its_scope(
    kind: str, interrupting: bool, level: str
) -> None:
    thrown_inside = kind in ("error", "escalation")
    body = (
        start("s1"),
        user("u", "v", "o"),
        gateway("parallel", "f"),
        end("ev", EVENTS[kind] if thrown_inside else ""),
        end("eo"),
        flows("s1 > u > f > v > ev", "f > o > eo"),
        handler("h", EVENTS[kind], user("handle"), end("he"), flows("h_s > handle > he"), interrupting=interrupting),
    )
    if level == "process":
        text = process(*body)
    else:
        text = process(start(), subprocess("sp", *body), user("after"), end(), flows("s > sp > after > e"))
    case = Case(text, {"seen": 0})
    assert case.ready == ["u"]
    case.do("u", seen=7)
    assert case.ready == ["o", "v"]
    if thrown_inside:
        result = case.do("v")
    elif kind == "timer":
        case.at = case.live.due_at or T0
        result = case.give("timer")
    else:
        result = case.give(kind, name={"message": "go", "signal": "alarm"}[kind], payload={})
    rest = [] if interrupting else ["o"] if thrown_inside else ["o", "v"]
    assert case.ready == sorted(["handle", *rest])
    assert next(task.data["seen"] for task in result.opened if task.element == "handle") == 7
    assert "enter h" in case.told
    if interrupting:
        assert "cancel o" in case.told
    while case.ready:
        case.do(case.ready[0])
    assert case.state == "completed"
    assert case.left("after") == (level == "subprocess")


def test_an_event_subprocess_of_the_process_works_with_lanes() -> None:
    lanes = (
        '<laneSet id="ls"><lane id="lane_office" name="办公室"><flowNodeRef>s</flowNodeRef><flowNodeRef>u</flowNodeRef>'
        '</lane><lane id="lane_archive" name="档案"><flowNodeRef>v</flowNodeRef><flowNodeRef>e</flowNodeRef>'
        "<flowNodeRef>withdraw</flowNodeRef></lane></laneSet>"
    )
    text = process(
        lanes,
        start(),
        user("u", "v"),
        end(),
        flows("s > u > v > e"),
        handler("withdraw", MESSAGE, user("note"), end("we"), flows("withdraw_s > note > we")),
    )
    case = Case(text)
    elements = case.live.definition.elements
    assert {name: elements[name].lane_id for name in ("u", "v", "note")} == {
        "u": "lane_office",
        "v": "lane_archive",
        "note": "lane_archive",
    }
    case.do("u")
    result = case.give("message", name="go", payload={"reason": "found it"})
    assert [how for _, how in result.closed] == ["cancelled"]
    assert case.told == [
        "cancel v",
        "enter withdraw",
        "enter withdraw_s",
        "leave withdraw_s",
        "take f_withdraw_s_note",
        "enter note",
    ]
    case.do("note")
    assert case.state == "completed"


def test_one_instance_that_was_withdrawn_does_not_touch_the_next() -> None:
    text = process(
        start(),
        user("u"),
        end(),
        flows("s > u > e"),
        handler("w", MESSAGE, user("note"), end("we"), flows("w_s > note > we")),
    )
    first = Case(text, seed="first")
    first.give("message", name="go", payload={})
    second = Case(text, seed="second")
    assert second.ready == ["u"]
