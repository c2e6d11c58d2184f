"""A running instance goes over to another version: what is active keeps its place, what cannot is refused by name."""

import pytest
from case import Case
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
    timer,
    user,
)

from engine.spiff import RefusedInputError, compile_definition

LINE = process(start(), user("a", "b"), end(), flows("s > a > b > e"))
LONGER = process(start(), user("a", "b", "c"), end(), flows("s > a > b > c > e"))
AHEAD = process(start(), user("a", "b", "c"), end(), flows("s > a > c > b > e"))
BEHIND = process(start(), user("n", "a", "b"), end(), flows("s > n > a > b > e"))
FORK = process(
    start(), user("a", "b", "c"), gateway("parallel", "fork", "join"), end(),
    flows("s > fork > a > join > c > e", "fork > b > join"),
)  # fmt: skip


def fit(case: Case, text: str):
    return case.live.fit(compile_definition({"test.bpmn": text}, "P"))


def refused(case: Case, text: str, code: str, element: str) -> None:
    """The preview names it, the migration refuses it, and the case goes on as though nobody had asked."""
    assert (code, element) in fit(case, text).refused
    with pytest.raises(RefusedInputError, match=element):
        case.migrate(text)


# ---- what fits


@pytest.mark.parametrize("longer", [LONGER, AHEAD])
def test_a_step_that_was_added_after_the_position_is_done(longer):
    case = Case(LINE)
    before = case.task("a")
    case.migrate(longer)
    assert case.task("a") == before
    assert case.results[-1].events == []
    for name in ("a", *(["b", "c"] if longer is LONGER else ["c", "b"])):
        assert case.ready == [name]
        case.do(name, **{name: 1})
    assert (case.state, case.data) == ("completed", {"a": 1, "b": 1, "c": 1})


def test_a_step_that_was_added_before_the_position_is_skipped_and_said_to_be():
    case = Case(LINE)
    case.do("a")
    assert fit(case, BEHIND).skipped == ["n"]
    case.migrate(BEHIND)
    case.do("b")
    assert case.state == "completed"


def test_what_has_been_done_may_be_gone_and_come_back():
    case = Case(LINE)
    case.do("a", who="me")
    without = process(start(), user("b"), end(), flows("s > b > e"))
    case.migrate(without)
    case.migrate(LINE)
    case.migrate(without)
    case.do("b")
    assert (case.state, case.data) == ("completed", {"who": "me"})


def test_a_condition_ahead_is_the_new_one():
    def asking(limit: int) -> str:
        return process(
            start(), user("a", "many", "few"), gateway("exclusive", "g", default="f_g_few"), end(),
            flows("s > a > g", f"g > many if n > {limit}", "g > few > e", "many > e"),
        )  # fmt: skip

    case = Case(asking(1))
    case.migrate(asking(10))
    case.do("a", n=5)
    assert case.ready == ["few"]


def test_a_script_that_failed_is_tried_again_as_the_new_version_has_it():
    def dividing(text: str) -> str:
        return process(start(), script("x", text), user("b"), end(), flows("s > x > b > e"))

    case = Case(dividing("r = 1 / n"), {"n": 0})
    failed = case.results[-1].incidents[0][0]
    case.migrate(dividing("r = 1"))
    case.give("retry", task=str(failed))
    assert (case.ready, case.data["r"]) == (["b"], 1)


def test_a_job_under_way_gives_its_result_to_the_new_version():
    case = Case(process(start(), service("x", result="r"), end(), flows("s > x > e")))
    case.migrate(process(start(), service("x", result="r"), user("b"), end(), flows("s > x > b > e")))
    case.finish("x", 7)
    assert (case.ready, case.data) == (["b"], {"r": 7})


def test_a_timer_that_waits_keeps_its_time():
    def watched(*more: str) -> str:
        return process(
            start(), user("a", "late", *more), boundary("t", "a", timer("timeDuration", "PT2H")), end(), end("e2"),
            flows(" > ".join(("s", "a", *more, "e")), "t > late > e2"),
        )  # fmt: skip

    case = Case(watched())
    due = case.live.due_at
    case.later(hours=1)
    case.migrate(watched("b"))
    assert case.live.due_at == due
    case.later(hours=1)
    assert case.ready == ["late"]


