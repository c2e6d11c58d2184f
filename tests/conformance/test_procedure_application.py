"""Applying for footage on the real system: clauses 1.1, P1 and P2, and applicants from outside."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pypdf
import pytest
from office import Office, Request
from stages import OFFSET, Arrive
from visitor import Person

from device.simulator import LOCAL_TIME


def local(**ago: float) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).astimezone(LOCAL_TIME).isoformat(timespec="seconds")


def refused(office: Office, **application: Any) -> set[str]:
    """The fields that are named when this is submitted; nothing has moved then."""
    request = office.begin()
    before = request.instance.seq
    answer = request.submit("fill_application", {**office.application(), **application}, by="applicant")
    assert answer.status == 422, answer.body
    assert request.instance.seq == before
    assert request.waiting == {"fill_application"}
    return answer.fields


# ---- 1.1 ------------------------------------------------------------------------------------------------------------


def test_1_1_a_draft_is_kept_and_restored(office: Office) -> None:
    applicant = office.person("applicant")
    empty = applicant.form("/requests/new")
    assert (empty["employee_no"], empty["position"]) == ("D0001", "班组长"), "the directory fills in what it knows"
    typed = {"_intent": "draft", "reason": "核实车辆刮擦", "cameras": ["gate"], "purpose": "safety"}
    assert applicant.fill("/requests/new", typed).status_code == 302
    elsewhere = Person(office, "applicant", office.tokens["applicant"])
    restored = elsewhere.form("/requests/new")
    assert {key: restored[key] for key in ("reason", "cameras", "purpose")} == {
        "reason": "核实车辆刮擦",
        "cameras": "gate",
        "purpose": "safety",
    }
    assert applicant.inbox() == []
    assert office.person("colleague").form("/requests/new")["reason"] == ""
    answers = {key: value for key, value in office.application().items() if key != "reason"}
    assert elsewhere.fill("/requests/new", {**answers, "_intent": "complete"}).location.startswith("/cases/")
    assert office.person("head").inbox() == ["sign_application"]
    assert elsewhere.form("/requests/new")["reason"] == "", "what was submitted is no draft any more"


def test_1_1_a_draft_of_a_task_is_kept_too(at: Arrive) -> None:
    request = at("review_request")
    address = f"/tasks/{request.task('review_request').id}"
    reviewer = request.office.person("reviewer")
    reviewer.fill(address, {"_intent": "draft", "comment": "待查证件", "lawful": True})
    again = Person(request.office, "reviewer", request.office.tokens["reviewer"]).form(address)
    assert (again["comment"], again.get("lawful"), again.get("minimal")) == ("待查证件", "true", None)
    assert request.waiting == {"review_request"}


def test_1_1_the_application_form_is_a_printable_pdf(at: Arrive) -> None:
    request = at("sign_application")
    for reader in ("applicant", "head"):
        answer = request.office.person(reader).get(f"{request.page}/documents/application.pdf")
        assert answer.mimetype == "application/pdf"
        text = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(answer.data)).pages)
        for part in ("视频监控录像调取申请表", request.case.number, "核实东门一起车辆刮擦的经过", "李申请", "生产部"):
            assert part in text.replace("\n", "")
    assert request.office.person("stranger").get(f"{request.page}/documents/application.pdf").status_code == 404


def test_1_1_every_request_gets_a_number_of_its_own(office: Office) -> None:
    year = office.now.astimezone(LOCAL_TIME).year
    numbers = [office.apply(by=person).case.number for person in ("applicant", "colleague", "applicant")]
    assert numbers == [f"调取-{year}-{count:04}" for count in (1, 2, 3)]


# ---- P1 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["purpose", "legal_basis", "reason", "undertaking"])
def test_p1_purpose_and_legal_basis_are_mandatory(office: Office, field: str) -> None:
    assert refused(office, **{field: False if field == "undertaking" else ""}) == {field}


def test_p1_purpose_and_legal_basis_are_of_a_known_category(office: Office) -> None:
    assert refused(office, purpose="curiosity", legal_basis="none") == {"purpose", "legal_basis"}
    assert refused(office, legal_basis="other") == {"legal_basis_other"}
    assert refused(office, purpose="insurance", incident_no="") == {"incident_no"}


def test_p1_the_purpose_cannot_change_after_submission(at: Arrive) -> None:
    request = at("sign_application")
    submitted = request.data["application"]
    changed = {**request.office.application(), "purpose": "other", "reason": "换一个理由"}
    finished = request.office.person("applicant").api(
        "POST", f"/tasks/{first_task(request)}/complete", {"data": changed}
    )
    assert finished.status == 409
    smuggled = {"decision": "approve", "purpose": "other", "application": {"purpose": "other"}}
    assert request.submit("sign_application", smuggled, by="head").status == 200
    assert request.data["application"] == submitted
    assert "purpose" not in request.data["head_decision"]


def test_p1_the_record_repeats_the_reason_that_was_approved(at: Arrive) -> None:
    request = at("complete_record")
    address = f"/tasks/{request.task('complete_record').id}"
    changed = {"reason": "另一个理由", "clock_method": "measured", "export_method": "native_stream", "copies": 1}
    assert request.office.person("operator").fill(address, changed).status_code == 302
    assert request.data["record"]["reason"] == request.data["application"]["reason"]


def first_task(request: Request) -> str:
    """The id of the application form's task, which is finished."""
    (task,) = [
        found
        for found in request.office.person("auditor").api("GET", f"/instances/{request.id}/history").body
        if found["kind"] == "submit"
    ]
    return str(task["payload"]["task"])


