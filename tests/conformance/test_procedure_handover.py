"""Result, access, record form on the real system (clauses P3, 4.1, 4.2, and the three modes of access)."""

import io
from datetime import datetime
from typing import Any

import orjson
import pypdf
import pytest
from office import Request
from stages import Arrive
from visitor import parsed

from device import access
from device.evidence import verify_bag
from device.simulator import LOCAL_TIME
from engine import tasks

RECORD = {"clock_method": "measured", "export_method": "native_stream", "copies": 1}


def record_page(request: Request) -> str:
    return f"/tasks/{request.task('complete_record').id}"


def details(event: Any) -> dict[str, Any]:
    return dict(orjson.loads(event.details))


# ---- 4.1 ------------------------------------------------------------------------------------------------------------


def test_4_1_the_applicant_is_told_and_the_grant_expires(at: Arrive) -> None:
    request = at("complete_record")
    (grant,) = request.grants()
    until = datetime.fromisoformat(request.data["application"]["use_until"]).date()
    assert (grant.username, grant.mode) == ("applicant", "view")
    assert grant.expires_at.astimezone(LOCAL_TIME).date() == until
    told = request.told("applicant")[-1]
    assert request.case.number in told
    assert request.office.person("applicant").notices()[0].link == request.page
    handover = request.data["handover"]
    assert len(handover["storage"]) == 2, "the master on both stores"
    assert (handover["access"], handover["expires_at"]) == ("view", grant.expires_at.astimezone(LOCAL_TIME).isoformat())
    applicant = request.office.person("applicant")
    assert applicant.get(f"{request.page}/footage").status_code == 200
    assert applicant.get(request.own_footage("applicant")).status_code == 200


def test_4_1_the_applicant_is_told_where_it_is_stored_and_how_to_see_it(at: Arrive) -> None:
    request = at("complete_record")
    page = request.office.person("applicant").get(request.page).text
    for place in request.data["handover"]["storage"]:
        assert place.partition("：")[2] in page
    assert f"{request.page}/footage" in page


def test_4_1_access_ends_on_its_date(at: Arrive) -> None:
    request = at("archived")
    applicant = request.office.person("applicant")
    request.office.wait(days=13)
    assert applicant.get(request.own_footage("applicant")).status_code == 200
    request.office.wait(days=2)
    assert applicant.get(request.footage()).status_code == 403
    assert applicant.get(request.page).status_code == 200, "the case itself stays known to its applicant"


def test_4_1_a_use_that_has_ended_before_the_handover_gives_no_access(at: Arrive) -> None:
    request = at("vote_committee")
    request.office.wait(days=2)
    request.vote(member1="approve", member2="approve")
    request.office.work()
    request.office.wait(days=20)
    request.lead("complete_record")
    assert request.grants() == []
    assert [event.kind for event in request.log("granted", "lapsed")] == ["lapsed"]
    assert request.office.person("applicant").get(request.footage()).status_code == 403


# ---- P3 and the modes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("username", "status"),
    [
        ("colleague", 404),
        ("stranger", 404),
        ("member4", 404),
        ("head", 403),
        ("reviewer", 403),
        ("member1", 403),
        ("owner", 404),
        ("auditor", 403),
        ("admin", 403),
    ],
)
def test_p3_nobody_sees_footage_without_a_grant(at: Arrive, username: str, status: int) -> None:
    """Those with a part in the case know it exists; the pictures are for the applicant and the playback check."""
    request = at("complete_record")
    address = request.footage()
    for query in ("", "?download=1"):
        assert request.office.person(username).get(address + query).status_code == status
    assert username not in {event.actor for event in request.log("viewed", "downloaded")}


def test_p3_before_the_handover_the_applicant_sees_nothing(at: Arrive) -> None:
    request = at("check_playback")
    assert request.office.person("applicant").get(request.footage()).status_code == 403


def test_p3_footage_is_not_public_and_stays_in_no_cache(at: Arrive) -> None:
    request = at("complete_record")
    anonymous = request.office.app.test_client().get(request.footage())
    assert (anonymous.status_code, "/sign-in" in anonymous.location) == (302, True)
    seen = request.office.person("applicant").get(request.own_footage("applicant"))
    assert seen.status_code == 200
    assert "no-store" in seen.headers["Cache-Control"]


