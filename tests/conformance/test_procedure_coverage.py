"""What the recorders hold, on the real system: complete, partial, nothing, unreachable (clause 2.2)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from office import Office, Request
from stages import OFFSET, Arrive

from device.registers import get_recorder
from device.simulator import LOCAL_TIME
from web.i18n import format_time

RETENTION = timedelta(days=30)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def at_noon(seconds: float, *, until: float) -> dict[str, str]:
    """A span around noon of yesterday by the recorder's clock, when the lobby was not recorded for six minutes."""
    yesterday = datetime.now(UTC).astimezone(LOCAL_TIME) - timedelta(days=1)
    noon = yesterday.replace(hour=12, minute=0, second=0, microsecond=0) - OFFSET
    return {
        "start_at": (noon + timedelta(seconds=seconds)).isoformat(),
        "end_at": (noon + timedelta(seconds=until)).isoformat(),
    }


def verified(office: Office, *cameras: str, **application: Any) -> Request:
    """A request whose footage has just been looked for."""
    request = office.apply(*cameras, **application).lead("review_request")
    request.decide(
        "review_request", "approve", "合法、合理", lawful=True, legitimate=True, minimal=True, identity_checked=True
    )
    office.work()
    return request


@contextmanager
def away(office: Office) -> Iterator[None]:
    """The annex's recorder is switched off."""
    office.annex.stop()
    try:
        yield
    finally:
        office.annex.start()


# ---- what it holds --------------------------------------------------------------------------------------------------


def test_2_2_complete_footage_goes_on_to_the_committee(at: Arrive) -> None:
    request = at("vote_committee")
    coverage, application = request.data["coverage"], request.data["application"]
    (camera,) = coverage["cameras"]
    assert (coverage["status"], camera["status"], camera["gaps"]) == ("complete", "complete", [])
    ((begin, end),) = camera["recorded"]
    assert (instant(begin), instant(end)) == (instant(application["start_at"]), instant(application["end_at"]))
    assert (camera["name"], camera["recorder"]) == ("1号 东大门", "1号录像机")


def test_2_2_the_offset_of_the_recorders_clock_is_measured_and_shown(at: Arrive) -> None:
    request = at("vote_committee")
    (camera,) = request.data["coverage"]["cameras"]
    assert abs(camera["clock_offset_seconds"] - OFFSET.total_seconds()) <= camera["clock_uncertainty_seconds"] + 0.05
    assert 0 < camera["clock_uncertainty_seconds"] < 1
    page = request.office.person("member1").get(f"/tasks/{request.task('vote_committee', 'member1').id}").text
    assert re.search(r"clock is 3[67]\.\d s fast", page)


def test_2_2_the_date_of_overwriting_is_on_the_request(at: Arrive) -> None:
    request = at("vote_committee")
    overwritten = instant(request.data["application"]["start_at"]) + RETENTION
    assert instant(request.data["coverage"]["overwritten_at"]) == request.case.overwritten_at == overwritten
    for address in ("/requests", request.page):
        assert format_time(overwritten) in request.office.person("applicant").get(address).text


def test_2_2_the_date_of_overwriting_is_known_from_the_first_day(at: Arrive) -> None:
    """Before any recorder is asked, by its retention: who signs sees how much time is left."""
    request = at("sign_application")
    overwritten = instant(request.data["application"]["start_at"]) + RETENTION
    assert request.case.overwritten_at == overwritten
    page = request.office.person("head").get(f"/tasks/{request.task('sign_application').id}").text
    assert format_time(overwritten) in page


# ---- partial --------------------------------------------------------------------------------------------------------