# ---- P2 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start_at", "end_at", "fields"),
    [
        (local(hours=2), local(hours=3), {"end_at"}),
        (local(hours=2), local(hours=2), {"end_at"}),
        (local(hours=2), local(hours=-2), {"end_at"}),
        (local(hours=-1), local(hours=-2), {"start_at", "end_at"}),
        (local(hours=30), local(hours=2), {"end_at"}),
        ("", local(hours=2), {"start_at"}),
        ("上午十点", local(hours=2), {"start_at"}),
        ("2026-02-01T10:00:00", local(hours=2), {"start_at"}),
    ],
    ids=["backwards", "empty", "future end", "future", "too long", "no start", "no time", "no zone"],
)
def test_p2_a_span_is_bounded_and_in_the_past(office: Office, start_at: str, end_at: str, fields: set[str]) -> None:
    assert refused(office, start_at=start_at, end_at=end_at) == fields


def test_p2_only_registered_cameras_can_be_asked_for(office: Office) -> None:
    assert refused(office, cameras=["gate", "attic"]) == {"cameras"}
    assert refused(office, cameras=[]) == {"cameras"}


def test_p2_it_is_said_by_whose_clock_the_span_was_read(office: Office) -> None:
    assert refused(office, clock_basis="") == {"clock_basis"}


def test_p2_times_read_from_the_recorders_picture_are_corrected_by_its_offset(office: Office) -> None:
    request = office.apply("gate", clock_basis="recorder").lead("check_playback")
    asked = datetime.fromisoformat(request.data["application"]["start_at"])
    (camera,) = request.data["coverage"]["cameras"]
    (master,) = request.items("master")
    for found in (camera["requested"][0], master.facts["report"]["requested"]["start"]):
        assert abs(asked - datetime.fromisoformat(found) - OFFSET) < timedelta(seconds=1)


# ---- applicants from outside ----------------------------------------------------------------------------------------

POLICE = {
    "applicant_kind": "police",
    "purpose": "police",
    "legal_basis": "criminal_procedure",
    "external_unit": "城东派出所",
    "document_no": "城公调证字〔2026〕17号",
    "officers": "张警官、李警官",
    "id_type": "police_card",
    "id_number": "0142587",
}


@pytest.mark.parametrize("field", ["external_unit", "document_no", "officers", "id_type", "id_number"])
def test_conduct_police_requests_name_unit_document_and_two_officers(office: Office, field: str) -> None:
    assert refused(office, **{**POLICE, field: ""}) == {field}


def test_conduct_one_officer_is_not_enough(office: Office) -> None:
    assert refused(office, **{**POLICE, "officers": "张警官"}) == {"officers"}


def test_conduct_external_applicants_are_entered_by_an_employee_who_answers_for_it(office: Office) -> None:
    request = office.apply(**POLICE)
    assert (request.case.applicant, request.data["application"]["by"]) == ("applicant", "applicant")
    assert request.data["application"]["external_unit"] == "城东派出所"
    page = office.person("head").get(f"/tasks/{request.task('sign_application').id}").text
    assert "城东派出所" in page
    assert "0142587" not in page, "papers are masked"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("data_subject", {"id_type", "id_number"}), ("insurer", {"external_unit", "id_type", "id_number"})],
)
def test_conduct_other_external_applicants_prove_who_they_are(office: Office, kind: str, fields: set[str]) -> None:
    assert refused(office, applicant_kind=kind) == fields
