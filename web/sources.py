"""The lists that forms offer by name (`source`): cameras, departments, people, and the longest span (clause P2)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from device import registers
from engine.forms import Form, Option
from engine.models import Department, User
from web.edge import settings
from web.i18n import language


def _cameras(session: Session) -> list[Option]:
    english = language() == "en"
    return [
        Option(camera.key, (camera.name_en or camera.name) if english else camera.name)
        for camera in registers.all_cameras(session)
    ]


def _departments(session: Session) -> list[Option]:
    english = language() == "en"
    query = select(Department).order_by(Department.name)
    return [Option(unit.key, (unit.name_en or unit.name) if english else unit.name) for unit in session.scalars(query)]


def _people(session: Session) -> list[Option]:
    english = language() == "en"
    query = select(User.username, User.name, User.name_en).where(User.active.is_(True)).order_by(User.username)
    return [Option(row.username, (row.name_en or row.name) if english else row.name) for row in session.execute(query)]


def _span(_session: Session) -> list[Option]:
    hours = str(settings().max_span_hours)
    return [Option(hours, hours)]


LISTS: dict[str, Callable[[Session], list[Option]]] = {
    "cameras": _cameras,
    "departments": _departments,
    "people": _people,
    "max_span_hours": _span,
    "max_hours": _span,
}


class Lists(Mapping[str, list[Option]]):
    """Every list by its name, read when it is first asked for: each costs a query."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._read: dict[str, list[Option]] = {}

    def __getitem__(self, name: str) -> list[Option]:
        if name not in self._read:
            self._read[name] = LISTS[name](self._session)
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in LISTS

    def __iter__(self) -> Iterator[str]:
        return iter(LISTS)

    def __len__(self) -> int:
        return len(LISTS)


def sources(session: Session, names: Iterable[str] | None = None) -> dict[str, list[Option]]:
    """The options of each list, labels in the reader's language; only those in `names` when given."""
    wanted = LISTS.keys() if names is None else LISTS.keys() & set(names)
    return {name: LISTS[name](session) for name in sorted(wanted)}


def for_form(session: Session, form: Form | None) -> dict[str, list[Option]]:
    """The lists that this form needs, and no others: each costs a query."""
    if form is None:
        return {}
    return sources(session, {name for field in form.inputs for name in (field.source, field.max_hours) if name})


def places(session: Session) -> dict[str, dict[str, Any]]:
    """For the camera picker: camera key → its place, name and how long its recorder keeps footage."""
    english = language() == "en"
    return {
        camera.key: {
            "name": (camera.name_en or camera.name) if english else camera.name,
            "place": (camera.place_en or camera.place) if english else camera.place,
            "retention_days": camera.recorder.retention_days,
        }
        for camera in registers.all_cameras(session, inactive=True)
    }