def test_2_2_partial_footage_names_the_gaps_and_asks_the_applicant(office: Office) -> None:
    request = verified(office, "gate", "lobby", **at_noon(-20, until=20))
    coverage = request.data["coverage"]
    assert coverage["status"] == "partial"
    assert {camera["camera"]: camera["status"] for camera in coverage["cameras"]} == {
        "gate": "complete",
        "lobby": "partial",
    }
    ((begin, end, cause),) = coverage["cameras"][1]["gaps"]
    noon = instant(at_noon(0, until=1)["start_at"])
    assert abs(instant(begin) - noon) < timedelta(seconds=1)
    assert (instant(end), cause) == (instant(request.data["application"]["end_at"]), "not_recorded")
    assert request.waiting == {"decide_partial"}
    assert office.person("applicant").inbox() == ["decide_partial"]
    page = office.person("applicant").get(f"/tasks/{request.task('decide_partial').id}").text
    assert f"{noon.astimezone(LOCAL_TIME):%H:%M:%S}" in page
    assert request.decide("decide_partial", "accept", by="colleague").status == 404
    assert request.decide("decide_partial", "accept", by="applicant").status == 200
    assert request.waiting == {"vote_committee"}


def test_2_2_the_applicant_withdraws_because_of_partial_footage(office: Office) -> None:
    request = verified(office, "lobby", **at_noon(-20, until=20))
    assert request.decide("decide_partial", "withdraw", by="applicant").fields == {"comment"}
    assert request.decide("decide_partial", "withdraw", "缺关键时段", by="applicant").status == 200
    assert (request.instance.state, request.case.outcome, request.case.reason) == (
        "completed",
        "withdrawn",
        "缺关键时段",
    )


def test_2_2_of_several_cameras_one_may_hold_nothing(office: Office) -> None:
    request = verified(office, "gate", "lobby", **at_noon(60, until=66))
    assert [camera["status"] for camera in request.data["coverage"]["cameras"]] == ["complete", "none"]
    assert request.waiting == {"decide_partial"}


# ---- nothing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["never recorded", "overwritten"])
def test_2_2_without_footage_the_case_is_closed_and_the_applicant_told(office: Office, why: str) -> None:
    if why == "never recorded":
        span = at_noon(60, until=66)
    else:
        begin = datetime.now(UTC) - timedelta(days=40)
        span = {"start_at": begin.isoformat(), "end_at": (begin + timedelta(seconds=6)).isoformat()}
    request = verified(office, "lobby", **span)
    assert request.data["coverage"]["status"] == "none"
    assert (request.instance.state, request.case.outcome) == ("completed", "no_footage")
    assert request.case.number in request.told("applicant")[-1]
    assert request.waiting == set()


# ---- the recorder does not answer -----------------------------------------------------------------------------------


def test_2_2_an_unreachable_recorder_is_repaired_and_asked_again(office: Office) -> None:
    with away(office):
        request = verified(office, "gate", "annex")
        assert request.waiting == {"handle_recorder_fault"}
        assert office.person("operator").inbox() == ["handle_recorder_fault"]
        page = office.person("operator").get(f"/tasks/{request.task('handle_recorder_fault').id}").text
        assert "2号录像机" in page, "the operator is told which recorder it is"
    assert request.decide("handle_recorder_fault", "retry", by="operator").status == 200
    office.work()
    assert request.waiting == {"vote_committee"}
    assert request.data["coverage"]["status"] == "complete"


def test_2_2_the_operator_gives_up_on_a_broken_recorder_with_a_reason(office: Office) -> None:
    with away(office):
        request = verified(office, "annex")
    assert request.decide("handle_recorder_fault", "give_up", by="operator").fields == {"comment"}
    assert request.decide("handle_recorder_fault", "give_up", "硬盘损坏", by="operator").status == 200
    assert (request.instance.state, request.case.outcome, request.case.reason) == (
        "completed",
        "no_footage",
        "硬盘损坏",
    )
    told = request.told("applicant")[-1]
    assert "硬盘损坏" in told
    assert request.case.number in told


def test_2_2_a_recorder_that_refuses_our_password_is_the_operators_at_once(office: Office) -> None:
    with office.database.transaction() as session:
        get_recorder(session, "nvr-2").secret = ""
    request = verified(office, "annex")
    assert request.waiting == {"handle_recorder_fault"}
    page = office.person("operator").get(f"/tasks/{request.task('handle_recorder_fault').id}").text
    assert "2号录像机" in page
    assert office.shift < timedelta(seconds=1), "a refusal is not repeated"
