"""The synchronous operators: what a step of the diagram asks of the registers, the directory and the case."""

from datetime import timedelta
from typing import Any

import pytest
from case_room import INSTANCE, NOW, People
from running_jobs import Jobs
from sqlalchemy import select
from sqlalchemy.orm import Session

import device.operators  # noqa: F401 - registers the operators
from device import access, cases, registers
from device.models import Case, Grant
from engine import notifications, operators
from engine.db import Database
from engine.errors import ConflictError, NotFoundError
from engine.models import Instance
from engine.settings import Settings

ASKED = ("2026-02-03T10:00:00+08:00", "2026-02-03T10:01:00+08:00")
URL = "http://127.0.0.1:9/onvif/device_service"


@pytest.fixture
def jobs(database: Database, settings: Settings) -> Jobs:
    return Jobs(database, settings)


def application(by: str = "applicant", **more: Any) -> dict[str, Any]:
    return {"by": by, "cameras": ["gate"], "start_at": ASKED[0], "end_at": ASKED[1], "mode": "copy", **more}


def opened(jobs: Jobs, session: Session, **given: Any) -> dict[str, Any]:
    answer = jobs.step(session, "case/open", {"application": application(**given)})
    assert isinstance(answer, dict)
    return answer


def test_every_operator_of_the_procedure_is_registered_with_a_label_in_both_languages() -> None:
    installed = operators.catalogue()
    known = {found.id: found for found in installed if found.function.__module__.startswith("device.")}
    assert set(known) >= {
        "access/grant",
        "access/revoke",
        "archive/bag",
        "case/close",
        "case/open",
        "evidence/back_up",
        "evidence/discard_working_copies",
        "footage/check",
        "footage/viewing_copy",
        "notice/send",
        "recorder/acquire",
        "recorder/coverage",
        "recorder/preflight",
    }
    synchronous = {"access/grant", "access/revoke", "case/close", "case/open", "notice/send"}
    for found in known.values():
        assert found.label_zh
        assert found.label_en
        assert found.description
    assert {key for key in synchronous if not known[key].synchronous} == set()
    assert not known["recorder/acquire"].synchronous


def test_opening_a_case_numbers_it_and_names_who_decides(jobs: Jobs, session: Session) -> None:
    answer = opened(jobs, session)
    assert answer["number"] == "调取-2026-0001"
    assert (answer["applicant"], answer["department"], answer["head"]) == ("applicant", "销售部", "head")
    assert (answer["chair"], answer["retention_days"]) == ("member3", 30)
    assert session.get_one(Instance, INSTANCE).business_key == "调取-2026-0001"


def test_a_committee_member_never_votes_on_their_own_departments_request(jobs: Jobs, session: Session) -> None:
    assert opened(jobs, session)["members"] == ["member2", "member3"]
    assert opened(jobs, session, by="member2")["members"] == ["member1"]


def test_a_head_who_applies_is_signed_for_by_their_superior(jobs: Jobs, session: Session) -> None:
    assert opened(jobs, session, by="head")["head"] == "boss"


def test_a_chair_who_applies_does_not_decide_on_it(jobs: Jobs, session: Session) -> None:
    assert opened(jobs, session, by="member3")["chair"] == "boss"


def test_a_corrected_request_keeps_its_number(jobs: Jobs, session: Session) -> None:
    first = opened(jobs, session)
    assert opened(jobs, session)["number"] == first["number"]
    assert session.scalars(select(Case.number)).all() == [first["number"]]


def test_the_countdown_comes_from_the_recorder_that_keeps_footage_shortest(
    jobs: Jobs, session: Session, settings: Settings
) -> None:
    registers.add_recorder(session, settings, "nvr-1", name="一", url=URL, retention_days=45)
    registers.add_recorder(session, settings, "nvr-2", name="二", url=URL, retention_days=20)
    registers.add_camera(session, "gate", name="大门", place="东门", recorder="nvr-1", recording="gate")
    registers.add_camera(session, "yard", name="院子", place="院子", recorder="nvr-2", recording="yard")
    answer = opened(jobs, session, cameras=["gate", "yard"])
    assert answer["retention_days"] == 20
    assert answer["overwritten_at"] == "2026-02-23T10:00:00+08:00"


def test_an_applicant_who_is_nobody_is_refused(jobs: Jobs, session: Session) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        opened(jobs, session, by="nobody")


