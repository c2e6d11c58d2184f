"""Every path of bpmn/footage_retrieval.bpmn, walked in the kernel with answers given by hand."""

import pytest
from walk import APPLICATION, PLAYED, REVIEWED, SOURCES, START, Walk, compiled, coverage, form

import device.operators  # noqa: F401 - registers what the service tasks call
from engine.errors import InvalidFormError
from engine.spiff import CompiledDefinition, RefusedInputError


@pytest.fixture(scope="module")
def definition() -> CompiledDefinition:
    return compiled()


@pytest.fixture
def walk(definition: CompiledDefinition) -> Walk:
    return Walk(definition)


def outcome(walk: Walk) -> tuple[str, list[str], str]:
    """How the case ended: the state, the outcomes it was closed with, the last element."""
    return walk.state, [call["outcome"] for call in walk.calls("case/close")], walk.visited[-1]


def test_a_request_goes_from_application_to_archive(walk: Walk) -> None:
    walk.to_preparation().prepare().retrieve("gate")
    walk.submit("check_playback", PLAYED, by="operator")
    walk.back_up()
    limits = {"master": False, "redacted": False}
    assert walk.calls("access/grant") == [{"user": "applicant", "mode": "view", "until": "2026-04-01", **limits}]
    walk.record()
    walk.submit("countersign_record", {"decision": "approve"}, by="archivist")
    walk.archive()
    assert outcome(walk) == ("completed", ["archived"], "end_archived")
    assert not walk.open
    assert not walk.jobs
    taken = walk.data["acquisitions"]
    assert [(one["camera"], one["item"], one["viewing_item"], one["skipped"]) for one in taken] == [
        ("gate", 1, 101, False)
    ]


def test_the_record_form_is_prefilled_from_what_really_happened(walk: Walk) -> None:
    walk.to_preparation().prepare().retrieve("gate")
    walk.submit("check_playback", PLAYED, by="operator")
    walk.back_up().record()
    record = walk.data["record"]
    assert record["reason"] == APPLICATION["reason"]
    assert record["operators"] == record["by"] == "operator"
    assert record["storage"].split("\n") == ["primary: a/b.mkv", "backup: a/b.mkv"]
    assert "3.5" in record["clock_offset"]
    assert record["access"] == "在系统中查看"


# ---- sent back ------------------------------------------------------------------------------------------------------


def test_the_head_sends_an_application_back_and_gets_it_again(walk: Walk) -> None:
    walk.submit("fill_application", APPLICATION, by="applicant")
    walk.submit("sign_application", {"decision": "send_back", "comment": "时间不准"}, by="head")
    assert walk.waiting == {"fill_application"}
    walk.to_review(reason="补正后的事由")
    assert walk.waiting == {"review_request"}
    assert [call["application"]["reason"] for call in walk.calls("case/open")] == ["东门外两车刮擦", "补正后的事由"]


def test_after_the_reviewer_sends_back_the_head_signs_again(walk: Walk) -> None:
    walk.to_review()
    walk.submit("review_request", {"decision": "send_back", "comment": "缺依据"}, by="reviewer")
    assert walk.waiting == {"fill_application"}
    walk.to_committee()
    assert walk.waiting == {"vote_committee"}
    assert walk.visited.count("sign_application") == 2


def test_the_countersigner_sends_the_record_back_to_be_completed(walk: Walk) -> None:
    walk.to_preparation().prepare().retrieve("gate")
    walk.submit("check_playback", PLAYED, by="operator")
    walk.back_up().record()
    walk.submit("countersign_record", {"decision": "send_back", "comment": "缺见证人"}, by="archivist")
    assert walk.waiting == {"complete_record"}
    walk.record()
    walk.submit("countersign_record", {"decision": "approve"}, by="archivist")
    assert walk.waiting == {"register_shelf"}


# ---- refused --------------------------------------------------------------------------------------------------------


def test_the_head_refuses_with_a_reason(walk: Walk) -> None:
    walk.submit("fill_application", APPLICATION, by="applicant")
    walk.submit("sign_application", {"decision": "refuse", "comment": "与工作无关"}, by="head")
    assert outcome(walk) == ("completed", ["refused"], "end_refused_by_head")
    assert walk.calls("case/close") == [{"outcome": "refused", "reason": "与工作无关"}]
    assert walk.calls("notice/send")[-1]["to"] == ["applicant"]


