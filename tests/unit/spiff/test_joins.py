"""Joins, in loops too: every order of the branches, with nothing lost between them."""

import json
import random

import pytest
from case import NAMESPACE, T0, Case
from diagram import MESSAGE, boundary, end, flows, gateway, process, script, start, subprocess, user

from engine.spiff import Execution, Input, compile_definition


def in_a_loop(*parts: str, entry: str, last: str, lines: tuple[str, ...], rounds: int = 4) -> str:
    tick = script("tick", "n = n + 1\nwanted = plan[n - 1]\ndrop = False")
    return process(
        start(),
        gateway("exclusive", "m"),
        gateway("exclusive", "g", default="f_g_e"),
        tick,
        *parts,
        end(),
        flows(f"s > m > tick > {entry}", *lines, f"{last} > g", f"g > m if n < {rounds}", "g > e"),
    )


def play(case: Case, seed: int) -> list[str]:
    """Complete open tasks in a random order; each writes variables of its own and into a shared object."""
    chance, done = random.Random(seed), []
    while case.ready:
        task_id, name = chance.choice(sorted(case.open().items(), key=lambda pair: pair[1]))
        n = case.data["n"]
        task = next(task for result in case.results for task in result.opened if task.id == task_id)
        who = {**task.data.get("who", {}), name: n}
        drop = {"drop": n % 2 == 1} if name == "b" else {}
        case.give("submit", task=str(task_id), data={name: n, "who": who, "log": [*task.data["log"], name], **drop})
        done.append(name)
    return done


START = {"n": 0, "plan": ["ab", "a", "b", "ab"], "log": []}


@pytest.mark.parametrize("seed", range(6))
def test_a_parallel_join_in_a_loop_waits_for_both_in_every_round(seed: int) -> None:
    text = in_a_loop(
        gateway("parallel", "f", "j"), user("a", "b"), entry="f", last="j", lines=("f > a > j", "f > b > j")
    )
    case = Case(text, START)
    done = play(case, seed)
    assert [set(done[i : i + 2]) for i in range(0, 8, 2)] == [{"a", "b"}] * 4
    assert case.state == "completed"
    assert (case.data["a"], case.data["b"], case.data["who"]) == (4, 4, {"a": 4, "b": 4})
    assert sorted(case.data["log"]) == ["a"] * 4 + ["b"] * 4


@pytest.mark.parametrize("seed", range(6))
def test_nested_joins_in_a_loop_keep_their_order(seed: int) -> None:
    text = in_a_loop(
        gateway("parallel", "f", "j", "k"),
        user("a", "b", "c", "d"),
        entry="f",
        last="k",
        lines=("f > a > j > d > k", "f > b > j", "f > c > k"),
    )
    case = Case(text, START)
    done = play(case, seed)
    rounds = [done[i : i + 4] for i in range(0, 16, 4)]
    assert all(set(one) == set("abcd") and one.index("d") > max(one.index("a"), one.index("b")) for one in rounds)
    assert case.state == "completed"


@pytest.mark.parametrize("seed", range(6))
def test_an_inclusive_join_in_a_loop_waits_for_the_branches_that_were_taken(seed: int) -> None:
    text = in_a_loop(
        gateway("inclusive", "f", "j"),
        user("a", "b"),
        entry="f",
        last="j",
        lines=("f > a if 'a' in wanted", "f > b if 'b' in wanted", "a > j", "b > j"),
    )
    case = Case(text, START)
    done = play(case, seed)
    assert [set(done[:2]), done[2], done[3], set(done[4:])] == [{"a", "b"}, "a", "b", {"a", "b"}]
    assert case.state == "completed"


@pytest.mark.parametrize("seed", range(6))
def test_an_inclusive_join_does_not_wait_for_a_branch_that_ended_elsewhere(seed: int) -> None:
    text = in_a_loop(
        gateway("inclusive", "f", "j"),
        gateway("exclusive", "x", default="f_x_j"),
        user("a", "b"),
        end("e2"),
        entry="f",
        last="j",
        lines=("f > a if True", "f > b if True", "a > j", "b > x", "x > e2 if drop", "x > j"),
    )
    case = Case(text, START)
    play(case, seed)
    assert case.state == "completed"
    assert case.data["a"] == 4


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_branch_that_leaves_a_variable_alone_does_not_bring_its_old_value_back(order: str) -> None:
    text = process(
        start(),
        gateway("parallel", "f", "j"),
        user("a", "b", "u"),
        end(),
        flows("s > f > a > j > u > e", "f > b > j"),
    )
    case = Case(text, {"x": 1, "kept": {"k": [1]}})
    for name in order:
        result = case.do(name, **({"x": 2} if name == "a" else {}))
    assert result.opened[0].data == {"x": 2, "kept": {"k": [1]}}


