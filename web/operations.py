"""The operations desk: incidents that a person must resolve, jobs under way, recorders (DESIGN, "Flow of one step")."""

from typing import Any
from uuid import UUID

import orjson
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from sqlalchemy import select

from device import registers
from engine import jobs
from engine.errors import N_, FieldError, InvalidFormError
from engine.models import Instance, Job
from web import diagrams
from web.auth import person, requires
from web.edge import reading, transaction

blueprint = Blueprint("operations", __name__, url_prefix="/operations")

OPERATORS = ("operator", "admin")


@blueprint.get("/")
@requires(*OPERATORS, "auditor")
def index() -> Any:
    """Incidents first, then what runs and waits, then the recorders."""
    session = reading()
    stopped = jobs.incidents(session)
    query = select(Job).where(Job.state.in_(("ready", "running"))).order_by(Job.created_at).limit(200)
    busy = list(session.scalars(query))
    owners = {
        instance.id: instance
        for instance in session.scalars(
            select(Instance).where(Instance.id.in_({job.instance_id for job in stopped + busy}))
        )
    }
    names = {key: diagrams.labels(session, found.definition_id) for key, found in owners.items()}
    return render_template(
        "operations/index.html",
        stopped=stopped,
        busy=busy,
        owners=owners,
        names=names,
        recorders=registers.all_recorders(session),
        params=lambda job: orjson.dumps(job.params, option=orjson.OPT_INDENT_2).decode(),
        may_act=bool(person().groups & set(OPERATORS)),
    )


@blueprint.post("/jobs/<uuid:job_id>/retry")
@requires(*OPERATORS)
def retry(job_id: UUID) -> Any:
    """Run an incident again, with corrected parameters when they were changed; recorded in the history."""
    text = request.form.get("params", "").strip()
    try:
        params = orjson.loads(text) if text else None
    except orjson.JSONDecodeError as error:
        raise InvalidFormError(
            {"params": FieldError(N_("This is not JSON: %(reason)s."), {"reason": str(error)})}
        ) from error
    if params is not None and not isinstance(params, dict):
        raise InvalidFormError({"params": FieldError(N_("Parameters are a JSON object."), {})})
    with transaction() as session:
        jobs.retry(session, job_id, by=person().username, params=params)
    flash(_("The job runs again."), "success")
    return redirect(url_for("operations.index"))


@blueprint.post("/jobs/<uuid:job_id>/cancel")
@requires(*OPERATORS)
def cancel(job_id: UUID) -> Any:
    """Give an incident up: the diagram goes on by its error path where it has one."""
    reason = request.form.get("reason", "").strip()
    if not reason:
        raise InvalidFormError({"reason": FieldError(N_("Say why."), {})})
    with transaction() as session:
        jobs.cancel(session, job_id, by=person().username, reason=reason)
    flash(_("The job was given up."), "success")
    return redirect(url_for("operations.index"))