def test_p3_every_view_is_logged(at: Arrive) -> None:
    request = at("complete_record")
    request.office.person("operator").get(request.footage())
    applicant = request.office.person("applicant")
    applicant.get(request.own_footage("applicant"))
    applicant.get(request.footage(), headers={"Range": "bytes=5000-"})
    request.office.wait(minutes=5)
    applicant.get(request.footage(), headers={"Range": "bytes=0-"})
    seen = [(event.actor, details(event)["mode"]) for event in request.log("viewed")]
    assert seen == [("operator", "check"), ("applicant", "view"), ("applicant", "view")]
    (copy,) = request.items("viewing_copy")
    (grant,) = request.grants()
    first = request.log("viewed")[1]
    assert (first.item, details(first)["grant"], first.origin) == (copy.path, grant.id, "127.0.0.1")
    page = request.office.person("auditor").get(f"{request.page}/custody").text
    assert "Li (applicant)" in page
    assert applicant.get(f"{request.page}/custody").status_code == 403


@pytest.mark.parametrize("range_", ["bytes=1-", "bytes=-5000", "bytes=40000-49999"])
def test_p3_a_view_that_does_not_begin_at_the_beginning_is_logged_too(at: Arrive, range_: str) -> None:
    request = at("complete_record")
    film = request.own_footage("applicant")
    assert request.office.person("applicant").get(film, headers={"Range": range_}).status_code in (200, 206)
    assert [event.actor for event in request.log("viewed")] == ["applicant"]


def test_p3_a_revoked_access_is_over_at_once(at: Arrive) -> None:
    request = at("complete_record")
    applicant, archivist = request.office.person("applicant"), request.office.person("archivist")
    assert applicant.get(request.own_footage("applicant")).status_code == 200
    assert applicant.post(f"{request.page}/access/revoke", {"reason": "不需要"}).status_code == 403
    assert archivist.post(f"{request.page}/access/revoke", {"reason": ""}).status_code == 422
    assert archivist.post(f"{request.page}/access/revoke", {"reason": "发现外传"}).status_code == 302
    assert applicant.get(request.footage()).status_code == 403
    (event,) = request.log("revoked")
    assert (event.actor, details(event)["reason"], details(event)["user"]) == ("archivist", "发现外传", "applicant")


@pytest.mark.parametrize("kind", ["view", "still"])
def test_conduct_a_view_or_still_grant_gives_no_download(at: Arrive, kind: str) -> None:
    request = at("complete_record", kind)
    applicant = request.office.person("applicant")
    assert applicant.get(request.footage() + "?download=1").status_code == 403
    page = parsed(applicant.get(f"{request.page}/footage"))
    assert page.xpath('//a[contains(@href, "download")]') == []
    assert applicant.get(request.own_footage("applicant")).status_code == 200
    assert request.log("downloaded") == []


def test_conduct_a_still_grant_delivers_only_the_chosen_pictures(at: Arrive) -> None:
    request = at("complete_record", "still")
    applicant = request.office.person("applicant")
    pictures = [applicant.get(f"{request.footage()}/still?at={seconds}") for seconds in ("0.5", "2.5")]
    for found in pictures:
        assert (found.status_code, found.mimetype) == (200, "image/jpeg")
        assert found.data.startswith(b"\xff\xd8")
        assert found.headers["Content-Disposition"].startswith("attachment")
    assert pictures[0].data != pictures[1].data
    (copy,) = request.items("viewing_copy")
    taken = [(event.actor, event.item, details(event)["seconds"]) for event in request.log("captured")]
    assert taken == [("applicant", copy.path, 0.5), ("applicant", copy.path, 2.5)]
    for wrong in ("60", "-1", "soon", "nan", ""):
        assert applicant.get(f"{request.footage()}/still?at={wrong}").status_code == 422
    assert len(request.log("captured")) == 2


@pytest.mark.parametrize(("kind", "username"), [("view", "applicant"), ("still", "operator"), ("still", "colleague")])
def test_conduct_nobody_else_takes_pictures_away(at: Arrive, kind: str, username: str) -> None:
    request = at("complete_record", kind)
    assert request.office.person(username).get(f"{request.footage()}/still?at=1").status_code in (403, 404)
    assert request.log("captured") == []


