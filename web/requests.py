"""The applicant's desk: ask for footage (clauses 1.1, P1, P2), see who has the request since when, withdraw it."""

from collections import defaultdict
from typing import Any
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session

from device.models import Case
from engine import clock, definitions, instances, tasks
from engine.errors import N_, ConflictError, FieldError, InvalidFormError, NotFoundError
from engine.models import Instance, Job, ProcessDefinition, Task, User
from engine.projections import ENDED, OPEN
from web import brief, drafts, people
from web.auth import GROUPS, person
from web.diagrams import labels, position
from web.edge import reading, settings, transaction
from web.forms_html import Sheet, read
from web.i18n import _
from web.sources import for_form, places
from web.tasks import keep_draft

blueprint = Blueprint("requests", __name__)

PROCESS = "footage_retrieval"
WITHDRAW = "withdraw"


# ---- my requests ----------------------------------------------------------------------------------------------------


@blueprint.get("/requests")
def index() -> Any:
    user, session = person(), reading()
    query = select(Instance).where(Instance.process_id == PROCESS, Instance.started_by == user.username)
    mine = list(session.scalars(query.order_by(Instance.started_at.desc())))
    ids = [instance.id for instance in mine]
    cases = {case.instance_id: case for case in session.scalars(select(Case).where(Case.instance_id.in_(ids)))}
    waiting: dict[UUID, list[Task]] = defaultdict(list)
    for task in session.scalars(select(Task).where(Task.instance_id.in_(ids), Task.state.in_(OPEN))):
        waiting[task.instance_id].append(task)
    working: dict[UUID, list[Job]] = defaultdict(list)
    for job in session.scalars(
        select(Job).where(Job.instance_id.in_(ids), Job.state.in_(("ready", "running", "held", "incident")))
    ):
        working[job.instance_id].append(job)
    people.remember(task.claimed_by or task.assignee for found in waiting.values() for task in found)
    rows = [_row(session, instance, cases.get(instance.id), waiting, working, user.username) for instance in mine]
    draft = drafts.load(session, user.username, drafts.START)
    return render_template("requests/index.html", rows=rows, draft=draft, now=clock.now(), me=user.username)


def _row(
    session: Session,
    instance: Instance,
    case: Case | None,
    waiting: dict[UUID, list[Task]],
    working: dict[UUID, list[Job]],
    me: str,
) -> dict[str, Any]:
    names = labels(session, instance.definition_id)
    found = brief.of_data(session, instance, instance.data)
    status = (case.outcome if case else "") or instance.state
    running = instance.state not in ENDED
    return {
        "instance": instance,
        "number": case.number if case else found.number,
        "title": found.title,
        "status": status,
        "address": brief.case_address(case),
        "overwritten_at": case.overwritten_at if case and running else None,
        "with": _holders(waiting[instance.id], names, me) if running else [],
        "jobs": [
            {"name": names.get(job.name, job.name), "since": job.created_at, "stopped": job.state == "incident"}
            for job in working[instance.id]
        ],
        "may_withdraw": running,
        "position": position(session, instance) if running else None,
    }


def _holders(open_tasks: list[Task], names: dict[str, str], me: str) -> list[dict[str, Any]]:
    """Who has it: whoever took the task, else the one it is for, else the role. Members who vote are one committee."""
    steps: dict[str, list[Task]] = defaultdict(list)
    for task in sorted(open_tasks, key=lambda task: task.created_at):
        steps[task.element].append(task)
    found = []
    for tasks_of_step in steps.values():
        task = next((one for one in tasks_of_step if me in (one.claimed_by, one.assignee)), tasks_of_step[0])
        username = task.claimed_by or task.assignee or ""
        role = GROUPS.get(task.candidate_group)
        found.append(
            {
                "task": names.get(task.name, task.name),
                "id": task.id,
                "username": username if len(tasks_of_step) == 1 or username == me else "",
                "role": _(role) if role else names.get(task.lane, task.lane),
                "since": task.claimed_at or task.created_at,
            }
        )
    return found


# ---- a new request --------------------------------------------------------------------------------------------------


