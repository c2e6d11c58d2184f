"""The administrators' registers: people, training, deputies, recorders, cameras."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest
from browsing import Visitor
from procedure import House

from device import registers
from device.recorders import discovery
from device.simulator import Simulator
from engine import clock, identity, tasks
from engine.models import Deputy
from web import seed

PARTS = ("people", "departments", "trainings", "deputies", "recorders", "cameras")


@pytest.fixture
def admin(house: House, arrive) -> Visitor:
    return arrive(house, "admin")


def groups(house: House, username: str) -> set[str]:
    return house.person(username).groups


def test_every_register_has_a_page_of_its_own(house: House, admin: Visitor) -> None:
    assert admin.get("/admin/").headers["Location"].endswith("/admin/people")
    for part in PARTS:
        assert admin.get(f"/admin/{part}").status_code == 200, part
    assert admin.get("/admin/secrets").status_code == 404


@pytest.mark.parametrize("username", ["applicant", "auditor", "operator", "owner"])
def test_registers_are_for_administrators(house: House, arrive, username) -> None:
    visitor = arrive(house, username)
    for part in PARTS:
        assert visitor.get(f"/admin/{part}").status_code == 403
    assert visitor.post("/admin/users/applicant", {"groups": "admin", "active": "1"}).status_code == 403
    assert groups(house, "applicant") == {"employee"}


def test_a_new_person_signs_in_with_the_roles_they_were_given(house: House, admin: Visitor, arrive) -> None:
    person = {"username": "new", "name": "新人", "password": "a long first password", "department": "legal"}
    answer = admin.post("/admin/users", {**person, "groups": ["reviewer", "no-such-group"]})
    assert answer.status_code == 302
    assert groups(house, "new") == {"employee", "reviewer"}
    assert house.person("new").department.key == "legal"
    with house.database.reading() as session:
        assert identity.authenticate(session, "new", "a long first password").username == "new"


@pytest.mark.parametrize("wrong", [{"username": ""}, {"password": "short"}, {"username": "applicant"}, {"name": " "}])
def test_a_person_that_cannot_be_is_refused_with_the_field_named(house: House, admin: Visitor, wrong) -> None:
    person = {"username": "new", "name": "新人", "password": "a long first password"}
    answer = admin.post("/admin/users", {**person, **wrong})
    assert answer.status_code in (409, 422)
    with house.database.reading() as session:
        assert identity.find(session, "new") is None


def test_roles_are_given_and_taken_and_an_account_is_closed(house: House, admin: Visitor, arrive) -> None:
    reviewer = arrive(house, "reviewer")
    admin.post("/admin/users/reviewer", {"groups": ["archivist"], "active": "1"})
    assert groups(house, "reviewer") == {"employee", "archivist"}
    assert reviewer.get("/archive/").status_code == 200
    admin.post("/admin/users/reviewer", {"groups": ["archivist"]})
    assert reviewer.get("/archive/").status_code == 302  # signed out at once


def test_nobody_takes_their_own_administration_away(house: House, admin: Visitor) -> None:
    assert admin.post("/admin/users/admin", {"groups": [], "active": "1"}).status_code == 409
    assert admin.post("/admin/users/admin", {"groups": ["admin"]}).status_code == 409
    assert "admin" in groups(house, "admin")


def test_a_training_record_lets_somebody_retrieve_from_the_first_to_the_last_day(house: House, admin: Visitor, clock):
    record = {"username": "head", "key": seed.QUALIFICATION, "valid_from": "2026-03-01", "valid_until": "2026-03-31"}
    assert admin.post("/admin/trainings", record).status_code == 302
    expected = {"2026-02-28": False, "2026-03-01": True, "2026-03-31": True, "2026-04-01": False}
    with house.database.reading() as session:
        for day, valid in expected.items():
            at = clock.at.replace(month=int(day[5:7]), day=int(day[8:]), hour=4)  # noon in Shanghai
            assert identity.qualified(session, "head", seed.QUALIFICATION, at) is valid, day


@pytest.mark.parametrize(
    "wrong",
    [{"valid_until": "2026-02-30"}, {"valid_until": ""}, {"username": "nobody"}, {"valid_until": "2025-01-01"}],
)
def test_a_training_record_that_makes_no_sense_is_refused(house: House, admin: Visitor, wrong) -> None:
    record = {"username": "head", "key": seed.QUALIFICATION, "valid_from": "2026-03-01", "valid_until": "2026-03-31"}
    assert admin.post("/admin/trainings", {**record, **wrong}).status_code in (404, 422)


def test_a_deputy_does_the_tasks_of_the_absent(house: House, admin: Visitor) -> None:
    instance = house.request("gate", to="sign_application")
    absence = {"username": "head", "deputy": "owner", "from": "2026-02-01", "until": "2026-02-10"}
    assert admin.post("/admin/deputies", absence).status_code == 302
    with house.database.reading() as session:
        assert session.query(Deputy).count() == 1
        inbox = tasks.inbox(session, identity.find(session, "owner"), at=clock.now())
    assert [task.instance_id for task in inbox] == [instance]
    assert admin.post("/admin/deputies", {**absence, "deputy": "head"}).status_code == 422


def test_a_recorder_and_its_camera_are_registered_and_the_password_is_shown_to_nobody(house: House, admin: Visitor):
    recorder = {"key": "nvr-2", "name": "2号录像机", "url": "http://127.0.0.1:9/onvif/device_service", "username": "u"}
    numbers = {"sessions": "2", "retention_days": "90"}
    assert admin.post("/admin/recorders", {**recorder, **numbers, "password": "top secret"}).status_code == 302
    camera = {"key": "roof", "name": "屋顶", "place": "屋顶", "recorder": "nvr-2", "recording": "token-1"}
    assert admin.post("/admin/cameras", camera).status_code == 302
    pages = [admin.get(f"/admin/{part}").text for part in PARTS]
    assert "2号录像机" in pages[4]
    assert "屋顶" in pages[5]
    assert not any("top secret" in page for page in pages)
    assert admin.post("/admin/recorders", {**recorder, **numbers}).status_code == 409
    assert admin.post("/admin/cameras", {**camera, "key": "../x"}).status_code in (400, 422)


@pytest.mark.parametrize(
    "wrong", [{"url": "ftp://x"}, {"url": "http://u:p@host/"}, {"sessions": "many"}, {"sessions": "0"}, {"key": ""}]
)
def test_a_recorder_that_cannot_be_reached_that_way_is_refused(house: House, admin: Visitor, wrong) -> None:
    recorder = {"key": "nvr-2", "name": "x", "url": "http://host/onvif", "sessions": "1", "retention_days": "30"}
    assert admin.post("/admin/recorders", {**recorder, **wrong}).status_code in (400, 422)


def test_the_limits_of_a_recorder_are_set_shown_and_checked(house: House, admin: Visitor) -> None:
    limits = {"sessions": "2", "bandwidth": "5000", "hours": "22:00-6:00", "zone": "Europe/Berlin"}
    assert admin.post("/admin/recorders/nvr-1/limits", limits).status_code == 302
    with house.database.reading() as session:
        nvr = registers.get_recorder(session, "nvr-1")
        assert (nvr.sessions, nvr.bandwidth, nvr.hours, nvr.zone) == (2, 5_000_000, "22:00-06:00", "Europe/Berlin")
    page = admin.get("/admin/recorders").text
    assert "22:00-06:00 (Europe/Berlin)" in page
    assert "5000 kB/s" in page
    for wrong in ({"hours": "at night"}, {"zone": "Mars/Olympus"}, {"sessions": "0"}, {"bandwidth": "-1"}):
        assert admin.post("/admin/recorders/nvr-1/limits", {**limits, **wrong}).status_code in (400, 422), wrong
    assert admin.post("/admin/recorders/nvr-1/limits", {"sessions": "1"}).status_code == 302
    with house.database.reading() as session:
        nvr = registers.get_recorder(session, "nvr-1")
        assert (nvr.sessions, nvr.bandwidth, nvr.hours) == (1, 0, "")


def test_the_connection_test_says_what_is_wrong_with_a_recorder(house: House, admin: Visitor) -> None:
    page = admin.post("/admin/recorders/nvr-1/probe")  # nothing listens on its port
    assert page.status_code == 200
    assert "The recorder did not answer as it should" in page.text
    assert admin.post("/admin/recorders/none/probe").status_code == 404


def test_recorders_on_the_network_are_listed_and_fill_the_form_and_none_is_contacted(
    house: House, admin: Visitor, recorder_media: Path
) -> None:
    with Simulator(recorder_media, discoverable=(discovery.GROUP, discovery.PORT)) as simulator:
        page = admin.post("/admin/recorders/search", {}).text
        assert sum(simulator.calls.values()) == 0
    links = [unescape(each) for each in re.findall(r'href="([^"]+)"', page)]
    form = admin.get(next(each for each in links if f"url={simulator.url}&" in unquote(each))).text
    assert f'value="{simulator.url}"' in form
    assert 'value="Simulated_recorder"' in form
    assert '<details class="panel" open>' in form


def test_what_a_liar_answers_is_shown_as_text(admin: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    liar = discovery.Found("<i>", "<b>x</b>", "", "", (), (), ('http://h/"><script>',), (), 1, ("192.0.2.9",), ())
    monkeypatch.setattr(discovery, "discover", lambda _: [liar])
    page = admin.post("/admin/recorders/search", {}).text
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<script>" not in page
    monkeypatch.setattr(discovery, "discover", lambda _: [])
    assert "Nobody answered" in admin.post("/admin/recorders/search", {}).text


def test_only_administrators_search_the_network(house: House, arrive) -> None:
    assert arrive(house, "operator").post("/admin/recorders/search", {}).status_code == 403
