"""The head's signature, the preliminary review, refusals at each gate, and who may act for whom (1.2, 2.1, conduct)."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from office import ANSWERS, CHECKED, Office, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from stages import Arrive
from visitor import parsed

from engine import identity, tasks
from engine.models import Department, HistoryEvent, Signature

GATES = {
    "sign_application": {"decision": "refuse"},
    "review_request": {"decision": "refuse"},
    "vote_committee": {"decision": "refuse"},
}


def signatures(request: Request) -> list[Signature]:
    with request.office.database.reading() as session:
        query = select(Signature).where(Signature.instance_id == request.id)
        return list(session.scalars(query.order_by(Signature.signed_at)))


def page_of(request: Request, element: str) -> str:
    return f"/tasks/{request.task(element).id}"


# ---- 1.2: who signs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["member2", "member1", "colleague", "archivist", "stranger", "reviewer", "operator"])
def test_1_2_only_the_head_of_the_applicants_own_department_signs(at: Arrive, other: str) -> None:
    """member2 heads another department, member1 the company, archivist the monitoring department."""
    request = at("sign_application")
    assert "sign_application" not in request.office.person(other).inbox()
    assert request.submit("sign_application", {"decision": "approve"}, by=other).status == 404
    assert request.office.person(other).get(page_of(request, "sign_application")).status_code == 403
    assert request.waiting == {"sign_application"}
    assert request.office.person("head").inbox() == ["sign_application"]


def test_1_2_after_the_signature_it_goes_to_the_monitoring_department(at: Arrive) -> None:
    request = at("sign_application")
    assert request.office.person("reviewer").inbox() == []
    assert request.decide("sign_application", "approve").status == 200
    assert request.office.person("reviewer").inbox() == ["review_request"]


def test_1_2_a_second_submission_of_the_same_task_is_refused(at: Arrive) -> None:
    request = at("sign_application")
    task, head = request.task("sign_application"), request.office.person("head")
    body = {"data": {"decision": "approve"}, "signature": {"password": "diaoqu-demo-2026"}}
    answers = [head.api("POST", f"/tasks/{task.id}/complete", body).status for _ in range(2)]
    assert answers == [200, 409]
    assert len(signatures(request)) == 1


# ---- 1.2: what is signed --------------------------------------------------------------------------------------------


def test_1_2_the_signature_is_bound_to_what_was_signed(at: Arrive) -> None:
    request = at("sign_application")
    head, address = request.office.person("head"), page_of(request, "sign_application")
    page = parsed(head.post(address, {"decision": "approve", "remark": "请尽快"}))
    shown = page.xpath('//pre[@class="signed-text"]')[0].text_content().lstrip("\n")
    digest = page.xpath('//input[@name="_digest"]')[0].value
    assert head.fill(address, {"decision": "approve", "remark": "请尽快"}).status_code == 302
    (signed,) = signatures(request)
    assert signed.text.strip() == shown.strip()
    assert f"sha256:{hashlib.sha256(signed.text.encode()).hexdigest()}" == signed.digest == digest
    assert request.data["head_decision"]["signature"] == digest
    for part in ("请尽快", '"approve"', request.case.number, str(request.id), "head", "sha256:"):
        assert part in signed.text
    with request.office.database.reading() as session:
        query = select(HistoryEvent.payload).where(HistoryEvent.instance_id == request.id, HistoryEvent.actor == "head")
        assert digest in session.scalars(query).one(), "the history's chain covers the signature"


def test_1_2_another_decision_than_the_one_that_was_shown_is_not_signed(at: Arrive) -> None:
    request = at("sign_application")
    head, address = request.office.person("head"), page_of(request, "sign_application")
    shown = parsed(head.post(address, {"decision": "approve"})).xpath('//input[@name="_digest"]')[0].value
    sent = {"_intent": "sign", "_digest": shown, "_password": "diaoqu-demo-2026"}
    changed = head.post(address, {**sent, "decision": "refuse", "comment": "不同意"})
    assert changed.status_code == 409
    assert (signatures(request), request.waiting) == ([], {"sign_application"})


def test_1_2_what_the_signer_saw_is_part_of_what_is_signed(at: Arrive) -> None:
    request = at("sign_application")
    task = request.task("sign_application")
    with request.office.database.reading() as session:
        found = tasks.get(session, task.id)
        by = identity.find(session, "head")
        assert by is not None
        texts = [tasks.signing_text(session, found, {"decision": "approve"}, by=by)]
        found.data = {**found.data, "application": {**found.data["application"], "reason": "另一件事"}}
        texts.append(tasks.signing_text(session, found, {"decision": "approve"}, by=by))
        session.rollback()
    assert texts[0] != texts[1]


@pytest.mark.parametrize("password", ["nonsense", "", None])
def test_1_2_a_wrong_password_signs_nothing(at: Arrive, password: str | None) -> None:
    request = at("sign_application")
    answer = request.submit("sign_application", {"decision": "approve"}, by="head", password=password)
    assert answer.status == 403
    assert "password" in answer.detail
    assert (signatures(request), request.waiting) == ([], {"sign_application"})


def test_1_2_guessing_the_password_locks_the_account(at: Arrive) -> None:
    request = at("sign_application")
    for _ in range(5):
        request.submit("sign_application", {"decision": "approve"}, by="head", password="guess")
    assert request.decide("sign_application", "approve").status == 403
    request.office.wait(minutes=16)
    assert request.decide("sign_application", "approve").status == 200


# ---- sending back and refusing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["sign_application", "review_request"])
def test_1_2_and_2_1_sending_back_keeps_everything_that_was_typed(at: Arrive, gate: str) -> None:
    request = at(gate)
    number, before = request.case.number, request.data["application"]
    assert request.decide(gate, "send_back").fields == {"comment"}
    assert request.decide(gate, "send_back", "请写明车辆颜色").status == 200
    applicant = request.office.person("applicant")
    assert applicant.inbox() == ["fill_application"]
    address = page_of(request, "fill_application")
    assert "请写明车辆颜色" in applicant.get(address).text, "the applicant is told what to correct"
    kept = applicant.form(address)
    for key in ("reason", "purpose", "legal_basis", "incident_no", "mode", "recipient", "use_until", "phone"):
        assert kept[key] == before[key], key
    assert kept["cameras"] == "gate"
    sent = applicant.fill(address, {"reason": "核实东门一起红色车辆刮擦的经过"})
    assert sent.status_code == 302
    after = {key: value for key, value in request.data["application"].items() if key not in ("at", "reason")}
    assert after == {key: value for key, value in before.items() if key not in ("at", "reason")}
    assert request.case.number == number
    assert request.waiting == {"sign_application"}, "a corrected application is signed again"
    request.lead("vote_committee")


@pytest.mark.parametrize("gate", GATES)
def test_2_1_each_gate_refuses_with_a_reason_only_and_the_applicant_is_told(at: Arrive, gate: str) -> None:
    request = at(gate)
    refuse = {"decision": "refuse", **(dict.fromkeys(CHECKED, False) if gate == "review_request" else {})}
    members = ["member1", "member2"] if gate == "vote_committee" else [ANSWERS[gate][0]]
    assert request.submit(gate, refuse, by=members[0]).fields == {"comment"}
    assert request.submit(gate, {**refuse, "comment": " "}, by=members[0]).fields == {"comment"}
    for member in members:
        assert request.submit(gate, {**refuse, "comment": f"{member}：目的不明"}, by=member).status == 200
    reason = "；".join(f"{member}：目的不明" for member in members)
    assert (request.instance.state, request.waiting) == ("completed", set())
    assert (request.case.outcome, request.case.reason) == ("refused", reason)
    told = request.told("applicant")[-1]
    assert request.case.number in told
    assert reason in told
    assert request.log()[-1].kind == "closed"
    page = request.office.person("applicant").get(request.page).text
    assert "目的不明" in page


def test_2_1_approval_needs_the_whole_checklist_and_a_reason(at: Arrive) -> None:
    request = at("review_request")
    answers = {"decision": "approve", "comment": "合法、合理", **CHECKED}
    for missing in CHECKED:
        assert request.submit("review_request", {**answers, missing: False}, by="reviewer").fields == {missing}
    assert request.submit("review_request", {**answers, "comment": ""}, by="reviewer").fields == {"comment"}
    assert request.submit("review_request", answers, by="reviewer", claim=True).status == 200


def test_2_1_only_one_reviewer_has_the_task(at: Arrive) -> None:
    request = at("review_request")
    task = request.task("review_request")
    first, second = (request.office.person(name) for name in ("reviewer", "second"))
    assert [person.api("POST", f"/tasks/{task.id}/claim").status for person in (first, second)] == [200, 409]
    assert request.decide("review_request", "refuse", "不必要", by="second").status == 409
    assert second.inbox() == []


# ---- conduct --------------------------------------------------------------------------------------------------------


def test_conduct_nobody_acts_on_their_own_request(office: Office) -> None:
    """The applicant is reviewer, operator and archivist: none of it counts on their own request."""
    request = office.apply(by="everything")
    assert request.task("sign_application").assignee == "archivist"
    for element in ("review_request", "confirm_readiness", "check_playback", "complete_record", "countersign_record"):
        request.lead(element)
        refused(request, element, "everything")
        if element == "check_playback":
            seen = {name: office.person(name).get(request.footage()).status_code for name in ("everything", "operator")}
            assert seen == {"everything": 403, "operator": 200}, "not even as an operator"
    own = request.own_footage("everything")
    assert office.person("everything").get(own).status_code == 200, "as recipient, by their grant"
    assert request.log("viewed")[-1].actor == "everything"


def refused(request: Request, element: str, username: str, *, listed: bool = False) -> None:
    """The task is not in the inbox (unless `listed`) and can neither be claimed nor completed."""
    person = request.office.person(username)
    task = request.task(element)
    assert (element in person.inbox()) is listed
    body = {"data": ANSWERS[element][1], "signature": {"password": "diaoqu-demo-2026"}}
    answers = [person.api("POST", f"/tasks/{task.id}/{verb}", body) for verb in ("claim", "complete")]
    assert {answer.status for answer in answers} <= {403, 404}, answers


def test_conduct_a_head_who_applies_is_signed_for_by_the_superior(office: Office) -> None:
    request = office.apply(by="head")
    assert request.task("sign_application").assignee == "member1"
    refused(request, "sign_application", "head")
    assert request.decide("sign_application", "approve", by="member1").status == 200


def test_conduct_without_anybody_above_a_request_waits_until_somebody_is_named(office: Office) -> None:
    """member1 heads the topmost unit, so nobody can sign for them: the operations desk is told, and nothing is lost."""
    request = office.apply(by="member1")
    (incident,) = office.incidents()
    assert (incident.element, str(incident.error)) == (
        "open_case",
        "Nobody can sign for the department of member1: name a head.",
    )
    assert "Incident" in request.told("admin")[-1]

    def name_a_superior(session: Session) -> None:
        board = Department(key="board", name="董事会", head_username="legal_head")
        session.scalars(select(Department).where(Department.key == "company")).one().parent = board

    office.directory(name_a_superior)
    assert office.person("admin").post(f"/operations/jobs/{incident.id}/retry").status_code == 302
    assert request.task("sign_application").assignee == "legal_head"
    assert request.data["application"]["reason"] == office.application()["reason"]


def test_conduct_reviewer_operator_and_countersigner_are_different_persons(at: Arrive) -> None:
    reviewed = at("review_request")
    decision = {"decision": "approve", "comment": "合法、合理", **CHECKED}
    assert reviewed.submit("review_request", decision, by="everything").status == 200
    for element in ("confirm_readiness", "check_playback", "complete_record", "countersign_record"):
        reviewed.lead(element)
        refused(reviewed, element, "everything")


def test_conduct_whoever_retrieved_does_not_countersign(at: Arrive) -> None:
    request = at("check_playback")
    assert request.submit("check_playback", ANSWERS["check_playback"][1], by="everything").status == 200
    request.lead("countersign_record")
    refused(request, "countersign_record", "everything")
    assert request.decide("countersign_record", "approve").status == 200


# ---- deputies -------------------------------------------------------------------------------------------------------


def delegate(office: Office, username: str, deputy: str, *, days: tuple[float, float]) -> None:
    begins, ends = (office.now + timedelta(days=day) for day in days)
    office.directory(lambda session: identity.delegate(session, username, deputy, from_at=begins, until_at=ends))


def test_conduct_a_deputy_acts_within_their_dates(at: Arrive) -> None:
    request = at("sign_application")
    delegate(request.office, "head", "colleague", days=(1, 3))
    refused(request, "sign_application", "colleague")
    request.office.wait(days=1, hours=1)
    assert request.office.person("colleague").inbox() == ["sign_application"]
    assert request.decide("sign_application", "approve", by="colleague").status == 200
    assert request.data["head_decision"]["by"] == "colleague", "who signed is on the record, not who was absent"


def test_conduct_a_deputy_acts_no_longer_than_their_dates(at: Arrive) -> None:
    request = at("sign_application")
    delegate(request.office, "head", "colleague", days=(1, 3))
    request.office.wait(days=3, hours=1)
    refused(request, "sign_application", "colleague")
    assert request.decide("sign_application", "approve").status == 200


def test_conduct_a_task_that_came_up_during_an_absence_goes_back_with_it(office: Office) -> None:
    delegate(office, "head", "colleague", days=(-1, 1))
    request = office.apply()
    assert office.person("colleague").inbox() == ["sign_application"]
    office.wait(days=1, hours=1)
    refused(request, "sign_application", "colleague")
    assert office.person("head").inbox() == ["sign_application"]
    assert request.decide("sign_application", "approve", by="head").status == 200


def test_conduct_a_deputy_of_the_head_does_not_sign_their_own_request(office: Office) -> None:
    delegate(office, "head", "applicant", days=(-1, 5))
    request = office.apply()
    assert "sign_application" not in office.person("applicant").inbox()
    refused(request, "sign_application", "applicant")
    assert request.task("sign_application").assignee == "member1", "the head is away: the superior signs"


def test_conduct_a_deputy_takes_over_the_roles_and_their_limits(at: Arrive) -> None:
    request = at("review_request")
    delegate(request.office, "reviewer", "stranger", days=(-1, 5))
    delegate(request.office, "second", "head", days=(-1, 5))
    refused(request, "review_request", "head")  # who has signed this application reviews it for nobody
    decision: dict[str, Any] = {"decision": "approve", "comment": "合法、合理", **CHECKED}
    assert request.submit("review_request", decision, by="stranger").status == 200
    request.lead("confirm_readiness")
    delegate(request.office, "operator", "untrained", days=(-1, 5))
    refused(request, "confirm_readiness", "untrained", listed=True)  # in the role, but without training


def test_conduct_a_deputy_from_the_applicants_department_gets_no_vote(at: Arrive) -> None:
    request = at("vote_committee")
    with request.office.database.reading() as session:
        assert session.scalars(select(Department.key).where(Department.head_username == "member2")).one() == "legal"
    delegate(request.office, "member2", "colleague", days=(-1, 5))
    delegate(request.office, "member3", "stranger", days=(-1, 5))
    refused(request, "vote_committee", "colleague")
    assert request.office.person("stranger").inbox() == ["vote_committee"]
