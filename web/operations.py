"""The operations desk: incidents that a person must resolve, messages without receiver, jobs under way, recorders,
stores (DESIGN, "Flow")."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session

from device import registers
from device.models import Case
from device.storage import StoreError, open_stores
from engine import jobs, messages
from engine.errors import N_, FieldError, InvalidFormError
from engine.models import Instance, Job, Message
from web import diagrams, people, progress
from web.auth import person, requires
from web.edge import database, reading, settings, transaction
from web.errors import message_of
from web.i18n import _
from web.visibility import OPERATORS, check_not_own, operable_message

blueprint = Blueprint("operations", __name__, url_prefix="/operations")

LISTED = 200
SHOWN = 20
"""Discarded messages on the page."""


@dataclass(frozen=True)
class Work:
    """A job as the page shows it. `case` is None until the request has been numbered."""

    job: Job
    name: str
    instance: Instance
    case: Case | None
    facts: dict[str, Any]

    @property
    def params(self) -> str:
        return orjson.dumps(self.job.params, option=orjson.OPT_INDENT_2).decode()


@dataclass(frozen=True)
class Letter:
    """A message without receiver, the instance that threw it (None: a person or a program), and until when it waits.

    `own`: the reader's own request threw it, so that another person must see to it.
    """

    message: Message
    sender: Instance | None
    until: datetime
    own: bool


@blueprint.get("/")
@requires(*OPERATORS, "auditor")
def index() -> Any:
    """Incidents first, then what runs and waits, then the recorders and the stores."""
    session = reading()
    waiting = select(Job).where(Job.state.in_(("ready", "running"))).order_by(Job.created_at, Job.id).limit(LISTED)
    return render_template(
        "operations/index.html",
        stopped=_works(session, jobs.incidents(session)),
        busy=_works(session, list(session.scalars(waiting))),
        letters=_letters(session, messages.undelivered(session, limit=LISTED)),
        discarded=_letters(session, messages.discarded(session, limit=SHOWN)),
        recorders=registers.all_recorders(session),
        stores=_stores(),
        may_act=bool(person().groups & OPERATORS),
    )


def _works(session: Session, found: Sequence[Job]) -> list[Work]:
    """The jobs with what is known about their case, with a query for each kind of thing and not for each job."""
    ids = {job.instance_id for job in found}
    instances = {one.id: one for one in session.scalars(select(Instance).where(Instance.id.in_(ids)))}
    cases = {one.instance_id: one for one in session.scalars(select(Case).where(Case.instance_id.in_(ids)))}
    works = []
    for job in found:
        instance = instances[job.instance_id]
        names = diagrams.labels(session, instance.definition_id)
        name = names.get(job.name, job.name)
        works.append(Work(job, name, instance, cases.get(job.instance_id), progress.facts(job, names)))
    return works


def _letters(session: Session, found: Sequence[Message]) -> list[Letter]:
    ids = {message.sender_id for message in found}
    senders = {one.id: one for one in session.scalars(select(Instance).where(Instance.id.in_(ids)))}
    hours = timedelta(hours=settings().message_hours)
    letters = []
    for message in found:
        sender = senders.get(message.sender_id) if message.sender_id else None
        own = sender is not None and sender.started_by == person().username
        letters.append(Letter(message, sender, message.expires_at or message.sent_at + hours, own))
    people.remember(message.ended_by for message in found)
    return letters


def _stores() -> list[dict[str, Any]]:
    """The two stores, how much room they have, and what is wrong when they do not answer."""
    try:
        return [{"name": store.name, "free": store.free(), "error": ""} for store in open_stores(settings())]
    except (StoreError, OSError) as error:
        return [{"name": "", "free": None, "error": message_of(error)}]


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
    _refuse_own(job_id)
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
    _refuse_own(job_id)
    with transaction() as session:
        jobs.cancel(session, job_id, by=person().username, reason=reason)
    flash(_("The job was given up."), "success")
    return redirect(url_for("operations.index"))


def _refuse_own(job_id: UUID) -> None:
    """Raises NotAllowedError, NotFoundError."""
    job = jobs.get(reading(), job_id)
    check_not_own(reading().get_one(Instance, job.instance_id), person())


@blueprint.post("/messages/<uuid:message_id>/deliver")
@requires(*OPERATORS)
def deliver(message_id: UUID) -> Any:
    """Deliver a message at once; when nobody can take it, it stays and says why."""
    found = operable_message(reading(), message_id, person())
    messages.deliver_now(database(), found.id, request.form.get("reason", ""), by=person().username)
    flash(_("The message has arrived."), "success")
    return redirect(url_for("operations.index"))


@blueprint.post("/messages/<uuid:message_id>/discard")
@requires(*OPERATORS)
def discard(message_id: UUID) -> Any:
    """End a message that nobody shall get any more."""
    found = operable_message(reading(), message_id, person())
    with transaction() as session:
        messages.discard(session, found.id, request.form.get("reason", ""), by=person().username)
    flash(_("The message was discarded."), "success")
    return redirect(url_for("operations.index"))
