"""What the forms need besides the process data: names, places of cameras, signatures, evidence and its copies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from device import cases
from device.cases import Run
from device.documents import wording
from device.models import ArchiveEntry, Camera, Case, EvidenceItem
from engine import personal
from engine.models import Department, DeployedFile, Instance, ProcessDefinition, User


@dataclass(frozen=True)
class Person:
    name: str
    department: str = ""
    title: str = ""
    employee_no: str = ""
    phone: str = ""


@dataclass(frozen=True)
class Place:
    """A camera as the forms name it."""

    name: str
    place: str = ""
    recorder: str = ""


@dataclass(frozen=True)
class Signed:
    """One electronic signature of the case."""

    step: str
    username: str
    at: datetime
    digest: str


@dataclass(frozen=True)
class Copied:
    store: str
    key: str
    digest: str
    verified_at: datetime


@dataclass(frozen=True)
class Item:
    """A master or viewing copy with the facts of its acquisition and its copies."""

    id: int
    kind: str
    camera: str
    file: str
    size: int
    digest: str
    master_id: int | None
    facts: Mapping[str, Any]
    copies: tuple[Copied, ...] = ()


@dataclass(frozen=True)
class CaseFacts:
    """Everything about a case that is printed and is not process data; `people` and `cameras` by their keys."""

    number: str
    opened_at: datetime
    department: str = ""
    overwritten_at: datetime | None = None
    people: Mapping[str, Person] = field(default_factory=dict)
    cameras: Mapping[str, Place] = field(default_factory=dict)
    shelf: str = ""
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def name(self, username: str) -> str:
        """A person's name; the username when the directory does not know it."""
        person = self.people.get(username)
        return person.name if person else username

    def said(self, place: str, value: Any) -> str:
        """A choice as the deployed form words it (`place` is `form.field`), else as `wording` does, else as it is."""
        if isinstance(value, list):
            return "、".join(self.said(place, one) for one in value)
        if value is None or value == "":
            return ""
        if personal.is_envelope(value):
            return wording.SEALED
        return self.labels.get(place, {}).get(str(value)) or wording.said(wording.CHOICES, value)


def load(session: Session, case: Case, runs: Sequence[Run], data: Mapping[str, Any]) -> CaseFacts:
    """The facts for `data`, the process data of the last of these runs of the case."""
    mentioned = set(_texts(data)) | {case.applicant}
    users = session.scalars(select(User).where(User.username.in_(sorted(mentioned))))
    cameras = session.scalars(select(Camera).where(Camera.key.in_(sorted(mentioned))))
    department = session.get(Department, case.department_id) if case.department_id is not None else None
    shelf = session.scalar(select(ArchiveEntry.shelf).where(ArchiveEntry.case_id == case.id))
    return CaseFacts(
        number=case.number,
        opened_at=case.opened_at,
        department=department.name if department else "",
        overwritten_at=case.overwritten_at,
        people={
            user.username: Person(
                user.name, user.department.name if user.department else "", user.title, user.employee_no, user.phone
            )
            for user in users
        },
        cameras={camera.key: Place(camera.name, camera.place, camera.recorder.name) for camera in cameras},
        shelf=shelf or "",
        labels={place: each for run in runs for place, each in _labels(session, run).items()},
    )


def _labels(session: Session, run: Run) -> dict[str, dict[str, str]]:
    """The options of the forms that were filled in, so that a revised form prints its own words."""
    query = (
        select(DeployedFile.name, DeployedFile.content)
        .join(ProcessDefinition, ProcessDefinition.deployment_id == DeployedFile.deployment_id)
        .join(Instance, Instance.definition_id == ProcessDefinition.id)
        .where(Instance.id == run.instance_id, DeployedFile.name.endswith(".form"))
    )
    labels: dict[str, dict[str, str]] = {}
    for name, content in session.execute(query):
        form = PurePosixPath(name).stem
        for component in _components(orjson.loads(content).get("components", [])):
            options = {str(option["value"]): str(option["label"]) for option in component.get("values", [])}
            if options and component.get("key"):
                labels[f"{form}.{component['key']}"] = options
    return labels


def _components(components: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for component in components:
        yield component
        yield from _components(component.get("components", []))


def signatures(session: Session, runs: Sequence[Run]) -> list[Signed]:
    """The signatures that hold after these runs of the case, in the order in which they were given."""
    return [
        Signed(task.name, signature.username, signature.signed_at, signature.digest)
        for signature, task in cases.signatures(session, runs)
    ]


def items(session: Session, case: Case) -> list[Item]:
    """Masters, viewing copies and redacted copies of the case, in the order in which they were made."""
    query = (
        select(EvidenceItem)
        .where(EvidenceItem.case_id == case.id, EvidenceItem.kind.in_(["master", "viewing_copy", "redacted_copy"]))
        .order_by(EvidenceItem.id)
    )
    return [
        Item(
            id=item.id,
            kind=item.kind,
            camera=item.camera,
            file=item.path,
            size=item.size,
            digest=item.digest,
            master_id=item.master_id,
            facts=item.facts,
            copies=tuple(
                Copied(copy.store, copy.key, copy.digest, copy.verified_at)
                for copy in sorted(item.copies, key=lambda copy: copy.store, reverse=True)
            ),
        )
        for item in session.scalars(query)
    ]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if len(value) <= 64:  # usernames and camera keys are no longer than that
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
