"""A case in a few lines, from the data that a task or an instance carries: who, where, when, why, how urgent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Flask, g
from sqlalchemy import select
from sqlalchemy.orm import Session

from device import cases
from device.models import Case
from engine import clock, definitions
from engine.errors import NotFoundError
from engine.forms import Form
from engine.models import Department, Instance
from web.coverage import Timeline, timeline
from web.diagrams import labels
from web.edge import reading
from web.forms_html import display
from web.i18n import _, format_span, format_time, language, local, relative
from web.people import display_name
from web.sources import places

APPLICATION_FORM = "application.form"


@dataclass(frozen=True)
class Brief:
    """`lines` are (label, value); `title` names the case in a list: where and when."""

    number: str
    title: str
    applicant: str
    lines: tuple[tuple[str, str], ...]


def application_form(session: Session, definition_id: int) -> Form | None:
    """The application's form in this version; a process of another kind has none."""
    try:
        return definitions.form(session, definition_id, APPLICATION_FORM)
    except NotFoundError:
        return None


def of_data(session: Session, instance: Instance, data: Mapping[str, Any]) -> Brief:
    """The brief of a case as far as `data` (of a task, or of the instance) tells it."""
    application = _mapping(data.get("application"))
    case = _mapping(data.get("case"))
    form = application_form(session, instance.definition_id)
    names = labels(session, instance.definition_id)
    known = places(session) if application else {}
    cameras = [_place(known, key) for key in application.get("cameras") or []]

    def say(key: str) -> str:
        field = form.field(key) if form else None
        return display(field, application.get(key), {}, names) if field else str(application.get(key) or "")

    applicant = str(data.get("applicant") or case.get("applicant") or instance.started_by)
    department = _department(session, str(case.get("department") or ""))
    span = format_span(application.get("start_at"), application.get("end_at")) if application else ""
    lines = [
        (_("Who"), _(", ").join(part for part in (display_name(applicant), department) if part)),
        (_("Where"), _("; ").join(cameras)),
        (_("When"), " · ".join(part for part in (span, say("clock_basis")) if part)),
        (_("Why"), _(": ").join(part for part in (say("purpose"), str(application.get("reason") or "")) if part)),
        (_("How"), _(", ").join(part for part in (say("mode"), say("urgency")) if part)),
    ]
    title = _(", ").join(
        part for part in (_("; ").join(cameras[:2]) + (" …" if len(cameras) > 2 else ""), span) if part
    )
    return Brief(
        instance.business_key or str(case.get("number") or ""),
        title,
        applicant,
        tuple(line for line in lines if line[1]),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _place(known: Mapping[str, Mapping[str, Any]], key: str) -> str:
    found = known.get(key)
    if found is None:
        return key
    place, name = str(found["place"]), str(found["name"])
    return name if place in name else _("%(camera)s (%(place)s)", camera=name, place=place)


def _department(session: Session, name: str) -> str:
    if not name or language() == "zh":
        return name
    found = session.scalar(select(Department).where((Department.key == name) | (Department.name == name)))
    return (found.name_en or found.name) if found else name


def timeline_of(
    data: Mapping[str, Any], acquired: Mapping[str, Sequence[Sequence[str]]] | None = None
) -> Timeline | None:
    """The coverage timeline, once the recorders have been asked; `acquired` as in web.footage.acquired."""
    application, coverage = _mapping(data.get("application")), _mapping(data.get("coverage"))
    return timeline(coverage, application.get("start_at", ""), application.get("end_at", ""), acquired=acquired)


def overwriting(at: datetime | str | None) -> str:
    """“Will be overwritten on …”, the countdown on every request (Order 799, Art. 17: footage is kept 30 days)."""
    if not at:
        return ""
    moment = local(at)
    if moment <= clock.now():
        return _("May have been overwritten since %(at)s", at=format_time(moment))
    return _("Will be overwritten on %(at)s (%(distance)s)", at=format_time(moment), distance=relative(moment))


def camera_name(key: str, otherwise: str = "") -> str:
    """A camera's name in the reader's language; `otherwise`, or else its key, when it is not registered."""
    if "camera_names" not in g:
        g.camera_names = {camera: str(found["name"]) for camera, found in places(reading()).items()}
    return str(g.camera_names.get(key, otherwise or key))


def case_of(session: Session, instance_id: Any) -> Case | None:
    return cases.owned(session, instance_id)


def case_address(case: Case | None) -> str:
    """The page of a case, for its whole life."""
    return f"/cases/{case.id}" if case is not None else ""


def install(app: Flask) -> None:
    app.jinja_env.globals.update(camera_name=camera_name, case_address=case_address, overwriting=overwriting)