def test_conduct_a_copy_grant_delivers_a_copy_in_the_recipients_name_and_says_so_in_the_log(at: Arrive) -> None:
    request = at("complete_record", "copy")
    delivered = request.office.person("applicant").get(request.own_footage("applicant") + "?download=1")
    (viewing,), (own,) = request.items("viewing_copy"), request.items("viewer_copy")
    assert delivered.headers["Content-Disposition"].startswith("attachment")
    assert delivered.data == request.file(own).read_bytes() != request.file(viewing).read_bytes()
    assert own.facts["derivation"]["parameters"]["lines"][0] == "李申请（applicant）"
    (event,) = request.log("downloaded")
    assert (event.actor, event.item, details(event)["code"]) == (
        "applicant",
        viewing.path,
        own.facts["derivation"]["code"],
    )


@pytest.mark.parametrize("kind", ["view", "copy"])
def test_conduct_without_the_approvals_word_the_master_leaves_the_house_in_no_mode(at: Arrive, kind: str) -> None:
    request = at("complete_record", kind)
    for item in request.items("master", "report"):
        for query in ("", "?download=1", "/master"):
            answer = request.office.person("applicant").get(f"{request.page}/footage/{item.id}{query}")
            assert answer.status_code in (403, 404)
    assert request.log("downloaded") == []


@pytest.mark.long
@pytest.mark.parametrize(("kind", "delivered"), [("copy", True), ("still", False)])
def test_conduct_the_master_goes_out_in_the_mode_copy_where_every_approving_member_says_so(
    at: Arrive, kind: str, delivered: bool
) -> None:
    request = at("vote_committee", kind)
    for member in ("member1", "member2"):
        assert request.submit("vote_committee", {"decision": "approve", "master": True}, by=member).status == 200
    request.office.work()
    request.lead("complete_record", leave=("complete_record",))
    (master,) = request.items("master")
    answer = request.office.person("applicant").get(f"{request.page}/footage/{master.id}/master")
    assert (answer.status_code == 200) == delivered
    assert [event.item for event in request.log("downloaded")] == ([master.path] if delivered else [])
    if delivered:
        assert answer.data == request.file(master).read_bytes()


@pytest.mark.long
def test_n2_where_the_approval_asks_for_redaction_only_a_redacted_copy_goes_out(at: Arrive) -> None:
    request = at("vote_committee", "copy")
    request.submit("vote_committee", {"decision": "approve", "redact": True, "master": True}, by="member1")
    request.submit("vote_committee", {"decision": "approve", "master": True}, by="member2")
    request.office.work()
    request.lead("complete_record", leave=("complete_record",))
    applicant, operator = request.office.person("applicant"), request.office.person("operator")
    (master,) = request.items("master")
    assert applicant.get(request.own_footage("applicant")).status_code == 409, "nothing before it is redacted"
    assert applicant.get(f"{request.page}/footage/{master.id}/master").status_code == 403
    desk = f"{request.page}/redaction/{master.id}"
    assert operator.post(f"{desk}/faces", {}).status_code == 302
    request.office.work()
    assert len(request.items("faces")) == 1
    hidden = {"rows": "1", "from-0": "0", "to-0": "60", "x-0": "10", "y-0": "10", "width-0": "80", "height-0": "60"}
    assert operator.post(desk, hidden).status_code == 302
    request.office.work()
    (listed,), (redacted,) = request.items("regions"), request.items("redacted_copy")
    made = redacted.facts["derivation"]
    assert (made["master"], made["regions"], made["asked_by"]) == (master.digest, listed.digest, "operator")
    assert sorted(copy.store for copy in redacted.copies) == ["backup", "primary"]
    assert applicant.get(request.own_footage("applicant")).status_code == 200
    (own,) = request.items("viewer_copy")
    assert own.facts["derivation"]["source"] == redacted.digest
    assert [event.actor for event in request.log("reviewed")] == ["operator"]
    request.lead()
    (bag,) = (request.office.folder / "store" / "primary" / "archive").iterdir()
    kept = sorted(path.name for path in (bag / "data" / "redaction").iterdir())
    assert kept == sorted(item.path.rpartition("/")[2] for item in (listed, redacted)), "and no viewer's own copy"
    assert verify_bag(bag) == []
    record = pypdf.PdfReader(io.BytesIO((bag / "data" / "forms" / "record_form.pdf").read_bytes()))
    assert redacted.digest in "".join(page.extract_text() for page in record.pages).replace("\n", "")


# ---- 4.2 ------------------------------------------------------------------------------------------------------------


