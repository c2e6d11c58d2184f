"""What a person may do to a running instance: suspend it, move its tokens, correct its data, begin in the middle."""

from datetime import timedelta
from typing import Any

import pytest
from case import Case
from diagram import (
    ERROR,
    MESSAGE,
    boundary,
    end,
    flows,
    gateway,
    handler,
    process,
    script,
    service,
    start,
    subprocess,
    user,
)

from engine.spiff import Execution, RefusedInputError, compile_definition

TIMER = "<timerEventDefinition><timeDuration>PT1H</timeDuration></timerEventDefinition>"
CYCLE = "<timerEventDefinition><timeCycle>R/PT1H</timeCycle></timerEventDefinition>"
MANY = (
    "<multiInstanceLoopCharacteristics><loopDataInputRef>list</loopDataInputRef>"
    '<inputDataItem id="item" name="item"/></multiInstanceLoopCharacteristics>'
)

LINE = process(start(), user("a", "b", "c"), end(), flows("s > a > b > c > e"))
BRANCHES = process(
    start(),
    user("a", "a2", "b", "c"),
    gateway("parallel", "fork", "join"),
    end(),
    flows("s > fork > a > a2 > join > c > e", "fork > b > join"),
)
SCOPES = process(
    start(),
    user("a"),
    subprocess("sub", start("ss"), user("x", "y"), end("se"), flows("ss > x > y > se")),
    subprocess("each", start("ms"), user("z"), end("me"), flows("ms > z > me"), MANY),
    end(),
    flows("s > a > sub > each > e"),
)
WATCHED = process(
    start(),
    user("a", "b", "late", "told"),
    boundary("deadline", "a", TIMER),
    boundary("notice", "a", MESSAGE, interrupting=False),
    end(),
    end("e2"),
    end("e3"),
    flows("s > a > b > e", "deadline > late > e2", "notice > told > e3"),
)


def modified(case: Case, **change: Any) -> None:
    case.give("modify", reason="a test", **change)


# ---- suspending


def test_a_suspended_instance_takes_nothing_but_its_resumption():
    case = Case(LINE)
    case.give("suspend", reason="the police asked")
    assert (case.state, case.results[-1].events) == ("suspended", [])
    for kind, payload in (
        ("submit", {"task": str(next(iter(case.undecided()))), "data": {}}),
        ("timer", {}),
        ("suspend", {}),
    ):
        with pytest.raises(RefusedInputError, match="suspended"):
            case.give(kind, **payload)
    case.give("resume")
    case.do("a")
    assert case.ready == ["b"]


def test_only_a_suspended_instance_is_resumed():
    with pytest.raises(RefusedInputError, match="not suspended"):
        Case(LINE).give("resume")


def test_a_suspended_instance_can_be_cancelled():
    case = Case(LINE)
    case.give("suspend")
    case.give("cancel", reason="never mind")
    assert case.state == "cancelled"


def test_a_timer_that_became_due_fires_once_at_resumption():
    ticking = process(
        start(), user("a", "told"), boundary("tick", "a", CYCLE, interrupting=False), end(), end("e2"),
        flows("s > a > e", "tick > told > e2"),
    )  # fmt: skip
    case = Case(ticking)
    case.give("suspend")
    assert case.later(hours=0.5) is None
    with pytest.raises(RefusedInputError, match="suspended"):
        case.later(hours=5)
    case.give("resume")
    assert sorted(case.undecided().values()) == ["a", "told"]
    case.later(minutes=30)
    assert sorted(case.undecided().values()) == ["a", "told", "told"]


# ---- moving a token


def test_a_token_is_moved_back_and_forth():
    case = Case(LINE, {"n": 1})
    modified(case, cancel=["a"], start=["c"])
    assert case.ready == ["c"]
    assert case.told == ["cancel a", "enter c"]
    modified(case, cancel=["c"], start=["a"])
    for element in "abc":
        case.do(element, **{element: True})
    assert (case.state, case.data) == ("completed", {"n": 1, "a": True, "b": True, "c": True})


def test_an_activity_is_begun_anew():
    case = Case(process(start(), service("job", n="n"), end(), flows("s > job > e")), {"n": 1})
    modified(case, cancel=["job"], start=["job"], set={"n": 2})
    assert [job.params for job in case.results[-1].jobs] == [{"n": 2}]
    case.finish("job")
    assert case.state == "completed"


