"""Redaction: who may, what a reviewer chooses is what is painted over, and what is kept of it (N2)."""

from uuid import UUID

import orjson
import pytest
from procedure import House

from device import access, evidence, regions
from device.models import Case, Grant
from engine.models import Instance

TYPED = {"rows": "2", "from-0": "1", "to-0": "2.5", "x-0": "10", "y-0": "20", "width-0": "50", "height-0": "40"}


@pytest.fixture
def retrieved(evening: House) -> tuple[House, UUID]:
    return evening, evening.requests()[1]


def desk(house: House, instance: UUID) -> str:
    return f"/cases/{house.case(instance).id}/redaction/{house.items(instance, 'master')[0].id}"


def propose(house: House, instance: UUID, count: int) -> None:
    """The list that the detector would have written, with this many faces."""
    (master,) = house.items(instance, "master")
    faces = [
        regions.Region(f"face-{n}", n, n + 1.0, ((n + 0.5, regions.Box(10, 10, 60, 60)),), source="detector", score=0.9)
        for n in range(count)
    ]
    document = regions.to_json(faces, width=640, height=360, master=master.digest)
    file = house.settings.data / "scratch" / "faces.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(orjson.dumps(document))
    described = evidence.Described(
        "faces", "redaction/gate.faces.json", "application/json", "gate", master.id, {"regions": count}
    )
    case = house.case(instance).id
    evidence.add_file(house.database, house.settings, case, file, described, event="proposed")


def kept(house: House, instance: UUID) -> list[regions.Region]:
    item = house.items(instance, "regions")[-1]
    with house.database.reading() as session:
        return regions.from_json(orjson.loads(evidence.locate(session, house.settings, item).read_bytes()))


def test_only_retrieval_operators_redact(retrieved, arrive) -> None:
    house, instance = retrieved
    page = desk(house, instance)
    for username, status in {"applicant": 403, "reviewer": 403, "auditor": 403, "admin": 403, "owner": 404}.items():
        visitor = arrive(house, username)
        for address in (page, f"{page}/frame?at=1"):
            assert visitor.get(address).status_code == status, username
        for address in (page, f"{page}/faces"):
            assert visitor.post(address, TYPED).status_code == status, username
    assert house.items(instance, "regions") == []


def test_a_closed_case_is_redacted_only_while_an_access_waits_for_it(evening, arrive) -> None:
    house, instance = evening, evening.requests()[0]
    master = house.items(instance, "master")[0].id
    page, operator = f"/cases/{house.case(instance).id}/redaction/{master}", arrive(house, "operator")
    assert operator.get(page).status_code == 403
    with house.database.transaction() as session:
        session.query(Grant).update({"redacted": True})
    assert operator.get(page).status_code == 200


def test_what_is_switched_off_stays_in_the_list_and_is_not_painted_over(retrieved, arrive) -> None:
    house, instance = retrieved
    propose(house, instance, 3)
    operator, page = arrive(house, "operator"), desk(house, instance)
    shown = operator.get(page).text
    assert shown.count('name="on"') == shown.count(" checked>") - 1 == 3, "all are on, besides the manner"
    assert operator.post(page, {**TYPED, "on": ["face-0", "face-2", "face-9"]}).status_code == 302
    found = kept(house, instance)
    assert [(region.id, region.on) for region in found] == [
        ("face-0", True),
        ("face-1", False),
        ("face-2", True),
        ("own-1", True),
    ]
    assert found[3].keyframes == ((1.0, regions.Box(10, 20, 50, 40)),)
    again = operator.get(page).text
    assert 'name="width-0" value="50"' in again, "what was typed is there for the next time"
    assert again.count(" checked>") - 1 == 2
    assert operator.post(page, TYPED).status_code == 409, "one at a time"
    with house.database.reading() as session:
        case = session.get_one(Case, house.case(instance).id)
        (reviewed,) = [event for event in access.case_events(session, case) if event.kind == "reviewed"]
        (started,) = session.query(Instance).filter_by(process_id="footage_derivation")
    assert reviewed.actor == started.started_by == "operator"
    assert (started.data["manner"], started.data["audible"]) == ("fill", True)


WRONG = [
    ({"to-0": "0"}, "Line 1"),
    ({"x-0": ""}, "Line 1"),
    ({"width-0": "-5"}, "Line 1"),
    ({"from-0": "nan"}, "Line 1"),
    ({"corners-0": "1,1 2,2"}, "Line 1"),
    ({"corners-1": "1,1 2,2 3"}, "Line 2"),
    ({"manner": "blur"}, "Choose how"),
    ({"rows": "0"}, "Nothing would be painted over"),
    ({"rows": "many"}, "Nothing would be painted over"),
]


def test_a_line_that_cannot_be_used_is_named_and_nothing_is_kept(retrieved, arrive) -> None:
    house, instance = retrieved
    operator, page = arrive(house, "operator"), desk(house, instance)
    for wrong, words in WRONG:
        answer = operator.post(page, {**TYPED, **wrong})
        assert answer.status_code == 422, wrong
        assert words in answer.text, wrong
    assert house.items(instance, "regions") == []


def test_pictures_of_the_review_are_a_view_that_is_logged(retrieved, arrive) -> None:
    house, instance = retrieved
    operator, page = arrive(house, "operator"), desk(house, instance)
    whole, part = (operator.get(f"{page}/frame?at=1{box}") for box in ("", "&box=600,300,200,200"))
    assert (whole.mimetype, part.mimetype) == ("image/jpeg", "image/jpeg")
    assert len(part.data) < len(whole.data)
    assert "no-store" in part.headers["Cache-Control"]
    for wrong in ("", "?at=-1", "?at=nan"):
        assert operator.get(f"{page}/frame{wrong}").status_code == 422
    assert operator.get(f"{page}/frame?at=60").status_code == 404
    with house.database.reading() as session:
        case = session.get_one(Case, house.case(instance).id)
        seen = [event.actor for event in access.case_events(session, case) if event.kind == "viewed"]
    assert seen == ["operator"]
