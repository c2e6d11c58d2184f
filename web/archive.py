"""The archive room: every archived case with its shelf, medium and custodian, and where its bag lies (clause 5.1)."""

from typing import Any

from flask import Blueprint, render_template, request
from sqlalchemy import func, or_, select

from device.models import ArchiveEntry, Case
from web import people
from web.auth import requires
from web.edge import reading

blueprint = Blueprint("archive", __name__, url_prefix="/archive")

PAGE = 50


@blueprint.get("/")
@requires("archivist", "auditor", "admin")
def index() -> Any:
    """Newest first; searched by case number, shelf or custodian."""
    session = reading()
    wanted, number = request.args.get("q", "").strip(), max(1, request.args.get("page", 1, type=int))
    query = select(ArchiveEntry, Case).join(Case, Case.id == ArchiveEntry.case_id)
    if wanted:
        columns = (Case.number, ArchiveEntry.shelf, ArchiveEntry.custodian)
        query = query.where(or_(*(column.icontains(wanted, autoescape=True) for column in columns)))
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    newest = query.order_by(ArchiveEntry.id.desc()).limit(PAGE).offset((number - 1) * PAGE)
    rows = session.execute(newest).all()
    people.remember(entry.custodian for entry, _case in rows)
    return render_template("archive/index.html", rows=rows, wanted=wanted, total=total, number=number, size=PAGE)
