"""The committee's vote, the chair, the emergency and its ratification, reminders (clause 2.3, conduct)."""

import io
from datetime import timedelta
from typing import Any

import pypdf
import pytest
from office import Office, Request
from sqlalchemy import delete, select
from sqlalchemy.orm import Session
from stages import Arrive
from visitor import parsed

from engine.models import Membership, User


def members(request: Request, element: str = "vote_committee") -> set[str]:
    """Who has a vote that is still open."""
    return {str(task.assignee) for task in request.open_tasks() if task.element == element}


def remove_from_committee(office: Office, *usernames: str) -> None:
    def remove(session: Session) -> None:
        users = select(User.id).where(User.username.in_(usernames))
        session.execute(delete(Membership).where(Membership.group == "committee", Membership.user_id.in_(users)))

    office.directory(remove)


def to_vote(office: Office, **application: Any) -> Request:
    return office.apply("gate", **application).lead("vote_committee")


# ---- the vote -------------------------------------------------------------------------------------------------------


def test_2_3_members_vote_in_parallel_and_a_certain_approval_ends_the_vote(at: Arrive) -> None:
    request = at("vote_committee")
    assert members(request) == {"member1", "member2", "member3"}
    third = request.task("vote_committee", "member2")
    request.vote(member3="approve")
    assert members(request) == {"member1", "member2"}
    request.vote(member1="approve")
    assert members(request) == set()
    assert "check_readiness" in request.waiting
    late = request.office.person("member2").api("POST", f"/tasks/{third.id}/complete", {"data": {"decision": "refuse"}})
    assert late.status == 409
    approval = request.data["approval"]
    assert (approval["decision"], approval["approved"], approval["needed"], approval["cast"]) == ("approve", 2, 2, 2)
    assert {(vote["by"], vote["decision"]) for vote in request.data["votes"]} == {
        ("member3", "approve"),
        ("member1", "approve"),
    }


@pytest.mark.parametrize("votes", [("refuse", "refuse"), ("refuse", "abstain"), ("abstain", "refuse")])
def test_2_3_the_vote_ends_as_soon_as_approval_is_out_of_reach(at: Arrive, votes: tuple[str, str]) -> None:
    request = at("vote_committee")
    for member, decision in zip(("member2", "member1"), votes, strict=True):
        request.vote(**{member: decision})
    assert (request.instance.state, request.case.outcome) == ("completed", "refused")
    assert request.data["approval"]["decision"] == "refuse"


@pytest.mark.parametrize(
    ("application", "needed"),
    [({}, 2), ({"third_party": "yes"}, 2), ({"minors": "yes"}, 2), ({"secret": "yes"}, 3), ({"urgency": "urgent"}, 2)],
)
def test_2_3_the_decision_table_says_how_many_votes_are_needed(
    office: Office, application: dict[str, str], needed: int
) -> None:
    request = to_vote(office, **application)
    assert request.data["votes_needed"] == needed
    for count, member in enumerate(("member1", "member2", "member3")[:needed], start=1):
        assert ("vote_committee" in request.waiting) is True, f"{count - 1} votes are not enough"
        request.vote(**{member: "approve"})
    assert "check_readiness" in request.waiting


def test_2_3_one_refusal_ends_a_vote_that_must_be_unanimous(office: Office) -> None:
    request = to_vote(office, secret="yes")
    request.vote(member3="refuse")
    assert request.case.outcome == "refused"


def test_2_3_nobody_votes_for_another_member_or_twice(at: Arrive) -> None:
    request = at("vote_committee")
    mine, other = (request.task("vote_committee", member) for member in ("member1", "member2"))
    person = request.office.person("member1")
    answers = [
        person.api("POST", f"/tasks/{task.id}/complete", {"data": {"decision": "approve"}}).status
        for task in (other, mine, mine)
    ]
    assert answers == [403, 200, 409]
    assert [vote["by"] for vote in request.data["votes"]] == ["member1"]


def test_2_3_conditions_of_an_approval_are_on_the_case(at: Arrive) -> None:
    request = at("vote_committee")
    assert request.decide("vote_committee", "approve", by="member1", conditions="仅限保卫部观看").status == 200
    assert request.decide("vote_committee", "approve", by="member2").status == 200
    assert "仅限保卫部观看" in str(request.data["approval"]["conditions"])
    request.lead("confirm_readiness")
    operator = request.office.person("operator")
    assert "仅限保卫部观看" in operator.get(request.page).text
    form = operator.get(f"{request.page}/documents/application.pdf").data
    pages = pypdf.PdfReader(io.BytesIO(form)).pages
    assert "仅限保卫部观看" in "".join(page.extract_text() for page in pages).replace("\n", "")


def test_conduct_members_of_the_applicants_department_get_no_vote(at: Arrive) -> None:
    """member4 is of the applicant's department."""
    request = at("vote_committee")
    assert request.data["case"]["members"] == ["member1", "member2", "member3"]
    assert request.office.person("member4").inbox() == []
    task = request.task("vote_committee", "member1")
    answer = request.office.person("member4").api(
        "POST", f"/tasks/{task.id}/complete", {"data": {"decision": "approve"}}
    )
    assert answer.status == 404


# ---- the chair ------------------------------------------------------------------------------------------------------


def test_conduct_without_a_quorum_the_chair_decides(office: Office) -> None:
    remove_from_committee(office, "member2", "member3")
    request = office.apply("gate").lead("decide_by_chair")
    assert request.task("decide_by_chair").assignee == "member1"
    assert request.decide("decide_by_chair", "approve").status == 200
    assert "check_readiness" in request.waiting