def test_the_reviewer_refuses_with_a_reason(walk: Walk) -> None:
    walk.to_review()
    walk.submit("review_request", {"decision": "refuse", "comment": "没有法律依据"}, by="reviewer")
    assert outcome(walk) == ("completed", ["refused"], "end_refused_by_reviewer")
    assert walk.calls("case/close")[0]["reason"] == "没有法律依据"


def test_the_committee_refuses_as_soon_as_approval_is_out_of_reach(walk: Walk) -> None:
    walk.to_committee()
    walk.vote(member3="approve", member2="refuse", member1="refuse")
    assert outcome(walk) == ("completed", ["refused"], "end_refused_by_committee")
    assert walk.calls("case/close")[0]["reason"] == "member1: refuse；member2: refuse"


@pytest.mark.parametrize("gate", ["head_decision.form", "review.form", "vote.form", "chair_decision.form"])
def test_a_refusal_without_a_reason_is_not_accepted(gate: str) -> None:
    with pytest.raises(InvalidFormError) as caught:
        form(gate).validate({"decision": "refuse"}, sources=SOURCES, now=START)
    assert set(caught.value.fields) == {"comment"}


# ---- the committee's vote -------------------------------------------------------------------------------------------


def test_two_of_three_votes_end_the_vote(walk: Walk) -> None:
    walk.to_committee()
    assert len(walk.open) == 3
    walk.vote(member2="approve")
    assert walk.waiting == {"vote_committee"}
    walk.vote(member3="approve")
    assert walk.waiting == {"check_readiness"}
    assert walk.open == {}
    approval = walk.data["approval"]
    assert (approval["decision"], approval["approved"], approval["needed"], approval["cast"]) == ("approve", 2, 2, 2)


def test_one_refusal_and_one_abstention_end_the_vote(walk: Walk) -> None:
    walk.to_committee()
    walk.vote(member1="abstain", member2="refuse")
    assert walk.data["approval"]["decision"] == "refuse"
    assert walk.open == {}


@pytest.mark.parametrize(
    ("answers", "needed"),
    [({"secret": "yes"}, 5), ({"minors": "yes"}, 4), ({"third_party": "yes"}, 4), ({}, 3), ({"urgency": "urgent"}, 3)],
)
def test_the_table_asks_for_more_votes_the_more_sensitive_the_footage(
    definition: CompiledDefinition, answers: dict[str, str], needed: int
) -> None:
    walk = Walk(definition, case={"members": [f"member{number}" for number in range(5)]})
    walk.to_committee(**answers)
    assert walk.data["votes_needed"] == needed


def test_one_refusal_ends_a_vote_that_must_be_unanimous(walk: Walk) -> None:
    walk.to_committee(secret="yes")
    walk.vote(member2="refuse")
    assert outcome(walk)[2] == "end_refused_by_committee"


@pytest.mark.parametrize("members", [[], ["member2"]])
def test_without_a_quorum_the_chair_decides(definition: CompiledDefinition, members: list[str]) -> None:
    walk = Walk(definition, case={"members": members})
    walk.to_committee()
    assert walk.waiting == {"decide_by_chair"}
    walk.submit("decide_by_chair", {"decision": "approve"}, by="member1")
    assert walk.waiting == {"check_readiness"}


def test_a_vote_that_is_late_goes_to_the_chair(walk: Walk) -> None:
    walk.to_committee()
    walk.vote(member2="approve")
    walk.wait(days=3, hours=1)
    assert walk.waiting == {"decide_by_chair"}
    walk.submit("decide_by_chair", {"decision": "refuse", "comment": "理由不足"}, by="member1")
    assert outcome(walk) == ("completed", ["refused"], "end_refused_by_committee")
    assert walk.calls("case/close")[0]["reason"] == "理由不足"


# ---- what the recorder holds ----------------------------------------------------------------------------------------


def test_without_footage_the_case_is_closed(walk: Walk) -> None:
    walk.to_verification()
    walk.finish("verify_coverage", coverage("none", ["gate"]))
    assert outcome(walk) == ("completed", ["no_footage"], "end_unserved")