def test_branches_that_end_at_different_end_events_are_merged_too() -> None:
    text = process(
        start(), gateway("parallel", "f"), user("a", "b"), end("e1"), end("e2"), flows("s > f > a > e1", "f > b > e2")
    )
    case = Case(text, {"x": 1, "y": 1})
    case.do("a", x=2)
    case.do("b", y=2)
    assert case.data == {"x": 2, "y": 2}


def test_true_and_one_are_different_values_at_a_join() -> None:
    text = process(
        start(), gateway("parallel", "f", "j"), user("a", "b", "u"), end(), flows("s > f > a > j > u > e", "f > b > j")
    )
    case = Case(text, {"x": 1})
    case.do("a", x=True)
    assert case.do("b").opened[0].data["x"] is True


def test_a_loop_without_a_decision_goes_on_until_something_else_ends_it() -> None:
    """The library looks ahead into such a loop for ever."""
    inner = (start("is"), gateway("exclusive", "m"), user("a", "b"), gateway("parallel", "f"), user("c"), end("ie"))
    text = process(
        start(),
        subprocess("sp", *inner, flows("is > f > m > a > b > m", "f > c > ie")),
        boundary("stop", "sp", MESSAGE),
        end(),
        flows("s > sp > e", "stop > e"),
    )
    case = Case(text)
    case.do("c")
    for number in range(20):
        case.do("ab"[number % 2])
    assert (case.ready, case.left("b")) == (["a"], 10)
    case.give("message", name="go", payload={})
    assert case.state == "completed"


def test_a_long_loop_costs_the_same_in_every_round() -> None:
    """Unpruned, the library finds nothing to do in round 501 and calls the process completed."""
    text = process(
        start(),
        user("x"),
        gateway("exclusive", "g", default="f_g_e"),
        end(),
        flows("s > x > g", "g > x if again", "g > e"),
    )
    definition = compile_definition({"test.bpmn": text}, "P")
    execution = Execution(definition, NAMESPACE)
    result = execution.apply(Input(1, T0, "start", '{"data": {}}'))
    largest = 0
    for number in range(700):
        payload = {"task": str(result.opened[0].id), "data": {"again": number < 699, "k": number}}
        result = execution.apply(Input(number + 2, T0, "submit", json.dumps(payload)))
        largest = max(largest, len(execution.snapshot()))
    assert (result.state, result.data["k"]) == ("completed", 699)
    assert largest < 60_000


@pytest.mark.long
def test_a_join_in_a_loop_holds_for_thousands_of_rounds_with_a_reload_every_hundred() -> None:
    """In round 1001 the library would find nothing to do and call the process completed."""
    text = in_a_loop(
        gateway("parallel", "f", "j"),
        user("a", "b"),
        entry="f",
        last="j",
        lines=("f > a > j", "f > b > j"),
        rounds=2100,
    )
    definition = compile_definition({"test.bpmn": text}, "P")
    execution = Execution(definition, NAMESPACE)
    data = {"n": 0, "plan": ["ab"] * 2100, "wanted": "", "drop": False}
    result = execution.apply(Input(1, T0, "start", json.dumps({"data": data})))
    for number in range(2100):
        first, second = sorted(result.opened, key=lambda task: (task.element, number % 2))
        for task in (first, second) if number % 2 else (second, first):
            payload = {"task": str(task.id), "data": {task.element: number}}
            result = execution.apply(Input(execution.seq + 1, T0, "submit", json.dumps(payload)))
        if number % 100 == 99 and result.state == "running":
            execution = Execution(definition, NAMESPACE, execution.snapshot())
    assert (result.state, result.data["n"], result.data["a"], result.data["b"]) == ("completed", 2100, 2099, 2099)
    assert execution.seq == 4201
