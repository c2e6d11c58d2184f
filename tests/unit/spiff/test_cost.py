"""What one step costs grows with what is under way, not with its square: counted in calls, not in seconds."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from case import T0
from diagram import SIGNAL, boundary, catch, end, flows, gateway, process, script, start, throw, timer, user
from SpiffWorkflow.bpmn.specs.mixins.events.event_types import CatchingEvent
from SpiffWorkflow.task import Task

from engine.spiff import Execution, Input, RefusedInputError, compile_definition, joins

Calls = list[Any]


def leaving_a_token_each_round(*parts: str, way: str) -> str:
    """A loop without waiting, in which each round sends a token along `way`."""
    return process(
        start(),
        gateway("exclusive", "m"),
        gateway("parallel", "f"),
        script("count", "n = n + 1"),
        gateway("exclusive", "g", default="f_g_last"),
        user("last"),
        *parts,
        end(),
        flows("s > m > f > count > g > last > e", "g > m if n < rounds", f"f > {way}"),
    )


def begin(text: str, rounds: int) -> Execution:
    live = Execution(compile_definition({"test.bpmn": text}, "P"), UUID(int=1))
    live.apply(Input(1, T0, "start", json.dumps({"data": {"n": 0, "rounds": rounds}})))
    return live


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], Calls]:
    def count(owner: type, name: str) -> Calls:
        calls: Calls = []
        original = getattr(owner, name)

        def counting(self: Any, *args: Any) -> Any:
            calls.append(self)
            return original(self, *args)

        monkeypatch.setattr(owner, name, counting)
        return calls

    return count


def growth(calls: Calls, act: Callable[[int], object]) -> float:
    """How many times as many calls three times as much takes."""
    act(20)
    few = len(calls)
    calls.clear()
    act(60)
    return len(calls) / few


@pytest.mark.parametrize("event", [SIGNAL, timer("timeDuration", "PT1H"), timer("timeDate", "'2031-01-01T00:00:00Z'")])
def test_what_waits_for_an_event_is_not_asked_after_every_task(event: str, counted: Any) -> None:
    text = leaving_a_token_each_round(catch("c", event), way="c > e")
    assert growth(counted(CatchingEvent, "_update_hook"), lambda rounds: begin(text, rounds)) < 3.5


@pytest.mark.parametrize("kind", ["parallel", "inclusive"])
def test_tokens_at_a_join_are_counted_once_for_all_of_them(kind: str, counted: Any) -> None:
    more = gateway(kind, "j") + user("other") + flows("f > other > j")
    text = leaving_a_token_each_round(more, way="j > e")
    assert growth(counted(joins.TokenJoin, "_collect"), lambda rounds: begin(text, rounds)) < 3.5


def test_the_data_of_many_tokens_is_put_together_by_one_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    text = leaving_a_token_each_round(user("u"), way="u > e")
    walked: Calls = []
    parent = Task.parent.fget  # type: ignore[attr-defined]  # a property

    def data_of(rounds: int) -> None:
        live = begin(text, rounds)
        walked.clear()
        assert live.data["n"] == rounds

    monkeypatch.setattr(Task, "parent", property(lambda task: (walked.append(task), parent(task))[1]))
    assert growth(walked, data_of) < 3.5


@pytest.mark.long
@pytest.mark.parametrize("way", ["c > e", "j > e", "u > e", "e"])
def test_a_loop_that_leaves_tokens_for_ever_is_refused(way: str) -> None:
    """Each of these took minutes to come to the limit of changes in one step."""
    parts = {"c": catch("c", SIGNAL), "j": gateway("inclusive", "j"), "u": user("u")}
    text = leaving_a_token_each_round(parts.get(way[0], ""), way=way)
    with pytest.raises(RefusedInputError, match="runs in a circle"):
        begin(text, 1_000_000)


@pytest.mark.long
def test_two_events_that_call_one_another_for_ever_are_refused() -> None:
    text = process(
        start(),
        user("u"),
        boundary("b1", "u", SIGNAL, interrupting=False) + boundary("b2", "u", SIGNAL, interrupting=False),
        throw("again1", SIGNAL) + throw("again2", SIGNAL),
        end(),
        flows("s > u > e", "b1 > again1 > e", "b2 > again2 > e"),
    )
    live = begin(text, 0)
    with pytest.raises(RefusedInputError, match="runs in a circle"):
        live.apply(Input(2, T0, "signal", '{"name": "alarm", "payload": {}}'))
