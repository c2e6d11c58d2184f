"""Copies that carry their viewer's name: made on demand, traced by their code, deleted with the access (N2, N3)."""

from uuid import UUID

import orjson
import pytest
from browsing import Visitor
from procedure import House
from sqlalchemy import select

from device import access, copies, evidence
from device.media import probe
from device.models import Case, CaseEvent, EvidenceItem, Grant, ViewerCopy
from engine.errors import ConflictError
from engine.models import Instance


@pytest.fixture
def retrieved(evening: House) -> tuple[House, UUID]:
    return evening, evening.requests()[1]


def address(house: House, instance: UUID) -> str:
    return f"/cases/{house.case(instance).id}/footage"


def film(house: House, instance: UUID) -> str:
    return f"{address(house, instance)}/{house.items(instance, 'viewing_copy')[0].id}"


def ask(house: House, visitor: Visitor, instance: UUID) -> None:
    assert visitor.post(f"{address(house, instance)}/copies", {}).status_code == 302


def copies_of(house: House, instance: UUID) -> list[ViewerCopy]:
    with house.database.reading() as session:
        return copies.of_case(session, session.get_one(Case, house.case(instance).id))


def log(house: House, instance: UUID, kind: str) -> list[CaseEvent]:
    with house.database.reading() as session:
        case = session.get_one(Case, house.case(instance).id)
        return [event for event in access.case_events(session, case) if event.kind == kind]


def test_a_copy_is_made_once_for_a_grant_and_is_all_that_its_owner_gets(retrieved, arrive) -> None:
    house, instance = retrieved
    applicant = arrive(house, "applicant")
    assert applicant.get(film(house, instance)).status_code == 409, "the viewing copy itself is for nobody"
    ask(house, applicant, instance)
    page = applicant.get(address(house, instance)).text
    assert "Your copy is being made" in page
    assert "data-progress" in page
    ask(house, applicant, instance)
    house.work()
    (copy,) = copies_of(house, instance)
    with house.database.reading() as session:
        assert session.query(Instance).filter_by(process_id="footage_derivation").count() == 1
    assert copy.item is not None
    with applicant.get(film(house, instance)) as answer:
        delivered = answer.data
    plain = house.items(instance, "viewing_copy")[0]
    with house.database.reading() as session:
        assert delivered == evidence.locate(session, house.settings, copy.item).read_bytes()
        assert delivered != evidence.locate(session, house.settings, plain).read_bytes()
    ask(house, applicant, instance)
    assert house.work() == 0, "it is kept until the access ends"
    with applicant.get(film(house, instance), headers={"Range": "bytes=0-99"}) as answer:
        assert answer.data == delivered[:100]
    (seen,) = log(house, instance, "viewed")
    assert orjson.loads(seen.details)["code"] == copy.code


def test_a_copy_says_what_it_was_made_from_how_and_for_whom(retrieved, arrive) -> None:
    house, instance = retrieved
    ask(house, arrive(house, "applicant"), instance)
    house.work()
    (copy,) = copies_of(house, instance)
    (master,), (plain,) = house.items(instance, "master"), house.items(instance, "viewing_copy")
    assert copy.item is not None
    told = copy.item.facts["derivation"]
    assert (told["master"], told["source"]) == (master.digest, plain.digest)
    assert (told["asked_by"], told["grant"], told["code"]) == ("applicant", copy.grant_id, copy.code)
    assert told["parameters"]["lines"] == [
        "李申请（applicant）",
        f"{house.case(instance).number}  2026-02-02 09:00:00",
    ]
    assert set(told["tools"]) == {"ffmpeg", "diaoqu"}
    assert copy.item.master_id == master.id
    (made,) = log(house, instance, "marked")
    assert made.item == copy.item.path
    assert house.items(instance, "viewing_copy")[0].facts["derivation"]["master"] == master.digest