def test_a_moved_token_of_a_branch_joins_as_drawn():
    case = Case(BRANCHES, {"list": [0]})
    case.do("b", list=[0, 1])
    case.later(seconds=1)
    modified(case, cancel=["a"], start=["a2"])
    case.do("a2", list=[0, 2])
    assert case.ready == ["c"]
    assert case.data == {"list": [0, 1, 2]}


def test_another_token_forks_off_beside_those_that_are_there():
    case = Case(LINE, {"list": [0]})
    case.do("a", list=[0, 1])
    modified(case, start=["c"])
    assert case.ready == ["b", "c"]
    case.do("c", list=[0, 1, 2])
    assert case.ready == ["b"]
    case.later(seconds=1)
    case.do("b", list=[0, 1, 3])
    assert case.ready == ["c"]
    case.do("c")
    assert (case.state, case.data) == ("completed", {"list": [0, 1, 2, 3]})


def test_a_branch_is_given_up_when_the_other_has_ended():
    two = process(
        start(),
        user("a", "b"),
        gateway("parallel", "fork"),
        end(),
        end("e2"),
        flows("s > fork > a > e", "fork > b > e2"),
    )
    case = Case(two)
    case.do("a", done=1)
    modified(case, cancel=["b"])
    assert (case.state, case.data) == ("completed", {"done": 1})


def test_an_inclusive_join_no_longer_waits_for_a_cancelled_branch():
    inclusive = process(
        start(), user("a", "b", "c"), gateway("inclusive", "fork", "join"), end(),
        flows("s > fork", "fork > a if True", "fork > b if True", "a > join", "b > join", "join > c > e"),
    )  # fmt: skip
    case = Case(inclusive)
    case.do("a")
    modified(case, cancel=["b"])
    assert case.ready == ["c"]


def test_what_is_attached_to_a_cancelled_activity_goes_with_it():
    case = Case(WATCHED)
    case.give("message", name="go")
    modified(case, cancel=["a"], start=["b"])
    assert case.ready == ["b", "told"]
    assert case.live.due_at is None
    case.do("told")
    case.do("b")
    assert case.state == "completed"


def test_what_is_attached_to_a_started_activity_comes_with_it():
    case = Case(WATCHED)
    case.do("a")
    modified(case, cancel=["b"], start=["a"])
    case.later(hours=2)
    assert case.ready == ["late"]
    case.do("late")
    assert case.state == "completed"


def test_a_token_is_moved_inside_a_running_sub_process():
    case = Case(SCOPES, {"list": [1, 2]})
    case.do("a")
    modified(case, cancel=["x"], start=["y"], set={"seen": True})
    case.do("y")
    assert case.ready == ["z", "z"]
    assert case.data["seen"] is True


def test_a_whole_sub_process_is_skipped_or_begun_again():
    case = Case(SCOPES, {"list": [1, 2]})
    case.do("a")
    case.do("x")
    modified(case, cancel=["sub"], start=["each"])
    assert case.ready == ["z", "z"]
    modified(case, cancel=["each"], start=["sub"])
    assert case.ready == ["x"]


def test_an_error_path_catches_for_a_job_that_was_started_by_hand():
    caught = process(
        start(), user("a", "fix"), service("job"), boundary("lost", "job", ERROR), end(), end("e2"),
        flows("s > a > job > e", "lost > fix > e2"),
    )  # fmt: skip
    case = Case(caught)
    modified(case, cancel=["a"], start=["job"])
    case.fail("job")
    assert case.ready == ["fix"]


def test_a_failed_script_is_passed_over():
    case = Case(process(start(), script("sum", "n = 1 / 0"), user("a"), end(), flows("s > sum > a > e")))
    modified(case, cancel=["sum"], start=["a"])
    assert len(case.results[-1].ended_jobs) == 1
    assert case.ready == ["a"]


def test_a_token_is_moved_while_the_instance_is_suspended():
    case = Case(WATCHED)
    case.give("suspend")
    case.at += timedelta(hours=2)
    modified(case, cancel=["a"], start=["a"])
    assert (case.state, sorted(case.undecided().values())) == ("suspended", ["a"])
    case.give("resume")
    assert case.ready == ["a"]


