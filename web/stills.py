"""Single pictures of the footage as files, for access of the modes still and copy (rules of conduct, N2)."""

import math
from io import BytesIO

from flask import Blueprint, Response, request, send_file

from device import access, copies, evidence, watermark
from device.documents import font_path
from device.models import Case
from engine import clock
from engine.errors import N_, ConflictError, FieldError, InvalidFormError, NotAllowedError
from web import footage
from web.auth import person
from web.case_access import visible_case
from web.edge import reading, settings, transaction

blueprint = Blueprint("stills", __name__, url_prefix="/cases")


@blueprint.get("/<int:case_id>/footage/<int:item_id>/still")
def picture(case_id: int, item_id: int) -> Response:
    """The picture `?at=` so many seconds after the beginning of a viewing copy, watermarked; each one is logged."""
    session, user = reading(), person()
    case, _instance = visible_case(session, case_id, user)
    item = footage.film_of(session, case, item_id)
    permission = access.may_view(session, case, user, clock.now())
    if permission is None or permission.grant_id is None or not permission.stills:
        raise NotAllowedError(
            N_("Your access to case %(number)s is for viewing only: it delivers no file."), number=case.number
        )
    seconds, at = _seconds(), clock.now()
    source = copies.source_of(session, item, redacted=permission.redacted)
    if item.kind != "viewing_copy" or source is None:
        raise ConflictError(N_("This footage must be redacted before pictures of it go out."))
    with transaction() as writing:
        copy = copies.ask(writing, permission.grant_id, source, at)
        mark = copies.mark_of(writing, writing.get_one(Case, case.id), copy, at)
    found = watermark.picture(evidence.locate(session, settings(), source), seconds, mark, font_path())
    if found is None:
        raise InvalidFormError({"at": FieldError(N_("The footage is shorter than that."), {})})
    with transaction() as writing:
        details = {"mode": permission.mode, "grant": permission.grant_id, "seconds": seconds, "code": mark.code}
        watched = writing.get_one(Case, case.id)
        origin = request.remote_addr or ""
        access.record(writing, watched, "captured", user.username, item=item.path, origin=origin, details=details)
    name = f"{case.number}-{item.camera}-{seconds:.3f}-{mark.code}.jpg"
    response = send_file(BytesIO(found), mimetype="image/jpeg", as_attachment=True, download_name=name)
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _seconds() -> float:
    try:
        seconds = float(request.args.get("at", "").replace(",", "."))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 10**6:
        raise InvalidFormError({"at": FieldError(N_("Say how many seconds after the beginning."), {})})
    return seconds
