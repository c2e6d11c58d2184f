"""Administration: people, departments, training records, recorders and cameras. Every entry takes effect at once."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, time
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session

from device import recorders, registers
from device.models import Recorder
from device.recorders import discovery
from device.recorders.base import DeviceError
from engine import clock, identity
from engine.errors import N_, ConflictError, FieldError, InvalidFormError, NotFoundError
from engine.models import Department, Deputy, Membership, Qualification, User
from web import people
from web.auth import GROUPS, person, requires
from web.edge import reading, settings, transaction
from web.errors import message_of
from web.i18n import ZONE, _

blueprint = Blueprint("admin", __name__, url_prefix="/admin")

LISTED = 500

SEARCH_SECONDS = 3.0


def text(name: str, *, required: bool = True) -> str:
    """A posted field, trimmed. Raises InvalidFormError when a required one is empty."""
    value = request.form.get(name, "").strip()
    if required and not value:
        raise InvalidFormError({name: FieldError(N_("This field is required."), {})})
    return value


def day(name: str, *, end: bool = False) -> datetime:
    """A posted date as the beginning (or the last moment) of that day here. Raises InvalidFormError."""
    try:
        found = datetime.strptime(text(name), "%Y-%m-%d").date()  # noqa: DTZ007 - the zone is added below
    except ValueError as error:
        raise InvalidFormError({name: FieldError(N_("Not a date."), {})}) from error
    return datetime.combine(found, time.max if end else time.min, tzinfo=ZONE)


def number(name: str, *, required: bool = True) -> int:
    try:
        return int(text(name, required=required) or "0")
    except ValueError as error:
        raise InvalidFormError({name: FieldError(N_("Enter a whole number."), {})}) from error


def done(message: str, part: str) -> Any:
    flash(message, "success")
    return redirect(url_for("admin.show", part=part))


# ---- pages ----------------------------------------------------------------------------------------------------------

PARTS = {
    "people": N_("People"),
    "departments": N_("Departments"),
    "trainings": N_("Training records"),
    "deputies": N_("Deputies"),
    "recorders": N_("Recorders"),
    "cameras": N_("Cameras"),
}


@blueprint.get("/")
@requires("admin")
def index() -> Any:
    return redirect(url_for("admin.show", part="people"))


@blueprint.get("/<any(people, departments, trainings, deputies, recorders, cameras):part>")
@requires("admin")
def show(part: str) -> Any:
    """One register, and the form that adds to it."""
    session = reading()
    lists: dict[str, Callable[[], Sequence[Any]]] = {
        "people": lambda: _users(session),
        "departments": lambda: _departments(session),
        "trainings": lambda: _newest(session, Qualification, Qualification.valid_until),
        "deputies": lambda: _newest(session, Deputy, Deputy.until_at),
        "recorders": lambda: registers.all_recorders(session),
        "cameras": lambda: registers.all_cameras(session, inactive=True),
    }
    rows = lists[part]()
    people.remember(getattr(row, "username", None) for row in rows)
    people.remember(getattr(row, "deputy", None) or getattr(row, "head_username", None) for row in rows)
    tabs = [
        {"address": url_for("admin.show", part=key), "label": _(label), "current": key == part}
        for key, label in PARTS.items()
    ]
    return render_template(
        f"admin/{part}.html",
        rows=rows,
        tabs=tabs,
        users=_users(session),
        departments=_departments(session),
        recorders=registers.all_recorders(session),
        groups=GROUPS,
        now=clock.now(),
        proposed={key: request.args.get(key, "") for key in ("name", "url")},
    )


def _users(session: Session) -> Sequence[User]:
    return session.scalars(select(User).order_by(User.username)).all()


def _departments(session: Session) -> Sequence[Department]:
    return session.scalars(select(Department).order_by(Department.key)).all()


def _newest(session: Session, kind: type[Any], until: Any) -> Sequence[Any]:
    """What ends last first."""
    return session.scalars(select(kind).order_by(until.desc(), kind.id).limit(LISTED)).all()


# ---- people ---------------------------------------------------------------------------------------------------------


def _department(session: Session, key: str) -> Department | None:
    return session.scalar(select(Department).where(Department.key == key)) if key else None


@blueprint.post("/departments")
@requires("admin")
def add_department() -> Any:
    with transaction() as session:
        key = text("key")
        if _department(session, key):
            raise ConflictError(N_("There is already a department %(key)s."), key=key)
        session.add(
            Department(
                key=key,
                name=text("name"),
                name_en=text("name_en", required=False),
                parent=_department(session, text("parent", required=False)),
                head_username=text("head", required=False) or None,
            )
        )
    return done(_("The department was added."), "departments")


@blueprint.post("/users")
@requires("admin")
def add_user() -> Any:
    groups = set(request.form.getlist("groups")) & GROUPS.keys()
    with transaction() as session:
        identity.create_user(
            session,
            text("username"),
            request.form.get("password", ""),
            name=text("name"),
            name_en=text("name_en", required=False),
            groups={"employee", *groups},
            department=_department(session, text("department", required=False)),
            title=text("title", required=False),
            employee_no=text("employee_no", required=False),
            phone=text("phone", required=False),
        )
    return done(_("The account was created."), "people")


@blueprint.post("/users/<username>")
@requires("admin")
def change_user(username: str) -> Any:
    """Roles and whether the account is open. Nobody shuts their own account or drops their own administration."""
    groups = {"employee", *(set(request.form.getlist("groups")) & GROUPS.keys())}
    active = request.form.get("active") == "1"
    if username == person().username and (not active or "admin" not in groups):
        raise ConflictError(N_("You cannot take your own administration away; another administrator can."))
    with transaction() as session:
        found = identity.find(session, username)
        if found is None:
            raise NotFoundError(N_("There is no user %(username)s."), username=username)
        found.active = active
        found.memberships[:] = [one for one in found.memberships if one.group in groups]
        present = found.groups
        found.memberships += [Membership(group=group) for group in sorted(groups - present)]
    return done(_("The account was changed."), "people")


@blueprint.post("/trainings")
@requires("admin")
def add_training() -> Any:
    """A training record (clause N1): without a valid one nobody may retrieve."""
    with transaction() as session:
        identity.record_training(
            session,
            text("username"),
            text("key"),
            valid_from=day("valid_from"),
            valid_until=day("valid_until", end=True),
            trainer=text("trainer", required=False),
        )
    return done(_("The training record was entered."), "trainings")


@blueprint.post("/deputies")
@requires("admin")
def add_deputy() -> Any:
    with transaction() as session:
        identity.delegate(
            session, text("username"), text("deputy"), from_at=day("from"), until_at=day("until", end=True)
        )
    return done(_("The deputy was entered."), "deputies")


# ---- registers ------------------------------------------------------------------------------------------------------


@blueprint.post("/recorders")
@requires("admin")
def add_recorder() -> Any:
    with transaction() as session:
        added = registers.add_recorder(
            session,
            settings(),
            text("key"),
            name=text("name"),
            url=text("url"),
            username=text("username", required=False),
            password=request.form.get("password", ""),
            sessions=number("sessions"),
            retention_days=number("retention_days"),
            certificate=request.form.get("certificate", ""),
            allow_basic="allow_basic" in request.form,
        )
        _limit(session, added)
    return done(_("The recorder was registered."), "recorders")


@blueprint.post("/recorders/search")
@requires("admin")
def search_recorders() -> Any:
    """Ask the network who is there. What answers is shown and not contacted: anybody may have answered."""
    found: list[discovery.Found] = []
    error = ""
    try:
        found = discovery.discover(SEARCH_SECONDS)
    except DeviceError as refused:
        error = message_of(refused)
    known = {one.url for one in registers.all_recorders(reading())}
    return render_template("admin/found.html", found=found, known=known, error=error)


@blueprint.post("/recorders/<key>/limits")
@requires("admin")
def limit_recorder(key: str) -> Any:
    """Playbacks at a time, bandwidth and hours; they count from the next retrieval (or its next segment) on."""
    with transaction() as session:
        _limit(session, registers.get_recorder(session, key))
    return done(_("The limits were changed."), "recorders")


def _limit(session: Session, recorder: Recorder) -> None:
    registers.limit_recorder(
        session,
        recorder,
        sessions=number("sessions"),
        bandwidth=number("bandwidth", required=False) * 1000,
        hours=text("hours", required=False),
        zone=text("zone", required=False),
    )


@blueprint.post("/recorders/<key>/probe")
@requires("admin")
def probe(key: str) -> Any:
    """Ask a recorder who it is and what it records, with the password on file."""
    found = registers.get_recorder(reading(), key)
    answer: Mapping[str, Any] = {}
    error = ""
    try:
        password = registers.decrypt(settings(), found.secret)
        options = registers.connection_options(found)
        driver = recorders.open_recorder(found.driver, found.url, found.username, password, **options)
        answer = {"probe": driver.probe(), "recordings": driver.recordings()}
    except DeviceError as refused:
        error = message_of(refused)
    return render_template("admin/probe.html", recorder=found, error=error, **answer)


@blueprint.post("/cameras")
@requires("admin")
def add_camera() -> Any:
    with transaction() as session:
        registers.add_camera(
            session,
            text("key"),
            name=text("name"),
            name_en=text("name_en", required=False),
            place=text("place"),
            place_en=text("place_en", required=False),
            recorder=text("recorder"),
            recording=text("recording"),
        )
    return done(_("The camera was registered."), "cameras")
