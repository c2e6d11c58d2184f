"""The paper forms as PDF, set from the process data: the same data gives the same bytes (clauses 1.1, 4.2, 5.1)."""

from typing import Any

from sqlalchemy.orm import Session

from device import cases
from device.documents import facts
from device.documents.application import application_form
from device.documents.facts import CaseFacts, Copied, Item, Person, Place, Signed
from device.documents.fonts import FontMissingError, font_path
from device.documents.record import record_form
from device.models import Case
from engine import personal
from engine.models import Instance

__all__ = [
    "CaseFacts",
    "Copied",
    "FontMissingError",
    "Item",
    "Person",
    "Place",
    "Signed",
    "application_form",
    "application_of",
    "facts",
    "font_path",
    "record_form",
    "record_of",
]


def application_of(session: Session, case: Case) -> bytes:
    """The application form of a case as it stands now. Raises FontMissingError."""
    data, runs = _readable(session, case), cases.runs(session, case, case.instance_id)
    return application_form(data, facts.load(session, case, runs, data), facts.signatures(session, runs))


def record_of(session: Session, case: Case) -> bytes:
    """The record form of a case as it stands now. Raises FontMissingError."""
    data, runs = _readable(session, case), cases.runs(session, case, case.instance_id)
    loaded = facts.load(session, case, runs, data)
    return record_form(data, loaded, facts.signatures(session, runs), facts.items(session, case))


def _readable(session: Session, case: Case) -> dict[str, Any]:
    """The process data with its personal values opened; or what has become of them."""
    data = session.get_one(Instance, case.instance_id).data

    def instead(error: personal.PersonalDataError) -> str:
        return "已销毁" if isinstance(error, personal.ErasedError) else "无法读取"

    found: dict[str, Any] = personal.opened(session, case.instance_id, data, instead=instead)
    return found