def test_conduct_a_vote_without_an_outcome_at_its_deadline_goes_to_the_chair(at: Arrive) -> None:
    request = at("vote_committee")
    assert request.decide("vote_committee", "approve", conditions="member2：approve", by="member2").status == 200
    request.office.wait(days=2, hours=22)
    assert request.waiting == {"vote_committee"}
    assert request.visited().count("remind_committee") == 2
    request.office.wait(hours=3)
    assert request.waiting == {"decide_by_chair"}
    late = request.task("decide_by_chair")
    assert (late.assignee, late.signature) == ("member1", True)
    assert request.decide("decide_by_chair", "refuse", by="member1").fields == {"comment"}
    assert request.submit("decide_by_chair", {"decision": "approve"}, by="member1", password="wrong").status == 403
    assert request.decide("decide_by_chair", "refuse", "理由不足", by="member1").status == 200
    assert (request.case.outcome, request.case.reason) == ("refused", "理由不足")
    assert "member2：approve" in request.office.person("auditor").get(request.page).text, (
        "a vote cast stays on the case"
    )


# ---- reminders ------------------------------------------------------------------------------------------------------


def test_conduct_a_gate_that_waits_is_reminded_daily_and_reported_after_three_days(at: Arrive) -> None:
    """Who is to act hears of it daily by the diagram, and before and after the due date of their task."""
    request = at("sign_application")
    before = {name: len(request.told(name)) for name in ("head", "member1", "applicant")}
    request.office.wait(days=3, hours=1)
    after = {name: len(request.told(name)) - before[name] for name in before}
    assert after == {"head": 3 + 2, "member1": 1, "applicant": 1}
    assert request.waiting == {"sign_application"}
    assert request.decide("sign_application", "approve").status == 200
    told = {name: len(request.told(name)) for name in ("reviewer", "member1", "applicant")}
    request.office.wait(days=3, hours=1)
    assert {name: len(request.told(name)) - told[name] for name in told} == {
        "reviewer": 3 + 2,
        "member1": 1,
        "applicant": 1,
    }
    assert len(request.told("head")) == before["head"] + 3 + 2, "who has signed is not reminded any more"
    assert request.decide("review_request", "refuse", "不必要").status == 200


# ---- emergency ------------------------------------------------------------------------------------------------------


def test_conduct_in_an_emergency_the_chair_approves_at_once(at: Arrive) -> None:
    request = at("decide_by_chair", "emergency")
    assert request.waiting == {"decide_by_chair"}
    assert request.decide("decide_by_chair", "approve").status == 200
    assert request.waiting == {"check_readiness", "ratify_emergency"}
    assert members(request, "ratify_emergency") == {"member1", "member2", "member3"}
    due = request.task("ratify_emergency").due_at
    assert due is not None
    assert abs(due - request.office.now - timedelta(hours=24)) < timedelta(minutes=1)


def test_conduct_an_emergency_is_archived_only_after_its_ratification(at: Arrive) -> None:
    request = at("complete_record", "emergency")
    request.lead("", leave=("ratify_emergency",))
    assert request.waiting == {"ratify_emergency"}
    request.office.wait(hours=20)
    request.vote("ratify_emergency", member2="approve", member3="approve")
    assert request.waiting == {"register_shelf"}
    request.lead()
    assert (request.instance.state, request.case.outcome) == ("completed", "archived")
    assert request.office.person("applicant").get(request.own_footage("applicant")).status_code == 200
    assert request.data["chair_decision"]["decision"] == "approve"
    assert [vote["decision"] for vote in request.data["ratifications"]] == ["approve", "approve"]


def decisions(request: Request) -> list[str]:
    """The decisions that the case's page lists, a line each."""
    page = parsed(request.office.person("auditor").get(request.page))
    return [" ".join(item.text_content().split()) for item in page.xpath('//ol[@class="decisions"]/li')]


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_conduct_an_emergency_that_is_not_ratified_loses_its_access(at: Arrive, how: str) -> None:
    request = at("complete_record", "emergency")
    applicant, footage = request.office.person("applicant"), request.own_footage("applicant")
    assert applicant.get(footage).status_code == 200
    if how == "refused":
        request.vote("ratify_emergency", member3="refuse", member2="refuse")
    else:
        request.vote("ratify_emergency", member3="approve")
        request.office.wait(hours=23)
        assert applicant.get(footage).status_code == 200
        request.office.wait(hours=2)
    assert applicant.get(footage).status_code == 403
    (grant,) = request.grants()
    assert grant.revoked_at is not None
    assert request.case.number in request.told("applicant")[-1]
    assert request.waiting == {"complete_record"}, "what was done is put on record all the same"
    request.lead()
    assert request.case.outcome == "archived"
    chair, ratified = (line for line in decisions(request) if "Zhou" in line or "Zheng" in line)
    assert "Approved" in chair
    assert ("Refused" if how == "refused" else "Approved") in ratified, "both are on the case"
    assert applicant.get(footage).status_code == 403


def test_conduct_footage_that_arrives_after_a_refused_ratification_stays_closed(at: Arrive) -> None:
    request = at("decide_by_chair", "emergency")
    assert request.decide("decide_by_chair", "approve").status == 200
    request.vote("ratify_emergency", member2="refuse", member3="refuse")
    request.lead("register_shelf")
    assert all(grant.revoked_at for grant in request.grants())
    assert request.office.person("applicant").get(request.footage()).status_code == 403
