"""The web process killed in the middle of a POST: what was acknowledged is there, the rest happened whole or not."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import requests
from premises import Premises, of_this_morning
from processes import eventually
from sqlalchemy import func, select
from visitors import Browser

from engine import replay
from engine.models import HistoryEvent, Instance, Task
from web.demo import application
from web.setup import MAIN_PROCESS

Copy = Callable[..., Premises]


def form() -> dict[str, Any]:
    return application(["gate"], *of_this_morning(1))


def state_of(premises: Premises, task: str) -> tuple[str, int]:
    """The state of a task, and how many submissions of it the history has."""
    with premises.reading() as session:
        found = session.get_one(Task, UUID(task))
        verdict = replay.verify(session, found.instance_id)
        assert (verdict.ok, verdict.findings) == (True, [])
        submitted = select(func.count()).where(
            HistoryEvent.instance_id == found.instance_id,
            HistoryEvent.kind == "submit",
            HistoryEvent.payload.contains(task),
        )
        return found.state, session.scalar(submitted) or 0


@pytest.mark.parametrize(("step", "expected"), [(1, ("open", 0)), (2, ("completed", 1))], ids=["before", "after"])
def test_a_submission_killed_at_its_commit_is_there_whole_or_not_at_all(
    founded: Premises, copied: Copy, step: int, expected: tuple[str, int]
) -> None:
    premises = copied(founded)
    premises.start_web()
    begun = premises.ask("applicant", "POST", "/instances", {"process_id": MAIN_PROCESS, "data": {}})["id"]
    task = premises.task(begun, "fill_application")["id"]
    premises.stop_web()
    premises.start_web(doom=f"request:{step}")
    with pytest.raises(requests.ConnectionError):
        premises.call("applicant", "POST", f"/tasks/{task}/complete", {"data": form()})
    assert state_of(premises, task) == expected
    premises.start_web()
    again = premises.call("applicant", "POST", f"/tasks/{task}/complete", {"data": form()})
    assert again.status == (200 if step == 1 else 409)
    assert state_of(premises, task) == ("completed", 1)
    assert premises.task(begun, "sign_application")["assignee"] == "head"


def test_a_request_killed_at_its_commit_leaves_no_half_a_case(founded: Premises, copied: Copy) -> None:
    """The page starts the process and completes its first task in one go."""
    premises = copied(founded)
    premises.start_web(doom="request:1")
    browser = Browser(premises)
    with pytest.raises(requests.ConnectionError):
        browser.apply("applicant", form())
    browser.close()
    with premises.reading() as session:
        assert [session.scalar(select(func.count()).select_from(table)) for table in (Instance, Task)] == [0, 0]
    premises.start_web()
    browser = Browser(premises)
    assert browser.apply("applicant", form()).status == 302
    browser.close()


def test_killed_under_load_nothing_that_was_acknowledged_is_lost(founded: Premises, copied: Copy) -> None:
    premises = copied(founded)
    premises.start_web()
    begun = [
        premises.ask("applicant", "POST", "/instances", {"process_id": MAIN_PROCESS, "data": {}})["id"]
        for _ in range(24)
    ]
    waiting = [premises.task(instance, "fill_application")["id"] for instance in begun]
    acknowledged: list[str] = []
    data = form()

    def submit(mine: list[str]) -> None:
        for task in mine:
            try:
                answer = premises.call("applicant", "POST", f"/tasks/{task}/complete", {"data": data})
            except requests.ConnectionError:
                return
            assert answer.status == 200, answer
            acknowledged.append(task)

    clerks = [threading.Thread(target=submit, args=(waiting[number::4],)) for number in range(4)]
    for clerk in clerks:
        clerk.start()
    eventually(lambda: len(acknowledged) >= 5, "some are through", every=0.005)
    assert premises.web is not None
    premises.web.kill_group()
    for clerk in clerks:
        clerk.join(60)
    assert 5 <= len(acknowledged) < len(waiting)
    found = {task: state_of(premises, task) for task in waiting}
    assert set(found.values()) <= {("open", 0), ("completed", 1)}
    assert all(found[task] == ("completed", 1) for task in acknowledged)
    premises.start_web()
    for task, (state, _submissions) in found.items():
        again = premises.call("applicant", "POST", f"/tasks/{task}/complete", {"data": data})
        assert again.status == (200 if state == "open" else 409)
        assert state_of(premises, task) == ("completed", 1)