def test_the_applicant_accepts_partial_footage(walk: Walk) -> None:
    walk.to_verification()
    walk.finish("verify_coverage", coverage("partial", ["gate"]))
    assert walk.waiting == {"decide_partial"}
    walk.submit("decide_partial", {"decision": "accept"}, by="applicant")
    assert walk.waiting == {"vote_committee"}


def test_the_applicant_withdraws_because_of_partial_footage(walk: Walk) -> None:
    walk.to_verification()
    walk.finish("verify_coverage", coverage("partial", ["gate"]))
    walk.submit("decide_partial", {"decision": "withdraw", "comment": "缺关键时段"}, by="applicant")
    assert outcome(walk) == ("completed", ["withdrawn"], "end_unserved")
    assert walk.calls("case/close")[0]["reason"] == "缺关键时段"


@pytest.mark.parametrize("code", ["RECORDER_UNREACHABLE", "RECORDER_REFUSED"])
def test_verification_is_tried_again_after_the_recorder_is_repaired(walk: Walk, code: str) -> None:
    walk.to_verification()
    walk.fail("verify_coverage", code)
    walk.submit("handle_recorder_fault", {"decision": "retry"}, by="operator")
    assert walk.waiting == {"verify_coverage"}
    walk.finish("verify_coverage", coverage("complete", ["gate"]))
    assert walk.waiting == {"vote_committee"}


def test_the_operator_gives_up_on_a_broken_recorder(walk: Walk) -> None:
    walk.to_verification()
    walk.fail("verify_coverage", "RECORDER_UNREACHABLE")
    walk.submit("handle_recorder_fault", {"decision": "give_up", "comment": "硬盘损坏"}, by="operator")
    assert outcome(walk) == ("completed", ["no_footage"], "end_unavailable")


# ---- retrieval ------------------------------------------------------------------------------------------------------


def test_a_second_readiness_check_can_be_asked_for(walk: Walk) -> None:
    walk.to_preparation()
    walk.finish("check_readiness", {"ready": False, "checks": [], "estimated_bytes": 1, "free_bytes": 0})
    walk.submit("confirm_readiness", {"decision": "recheck"}, by="operator")
    assert walk.waiting == {"check_readiness"}


def test_one_of_three_cameras_fails_and_the_others_go_on(walk: Walk) -> None:
    walk.to_preparation(cameras=["gate", "lobby", "garage"]).prepare()
    assert len(walk.jobs) == 3
    walk.fail("acquire_footage", "RECORDER_UNREACHABLE", camera="lobby")
    assert len(walk.jobs) == 2
    assert walk.waiting == {"acquire_footage", "handle_camera_fault"}
    walk.retrieve("gate", 1).retrieve("garage", 3)
    assert walk.waiting == {"handle_camera_fault"}
    walk.submit("handle_camera_fault", {"decision": "skip", "comment": "电源故障"}, by="operator")
    assert walk.waiting == {"check_playback"}
    assert [(one["camera"], one["skipped"]) for one in walk.data["acquisitions"]] == [
        ("gate", False),
        ("lobby", True),
        ("garage", False),
    ]


def test_a_failed_camera_is_tried_again_alone(walk: Walk) -> None:
    walk.to_preparation(cameras=["gate", "lobby"]).prepare()
    walk.fail("acquire_footage", "DISK_FULL", camera="lobby")
    walk.submit("handle_camera_fault", {"decision": "retry"}, by="operator")
    assert sorted(job.params["camera"] for job in walk.jobs.values()) == ["gate", "lobby"]
    walk.retrieve("lobby", 2).retrieve("gate", 1)
    assert [one["item"] for one in walk.data["acquisitions"]] == [1, 2]


@pytest.mark.parametrize("element", ["check_footage", "make_viewing_copy"])
def test_a_full_disk_after_the_acquisition_is_the_operators_too(walk: Walk, element: str) -> None:
    walk.to_preparation().prepare()
    acquired = {"camera": "gate", "item": 1, "report": {}, "complete": True}
    walk.finish("acquire_footage", acquired)
    if element == "make_viewing_copy":
        walk.finish("check_footage", {"verdict": "sound", "findings": []})
    walk.fail(element, "DISK_FULL")
    walk.submit("handle_camera_fault", {"decision": "retry"}, by="operator")
    walk.retrieve("gate")
    assert walk.waiting == {"check_playback"}


