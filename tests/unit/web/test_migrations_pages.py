"""Taking cases over to another version: what each would meet, the ticked ones go over, and back again."""

from typing import Any

import pytest
from browsing import Visitor
from procedure import House

from engine import definitions, replay
from engine.settings import ROOT

DIAGRAM = (ROOT / "bpmn" / "footage_retrieval.bpmn").read_text()
PAGE = "/studio/footage_retrieval/migrate"
RENAMED = DIAGRAM.replace('name="初审（合法、合理）"', 'name="初审与核对"')
WITHOUT = DIAGRAM.replace('"review_request"', '"check_request"').replace(">review_request<", ">check_request<")


@pytest.fixture
def owner(house: House, arrive) -> Visitor:
    return arrive(house, "owner")


def deploy(house: House, text: str) -> int:
    with house.database.transaction() as session:
        new = definitions.deploy(session, {"footage_retrieval.bpmn": text}, by="owner", note="revised")
    return next(found.version for found in new if found.process_id == "footage_retrieval")


def ok(house: House, instance: Any) -> bool:
    with house.database.reading() as session:
        return replay.verify(session, instance).ok


def test_the_ticked_cases_go_over_and_come_back(house: House, owner: Visitor) -> None:
    going, staying = (house.request("gate", to="review_request") for _ in range(2))
    version = deploy(house, RENAMED)
    page = owner.get(PAGE).text
    assert "2 cases under way" in page
    assert page.count("Can go over") == 2
    answer = owner.post(f"{PAGE}?from=1&to={version}", {"id": str(going), "reason": "the new name"})
    assert answer.status_code == 200
    assert "1 case has gone over" in answer.text
    assert answer.text.count("Can go over") == 1
    assert (house.instance(going).version, house.instance(staying).version) == (version, 1)
    owner.post(f"{PAGE}?from={version}&to=1", {"id": str(going), "reason": "not after all"})
    assert house.instance(going).version == 1
    assert ok(house, going)
    house.lead(going)
    assert house.case(going).outcome == "archived"
    assert ok(house, going)


def test_a_case_that_cannot_go_over_says_why_and_cannot_be_ticked(house: House, owner: Visitor) -> None:
    case = house.request("gate", to="review_request")
    version = deploy(house, WITHOUT)
    page = owner.get(PAGE).text
    assert "is active, and the other version does not have it." in page
    assert "Cannot go over" in page
    assert "disabled" in page
    answer = owner.post(f"{PAGE}?from=1&to={version}", {"id": str(case), "reason": "all the same"})
    assert "0 cases have gone over" in answer.text
    assert house.instance(case).version == 1
    assert ok(house, case)


def test_a_reason_is_needed_and_only_owners_come_in(house: House, owner: Visitor, arrive) -> None:
    case = house.request("gate", to="review_request")
    version = deploy(house, RENAMED)
    answer = owner.post(f"{PAGE}?from=1&to={version}", {"id": str(case), "reason": " "})
    assert answer.status_code == 422
    assert "Please say why" in answer.text
    assert house.instance(case).version == 1
    assert arrive(house, "operator").get(PAGE).status_code == 403
    assert owner.get("/studio/nothing/migrate").status_code == 404
    assert owner.get(f"{PAGE}?from=7").status_code == 404


def test_the_versions_lead_to_the_page(owner: Visitor) -> None:
    assert PAGE in owner.get("/studio/footage_retrieval").text
    assert f"{PAGE}?from=1" in owner.get("/studio/footage_retrieval/versions/1").text