def test_branches_go_on_and_meet_at_their_join():
    case = Case(FORK)
    case.do("a", x=1)
    longer = process(
        start(), user("a", "b", "b2", "c"), gateway("parallel", "fork", "join"), end(),
        flows("s > fork > a > join > c > e", "fork > b > b2 > join"),
    )  # fmt: skip
    case.migrate(longer)
    case.do("b", y=1)
    case.do("b2")
    assert case.ready == ["c"]
    assert case.data == {"x": 1, "y": 1}


def test_inside_a_sub_process_and_a_called_process_the_new_version_holds():
    def scopes(*more: str) -> dict[str, str]:
        path = " > ".join(("is", "i", *more, "ie"))
        inner = process(start("is"), user("i", *more), end("ie"), flows(path), id="Q")
        sub = subprocess("sub", start("ss"), user("x", *(f"x{one}" for one in more)), end("se"),
                         flows(" > ".join(("ss", "x", *(f"x{one}" for one in more), "se"))))  # fmt: skip
        call = '<callActivity id="call" calledElement="Q"/>'
        outer = process(start(), sub, call, end(), flows("s > sub > call > e"))
        return {"p.bpmn": outer, "q.bpmn": inner}

    case = Case(scopes())
    case.migrate(scopes("n"))
    case.do("x", v=1)
    case.do("xn")
    assert case.ready == ["i"]
    case.migrate(scopes("n", "m"))
    for name in ("i", "n", "m"):
        case.do(name)
    assert (case.state, case.data) == ("completed", {"v": 1})


@pytest.mark.parametrize("sequential", [False, True])
def test_a_multi_instance_activity_goes_on_when_it_repeats_in_the_same_way(sequential):
    def many(*more: str) -> str:
        loop = instances("list", output="out", output_item="got", sequential=sequential)
        return process(start(), user("a", inside=loop), user("b", *more), end(),
                       flows(" > ".join(("s", "a", *more, "b", "e"))))  # fmt: skip

    case = Case(many(), {"list": [1, 2, 3]})
    case.do("a", got="x")
    case.migrate(many("c"))
    case.do("a", got="y")
    case.do("a", got="z")
    assert (case.ready, case.data["out"]) == (["c"], ["x", "y", "z"])


def test_a_suspended_instance_goes_over_and_stays_suspended():
    case = Case(LINE)
    case.give("suspend")
    case.migrate(LONGER)
    assert case.state == "suspended"
    case.give("resume")
    for name in ("a", "b", "c"):
        case.do(name)
    assert case.state == "completed"


def test_an_event_based_gateway_still_waits_for_each_of_its_events():
    def waiting(*more: str) -> str:
        return process(
            start(), gateway("eventBased", "g"), catch("m1", MESSAGE), catch("t1", timer("timeDuration", "PT1H")),
            user("a", *more), end(), end("e2"),
            flows(" > ".join(("s", "g", "m1", "a", *more, "e")), "g > t1 > e2"),
        )  # fmt: skip

    case = Case(waiting())
    case.migrate(waiting("b"))
    case.give("message", name="go")
    case.do("a")
    assert case.ready == ["b"]


# ---- what is refused


def test_an_active_task_that_is_gone_is_refused():
    case = Case(LINE)
    case.do("a")
    refused(case, process(start(), user("a", "c"), end(), flows("s > a > c > e")), "removed", "b")
    case.do("b")
    assert case.state == "completed"


def test_an_active_task_that_became_something_else_is_refused():
    other = process(start(), service("a"), user("b"), end(), flows("s > a > b > e"))
    refused(Case(LINE), other, "type-changed", "a")


def test_an_active_task_that_lies_elsewhere_is_refused():
    inner = subprocess("sub", start("ss"), user("a"), end("se"), flows("ss > a > se"))
    refused(Case(LINE), process(start(), inner, user("b"), end(), flows("s > sub > b > e")), "moved", "a")
    note = handler("h", MESSAGE, end("he"), flows("h_s > he"))
    refused(Case(LINE), process(start(), user("a", "b"), end(), note, flows("s > a > b > e")), "moved", "a")


