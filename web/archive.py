"""The archive room: every archived case with its shelf, medium and custodian, and where its bag lies (clause 5.1)."""

from typing import Any

from flask import Blueprint, render_template, request
from sqlalchemy import or_, select

from device.models import ArchiveEntry, Case
from web import people
from web.auth import requires
from web.edge import reading

blueprint = Blueprint("archive", __name__, url_prefix="/archive")


@blueprint.get("/")
@requires("archivist", "auditor", "admin")
def index() -> Any:
    """Newest first; searched by case number or shelf."""
    wanted = request.args.get("q", "").strip()
    query = select(ArchiveEntry, Case).join(Case, Case.id == ArchiveEntry.case_id).order_by(ArchiveEntry.id.desc())
    if wanted:
        query = query.where(
            or_(Case.number.contains(wanted, autoescape=True), ArchiveEntry.shelf.contains(wanted, autoescape=True))
        )
    rows = reading().execute(query.limit(500)).all()
    people.remember([entry.custodian for entry, _case in rows])
    return render_template("archive/index.html", rows=rows, wanted=wanted)