def test_when_no_camera_delivers_the_case_is_closed(walk: Walk) -> None:
    walk.to_preparation().prepare()
    walk.fail("acquire_footage", "RECORDER_REFUSED")
    walk.submit("handle_camera_fault", {"decision": "skip", "comment": "口令失效"}, by="operator")
    assert outcome(walk) == ("completed", ["no_footage"], "end_unretrieved")
    assert walk.calls("case/close")[0]["reason"] == "口令失效"


def test_a_failed_playback_check_retrieves_again(walk: Walk) -> None:
    walk.to_preparation().prepare()
    for item in (1, 2):
        walk.retrieve("gate", item)
        walk.submit("check_playback", {"decision": "retry", "comment": "花屏"}, by="operator")
    walk.retrieve("gate", 3)
    walk.submit("check_playback", PLAYED, by="operator")
    assert walk.waiting == {"back_up_footage"}
    assert [one["item"] for one in walk.data["acquisitions"]] == [3]


def test_nothing_is_backed_up_before_the_playback_check(walk: Walk) -> None:
    walk.to_preparation().prepare().retrieve("gate")
    assert walk.waiting == {"check_playback"}
    with pytest.raises(InvalidFormError):
        walk.submit("check_playback", {**PLAYED, "undamaged": False}, by="operator")


@pytest.mark.parametrize("code", ["STORE_FAILED", "DISK_FULL"])
def test_a_failed_backup_and_a_failed_archive_are_tried_again(walk: Walk, code: str) -> None:
    walk.to_preparation().prepare().retrieve("gate")
    walk.submit("check_playback", PLAYED, by="operator")
    walk.fail("back_up_footage", code)
    walk.submit("handle_store_fault", {"decision": "retry"}, by="operator")
    walk.back_up().record()
    walk.submit("countersign_record", {"decision": "approve"}, by="archivist")
    walk.submit("register_shelf", {"shelf": "A-1", "medium": "optical", "custodian": "archivist"}, by="archivist")
    walk.fail("archive_case", code)
    walk.submit("handle_archive_fault", {"decision": "retry"}, by="archivist")
    assert walk.waiting == {"archive_case"}


# ---- emergency ------------------------------------------------------------------------------------------------------


def emergency(walk: Walk) -> Walk:
    """The chair has approved at once; retrieval and ratification are both under way."""
    walk.to_committee(urgency="emergency")
    assert walk.waiting == {"decide_by_chair"}
    walk.submit("decide_by_chair", {"decision": "approve"}, by="member1")
    assert walk.waiting == {"check_readiness", "ratify_emergency"}
    return walk


def handed_over(walk: Walk) -> Walk:
    walk.prepare().retrieve("gate")
    walk.submit("check_playback", PLAYED, by="operator")
    walk.back_up().record()
    walk.submit("countersign_record", {"decision": "approve"}, by="archivist")
    return walk


def test_an_emergency_is_archived_only_after_its_ratification(walk: Walk) -> None:
    handed_over(emergency(walk))
    assert walk.waiting == {"ratify_emergency"}
    walk.vote("ratify_emergency", member1="approve", member3="approve")
    assert walk.waiting == {"register_shelf"}
    assert walk.calls("access/revoke") == []
    assert (walk.data["chair_decision"]["decision"], len(walk.data["ratifications"])) == ("approve", 2)


def test_a_ratification_may_come_before_the_footage(walk: Walk) -> None:
    emergency(walk).vote("ratify_emergency", member1="approve", member3="approve")
    handed_over(walk).archive()
    assert outcome(walk) == ("completed", ["archived"], "end_archived")


def test_a_refused_ratification_revokes_access_and_stays_on_the_case(walk: Walk) -> None:
    handed_over(emergency(walk))
    walk.vote("ratify_emergency", member2="refuse", member3="refuse")
    assert len(walk.calls("access/revoke")) >= 1
    assert walk.waiting == {"register_shelf"}
    assert [one["decision"] for one in walk.data["ratifications"]] == ["refuse", "refuse"]
    walk.archive()
    assert outcome(walk)[1] == ["archived"]


