"""Multi-instance activities: order, early end, repetition, and what an instance may see. BPMN 2.0, 13.3.7."""

import itertools

import pytest
from case import Case
from diagram import (
    MESSAGE,
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
    timer,
    user,
)

MEMBERS = {"members": list("abcd"), "again": [False, True]}
OUTER = {"member": "outside", "vote": "before"}


def voting(until: str = "", *, sequential: bool = False, over: str = "members", count: str = "") -> str:
    return process(
        start(),
        gateway("exclusive", "m"),
        user(
            "cast_vote",
            inside=instances(
                over,
                count=count,
                item="member",
                output="votes",
                output_item="vote",
                until=until,
                sequential=sequential,
            ),
        ),
        script("tick", "n = n + 1"),
        gateway("exclusive", "g", default="f_g_e"),
        end(),
        flows("s > m > cast_vote > tick > g", "g > m if n < rounds", "g > e"),
    )


def vote(case: Case, member: object, value: object) -> None:
    task = next(
        task
        for result in reversed(case.results)
        for task in result.opened
        if task.id in case.open() and task.data["member"] == member
    )
    case.give("submit", task=str(task.id), data={"vote": value})


@pytest.mark.parametrize("order", [("a", "b", "c", "d"), ("d", "c", "b", "a"), ("c", "a", "d", "b")])
def test_the_output_is_in_the_order_of_the_input_in_every_round_of_a_loop(order: tuple[str, ...]) -> None:
    case = Case(voting(), {"members": list("abcd"), "n": 0, "rounds": 2})
    for number in (1, 2):
        for member in order:
            vote(case, member, f"{number}{member}")
    assert (case.state, case.data["votes"]) == ("completed", ["2a", "2b", "2c", "2d"])


@pytest.mark.parametrize(
    ("until", "needed"),
    [
        ("sum([1 for v in votes if v == 'yes']) * 2 >= nrOfInstances", 2),
        ("nrOfCompletedInstances >= 3", 3),
        ("vote == 'yes'", 1),
        ("nrOfActiveInstances <= 1", 3),
    ],
)
def test_voting_ends_as_soon_as_the_outcome_is_certain(until: str, needed: int) -> None:
    case = Case(voting(until), {"members": list("abcd"), "n": 0, "rounds": 1})
    for member in "dcba"[:needed]:
        assert case.state == "running"
        vote(case, member, "yes")
    assert (case.state, case.data["votes"]) == ("completed", ["yes"] * needed)
    assert sorted(how for _, how in case.results[-1].closed) == ["cancelled"] * (4 - needed) + ["completed"]
    assert case.told.count("cancel cast_vote") == 4 - needed


def test_a_sequential_activity_asks_one_after_the_other_and_may_end_early() -> None:
    case = Case(voting("nrOfCompletedInstances == 2", sequential=True), {"members": list("abcd"), "n": 0, "rounds": 1})
    assert case.ready == ["cast_vote"]
    vote(case, "a", 1)
    vote(case, "b", 2)
    assert (case.state, case.data["votes"]) == ("completed", [1, 2])


def test_cardinality_counts_instances_in_every_round() -> None:
    case = Case(voting(count="2 + 1"), {"n": 0, "rounds": 2})
    for _ in range(2):
        for number in (2, 0, 1):
            vote(case, number, number)
    assert (case.state, case.data["votes"]) == ("completed", [0, 1, 2])


def test_the_input_may_be_an_expression_and_the_item_does_not_leak() -> None:
    case = Case(voting(over="committee.members"), {"committee": {"members": ["x"]}, "n": 0, "rounds": 1})
    vote(case, "x", "yes")
    assert case.data == {"committee": {"members": ["x"]}, "n": 1, "rounds": 1, "votes": ["yes"]}


def test_an_instance_that_sets_no_output_counts_as_null() -> None:
    case = Case(voting(), {"members": ["a", "b"], "n": 0, "rounds": 1})
    case.do("cast_vote")
    case.do("cast_vote", vote="yes")
    assert case.data["votes"] == [None, "yes"]


def test_nobody_to_ask_is_over_at_once() -> None:
    case = Case(voting(), {"members": [], "n": 0, "rounds": 1})
    assert (case.state, case.data["votes"]) == ("completed", [])
    assert "enter cast_vote" in case.told


def test_an_object_gives_an_object() -> None:
    case = Case(voting(), {"members": {"q": 1, "p": 2}, "n": 0, "rounds": 1})
    vote(case, 2, "two")
    vote(case, 1, "one")
    assert case.data["votes"] == {"q": "one", "p": "two"}


