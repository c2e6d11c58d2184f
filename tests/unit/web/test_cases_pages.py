"""Who may see what of a case; its pages, films, papers and log (clauses P3, 4.1, N2)."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from browsing import Visitor
from procedure import House
from werkzeug.test import TestResponse

from device import access, evidence
from device.evidence import Described
from device.models import Case, EvidenceItem, Grant
from web import custody, seed


@pytest.fixture
def archived(day: House, clock) -> tuple[House, UUID]:
    """To look at only: every test sees the same house."""
    return day, day.requests()[0]


@pytest.fixture
def retrieved(evening: House) -> tuple[House, UUID]:
    return evening, evening.requests()[1]


def kinds(house: House, instance: UUID, actor: str = "") -> list[str]:
    with house.database.reading() as session:
        case = session.get_one(Case, house.case(instance).id)
        return [event.kind for event in access.case_events(session, case) if not actor or event.actor == actor]


def fetch(visitor: Visitor, address: str, wanted: str = "") -> TestResponse:
    """Fetch a film (or the range `wanted` of it) to its end, and let go of the file."""
    with visitor.get(address, headers={"Range": wanted} if wanted else {}) as answer:
        assert answer.data
    return answer


def film(house: House, instance: UUID) -> str:
    """The address of the first viewing copy."""
    return f"/cases/{house.case(instance).id}/footage/{house.items(instance, 'viewing_copy')[0].id}"


def own_copies(house: House, visitor: Visitor, instance: UUID) -> None:
    """The visitor has the copies made that carry their name."""
    assert visitor.post(f"/cases/{house.case(instance).id}/footage/copies", {}).status_code == 302
    house.work()


def in_three_parts(house: House, instance: UUID) -> None:
    """Let the retrieval have been a long one: two more masters follow the first, each with its viewing copy."""
    case = house.case(instance)
    (master,), (viewing,) = house.items(instance, "master"), house.items(instance, "viewing_copy")
    report, first = dict(master.facts["report"]), datetime.fromisoformat(master.facts["report"]["first_frame"])
    length = datetime.fromisoformat(report["last_frame"]) - first

    def add(kind: str, item: EvidenceItem, of: int, number: int, facts: dict[str, Any]) -> int:
        source = house.settings.data / "scratch" / f"{kind}-{number}"
        source.parent.mkdir(exist_ok=True)
        source.write_bytes((evidence.case_folder(house.settings, case.number) / item.path).read_bytes())
        path = Path(item.path).with_name(f"{Path(item.path).stem}-{number:03d}{Path(item.path).suffix}")
        described = Described(kind, path.as_posix(), item.media_type, item.camera, of, facts)
        return evidence.add_file(house.database, house.settings, case.id, source, described, event="acquired")

    for number in (2, 3):
        times = {"first_frame": first + (number - 1) * length, "last_frame": first + number * length}
        part = report | {key: at.isoformat() for key, at in times.items()}
        add("viewing_copy", viewing, add("master", master, master.id, number, {"report": part}), number, {})
    with house.database.transaction() as session:
        whole = report | {"last_frame": part["last_frame"], "frames": 3 * report["frames"]}
        session.get_one(EvidenceItem, master.id).facts = {**master.facts, "whole": whole}


TABS = ("", "/diagram", "/footage", "/documents")
LOGS = ("/custody", "/access")
PAPERS = ("/documents/application.pdf", "/documents/record.pdf")


# ---- who sees what --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("username", ["owner", "member3"])
def test_a_stranger_does_not_even_learn_that_there_is_a_case(house, arrive, username) -> None:
    instance = house.request("gate", by="applicant", to="review_request")
    stranger = arrive(house, username)
    case, nothing = house.case(instance).id, 4711
    for page in (*TABS, *LOGS, "/documents/application.pdf", "/footage/1"):
        seen, unseen = stranger.get(f"/cases/{case}{page}"), stranger.get(f"/cases/{nothing}{page}")
        assert (seen.status_code, unseen.status_code) == (404, 404), page
    assert house.case(instance).number not in stranger.get("/cases/").text


def test_the_head_of_another_department_is_a_stranger(house, arrive) -> None:
    instance = house.request("gate", to="sign_application")
    address = f"/cases/{house.case(instance).id}"
    assert arrive(house, "head").get(address).status_code == 200
    assert arrive(house, "auditor").get(address).status_code == 200  # holds an office
    assert arrive(house, "member2").get(address).status_code == 404  # heads the legal department


def test_whoever_has_a_hand_in_the_case_sees_its_pages_and_neither_pictures_nor_log(archived, arrive) -> None:
    house, instance = archived
    address = f"/cases/{house.case(instance).id}"
    for username in ("head", "reviewer", "member1"):
        visitor = arrive(house, username)
        for page in (*TABS, *PAPERS):
            assert visitor.get(address + page).status_code == 200, (username, page)
        for page in LOGS:
            assert visitor.get(address + page).status_code == 403, (username, page)
        assert visitor.get(film(house, instance)).status_code == 403
        overview = visitor.get(address).text
        assert f'href="{address}/custody"' not in overview
        assert "<video" not in visitor.get(f"{address}/footage").text


def test_auditors_and_archivists_see_the_log_and_no_picture(archived, arrive) -> None:
    house, instance = archived
    address = f"/cases/{house.case(instance).id}"
    for username in ("auditor", "archivist", "admin"):
        visitor = arrive(house, username)
        for page in (*TABS, *LOGS):
            assert visitor.get(address + page).status_code == 200, (username, page)
        assert visitor.get(film(house, instance)).status_code == 403
    assert "viewed" not in kinds(house, instance)


def test_the_applicant_sees_the_footage_with_a_grant_and_not_who_else_has_seen_it(archived, arrive) -> None:
    house, instance = archived
    address = f"/cases/{house.case(instance).id}"
    applicant = arrive(house, "applicant")
    page = applicant.get(f"{address}/footage").text
    assert page.count("Make my copy") == 2
    assert "<video" not in page, "what they see is a copy of their own, which they have not asked for yet"
    assert applicant.get(f"{address}/custody").status_code == 403


def test_the_retrieval_operator_sees_the_pictures_while_the_case_is_open(retrieved, arrive) -> None:
    house, instance = retrieved
    operator = arrive(house, "operator")
    page = operator.get(f"/cases/{house.case(instance).id}/footage").text
    assert page.count("<video") == 1
    assert "download=1" not in page
    assert fetch(operator, film(house, instance)).status_code == 200
    assert operator.get(f"{film(house, instance)}?download=1").status_code == 403
    assert kinds(house, instance, "operator") == ["viewed"]


def test_the_parts_of_a_long_span_read_as_one_film(retrieved, arrive) -> None:
    house, instance = retrieved
    in_three_parts(house, instance)
    address = f"/cases/{house.case(instance).id}/footage"
    page = arrive(house, "operator").get(address).text
    assert page.count('<section class="panel take"') == 1
    assert re.findall(r"<h3>(Part \d of \d)</h3>", page) == ["Part 1 of 3", "Part 2 of 3", "Part 3 of 3"]
    names = re.findall(r'<video[^>]* aria-label="([^"]+)"', page)
    assert [name.rpartition(", ")[2] for name in names] == ["part 1 of 3", "part 2 of 3", "part 3 of 3"]
    assert page.count("225") == 1, "the pictures are counted once, over all parts"
    asked = arrive(house, "applicant").get(address).text
    assert (asked.count("Make my copy"), asked.count("made together")) == (1, 2)


def test_an_expired_grant_shows_the_case_and_not_the_footage(archived, arrive, clock) -> None:
    house, instance = archived
    clock.forward(days=40)
    applicant = arrive(house, "applicant")
    address = f"/cases/{house.case(instance).id}"
    assert applicant.get(address).status_code == 200
    page = applicant.get(f"{address}/footage").text
    assert "<video" not in page
    assert "Your access has ended" in page
    assert applicant.get(film(house, instance)).status_code == 403


def test_ended_access_ends_at_once_with_its_reason_in_the_log(retrieved, arrive) -> None:
    house, instance = retrieved
    house.lead(instance, to="register_shelf")
    address = f"/cases/{house.case(instance).id}"
    applicant, archivist = arrive(house, "applicant"), arrive(house, "archivist")
    own_copies(house, applicant, instance)
    assert fetch(applicant, film(house, instance)).status_code == 200
    assert applicant.post(f"{address}/access/revoke", {"reason": "mine"}).status_code == 403
    assert archivist.post(f"{address}/access/revoke", {"reason": " "}).status_code == 422
    assert archivist.post(f"{address}/access/revoke", {"reason": "passed on"}).status_code == 302
    assert applicant.get(film(house, instance)).status_code == 403
    assert "passed on" in archivist.get(f"{address}/custody").text
    assert kinds(house, instance, "archivist") == ["revoked"]


def test_a_list_shows_exactly_the_cases_whose_page_opens(house, arrive) -> None:
    cases = [
        house.case(house.request(camera, to=to)).id
        for camera, to in (("gate", "sign_application"), ("lobby", "review_request"), ("garage", "vote_committee"))
    ]
    cases.append(house.case(house.request("counter", by="reviewer", to="review_request")).id)
    for username, *_ in seed.PEOPLE:
        visitor = arrive(house, username)
        listed = set(map(int, re.findall(r'href="/cases/(\d+)"', visitor.get("/cases/").text)))
        opened = {case for case in cases if visitor.get(f"/cases/{case}").status_code == 200}
        assert listed == opened, username


# ---- films ----------------------------------------------------------------------------------------------------------


def test_one_play_is_one_view_however_many_ranges_the_player_asks_for(retrieved, arrive, clock) -> None:
    house, instance = retrieved
    applicant, address = arrive(house, "applicant"), film(house, instance)
    own_copies(house, applicant, instance)
    whole = fetch(applicant, address)
    assert whole.headers["Accept-Ranges"] == "bytes"
    for wanted in ("bytes=0-", "bytes=1000-", "bytes=5000-5999"):
        part = fetch(applicant, address, wanted)
        assert part.status_code == 206
        start = int(wanted.removeprefix("bytes=").split("-")[0])
        assert part.data == whole.data[start : start + len(part.data)]
        assert part.headers["Cache-Control"] == "private, no-store"
    assert kinds(house, instance, "applicant") == ["opened", "viewed"]
    clock.forward(minutes=3)
    fetch(applicant, address, "bytes=0-")
    assert kinds(house, instance, "applicant") == ["opened", "viewed", "viewed"]


def test_beginning_in_the_middle_of_a_film_does_not_escape_the_log(retrieved, arrive) -> None:
    house, instance = retrieved
    applicant = arrive(house, "applicant")
    own_copies(house, applicant, instance)
    fetch(applicant, film(house, instance), "bytes=1-")
    assert kinds(house, instance, "applicant") == ["opened", "viewed"]


def test_the_page_with_the_player_is_no_view_yet(retrieved, arrive) -> None:
    house, instance = retrieved
    applicant = arrive(house, "applicant")
    own_copies(house, applicant, instance)
    page = applicant.get(f"/cases/{house.case(instance).id}/footage").text
    assert page.count('download=1"') == 1  # the approval says: copy
    assert 'preload="none"' in page
    assert kinds(house, instance, "applicant") == ["opened"]


def test_a_download_needs_the_mode_copy_and_is_logged_as_one(retrieved, arrive) -> None:
    house, instance = retrieved
    applicant, address = arrive(house, "applicant"), f"{film(house, instance)}?download=1"
    own_copies(house, applicant, instance)
    answer = fetch(applicant, address)
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert kinds(house, instance, "applicant") == ["opened", "downloaded"]
    with house.database.transaction() as session:
        session.query(Grant).update({"mode": "view"})
    assert applicant.get(address).status_code == 403
    assert kinds(house, instance, "applicant") == ["opened", "downloaded"]


def test_only_viewing_copies_of_the_same_case_leave_the_house(retrieved, arrive) -> None:
    house, instance = retrieved
    other = house.requests()[0]
    applicant, case = arrive(house, "applicant"), house.case(instance).id
    hidden = [*house.items(instance, "master"), *house.items(instance, "report"), *house.items(other, "viewing_copy")]
    assert len(hidden) >= 3
    for item in hidden:
        assert applicant.get(f"/cases/{case}/footage/{item.id}").status_code == 404, item.kind


# ---- pages ----------------------------------------------------------------------------------------------------------


def test_the_overview_says_who_decided_what_and_who_acts_next(house, arrive) -> None:
    instance = house.request("gate", to="review_request")
    page = arrive(house, "applicant").get(f"/cases/{house.case(instance).id}").text
    assert "Preliminary review" in page
    assert re.search(r"Department head signs.*?Approved.*?Signed.*?Wang \(head\)", page, re.DOTALL)
    assert "****0001" in page  # the telephone number is personal
    assert "+8613800000001" not in page


def test_the_overview_of_a_refused_case_says_why(house, arrive) -> None:
    instance = house.request("gate", to="sign_application")
    house.submit(instance, "sign_application", {"decision": "refuse", "comment": "与工作无关"}, by="head")
    page = arrive(house, "applicant").get(f"/cases/{house.case(instance).id}").text
    assert "Why it ended" in page
    assert "与工作无关" in page


def test_the_record_form_comes_when_it_has_been_filled_in(retrieved, arrive) -> None:
    house, instance = retrieved
    address, applicant = f"/cases/{house.case(instance).id}/documents", arrive(house, "applicant")
    assert applicant.get(f"{address}/record.pdf").status_code == 404
    house.lead(instance, to="countersign_record")
    for form in ("application", "record"):
        answer = applicant.get(f"{address}/{form}.pdf")
        assert answer.status_code == 200
        assert answer.data.startswith(b"%PDF-")
        assert "filename*=UTF-8''%E8%B0%83%E5%8F%96-2026-0002" in answer.headers["Content-Disposition"]


def test_the_log_names_a_changed_event(archived, arrive) -> None:
    house, instance = archived
    address = f"/cases/{house.case(instance).id}/custody"
    auditor = arrive(house, "auditor")
    assert "unbroken" in auditor.get(address).text
    with house.database.writer.connect() as connection:
        connection.exec_driver_sql("UPDATE case_events SET actor = 'nobody' WHERE seq = 2")
        connection.commit()
    try:
        page = auditor.get(address).text
        assert "This log has been changed" in page
        assert "event 2:" in page
    finally:
        with house.database.writer.connect() as connection:
            connection.exec_driver_sql("UPDATE case_events SET actor = 'system' WHERE seq = 2")
            connection.commit()


def test_the_log_is_filtered_by_person_and_item(archived, arrive) -> None:
    house, instance = archived
    auditor = arrive(house, "auditor")
    address = f"/cases/{house.case(instance).id}/custody"
    item = house.items(instance, "master")[0].path

    def events(query: str) -> int:
        return len(re.findall(r'id="event-\d+"', auditor.get(f"{address}?lang=en&{query}").text))

    assert events("") == len(kinds(house, instance))
    assert events("person=applicant") == kinds(house, instance, "applicant").count("opened") == 1
    assert 1 < events(f"item={item}") < events("")
    assert events("person=nobody") == 0


def test_every_kind_of_event_has_words(archived) -> None:
    house, instance = archived
    assert set(kinds(house, instance)) <= custody.WORDS.keys()


def test_a_case_of_before_is_found_by_its_number(archived, arrive) -> None:
    house, instance = archived
    auditor, number = arrive(house, "auditor"), house.case(instance).number
    assert number in auditor.get(f"/cases/?lang=en&q={number[-4:]}").text
    assert "No case matches" in auditor.get("/cases/?lang=en&q=%25").text
