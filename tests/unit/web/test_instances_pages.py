"""The operators' pages about instances: found, looked at without their data, suspended, moved, begun again."""

import re
from typing import Any
from uuid import UUID

import pytest
from procedure import APPROVED, House

from device import cases
from engine import history, instances, listing, replay, tasks
from engine.models import Instance
from web import instances as pages

LIST = "/operations/instances/"


@pytest.fixture
def request_(evening: House) -> tuple[House, UUID]:
    """A request that waits for its review."""
    return evening, evening.request("garage", to="review_request")


def kinds(house: House, instance: UUID) -> list[str]:
    with house.database.reading() as session:
        return [event.kind for event in history.events(session, instance)]


def now(house: House, instance: UUID) -> Instance:
    with house.database.reading() as session:
        return instances.get(session, instance)


def open_task(house: House, instance: UUID) -> Any:
    with house.database.reading() as session:
        (found,) = [task for task in tasks.of_instance(session, instance) if task.state in ("open", "claimed")]
        return found


def verified(house: House, instance: UUID) -> bool:
    with house.database.reading() as session:
        return replay.verify(session, instance).ok


def test_an_instance_is_found_by_number_state_and_where_it_stands(request_, arrive) -> None:
    house, instance = request_
    number = now(house, instance).business_key
    operator = arrive(house, "operator")
    for query in (f"key={number}", "state=running&element=review_request", f"key={instance}"):
        page = operator.get(f"{LIST}?{query}").text
        assert f'href="{LIST}{instance}"' in page, query
        assert number in page
    assert f"{LIST}{instance}" not in operator.get(f"{LIST}?state=suspended").text
    assert "No case matches" in operator.get(f"{LIST}?element=nothing").text
    assert f'href="{LIST}"' in operator.get("/operations/").text


def test_a_part_that_many_numbers_have_is_said_to_be_in_more(request_, arrive, monkeypatch) -> None:
    house, _instance = request_
    operator = arrive(house, "operator")
    assert "3 found" in operator.get(f"{LIST}?key=2026-").text
    monkeypatch.setattr(listing, "FEW", 1)
    monkeypatch.setattr(pages, "PAGE", 1)
    page = operator.get(f"{LIST}?key=2026-").text
    assert "more than 1 found" in page
    assert "1–1 of more than 1" in page
    assert "3–3 of 3" in operator.get(f"{LIST}?key=2026-&page=3").text


def test_the_pages_are_for_operators_auditors_and_administrators(request_, arrive) -> None:
    house, instance = request_
    for username in ("applicant", "head", "reviewer", "archivist", "owner"):
        visitor = arrive(house, username)
        assert visitor.get(LIST).status_code == 403
        assert visitor.get(f"{LIST}{instance}").status_code == 403
        assert visitor.post(f"{LIST}{instance}/suspend", {"reason": "x"}).status_code == 403
    assert arrive(house, "auditor").get(f"{LIST}{instance}").status_code == 200
    for username in ("operator", "auditor"):
        visitor = arrive(house, username)
        for act in ("cancel", "modify", "restart"):
            assert visitor.post(f"{LIST}{instance}/{act}", {"reason": "x"}).status_code == 403
        task = open_task(house, instance)
        assert visitor.post(f"{LIST}tasks/{task.id}/assign", {"reason": "x", "to": ""}).status_code == 403
    assert kinds(house, instance)[-1] == "submit"


def test_an_operator_without_a_part_in_the_case_does_not_see_its_data(request_, arrive) -> None:
    house, instance = request_
    hidden = arrive(house, "operator").get(f"{LIST}{instance}").text
    shown = arrive(house, "admin").get(f"{LIST}{instance}").text
    assert "The data of a case are personal" in hidden
    assert "undertaking" not in hidden
    assert "undertaking" in shown
    assert "Move or correct" in shown
    assert "Move or correct" not in hidden


def test_a_case_is_suspended_and_goes_on_with_a_reason(request_, arrive) -> None:
    house, instance = request_
    operator = arrive(house, "operator")
    assert operator.post(f"{LIST}{instance}/suspend", {"reason": " "}).status_code == 422
    assert operator.post(f"{LIST}{instance}/suspend", {"reason": "the police asked"}).status_code == 302
    page = operator.get(f"{LIST}{instance}").text
    assert "This case is suspended" in page
    assert page.count("the police asked") == 2
    again = operator.post(f"{LIST}{instance}/suspend", {"reason": "again"})
    assert again.status_code == 409
    assert "has suspended this case" in again.text
    reviewer = arrive(house, "reviewer")
    assert "Suspended" in reviewer.get("/tasks").text
    task = reviewer.get(f"/tasks/{open_task(house, instance).id}").text
    assert "Nothing can be submitted until it goes on" in task
    assert operator.post(f"{LIST}{instance}/resume", {"reason": "they have it"}).status_code == 302
    assert kinds(house, instance)[-2:] == ["suspend", "resume"]
    assert verified(house, instance)


def test_a_case_is_cancelled_by_an_administrator_with_a_reason(request_, arrive) -> None:
    house, instance = request_
    admin = arrive(house, "admin")
    assert admin.post(f"{LIST}{instance}/cancel", {}).status_code == 422
    assert admin.post(f"{LIST}{instance}/cancel", {"reason": "a test request"}).status_code == 302
    page = admin.get(f"{LIST}{instance}").text
    assert "a test request" in page
    assert "Cancel the case" not in page