@blueprint.route("/requests/new", methods=["GET", "POST"])
def new() -> Any:
    """One page; the process starts and its first task is completed in one transaction."""
    user, session = person(), reading()
    definition = definitions.latest(session, PROCESS)
    form = definitions.form(session, definition.id, brief.APPLICATION_FORM)
    if request.method == "GET":
        draft = drafts.load(session, user.username, drafts.START)
        values = draft.data if draft else form.initial(_names(user))
        return _page(session, definition, user, values, draft=draft)
    intent = request.form.get("_intent", "complete")
    data = read(form, request.form)
    if intent == "draft":
        return keep_draft(user, drafts.START, data, form, url_for("requests.new"))
    if intent == "discard":
        with transaction() as writing:
            drafts.discard(writing, user.username, drafts.START)
        flash(_("The draft is discarded."), "success")
        return redirect(url_for("requests.new"))
    if intent == "refresh":
        return _page(session, definition, user, data)
    try:
        with transaction() as writing:
            instance = instances.start(writing, PROCESS, {"applicant": user.username}, by=user.username)
            task = _first_task(writing, instance)
            tasks.complete(writing, task.id, data, by=user, sources=for_form(writing, form))
            drafts.discard(writing, user.username, drafts.START)
            case = brief.case_of(writing, instance.id)
    except InvalidFormError as error:
        return _page(session, definition, user, data, errors=error.fields), 422
    flash(_("The request is submitted. You will be told when it moves on."), "success")
    return redirect(brief.case_address(case) or url_for("requests.index"))


def _first_task(session: Session, instance: Instance) -> Task:
    """The application form, which the process opens for the applicant."""
    for task in tasks.of_instance(session, instance.id):
        if task.state in OPEN and task.form == brief.APPLICATION_FORM:
            return task
    raise ConflictError(N_("The deployed procedure does not begin with the application form."))


def _names(user: User) -> dict[str, Any]:
    """What the empty form may draw on: the directory knows the applicant, so nobody types it again."""
    known = {
        "username": user.username,
        "name": user.name,
        "title": user.title,
        "employee_no": user.employee_no,
        "phone": user.phone,
        "email": user.email,
        "department": user.department.name if user.department else "",
    }
    return {"applicant": user.username, "user": known}


def _page(
    session: Session,
    definition: ProcessDefinition,
    user: User,
    values: Any,
    *,
    errors: dict[str, FieldError] | None = None,
    draft: Any = None,
) -> str:
    form = definitions.form(session, definition.id, brief.APPLICATION_FORM)
    sheet = Sheet(
        form,
        values=values,
        errors=errors,
        sources=for_form(session, form),
        labels=labels(session, definition.id),
        places=places(session),
        names=_names(user),
    )
    return render_template(
        "requests/new.html",
        sheet=sheet,
        draft=draft,
        user=user,
        today=clock.now(),
        max_span_hours=settings().max_span_hours,
    )


# ---- withdrawing ----------------------------------------------------------------------------------------------------


def withdrawal(reason: Any) -> dict[str, str]:
    """What the message WITHDRAW carries. Raises InvalidFormError: whoever withdraws says why."""
    if not isinstance(reason, str) or not reason.strip() or len(reason) > 1000:
        raise InvalidFormError({"reason": FieldError(N_("Please say why, in at most 1000 characters."), {})})
    return {"reason": reason.strip()}


@blueprint.route("/requests/<uuid:instance_id>/withdraw", methods=["GET", "POST"])
def withdraw(instance_id: UUID) -> Any:
    """Ask for the reason, then tell the process, which decides whether it is still possible."""
    user = person()
    instance = reading().get(Instance, instance_id)
    if instance is None or instance.started_by != user.username:
        raise NotFoundError(N_("There is no such request of yours."))
    case = brief.case_of(reading(), instance_id)
    if instance.state in ENDED:
        raise ConflictError(N_("This request has already ended; there is nothing to withdraw."))
    reason = request.form.get("reason", "").strip()
    error = ""
    if request.method == "POST":
        try:
            payload = withdrawal(reason)
        except InvalidFormError as refused:
            error = _(refused.fields["reason"].template)
        else:
            with transaction() as writing:
                instances.send_message(writing, instance_id, WITHDRAW, payload, by=user.username)
            flash(_("The request is withdrawn."), "success")
            return redirect(brief.case_address(case) or url_for("requests.index"))
    found = brief.of_data(reading(), instance, instance.data)
    page = render_template(
        "requests/withdraw.html", instance=instance, case=case, brief=found, reason=reason, error=error
    )
    return page, 422 if error else 200