def test_a_deadline_that_is_attached_to_an_active_task_is_refused():
    watched = process(
        start(), user("a", "b"), boundary("t", "a", timer("timeDuration", "PT1H")), end(), end("e2"),
        flows("s > a > b > e", "t > e2"),
    )  # fmt: skip
    refused(Case(LINE), watched, "attached-changed", "a")
    refused(Case(watched), LINE, "attached-changed", "a")
    refused(Case(watched), watched.replace("PT1H", "PT2H"), "event-changed", "t")


def test_a_message_that_is_another_one_is_refused():
    def waiting(reference: str) -> str:
        event = f'<messageEventDefinition messageRef="{reference}"/>'
        return process(start(), catch("x", event), end(), flows("s > x > e"))

    refused(Case(waiting("m")), waiting("m2"), "event-changed", "x")


def test_a_job_that_asks_for_something_else_is_refused():
    def job(value: str) -> str:
        return process(start(), service("x", n=value), end(), flows("s > x > e"))

    refused(Case(job("1")), job("2"), "job-changed", "x")


def test_a_multi_instance_activity_that_repeats_otherwise_is_refused():
    def many(**loop: str) -> str:
        return process(start(), user("a", inside=instances("list", **loop)), end(), flows("s > a > e"))

    data = {"list": [1, 2]}
    refused(Case(many(), data), many(until="True"), "multi-instance-changed", "a")
    refused(Case(many(), data), process(start(), user("a"), end(), flows("s > a > e")), "type-changed", "a")


def test_a_call_of_another_process_is_refused():
    def calling(called: str) -> dict[str, str]:
        inner = {f"{one}.bpmn": process(start(), user("i"), end(), flows("s > i > e"), id=one) for one in ("Q", "R")}
        return {"p.bpmn": process(start("ps"), f'<callActivity id="call" calledElement="{called}"/>', end("pe"),
                                  flows("ps > call > pe")), **inner}  # fmt: skip

    case = Case(calling("Q"))
    with pytest.raises(RefusedInputError, match="calls another process"):
        case.migrate(calling("R"))


def test_a_join_that_holds_a_token_and_joins_other_branches_is_refused():
    three = process(
        start(), user("a", "b", "c", "d"), gateway("parallel", "fork", "join"), end(),
        flows("s > fork > a > join > c > e", "fork > b > join", "fork > d > join"),
    )  # fmt: skip
    case = Case(FORK)
    refused(case, three, "never-joined", "join")
    case.do("a")
    refused(case, three, "never-joined", "join")
    longer = process(
        start(), user("a", "n", "b", "c"), gateway("parallel", "fork", "join"), end(),
        flows("s > fork > a > n > join > c > e", "fork > b > join"),
    )  # fmt: skip
    refused(case, longer, "join-changed", "join")


def test_a_task_that_came_into_a_branch_would_wait_for_ever_and_is_refused():
    line = process(start(), user("a", "c"), end(), flows("s > a > c > e"))
    refused(Case(line), FORK, "never-joined", "join")


def test_a_fork_that_lies_ahead_with_its_join_is_fine():
    case = Case(LINE)
    case.migrate(process(
        start(), user("a", "b", "c"), gateway("parallel", "fork", "join"), end(),
        flows("s > a > fork > b > join > e", "fork > c > join"),
    ))  # fmt: skip
    for name in ("a", "b", "c"):
        case.do(name)
    assert case.state == "completed"


@pytest.mark.parametrize(("path", "twice"), [("s > a > b > c > e", "b"), ("s > b > a > c > e", "a")])
def test_branches_of_which_one_would_do_the_other_one_over_are_refused(path, twice):
    refused(Case(FORK), process(start(), user("a", "b", "c"), end(), flows(path)), "done-twice", twice)


def test_an_error_that_was_caught_leads_on_in_the_new_version():
    def caught(*more: str) -> str:
        return process(
            start(), service("x"), boundary("er1", "x", ERROR), user("r", *more), end(), end("e2"),
            flows("s > x > e", " > ".join(("er1", "r", *more, "e2"))),
        )  # fmt: skip

    case = Case(caught())
    case.fail("x")
    case.migrate(caught("n"))
    case.do("r")
    assert case.ready == ["n"]
