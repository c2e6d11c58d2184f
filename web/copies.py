"""A recipient's own copies of footage: asking for them, the master where the approval says so, whose a code is (N2).

What a grant shows and delivers is never the viewing copy itself but one that carries the recipient's name. It is made
when they first ask, and kept until their access ends.
"""

from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, request, send_file, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session

from device import copies, evidence
from device.models import Case, EvidenceItem, ViewerCopy
from engine import clock, instances
from engine.errors import N_, ConflictError, NotAllowedError, NotFoundError
from engine.models import Instance, User
from web import footage, people, progress
from web.auth import person, requires
from web.case_access import visible_case
from web.edge import reading, settings, transaction
from web.i18n import _

blueprint = Blueprint("copies", __name__)

PROCESS = "footage_derivation"
AUDITORS = ("auditor", "admin")


def under_way(session: Session, case: Case, user: User) -> list[tuple[Instance, list[dict[str, Any]]]]:
    """The derivations of a case that `user` has asked for and that run or have stopped, with their jobs."""
    query = select(Instance).where(
        Instance.process_id == PROCESS,
        Instance.state == "running",
        Instance.business_key == case.number,
        Instance.started_by == user.username,
    )
    found = session.scalars(query.order_by(Instance.started_at))
    return [(instance, progress.under_way(session, instance)) for instance in found]


@blueprint.post("/cases/<int:case_id>/footage/copies")
def ask(case_id: int) -> Any:
    """Have one's own copies made of all footage of the case that may be seen now and of which there are none yet."""
    session, user = reading(), person()
    case, instance = visible_case(session, case_id, user)
    permission = footage.permission_of(session, case, user)
    if permission.grant_id is None:
        raise ConflictError(N_("You see the viewing copy itself: you need no copy of your own."))
    films = [take.viewing for take in footage.takes(session, case, instance) if take.viewing and not take.replaced]
    with transaction() as writing:
        asked = []
        for film in films:
            own = copies.own_copy(writing, film, permission)
            if own.state == "missing" and own.source is not None:
                asked.append(copies.ask(writing, permission.grant_id, own.source, clock.now()))
        if asked:
            data = {"kind": "copies", "case": case.number, "codes": [copy.code for copy in asked]}
            started = instances.start(writing, PROCESS, data, by=user.username, business_key=case.number)
            for copy in asked:
                copy.instance_id = started.id
    if asked:
        flash(_("Your copies are being made."), "success")
    return redirect(url_for("cases.footage", case_id=case_id))


@blueprint.get("/cases/<int:case_id>/footage/<int:item_id>/master")
def master(case_id: int, item_id: int) -> Response:
    """The untouched master as a file, where the approval says so; logged before its first byte leaves."""
    session, user = reading(), person()
    case, _instance = visible_case(session, case_id, user)
    item = session.get(EvidenceItem, item_id)
    if item is None or item.case_id != case.id or item.kind != "master":
        raise NotFoundError(N_("There is no such footage in this case."))
    permission = footage.permission_of(session, case, user)
    if not permission.master:
        raise NotAllowedError(N_("The approval of case %(number)s does not deliver the master."), number=case.number)
    path = evidence.locate(session, settings(), item)
    if request.method == "GET":
        footage.log(case, item, user, permission, "downloaded", digest=item.digest)
    name = f"{case.number}-{item.camera}{path.suffix}"
    response = send_file(path, mimetype=item.media_type, conditional=True, as_attachment=True, download_name=name)
    response.headers["Cache-Control"] = "private, no-store"
    return response


# ---- whose copy is it? ----------------------------------------------------------------------------------------------


@blueprint.route("/audit/codes", methods=["GET", "POST"])
@requires(*AUDITORS)
def trace() -> Any:
    """Look up the code that was read off a leaked clip; the search is noted on each case that it names."""
    wanted = request.form.get("code", "").strip()
    found: list[ViewerCopy] = []
    if request.method == "POST":
        with transaction() as session:
            found = copies.trace(session, wanted, by=person().username, origin=request.remote_addr or "")
    cases = {copy.code: reading().get_one(Case, copy.grant.case_id) for copy in found}
    people.remember(copy.grant.username for copy in found)
    return render_template(
        "audit/codes.html", wanted=wanted, found=found, cases=cases, asked=request.method == "POST", now=clock.now()
    )


def listed(session: Session, case: Case) -> list[ViewerCopy]:
    """All copies that were made for viewers of a case, for those who answer for its accesses."""
    found = copies.of_case(session, case)
    people.remember(copy.grant.username for copy in found)
    return found
