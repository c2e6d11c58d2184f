"""Single pictures of the footage as files, for access of the modes still and copy (rules of conduct, N2)."""

import math
from io import BytesIO

from flask import Blueprint, Response, request, send_file

from device import access, evidence
from device.models import Case, EvidenceItem
from device.stills import picture as picture_of
from engine import clock
from engine.errors import N_, FieldError, InvalidFormError, NotAllowedError, NotFoundError
from web.auth import person
from web.case_access import visible_case
from web.edge import reading, settings, transaction

blueprint = Blueprint("stills", __name__, url_prefix="/cases")


@blueprint.get("/<int:case_id>/footage/<int:item_id>/still")
def picture(case_id: int, item_id: int) -> Response:
    """The picture `?at=` so many seconds after the beginning of a viewing copy; each one is logged."""
    session, user = reading(), person()
    case, _instance = visible_case(session, case_id, user)
    item = session.get(EvidenceItem, item_id)
    if item is None or item.case_id != case.id or item.kind != "viewing_copy" or item.discarded_at is not None:
        raise NotFoundError(N_("There is no such footage in this case."))
    permission = access.may_view(session, case, user, clock.now())
    if permission is None or not permission.stills:
        raise NotAllowedError(
            N_("Your access to case %(number)s is for viewing only: it delivers no file."), number=case.number
        )
    seconds = _seconds()
    found = picture_of(evidence.locate(session, settings(), item), seconds)
    if found is None:
        raise InvalidFormError({"at": FieldError(N_("The footage is shorter than that."), {})})
    with transaction() as writing:
        details = {"mode": permission.mode, "grant": permission.grant_id, "seconds": seconds}
        watched = writing.get_one(Case, case.id)
        origin = request.remote_addr or ""
        access.record(writing, watched, "captured", user.username, item=item.path, origin=origin, details=details)
    name = f"{case.number}-{item.camera}-{seconds:.3f}.jpg"
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