@pytest.mark.parametrize("how", [pytest.param("expires", marks=pytest.mark.long), "is revoked"])
def test_a_copy_is_deleted_when_its_access_ends_and_its_record_stays(retrieved, arrive, clock, how) -> None:
    house, instance = retrieved
    applicant, archivist = arrive(house, "applicant"), arrive(house, "archivist")
    ask(house, applicant, instance)
    house.work()
    (copy,) = copies_of(house, instance)
    assert copy.item is not None
    file = evidence.case_folder(house.settings, house.case(instance).number) / copy.item.path
    assert copies.remove_ended(house.database, house.settings) == 0
    assert file.exists()
    if how == "expires":
        clock.forward(days=30)
        assert copies.remove_ended(house.database, house.settings) == 1
    else:
        page = f"/cases/{house.case(instance).id}/access/revoke"
        assert archivist.post(page, {"reason": "passed on"}).status_code == 302
    assert not file.exists()
    (after,) = copies_of(house, instance)
    assert after.item is not None
    assert after.item.discarded_at is not None
    assert copies.remove_ended(house.database, house.settings) == 0
    (gone,) = log(house, instance, "discarded")
    assert (gone.item, orjson.loads(gone.details)["digest"]) == (after.item.path, after.item.digest)
    assert applicant.get(film(house, instance)).status_code == 403


@pytest.mark.long
def test_a_crash_between_file_and_record_is_made_good(retrieved, arrive, clock) -> None:
    house, instance = retrieved
    ask(house, arrive(house, "applicant"), instance)
    house.work()
    (copy,) = copies_of(house, instance)
    assert copy.item is not None
    (evidence.case_folder(house.settings, house.case(instance).number) / copy.item.path).unlink()
    clock.forward(days=30)
    assert copies.remove_ended(house.database, house.settings) == 1
    assert len(log(house, instance, "discarded")) == 1


@pytest.mark.long
def test_an_access_that_ends_before_its_copy_is_made_gets_none(retrieved, arrive, clock) -> None:
    house, instance = retrieved
    ask(house, arrive(house, "applicant"), instance)
    clock.forward(days=30)
    house.work()
    (copy,) = copies_of(house, instance)
    assert copy.item is None
    with house.database.reading() as session:
        assert session.scalar(select(Instance.state).where(Instance.process_id == "footage_derivation")) == "completed"


def test_who_checks_the_playback_needs_no_copy(retrieved, arrive) -> None:
    house, instance = retrieved
    operator = arrive(house, "operator")
    assert operator.post(f"{address(house, instance)}/copies", {}).status_code == 409
    with operator.get(film(house, instance)) as answer:
        assert answer.status_code == 200
        assert answer.data
    for stranger, status in (("reviewer", 403), ("owner", 404)):
        assert arrive(house, stranger).post(f"{address(house, instance)}/copies", {}).status_code == status
    assert copies_of(house, instance) == []


@pytest.mark.long
def test_a_picture_is_watermarked_and_its_code_leads_back_too(retrieved, arrive) -> None:
    house, instance = retrieved
    applicant = arrive(house, "applicant")
    one = applicant.get(f"{film(house, instance)}/still?at=1")
    assert one.status_code == 200
    (copy,) = copies_of(house, instance)
    assert copy.code in one.headers["Content-Disposition"]
    (taken,) = log(house, instance, "captured")
    assert orjson.loads(taken.details)["code"] == copy.code
    assert "Make my copy" in applicant.get(address(house, instance)).text, "a picture makes no film"
    assert arrive(house, "operator").get(f"{film(house, instance)}/still?at=1").status_code == 403


def test_the_master_goes_out_only_where_the_approval_says_so(retrieved, arrive) -> None:
    house, instance = retrieved
    applicant, (master,) = arrive(house, "applicant"), house.items(instance, "master")
    where = f"{address(house, instance)}/{master.id}/master"
    assert applicant.get(where).status_code == 403
    assert "Download the master" not in applicant.get(address(house, instance)).text
    with house.database.transaction() as session:
        session.query(Grant).filter_by(case_id=house.case(instance).id).update({"master": True})
    ask(house, applicant, instance)
    house.work()
    assert where in applicant.get(address(house, instance)).text
    with applicant.get(where) as answer:
        delivered = answer.data
    with house.database.reading() as session:
        assert delivered == evidence.locate(session, house.settings, master).read_bytes()
    (taken,) = log(house, instance, "downloaded")
    assert (taken.actor, taken.item, orjson.loads(taken.details)["digest"]) == (
        "applicant",
        master.path,
        master.digest,
    )
    for other in ("operator", "reviewer", "auditor"):
        assert arrive(house, other).get(where).status_code == 403


