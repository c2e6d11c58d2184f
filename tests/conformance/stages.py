"""The office furnished, and copies of it at points that many tests start from: each is walked to once per process."""

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from office import Office, Request, settings_in
from sqlalchemy import select
from sqlalchemy.orm import Session
from visitor import PASSWORD

from device import registers
from device.simulator import Simulator
from engine import clock, definitions, identity
from engine.db import Database
from engine.models import Department, User
from engine.settings import ROOT
from web import seed

OFFSET = timedelta(seconds=37)

# username, name, department, groups, days of training left
MORE_PEOPLE = (
    ("colleague", "刘同事", "production", "", 0),
    ("member4", "冯委员", "production", "committee", 0),
    ("stranger", "杨旁人", "legal", "", 0),
    ("legal_head", "沈主管", "legal", "", 0),
    ("second", "韩审核", "monitoring", "reviewer", 300),
    ("operator2", "许调取", "monitoring", "operator", 300),
    ("everything", "何全能", "monitoring", "reviewer operator archivist", 300),
    ("untrained", "吕新人", "monitoring", "operator", 0),
)


def furnish(folder: Path, recorder: Simulator, annex: Simulator) -> dict[str, str]:
    """Migrate a new database, seed the demo's people and a few more, register the recorders, deploy; answers tokens."""
    settings = settings_in(folder)
    database = Database.of(settings)
    database.upgrade()
    login: dict[str, Any] = {"username": "viewer", "password": "口令 1"}
    with database.transaction() as session:
        seed.people(session)
        _more_people(session)
        seed.cameras(session, settings, url=recorder.url, **login)
        registers.add_recorder(session, settings, "nvr-2", name="2号录像机", url=annex.url, **login)
        registers.add_camera(session, "annex", name="5号 附楼", place="附楼", recorder="nvr-2", recording="gate")
        definitions.deploy(session, definitions.read_folder(ROOT / "bpmn"), by="owner", note="首次部署")
        people = session.scalars(select(User)).all()
        tokens = {person.username: identity.issue_token(session, person) for person in people}
    database.dispose()
    return tokens


def _more_people(session: Session) -> None:
    units = {unit.key: unit for unit in session.scalars(select(Department))}
    now = clock.now()
    for username, name, unit, groups, days in MORE_PEOPLE:
        user = identity.create_user(
            session, username, PASSWORD, name=name, department=units[unit], groups=["employee", *groups.split()]
        )
        if days:
            identity.record_training(
                session,
                user.username,
                seed.QUALIFICATION,
                valid_from=now - timedelta(days=1),
                valid_until=now + timedelta(days=days),
            )


ORDINARY = (
    "sign_application",
    "review_request",
    "vote_committee",
    "confirm_readiness",
    "check_playback",
    "complete_record",
    "countersign_record",
    "register_shelf",
    "archived",
)
EMERGENCY = ("sign_application", "decide_by_chair", "complete_record")

POLICE: dict[str, Any] = {
    "applicant_kind": "police",
    "purpose": "police",
    "legal_basis": "criminal_procedure",
    "external_unit": "城东派出所",
    "document_no": "城公调证字〔2026〕17号",
    "officers": "欧阳警官（061234）、司马警官（065678）",
    "id_type": "police_card",
    "id_number": "110101199003071239",
    "phone": "+8613912345678",
    "recipient": "欧阳警官",
}

KINDS: Mapping[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "view": ({"mode": "view"}, ORDINARY),
    "still": ({"mode": "still"}, ORDINARY),
    "copy": ({"mode": "copy"}, ORDINARY),
    "emergency": ({"urgency": "emergency"}, EMERGENCY),
    "police": (POLICE, ("archived",)),
}
"""Kinds of requests: what differs in their application, and the elements where they are kept."""


class Arrive(Protocol):
    """What the fixture `at` does: `at("check_playback", "copy")` is a request of that kind that waits there."""

    def __call__(self, stage: str, kind: str = "view") -> Request: ...


class Stages:
    """Offices whose request of one kind has come to some element. `recorder` serves them all, `annex` one camera."""

    def __init__(self, folder: Path, recorder: Simulator, annex: Simulator) -> None:
        self._folder = folder
        self._recorder, self._annex = recorder, annex
        self._tokens: dict[str, str] = {}
        self._requests: dict[str, UUID] = {}

    def open(self, folder: Path) -> Office:
        """A copy in `folder` of the office on its first day."""
        return self._copy(self._new(), folder)

    def open_at(self, folder: Path, stage: str, kind: str = "view") -> Request:
        """A copy in `folder` of the office in which a request of this kind waits at `stage`."""
        return Request(self._copy(self._at(stage, kind), folder), self._requests[kind], "applicant")

    def _copy(self, source: Path, folder: Path) -> Office:
        shutil.copytree(source, folder)
        return Office(folder, self._recorder, self._annex, self._tokens)

    def _new(self) -> Path:
        folder = self._folder / "new"
        if not folder.exists():
            making = folder.with_suffix(".making")
            making.mkdir(parents=True)
            self._tokens.update(furnish(making, self._recorder, self._annex))
            making.rename(folder)
        return folder

    def _at(self, stage: str, kind: str) -> Path:
        folder = self._folder / f"{kind} {stage}"
        if folder.exists():
            return folder
        changes, order = KINDS[kind]
        place = order.index(stage)
        making = folder.with_suffix(".making")
        if place == 0:
            office = self.open(making)
            request = office.apply("gate", **changes)
            self._requests[kind] = request.id
        else:
            self._at(order[place - 1], kind)
            request = self.open_at(making, order[place - 1], kind)
            office = request.office
        request.lead("" if stage == "archived" else stage, leave=("ratify_emergency",))
        office.close()
        return making.rename(folder)
