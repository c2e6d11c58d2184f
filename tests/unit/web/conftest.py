"""A site with the real procedure deployed, and visitors who click through it without a network."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from browsing import Visitor
from flask import Flask
from procedure import House

import device.operators  # noqa: F401 - registers what the diagram's service tasks name
from device import registers
from engine import clock as engine_clock
from engine import definitions, live
from engine.db import Database
from engine.settings import ROOT, Settings
from web import create_app, seed
from web.i18n import ZONE


@pytest.fixture
def site(database: Database, settings: Settings, clock: Any) -> Flask:
    live.forget()
    app = create_app(settings, database)
    app.testing = True
    return app


@pytest.fixture
def visitor(site: Flask) -> Callable[..., Visitor]:
    """A new browser; signed in when a name is given."""

    def arrive(username: str = "", language: str = "en") -> Visitor:
        found = Visitor(site.test_client(), language)
        if username:
            assert found.sign_in(username).status_code == 302
        return found

    return arrive


@pytest.fixture
def office(database: Database, settings: Settings, people: Any, site: Flask) -> Database:
    """The procedure, the people it needs in two departments, and two cameras."""
    people.add("head", "employee", head_of="production")
    people.add("applicant", "employee", department="production")
    people.add("archivist", "employee", "archivist", head_of="monitoring")
    people.add("reviewer", "employee", "reviewer", department="monitoring")
    people.add("second", "employee", "reviewer", department="monitoring")
    people.add("operator", "employee", "operator", department="monitoring")
    people.add("outsider", "employee", department="legal")
    for member in ("member1", "member2", "member3"):
        people.add(member, "employee", "committee", *(["chair"] if member == "member1" else []), department="legal")
    for trained in ("reviewer", "second", "operator", "archivist"):
        people.train(trained, "footage_retrieval")
    with database.transaction() as session:
        registers.add_recorder(session, settings, "nvr-1", name="Recorder 1", url="http://recorder.example/onvif")
        registers.add_camera(
            session, "gate", name="1号 东大门", name_en="1 East gate", place="厂区东门", place_en="East entrance",
            recorder="nvr-1", recording="gate",
        )  # fmt: skip
        registers.add_camera(
            session, "lobby", name="2号 大厅", name_en="2 Lobby", place="办公楼", place_en="Offices",
            recorder="nvr-1", recording="lobby",
        )  # fmt: skip
        definitions.deploy(session, definitions.read_folder(ROOT / "bpmn"), by="owner", note="first")
    return database


@pytest.fixture
def application(clock: Any) -> dict[str, Any]:
    """What an applicant types into the application form, as a browser sends it."""
    start = clock.at.astimezone(ZONE) - timedelta(days=2)
    return {
        "cameras": ["gate", "lobby"],
        "start_at": start.strftime("%Y-%m-%dT%H:%M:%S"),
        "end_at": (start + timedelta(minutes=20)).strftime("%Y-%m-%dT%H:%M:%S"),
        "clock_basis": "standard",
        "reason": "A bicycle was knocked over at the gate",
        "purpose": "safety",
        "legal_basis": "internal_rules",
        "applicant_kind": "internal",
        "mode": "view",
        "urgency": "normal",
        "third_party": "no",
        "minors": "no",
        "secret": "no",
        "use_until": (clock.at + timedelta(days=20)).strftime("%Y-%m-%d"),
        "recipient": "Applicant",
        "applicant_name": "Applicant",
        "position": "Foreman",
        "employee_no": "D0001",
        "phone": "+8613800000001",
        "undertaking": "true",
    }


@pytest.fixture
def submitted(office: Database, visitor: Callable[..., Visitor], application: dict[str, Any]) -> Visitor:
    """The applicant, who has just submitted an application."""
    applicant = visitor("applicant")
    answer = applicant.post("/requests/new", application)
    assert answer.status_code == 302, re.findall(r'<a href="#field-[^<]*</a>: [^<]*', answer.text)
    return applicant


# ---- the desks: a house with the demo's people, and requests led as far as a test needs (tests/procedure.py) --------

MORNING = datetime(2026, 2, 2, 1, 0, tzinfo=UTC)
"""Where the `clock` fixture stands when a test begins."""


@pytest.fixture
def house(tmp_path: Path, clock: Any) -> Iterator[House]:
    live.forget()
    found = House.open(tmp_path)
    yield found
    found.database.dispose()


@pytest.fixture(scope="session")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house whose first request is archived (two cameras, one with a gap) and whose second is retrieved.

    The second's result is announced and its record not yet written. Tests that change anything take `evening`.
    """
    with engine_clock.fixed(MORNING):
        found = House.open(tmp_path_factory.mktemp("day"))
        found.gaps = {"lobby": [(2.0, 3.5)]}
        found.request("gate", "lobby")
        found.request("gate", to="complete_record")
    yield found
    found.database.dispose()


@pytest.fixture
def evening(day: House, tmp_path: Path, clock: Any) -> Iterator[House]:
    """The house after such a day, for one test alone."""
    live.forget()
    found = day.copied_to(tmp_path / "house")
    yield found
    found.database.dispose()


@pytest.fixture
def arrive(clock: Any) -> Callable[..., Visitor]:
    """Somebody who signs in to a house."""

    def sign_in(house: House, username: str, language: str = "en") -> Visitor:
        app = create_app(house.settings, house.database)
        app.testing = True
        found = Visitor(app.test_client(), language)
        assert found.sign_in(username, seed.PASSWORD).status_code == 302
        return found

    return sign_in