def test_access_granted_after_a_refused_ratification_is_revoked_too(walk: Walk) -> None:
    emergency(walk).vote("ratify_emergency", member2="refuse", member3="refuse")
    assert len(walk.calls("access/revoke")) == 1
    handed_over(walk)
    operators = [operator for operator, _ in walk.asked if operator.startswith("access/")]
    assert operators == ["access/revoke", "access/grant", "access/revoke"]


def test_an_emergency_that_nobody_ratifies_in_24_hours_loses_its_access(walk: Walk) -> None:
    handed_over(emergency(walk)).vote("ratify_emergency", member1="approve")
    walk.wait(hours=23)
    assert walk.waiting == {"ratify_emergency"}
    walk.wait(hours=2)
    assert walk.waiting == {"register_shelf"}
    assert len(walk.calls("access/revoke")) >= 1


def test_the_chair_refuses_an_emergency(walk: Walk) -> None:
    walk.to_committee(urgency="emergency")
    walk.submit("decide_by_chair", {"decision": "refuse", "comment": "并不紧急"}, by="member1")
    assert outcome(walk) == ("completed", ["refused"], "end_refused_by_committee")


# ---- withdrawal, waiting, conduct -----------------------------------------------------------------------------------


def test_an_application_is_withdrawn_at_any_point_before_the_end(definition: CompiledDefinition) -> None:
    points = {
        "fill_application": Walk(definition),
        "vote_committee": Walk(definition).to_committee(),
        "acquire_footage": Walk(definition).to_preparation(cameras=["gate", "lobby"]).prepare(),
        "register_shelf": handed_over(Walk(definition).to_preparation()),
    }
    for element, walk in points.items():
        assert walk.waiting == {element}
        walk.apply("message", {"name": "withdraw", "payload": {"reason": "不再需要"}})
        assert walk.waiting == {"discard_copies"}
        walk.finish("discard_copies", {"discarded": 0})
        assert outcome(walk) == ("completed", ["withdrawn"], "end_withdrawn")
        assert [name for name, _ in walk.asked[-3:]] == ["access/revoke", "case/close", "notice/send"]
        assert walk.calls("case/close")[0]["reason"] == "不再需要"


def test_an_archived_case_cannot_be_withdrawn(walk: Walk) -> None:
    handed_over(walk.to_preparation()).archive()
    with pytest.raises(RefusedInputError):
        walk.apply("message", {"name": "withdraw", "payload": {"reason": "太晚"}})


def test_a_gate_that_waits_too_long_reminds_daily_and_escalates_after_three_days(walk: Walk) -> None:
    walk.submit("fill_application", APPLICATION, by="applicant")
    walk.wait(days=3, hours=1)
    sent = [tuple(call["to"]) for call in walk.calls("notice/send")]
    assert sent.count(("head",)) == 3
    assert sent.count(("member1", "applicant")) == 1
    assert walk.waiting == {"sign_application"}
    walk.submit("sign_application", {"decision": "approve"}, by="head")
    walk.wait(days=3, hours=1)
    assert walk.visited.count("remind_review") == 3
    assert walk.visited.count("escalate_review") == 1
    walk.submit("review_request", REVIEWED, by="reviewer")
    walk.finish("verify_coverage", coverage("complete", ["gate"]))
    walk.wait(days=1, hours=1)
    assert walk.visited.count("remind_committee") == 1
    walk.wait(days=9)
    assert walk.visited.count("remind_head") == 3


def test_a_head_who_applies_is_signed_for_by_the_superior(definition: CompiledDefinition) -> None:
    walk = Walk(definition, case={"applicant": "head", "head": "member1"})
    walk.submit("fill_application", APPLICATION, by="head")
    task = walk.task("sign_application", "member1")
    assert walk.people(task, "assignee") == ["member1"]
    assert walk.people(task, "excluded") == ["head"]


def test_reviewer_operator_and_countersigner_are_different_persons(walk: Walk) -> None:
    walk.to_preparation().prepare().retrieve("gate")
    assert walk.people(walk.task("check_playback"), "excluded") == ["applicant", "reviewer"]
    walk.submit("check_playback", PLAYED, by="operator")
    walk.back_up().record()
    excluded = walk.people(walk.task("countersign_record"), "excluded")
    assert excluded == ["applicant", "reviewer", "operator", "operator", "operator"]