def test_a_modification_is_shown_before_it_is_done(request_, arrive) -> None:
    house, instance = request_
    admin, address = arrive(house, "admin"), f"{LIST}{instance}/modify"
    page = admin.get(address).text
    assert 'name="cancel" value="review_request"' in page
    assert "Change the case" not in page
    change = {"cancel": "review_request", "start": "fill_application", "set": '{"x": 1}', "reason": "a wrong entry"}
    seen = admin.post(address, {**change, "_intent": "preview"}).text
    assert "What would follow" in seen
    assert "Change the case" in seen
    assert kinds(house, instance)[-1] == "submit"
    assert admin.post(address, {**change, "_intent": "modify"}).status_code == 302
    assert kinds(house, instance)[-1] == "modify"
    assert open_task(house, instance).element == "fill_application"
    assert verified(house, instance)


@pytest.mark.parametrize(
    ("change", "status", "why"),
    [
        ({"cancel": "review_request"}, 409, "Nothing would be active afterwards"),
        ({"set": "{"}, 422, "This is not JSON"),
        ({"set": "[]"}, 422, "a JSON object"),
        ({"start": "vote_committee", "reason": ""}, 422, "Please say why"),
    ],
)
def test_what_cannot_be_done_is_said_on_the_page(request_, arrive, change, status, why) -> None:
    house, instance = request_
    answer = arrive(house, "admin").post(
        f"{LIST}{instance}/modify", {"reason": "because", "_intent": "modify", **change}
    )
    assert answer.status_code == status
    assert why in answer.text


def test_a_case_begins_again_at_a_step_and_both_name_each_other(request_, arrive) -> None:
    house, instance = request_
    admin, address = arrive(house, "admin"), f"{LIST}{instance}/restart"
    stay = re.search(r'value="(fill_application:\d+)"', admin.get(address).text)
    assert stay is not None
    assert admin.post(address, {"stay": "nothing:1", "reason": "x"}).status_code == 409
    assert admin.post(address, {"stay": stay[1]}).status_code == 422
    answer = admin.post(address, {"stay": stay[1], "reason": "the wrong camera"})
    assert answer.status_code == 302
    copy = UUID(answer.location.rsplit("/", 1)[1])
    assert f"{LIST}{copy}" in admin.get(f"{LIST}{instance}").text
    assert f"{LIST}{instance}" in admin.get(f"{LIST}{copy}").text
    assert open_task(house, copy).element == "fill_application"
    assert verified(house, copy)


def test_what_begins_again_after_its_numbering_goes_on_with_the_same_case(request_, arrive) -> None:
    house, instance = request_
    address = f"{LIST}{instance}/restart"
    answer = arrive(house, "admin").post(address, {"stay": "review_request:", "reason": "the wrong reviewer"})
    copy = UUID(answer.location.rsplit("/", 1)[1])
    with house.database.reading() as session:
        assert cases.of_instance(session, copy).id == cases.of_instance(session, instance).id
    house.submit(copy, "review_request", APPROVED["review_request"][1], by="reviewer")
    house.lead(copy, to="vote_committee")
    assert now(house, copy).business_key == now(house, instance).business_key
    assert verified(house, copy)


def test_a_task_is_given_to_somebody_and_rescheduled(request_, arrive) -> None:
    house, instance = request_
    admin, task = arrive(house, "admin"), open_task(house, instance)
    address = f"{LIST}tasks/{task.id}"
    assert admin.post(f"{address}/assign", {"to": "reviewer", "reason": "on duty"}).status_code == 302
    assert open_task(house, instance).assignee == "reviewer"
    shown = re.search(r'name="due_at" type="datetime-local" value="([^"]+)"', admin.get(f"{LIST}{instance}").text)
    assert shown is not None
    same = {"priority": "50", "due_at": shown[1], "remind_at": "", "reason": "nothing"}
    assert admin.post(f"{address}/change", same).status_code == 422
    assert admin.post(f"{address}/change", {**same, "priority": "90"}).status_code == 302
    changed = open_task(house, instance)
    assert (changed.priority, changed.due_at) == (90, task.due_at)
    assert admin.post(f"{address}/change", {**same, "due_at": "soon"}).status_code == 422
    assert kinds(house, instance)[-2:] == ["assign", "change_task"]


def test_whoever_has_a_task_passes_it_on(request_, arrive, people) -> None:
    house, instance = request_
    type(people)(house.database).add("colleague", "employee", "reviewer")
    type(people)(house.database).train("colleague", "footage_retrieval")
    reviewer, task = arrive(house, "reviewer"), open_task(house, instance)
    page = reviewer.get(f"/tasks/{task.id}").text
    offered = re.findall(r'<option value="(\w+)">', page.partition('id="to"')[2].partition("</select>")[0])
    assert "colleague" in offered
    assert "applicant" not in offered
    assert reviewer.post(f"/tasks/{task.id}/delegate", {"to": "nobody", "reason": "x"}).status_code == 404
    assert reviewer.post(f"/tasks/{task.id}/delegate", {"to": "colleague", "reason": "ill"}).status_code == 302
    assert (open_task(house, instance).assignee, open_task(house, instance).owner) == ("colleague", "reviewer")
    assert kinds(house, instance)[-1] == "delegate"