def test_4_2_the_record_is_prefilled_from_what_really_happened(at: Arrive) -> None:
    request = at("complete_record")
    page = request.office.person("operator").get(record_page(request))
    text = parsed(page).text_content()
    filled = request.office.person("operator").form(record_page(request))
    assert filled["place"] == "1号 东大门"
    assert filled["operators"]
    assert "37" in filled["clock_offset"] or "36" in filled["clock_offset"]
    assert filled["recipient"] == "李申请"
    assert filled["retrieved_at"]
    for locked in (request.data["application"]["reason"], *request.data["handover"]["storage"]):
        assert locked in text
    assert "storage" not in filled


def test_4_2_what_the_machine_knows_cannot_be_rewritten(at: Arrive) -> None:
    request = at("complete_record")
    forged = {**RECORD, "storage": "别处", "access": "copy", "expires_at": "2099-01-01", "reason": "别的"}
    assert request.office.person("operator").fill(record_page(request), forged).status_code == 302
    record = request.data["record"]
    assert record["storage"] == "\n".join(request.data["handover"]["storage"])
    assert record["expires_at"] == request.data["handover"]["expires_at"]
    assert record["reason"] == request.data["application"]["reason"]


def test_4_2_the_record_is_signed_by_two_persons(at: Arrive) -> None:
    request = at("countersign_record")
    assert request.submit("countersign_record", {"decision": "approve"}, by="operator").status in (403, 404)
    wrong = request.submit("countersign_record", {"decision": "approve"}, by="archivist", password="wrong")
    assert wrong.status == 403
    assert request.decide("countersign_record", "approve").status == 200
    with request.office.database.reading() as session:
        done = {task.element: task for task in tasks.of_instance(session, request.id)}
        record, countersign = (
            tasks.signature(session, done[key].id) for key in ("complete_record", "countersign_record")
        )
    assert record is not None
    assert countersign is not None
    assert (record.username, countersign.username) == ("operator", "archivist")
    assert request.data["record"]["signature"] == record.digest
    assert request.data["countersign"]["signature"] == countersign.digest


def test_4_2_the_countersigner_sends_the_record_back_and_nothing_is_lost(at: Arrive) -> None:
    request = at("countersign_record")
    before = request.data["record"]
    assert request.decide("countersign_record", "send_back").fields == {"comment"}
    assert request.decide("countersign_record", "send_back", "请补充见证人").status == 200
    operator, address = request.office.person("operator"), record_page(request)
    assert "请补充见证人" in operator.get(address).text
    kept = operator.form(address)
    for key in ("place", "clock_offset", "clock_method", "export_method", "recipient", "playback_result"):
        assert kept[key] == before[key], key
    assert operator.fill(address, {"witness": "保安队长"}).status_code == 302
    assert request.data["record"]["witness"] == "保安队长"
    assert request.waiting == {"countersign_record"}
    assert request.decide("countersign_record", "approve").status == 200


def test_4_2_the_record_form_is_a_printable_pdf(at: Arrive) -> None:
    request = at("countersign_record")
    answer = request.office.person("archivist").get(f"{request.page}/documents/record.pdf")
    assert answer.mimetype == "application/pdf"
    text = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(answer.data)).pages).replace("\n", "")
    (master,) = request.items("master")
    for part in ("视频监控录像调取记录表", request.case.number, "东大门", "SHA-256", "37"):
        assert part in text
    assert master.digest.removeprefix("sha256:")[:12] in text
    assert request.office.person("stranger").get(f"{request.page}/documents/record.pdf").status_code == 404


def test_the_log_of_a_case_is_a_chain(at: Arrive) -> None:
    request = at("complete_record")
    request.office.person("applicant").get(request.footage())
    with request.office.database.transaction() as session:
        assert access.verify_case_chain(session, request.case) == []
        event = access.case_events(session, request.case)[-1]
        event.actor = "somebody"
        session.flush()
        assert access.verify_case_chain(session, request.case) != []
        session.rollback()


def test_4_1_access_is_the_applicants_alone(at: Arrive) -> None:
    """Two requests of two colleagues: each sees their own footage only."""
    first = at("complete_record")
    office = first.office
    second = office.apply("gate", by="colleague").lead("complete_record", leave=("complete_record",))
    for request, other in ((first, second), (second, first)):
        assert office.person(request.applicant).get(request.own_footage(request.applicant)).status_code == 200
        assert office.person(request.applicant).get(other.footage()).status_code == 404
        mixed = f"{request.page}/footage/{other.items('viewing_copy')[0].id}"
        assert office.person(request.applicant).get(mixed).status_code == 404