@pytest.mark.parametrize("members", ["abc", 5, None])
def test_something_that_is_no_list_is_an_incident_that_can_be_repaired(members: object) -> None:
    case = Case(voting(), {"members": members, "n": 0, "rounds": 1})
    [(task_id, element, message)] = case.results[0].incidents
    assert element == "cast_vote"
    assert "not a list" in str(message)
    case.give("retry", task=str(task_id), data={"members": ["a"]})
    vote(case, "a", "yes")
    assert case.data["votes"] == ["yes"]


def test_a_condition_that_fails_is_an_incident_while_the_others_go_on() -> None:
    case = Case(voting("votes[0].weight > limit"), {"members": ["a", "b"], "n": 0, "rounds": 1})
    vote(case, "b", {"weight": 1})
    [(task_id, element, _message)] = case.results[-1].incidents
    assert (element, case.ready, case.told[-1]) == ("cast_vote", ["cast_vote"], "fail cast_vote")
    case.give("retry", task=str(task_id), data={"limit": 3})
    assert case.ready == ["cast_vote"]
    vote(case, "a", {"weight": 5})
    assert (case.state, len(case.data["votes"])) == ("completed", 2)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[:3])
def test_without_an_output_collection_what_the_instances_changed_is_merged(order: tuple[int, ...]) -> None:
    text = process(start(), user("u", inside=instances("items")), end(), flows("s > u > e"))
    case = Case(text, {"items": ["p", "q", "r"], "seen": {}, "log": ["x"]})
    opened = case.results[0].opened
    for place in order:
        item = opened[place].data["item"]
        case.give("submit", task=str(opened[place].id), data={"seen": {item: place}, "log": ["x", item]})
    assert case.data["seen"] == {"p": 0, "q": 1, "r": 2}
    assert sorted(case.data["log"]) == ["p", "q", "r", "x"]
    assert "item" not in case.data


def test_an_interrupting_event_on_a_multi_instance_subprocess_ends_everything_inside() -> None:
    body = subprocess(
        "sp", instances(count="3"), start("is"), service("x"), user("y"), end("ie"), flows("is > x > y > ie")
    )
    text = process(
        start(),
        body,
        boundary("stop", "sp", MESSAGE),
        boundary("late", "sp", timer("timeDuration", "PT1H"), interrupting=False),
        user("fix", "remind"),
        end(),
        end("e2"),
        flows("s > sp > e", "stop > fix > e", "late > remind > e2"),
    )
    case = Case(text)
    case.finish("x")
    case.later(hours=1)
    assert case.ready == ["remind", "y"]
    result = case.give("message", name="go", payload={})
    assert len(result.ended_jobs) == 2
    assert [how for _, how in result.closed] == ["cancelled"]
    assert (case.ready, case.jobs()) == (["fix", "remind"], {})
    case.do("fix")
    case.do("remind")
    assert case.state == "completed"


def test_a_loop_inside_a_loop_keeps_its_items_apart() -> None:
    inner = subprocess(
        "inspect",
        instances("rooms", item="room", output="all", output_item="done"),
        start("is"),
        user("look", inside=instances("room.cameras", item="camera", output="seen", output_item="ok")),
        script("sum_up", "done = [room['name'], seen]"),
        end("ie"),
        flows("is > look > sum_up > ie"),
    )
    case = Case(
        process(start(), inner, end(), flows("s > inspect > e")),
        {"rooms": [{"name": "hall", "cameras": [1, 2]}, {"name": "roof", "cameras": [3]}]},
    )
    for task in reversed(case.results[0].opened):
        case.give("submit", task=str(task.id), data={"ok": task.data["camera"] * 10})
    assert case.data["all"] == [["hall", [10, 20]], ["roof", [30]]]


def test_a_standard_loop_repeats_while_its_condition_holds() -> None:
    loop = '<standardLoopCharacteristics loopMaximum="5"><loopCondition>n &lt; 2</loopCondition>'
    text = process(start(), user("a", inside=loop + "</standardLoopCharacteristics>"), end(), flows("s > a > e"))
    case = Case(text, {"n": 0})
    case.do("a", n=1)
    case.do("a", n=2)
    assert (case.state, case.left("a")) == ("completed", 2)


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("output", ["", "votes"])
def test_a_variable_with_the_name_of_the_item_is_there_again_afterwards(output: str, sequential: bool) -> None:
    loop = instances("members", item="member", output=output, output_item="vote" * bool(output), sequential=sequential)
    case = Case(process(start(), user("u", inside=loop), end(), flows("s > u > e")), {"members": ["a", "b"]} | OUTER)
    for member in ("a", "b"):
        assert case.live.task_data(case.task("u"))["member"] == member
        case.do("u")
    assert {key: case.data[key] for key in OUTER} == OUTER
    assert case.data.get("votes") == ([None, None] if output else None)