def test_closing_notes_the_outcome_once(jobs: Jobs, session: Session) -> None:
    opened(jobs, session)
    answer = jobs.step(session, "case/close", {"outcome": "refused", "reason": "依据不足"})
    again = jobs.step(session, "case/close", {"outcome": "refused", "reason": "again"}, at=NOW + timedelta(days=1))
    assert answer == again
    case = cases.of_instance(session, INSTANCE)
    assert (case.outcome, case.reason, case.closed_at) == ("refused", "依据不足", NOW)
    assert [event.kind for event in access.case_events(session, case)] == ["opened", "closed"]


def test_a_request_withdrawn_before_it_had_a_number_closes_quietly(jobs: Jobs, session: Session) -> None:
    answer = jobs.step(session, "case/close", {"outcome": "withdrawn", "reason": "填错了"})
    assert (answer["number"], answer["outcome"]) == ("", "withdrawn")
    assert jobs.step(session, "access/revoke", {"reason": "withdrawn"}) == {"revoked": 0}


def test_access_lasts_until_the_end_of_the_local_day(jobs: Jobs, session: Session, people: People) -> None:
    opened(jobs, session)
    answer = jobs.step(session, "access/grant", {"user": "applicant", "mode": "copy", "until": "2026-03-01"})
    assert answer == {"user": "applicant", "mode": "copy", "expires_at": "2026-03-01T23:59:59+08:00"}
    case = cases.of_instance(session, INSTANCE)
    permission = access.may_view(session, case, people["applicant"], NOW)
    assert permission is not None
    assert permission.download


def test_a_use_period_that_is_over_grants_nothing_and_the_case_says_so(jobs: Jobs, session: Session) -> None:
    opened(jobs, session)
    jobs.step(session, "access/grant", {"user": "applicant", "mode": "copy", "until": "2026-02-09"})
    assert session.scalars(select(Grant)).all() == []
    case = cases.of_instance(session, INSTANCE)
    assert [event.kind for event in access.case_events(session, case)] == ["opened", "lapsed"]


def test_a_date_that_is_none_is_refused(jobs: Jobs, session: Session) -> None:
    opened(jobs, session)
    with pytest.raises(ConflictError, match="no date"):
        jobs.step(session, "access/grant", {"user": "applicant", "mode": "copy", "until": "morgen"})


def test_revoking_ends_every_grant_of_the_case(jobs: Jobs, session: Session, people: People) -> None:
    opened(jobs, session)
    for user in ("applicant", "head"):
        jobs.step(session, "access/grant", {"user": user, "mode": "view", "until": "2026-03-01"})
    assert jobs.step(session, "access/revoke", {"reason": "未获追认"}) == {"revoked": 2}
    case = cases.of_instance(session, INSTANCE)
    assert access.may_view(session, case, people["head"], NOW) is None


def test_a_notice_reaches_people_and_groups_once_each(jobs: Jobs, session: Session) -> None:
    opened(jobs, session)
    to = ["applicant", "group:committee", "member2", "", "nobody"]
    params = {"to": to, "template": "Request %(number)s is archived", "params": {"number": "调取-2026-0001"}}
    assert jobs.step(session, "notice/send", params) == {"sent": 4}
    (notice,) = notifications.unread(session, "member2")
    case = cases.of_instance(session, INSTANCE)
    assert (notice.template, notice.link) == ("Request %(number)s is archived", f"/cases/{case.id}")
    assert notice.created_at == NOW


def test_a_notice_about_a_request_without_a_case_leads_to_the_requests(jobs: Jobs, session: Session) -> None:
    assert jobs.step(session, "notice/send", {"to": ["applicant"], "template": "withdrawn"}) == {"sent": 1}
    assert notifications.unread(session, "applicant")[0].link == "/requests"


def test_one_playback_at_a_time_is_asked_of_a_recorder(session: Session, settings: Settings) -> None:
    registers.add_recorder(session, settings, "nvr-1", name="一", url=URL, sessions=2, site="north")
    registers.add_camera(session, "gate", name="大门", place="东门", recorder="nvr-1", recording="gate")
    exclusive = operators.get("recorder/acquire").exclusive
    assert exclusive is not None
    assert exclusive(session, {"camera": "gate"}) == ("recorder:nvr-1", 2, "north")
    asking = operators.get("recorder/coverage").exclusive
    assert asking is not None
    assert asking(session, {"cameras": ["gate"]}) == ("", 1, "north")
    assert asking(session, {"cameras": []}) == ("", 1, "main")
