"""One request through the whole procedure: each task's page is drawn for the person whose turn it is."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from browsing import Visitor
from procedure import APPROVED, House

from engine.models import Task
from web import create_app
from web.seed import PASSWORD


@pytest.fixture
def house(tmp_path: Path, clock: Any) -> Iterator[House]:
    found = House.open(tmp_path)
    yield found
    found.database.dispose()


@pytest.fixture
def someone(house: House) -> Callable[..., Visitor]:
    app = create_app(house.settings, house.database)
    app.testing = True

    def arrive(username: str, language: str = "en") -> Visitor:
        found = Visitor(app.test_client(), language)
        assert found.sign_in(username, PASSWORD).status_code == 302
        return found

    return arrive


def whose(task: Task) -> str:
    return task.assignee or {"complete_record": "operator"}.get(task.element, APPROVED.get(task.element, ("",))[0])


def advance(house: House, instance: UUID) -> list[Task]:
    """Do the next thing, or let the worker work, until somebody has something to do again."""
    waiting = house.waiting(instance)
    if waiting:
        house._do(instance, waiting[0])
    house.work()
    return house.waiting(instance)


def test_each_gate_shows_its_form_the_case_and_the_ways_on(house: House, someone) -> None:
    house.gaps["lobby"] = [(2.0, 3.0)]
    instance = house.request("gate", "lobby", to="sign_application")
    seen: dict[str, str] = {}
    waiting = house.waiting(instance)
    while waiting:
        for task in waiting:
            visitor = someone(whose(task))
            assert f"/tasks/{task.id}" in visitor.get("/tasks").text
            answer = visitor.get(f"/tasks/{task.id}")
            assert answer.status_code == 200
            assert 'name="_intent"' in answer.text
            assert "Where the case stands" in answer.text
            labels = re.findall(r"<(?:label|legend)[^>]*>([^<]*)<", answer.text)
            assert not [label for label in labels if re.search(r"[一-鿿]", label)], "a label has no English"
            seen[task.element] = answer.text
        waiting = advance(house, instance)
    assert set(APPROVED) | {"complete_record"} <= set(seen)
    assert "With gaps" in seen["decide_partial"]
    assert "Gap (not recorded)" in seen["vote_committee"]
    assert seen["check_playback"].count("<video") == 2
    assert "<video" not in seen["review_request"]
    done = r'<li class="done">\s*<span class="state"[^>]*>.*?</span>\s*<span><span class="what">'
    assert re.search(done + "Members vote", seen["check_playback"]), "a vote that was decided early is done"
    assert '<span class="what">Prepare the vote' not in seen["check_playback"]
    assert house.case(instance).outcome == "archived"
    requests = someone("applicant").get("/requests").text
    assert "Archived" in requests
    assert "Withdraw" not in requests


def test_only_those_who_may_see_the_pictures_get_a_player(house: House, someone) -> None:
    instance = house.request("gate", to="check_playback")
    task = house.waiting(instance)[0]
    assert "<video" in someone("operator").get(f"/tasks/{task.id}").text
    assert "<video" not in someone("applicant").get(f"/tasks/{task.id}").text


def test_the_committee_votes_one_task_each(house: House, someone) -> None:
    instance = house.request("gate", to="vote_committee")
    tasks = house.waiting(instance)
    assert len(tasks) > 1
    for task in tasks:
        visitor = someone(str(task.assignee))
        assert visitor.tasks() == [f"/tasks/{task.id}"]
    requests = someone("applicant").get("/requests").text
    holders = re.search(r'<ul class="holders.*?</ul>', requests, re.S)
    assert holders
    assert "<strong>Safety committee</strong> · Members vote" in holders[0]
    assert holders[0].count("Members vote") == 1, "the committee has it, not each of its members"