def test_where_redaction_is_asked_for_no_master_goes_out(retrieved, clock) -> None:
    house, instance = retrieved
    with house.database.transaction() as session:
        case = session.get_one(Case, house.case(instance).id)
        until = clock.at.replace(year=2027)
        given = access.grant(
            session, case, "applicant", "copy", until, actor="x", at=clock.at, master=True, redacted=True
        )
        assert (given.master, given.redacted) == (False, True)
        given = access.grant(session, case, "applicant", "still", until, actor="x", at=clock.at, master=True)
        assert given.master is False


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([{"master": True}, {"master": True}], (True, False)),
        pytest.param([{"master": True}, {}], (False, False), marks=pytest.mark.long),
        pytest.param([{"master": True, "redact": True}, {"master": True}], (False, True), marks=pytest.mark.long),
    ],
)
def test_the_votes_say_whether_the_master_goes_out_and_whether_faces_must_go(house, votes, expected) -> None:
    instance = house.request("gate", to="vote_committee")
    for member, extra in zip(("member1", "member2"), votes, strict=True):
        house.submit(instance, "vote_committee", {"decision": "approve", **extra}, by=member)
    house.lead(instance, to="complete_record")
    with house.database.reading() as session:
        (grant,) = session.query(Grant).all()
    assert (grant.master, grant.redacted) == expected


# ---- whose copy is it? ----------------------------------------------------------------------------------------------


def test_a_code_leads_to_its_viewer_and_the_search_is_noted(retrieved, arrive) -> None:
    house, instance = retrieved
    ask(house, arrive(house, "applicant"), instance)
    house.work()
    (copy,) = copies_of(house, instance)
    auditor = arrive(house, "auditor")
    page = auditor.post("/audit/codes", {"code": f" {copy.code[:4].lower()}-{copy.code[4:7]}? "}).text
    assert "Li (applicant)" in page
    assert house.case(instance).number in page
    (traced,) = log(house, instance, "traced")
    assert (traced.actor, orjson.loads(traced.details)["user"]) == ("auditor", "applicant")
    assert "No copy has this code" in auditor.post("/audit/codes", {"code": "00000000"}).text
    for wrong in ("short", "????????", "K7Q?????"):
        assert auditor.post("/audit/codes", {"code": wrong}).status_code == 409
    assert arrive(house, "operator").get("/audit/codes").status_code == 403
    assert copy.code[:4] in arrive(house, "archivist").get(f"/cases/{house.case(instance).id}/access").text


def test_a_search_with_too_few_letters_lists_nobody(retrieved) -> None:
    house, _instance = retrieved
    with house.database.transaction() as session, pytest.raises(ConflictError):
        copies.trace(session, "%%%%____", by="auditor")


@pytest.mark.long
def test_the_file_names_its_code_too(retrieved, arrive, tmp_path) -> None:
    house, instance = retrieved
    applicant = arrive(house, "applicant")
    ask(house, applicant, instance)
    house.work()
    (copy,) = copies_of(house, instance)
    with applicant.get(f"{film(house, instance)}?download=1") as answer:
        assert copy.code in answer.headers["Content-Disposition"]
        (tmp_path / "copy.mp4").write_bytes(answer.data)
    assert f"{copy.code[:4]}-{copy.code[4:]}".encode() in (tmp_path / "copy.mp4").read_bytes()
    assert probe(tmp_path / "copy.mp4").seconds == pytest.approx(6, abs=0.3)
    with house.database.reading() as session:
        kinds = session.scalars(select(EvidenceItem.kind).where(EvidenceItem.id == copy.item_id)).all()
    assert kinds == ["viewer_copy"]
