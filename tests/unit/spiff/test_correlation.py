"""Messages that are correlated, signals that leave the instance, and the events that start a process."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from case import T0, Case
from diagram import (
    MESSAGE,
    SIGNAL,
    boundary,
    catch,
    end,
    flows,
    gateway,
    handler,
    instances,
    process,
    start,
    subprocess,
    throw,
    timer,
    user,
)

from engine.errors import ExpressionError
from engine.spiff import RefusedInputError, Subscription, compile_definition, following

ORDER = (
    '<collaboration id="C"><participant id="we" processRef="P"/><correlationKey id="k" name="order">'
    "<correlationPropertyRef>p</correlationPropertyRef></correlationKey></collaboration>"
    '<correlationProperty id="p" name="number">'
    '<correlationPropertyRetrievalExpression messageRef="m"><messagePath>order.number</messagePath>'
    '</correlationPropertyRetrievalExpression><correlationPropertyRetrievalExpression messageRef="m2">'
    "<messagePath>number</messagePath></correlationPropertyRetrievalExpression></correlationProperty>"
)
STOP = '<messageEventDefinition messageRef="m2"/>'


def correlated(text: str, roots: str = ORDER) -> str:
    """`go` carries its order number at `order.number`, `stop` at `number`."""
    return text.replace("<process ", f"{roots}<process ", 1)


def sending(payload: str, reference: str = "m") -> str:
    return (
        f'<messageEventDefinition messageRef="{reference}"><extensionElements><spiffworkflow:messagePayload>'
        f"{payload}</spiffworkflow:messagePayload></extensionElements></messageEventDefinition>"
    )


def keeping(variable: str, reference: str = "m") -> str:
    return (
        f'<messageEventDefinition messageRef="{reference}"><extensionElements><spiffworkflow:messageVariable>'
        f"{variable}</spiffworkflow:messageVariable></extensionElements></messageEventDefinition>"
    )


ASKING = correlated(
    process(
        start(),
        throw("ask", sending("{'order': {'number': number}}")),
        catch("answer", keeping("reply", "m2")),
        user("u"),
        end(),
        flows("s > ask > answer > u > e"),
    )
)


def refuses(case: Case, name: str, payload: Any) -> bool:
    with pytest.raises(RefusedInputError, match="does not wait"):
        case.give("message", name=name, payload=payload)
    return True


def test_who_has_sent_a_message_takes_only_the_answer_with_the_same_key() -> None:
    case = Case(ASKING, {"number": 7})
    assert [(one.element, one.kind, one.name, one.payload) for one in case.results[0].thrown] == [
        ("ask", "message", "go", {"order": {"number": 7}})
    ]
    assert refuses(case, "stop", {"number": 8})
    assert refuses(case, "stop", {"number": "7"})
    assert refuses(case, "stop", {})
    assert refuses(case, "stop", [7])
    assert case.give("message", name="stop", payload={"number": 7, "ok": True}).opened[0].data["reply"]["ok"] is True


def test_what_an_instance_waits_for_matches_what_the_message_carries() -> None:
    case = Case(ASKING, {"number": 7})
    (waiting,) = case.results[0].subscribed
    definition = case.live.definition
    assert (waiting.kind, waiting.name) == ("message", "stop")
    assert waiting.correlation in definition.carried("stop", {"number": 7}, T0)
    assert waiting.correlation not in definition.carried("stop", {"number": 8}, T0)
    assert definition.carried("stop", {}, T0) == set()
    assert definition.carried("unknown", {"number": 7}, T0) == set()
    assert case.give("message", name="stop", payload={"number": 7}).unsubscribed == [waiting]


def test_the_first_message_that_an_instance_catches_makes_its_key_known() -> None:
    text = correlated(
        process(
            start(),
            catch("first", MESSAGE),
            catch("second", STOP),
            user("u"),
            end(),
            flows("s > first > second > u > e"),
        )
    )
    case = Case(text)
    assert case.results[0].subscribed == [Subscription("message", "go")]
    case.give("message", name="go", payload={"order": {"number": 1}})
    assert refuses(case, "stop", {"number": 2})
    case.give("message", name="stop", payload={"number": 1})
    assert case.ready == ["u"]


SUBSCRIPTION = (
    '<correlationSubscription id="cs" correlationKeyRef="k"><correlationPropertyBinding correlationPropertyRef="p">'
    "<dataPath>mine</dataPath></correlationPropertyBinding></correlationSubscription>"
)


def test_a_correlation_subscription_takes_the_key_from_the_data_of_the_instance() -> None:
    case = Case(
        correlated(process(SUBSCRIPTION, start(), user("u"), catch("c", STOP), end(), flows("s > u > c > e"))),
        {"mine": 1},
    )
    case.do("u", mine=5)
    assert refuses(case, "stop", {"number": 1})
    assert case.give("message", name="stop", payload={"number": 5}).state == "completed"


def test_a_correlation_subscription_holds_behind_an_event_based_gateway_and_in_an_event_sub_process_too() -> None:
    text = correlated(
        process(
            SUBSCRIPTION,
            start(),
            gateway("eventBased", "g"),
            catch("c", STOP),
            catch("t", timer("timeDuration", "P9D")),
            end(),
            end("e2"),
            flows("s > g > c > e", "g > t > e2"),
            handler(
                "h",
                sending("1").replace("extensionElements", "documentation"),
                user("w"),
                end("he"),
                flows("h_s > w > he"),
            ),
        )
    )
    case = Case(text, {"mine": 5})
    assert refuses(case, "stop", {"number": 4})
    assert refuses(case, "go", {"order": {"number": 4}})
    case.give("message", name="go", payload={"order": {"number": 5}})
    assert case.ready == ["w"]


def test_parallel_conversations_keep_keys_of_their_own() -> None:
    each = subprocess(
        "each",
        instances("numbers", item="number"),
        start("is"),
        throw("ask", sending("{'order': {'number': number}}")),
        catch("answer", keeping("reply", "m2")),
        user("u"),
        end("ie"),
        flows("is > ask > answer > u > ie"),
    )
    case = Case(correlated(process(start(), each, end(), flows("s > each > e"))), {"numbers": [1, 2]})
    assert [one.payload["order"]["number"] for one in case.results[0].thrown] == [1, 2]
    case.give("message", name="stop", payload={"number": 2, "text": "two"})
    (opened,) = case.results[-1].opened
    assert (opened.data["number"], opened.data["reply"]["text"]) == (2, "two")
    assert refuses(case, "stop", {"number": 2})
    case.give("message", name="stop", payload={"number": 1})
    assert case.ready == ["u", "u"]


def test_a_message_whose_payload_lacks_its_key_is_an_incident_where_it_is_thrown() -> None:
    case = Case(correlated(process(start(), throw("ask", sending("{'number': 1}")), end(), flows("s > ask > e"))))
    assert [element for _task, element, _text in case.results[0].incidents] == ["ask"]
    assert case.results[0].thrown == []


@pytest.mark.parametrize("name", ["incident", "event_fired", "job", "caught"])
def test_a_message_may_have_any_name(name: str) -> None:
    text = process(start(), catch("c", keeping("answer")), user("u"), end(), flows("s > c > u > e"))
    case = Case(text.replace('name="go"', f'name="{name}"'))
    case.give("message", name=name, payload={"a": 1})
    assert (case.data, case.ready) == ({"answer": {"a": 1}}, ["u"])


def test_a_signal_reaches_who_waits_inside_and_leaves_the_instance_all_the_same() -> None:
    text = process(
        start(), gateway("parallel", "f"), user("a", "b"), end("se", SIGNAL), catch("c", SIGNAL), end(),
        flows("s > f > a > se", "f > c > b > e"),
    )  # fmt: skip
    case = Case(text)
    assert case.results[0].subscribed == [Subscription("signal", "alarm")]
    result = case.do("a")
    assert case.ready == ["b"]
    assert [(one.element, one.kind, one.name) for one in result.thrown] == [("se", "signal", "alarm")]


def test_what_waits_in_a_cancelled_activity_is_no_longer_waited_for() -> None:
    text = process(start(), user("u"), boundary("b", "u", MESSAGE), end(), end("e2"), flows("s > u > e", "b > e2"))
    case = Case(text)
    assert case.do("u").unsubscribed == [Subscription("message", "go")]


def test_a_message_says_how_long_it_waits_for_its_receiver() -> None:
    lives = (
        '<message id="m" name="go"><extensionElements><spiffworkflow:properties>'
        '<spiffworkflow:property name="timeToLive" value="PT2H"/>'
        "</spiffworkflow:properties></extensionElements></message>"
    )
    text = process(start(), '<sendTask id="t" messageRef="m"/>', end("e", MESSAGE), flows("s > t > e"))
    case = Case(text.replace('<message id="m" name="go"/>', lives))
    assert [(one.element, one.time_to_live) for one in case.results[0].thrown] == [("t", "PT2H"), ("e", "PT2H")]


# ---- start events

STARTS = process(
    start("plain"),
    start("by_message", keeping("request")),
    start("by_signal", SIGNAL),
    start("by_time", timer("timeCycle", "R3/PT1H")),
    user("u1", "u2", "u3", "u4"),
    end(),
    flows("plain > u1 > e", "by_message > u2 > e", "by_signal > u3 > e", "by_time > u4 > e"),
)


@pytest.mark.parametrize(
    ("event", "opened"), [("", "u1"), ("by_message", "u2"), ("by_signal", "u3"), ("by_time", "u4")]
)
def test_an_instance_starts_at_one_of_its_start_events(event: str, opened: str) -> None:
    case = Case(STARTS, event=event, payload={"n": 1})
    assert case.ready == [opened]
    assert case.data == ({"request": {"n": 1}} if event == "by_message" else {})
    assert case.told == [
        f"enter {event or 'plain'}",
        f"leave {event or 'plain'}",
        f"take f_{event or 'plain'}_{opened}",
        f"enter {opened}",
    ]
    case.do(opened)
    assert case.state == "completed"


def test_the_events_that_start_a_process_are_listed() -> None:
    found = compile_definition({"test.bpmn": STARTS}, "P").triggers
    assert [(one.element, one.kind, one.name) for one in found] == [
        ("by_message", "message", "go"),
        ("by_signal", "signal", "alarm"),
        ("by_time", "timer", ""),
    ]


def test_a_process_without_a_plain_start_event_cannot_be_started_by_hand() -> None:
    text = process(start("s", MESSAGE), user("u"), end(), flows("s > u > e"))
    with pytest.raises(RefusedInputError, match="nobody can start it by hand"):
        Case(text)
    for event in ("u", "nothing"):
        with pytest.raises(RefusedInputError, match="no event that starts"):
            Case(text, event=event)


def test_a_message_start_makes_the_key_known() -> None:
    text = correlated(process(start("s", MESSAGE), catch("c", STOP), end(), flows("s > c > e")))
    case = Case(text, event="s", payload={"order": {"number": 3}})
    assert refuses(case, "stop", {"number": 4})
    assert case.give("message", name="stop", payload={"number": 3}).state == "completed"
    with pytest.raises(RefusedInputError, match="lacks what the process compares"):
        Case(text, event="s", payload={"order": {}})


def test_a_process_with_an_event_sub_process_is_started_by_a_message_too() -> None:
    text = correlated(
        process(
            start("s", keeping("request")),
            user("u"),
            end(),
            flows("s > u > e"),
            handler("h", STOP, user("w"), end("he"), flows("h_s > w > he")),
        )
    )
    case = Case(text, event="s", payload={"order": {"number": 3}})
    assert (case.ready, case.data) == (["u"], {"request": {"order": {"number": 3}}})
    assert refuses(case, "stop", {"number": 4})
    case.give("message", name="stop", payload={"number": 3})
    assert case.ready == ["w"]


def test_a_called_process_starts_where_it_waits_for_nothing() -> None:
    caller = process(start(), '<callActivity id="c" calledElement="Q"/>', end(), flows("s > c > e"))
    called = process(
        start("s"), start("m_s", MESSAGE), user("u", "v"), end(), flows("s > u > e", "m_s > v > e"), id="Q"
    )
    case = Case({"test.bpmn": caller, "called.bpmn": called})
    assert case.ready == ["u"]
    case.do("u")
    assert case.state == "completed"


# ---- when a timer starts a process


def due(text: str, kind: str) -> dict[str, Any] | None:
    diagram = process(start("s", timer(kind, text)), end(), flows("s > e"))
    (trigger,) = compile_definition({"test.bpmn": diagram}, "P").triggers
    return trigger.first(T0)


def hours(schedule: dict[str, Any] | None) -> float:
    assert schedule is not None
    return (datetime.fromisoformat(schedule["next"]) - T0) / timedelta(hours=1)


@pytest.mark.parametrize(
    ("kind", "text", "first", "cycles"),
    [
        ("timeDate", "2026-01-05T03:00:00Z", 2, 1),
        ("timeDuration", "PT30M", 0.5, 1),
        ("timeDuration", "'PT' + '1H'", 1, 1),
        ("timeCycle", "R3/PT1H", 1, 3),
        ("timeCycle", "R/P1D", 24, -1),
        ("timeCycle", "R5/2026-01-04T00:00:00Z/PT12H", 11, 2),
        ("timeCycle", "R/2026-01-01T03:30:00Z/P1D", 2.5, -1),
    ],
)
def test_the_first_start_by_a_timer_comes_after_the_deployment(kind: str, text: str, first: float, cycles: int) -> None:
    schedule = due(text, kind)
    assert (hours(schedule), (schedule or {})["cycles"]) == (first, cycles)


@pytest.mark.parametrize("text", ["2026-01-05T01:00:00Z", "2025-12-31T00:00:00Z"])
def test_a_date_that_was_over_at_the_deployment_starts_nothing(text: str) -> None:
    assert due(text, "timeDate") is None


def test_starts_that_were_missed_count_but_are_made_up_for_once_only() -> None:
    schedule = due("R5/PT1H", "timeCycle")
    assert schedule is not None
    left = following(schedule, T0 + timedelta(hours=3, minutes=20))
    assert left is not None
    assert (hours(left), left["cycles"]) == (4, 2)
    assert following(left, T0 + timedelta(days=1)) is None


def test_a_start_timer_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ExpressionError):
        due("'soon'", "timeDuration")