@pytest.mark.parametrize(
    ("diagram", "change", "why"),
    [
        (LINE, {}, "nothing to change"),
        (LINE, {"cancel": ["nobody"]}, "no element nobody"),
        (LINE, {"start": [7]}, "no element 7"),
        (LINE, {"start": ["f_a_b"]}, "no element f_a_b"),
        (LINE, {"cancel": ["b"]}, "Nothing is active at b"),
        (LINE, {"cancel": ["a"]}, "Nothing would be active"),
        (LINE, {"cancel": ["a"], "start": ["s"]}, "is an event"),
        (LINE, {"set": {"x": 1}, "unset": ["x"]}, "either set or removed"),
        (LINE, {"unset": [["x"]]}, "are texts"),
        (BRANCHES, {"start": ["join"]}, "joins branches"),
        (SCOPES, {"cancel": ["a"], "start": ["x"]}, "not running"),
        (WATCHED, {"start": ["deadline"]}, "is an event"),
    ],
)
def test_what_cannot_be_done_soundly_is_refused_and_changes_nothing(diagram, change, why):
    case = Case(diagram, {"list": [1, 2]})
    before = case.live.snapshot()
    with pytest.raises(RefusedInputError, match=why):
        modified(case, **change)
    assert case.live.snapshot() == before


def test_nothing_is_moved_inside_a_multi_instance_activity():
    case = Case(SCOPES, {"list": [1, 2]})
    for element in ("a", "x", "y"):
        case.do(element)
    for change in ({"cancel": ["z"]}, {"start": ["z"]}):
        with pytest.raises(RefusedInputError, match="inside a multi-instance"):
            modified(case, **change)
    with pytest.raises(RefusedInputError, match="item belong"):
        modified(case, set={"item": 5})
    modified(case, cancel=["each"], start=["a"])
    assert case.ready == ["a"]


# ---- correcting data


def test_corrected_data_hold_in_every_branch_and_at_the_join():
    case = Case(BRANCHES, {"x": 1, "old": True, "list": [0]})
    case.do("b", list=[0, 1])
    modified(case, set={"x": 5, "new": [1]}, unset=["old"])
    assert case.data == {"x": 5, "new": [1], "list": [0, 1]}
    case.do("a", x=7)
    case.do("a2")
    assert case.data == {"x": 7, "new": [1], "list": [0, 1]}
    assert case.ready == ["c"]


def test_corrected_data_are_seen_by_what_runs_in_a_multi_instance_activity():
    case = Case(SCOPES, {"list": [1, 2], "x": 1})
    for element in ("a", "x", "y"):
        case.do(element)
    modified(case, set={"x": 5})
    case.do("z")
    case.do("z")
    assert case.data["x"] == 5


# ---- beginning in the middle


@pytest.mark.parametrize(("element", "then"), [("b", ["c"]), ("c", [])])
def test_an_instance_begins_at_a_step(element, then):
    case = Case(LINE, {"n": 1}, at_element=element)
    assert case.told == [f"enter {element}"]
    case.do(element)
    assert case.ready == then


def test_an_instance_begins_inside_a_sub_process():
    case = Case(SCOPES, {"list": [1]}, at_element="y")
    assert case.told == ["enter sub", "enter y"]
    case.do("y")
    assert case.ready == ["z"]
    case.do("z")
    assert case.state == "completed"


def test_events_listen_around_the_step_at_which_an_instance_begins():
    listening = process(
        start(), user("a", "b"), end(), flows("s > a > b > e"),
        handler("stop", MESSAGE, user("stopped"), end("he"), flows("stop_s > stopped > he")),
    )  # fmt: skip
    case = Case(listening, {}, at_element="b")
    assert case.ready == ["b"]
    case.give("message", name="go")
    assert case.ready == ["stopped"]


@pytest.mark.parametrize("element", ["z", "nobody", "s"])
def test_an_instance_does_not_begin_where_no_token_can_stand(element):
    with pytest.raises(RefusedInputError):
        Case(SCOPES, {"list": [1]}, at_element=element)


def test_a_snapshot_keeps_that_an_instance_is_suspended():
    definition = compile_definition({"test.bpmn": LINE}, "P")
    case = Case(LINE)
    case.give("suspend")
    assert Execution(definition, case.live.key, case.live.snapshot()).state == "suspended"
