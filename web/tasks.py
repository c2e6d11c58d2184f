"""The tasks desk: the inbox, and one page per task with its form, its case, and what happens after each answer.

A decision that must be signed takes two steps: the form, then the exact text with its SHA-256 and the password
(clause 1.2). Whatever was typed survives: in the page, or as a draft.
"""

from typing import Any
from uuid import UUID

import orjson
from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from device import access
from device.models import Case
from engine import assignments, clock, definitions, identity, instances, tasks
from engine.definitions import text_digest
from engine.errors import N_, ConflictError, FieldError, InvalidFormError, NotAllowedError, Sentence
from engine.forms import Form
from engine.identity import WrongPasswordError
from engine.models import HistoryEvent, Job, Task, User
from engine.tasks import SignatureRequest
from web import brief, drafts, footage, outlook, people, progress
from web.auth import person
from web.diagrams import labels, position
from web.edge import reading, transaction
from web.errors import message_of
from web.forms_html import Sheet, read, sheet
from web.i18n import _, format_time, told
from web.personal import shown
from web.sources import for_form, places
from web.sources import sources as sources
from web.visibility import may_see

blueprint = Blueprint("tasks", __name__)

RECENT = 50


# ---- the inbox ------------------------------------------------------------------------------------------------------


@blueprint.get("/tasks")
def inbox() -> Any:
    """`?show=` all, mine, group, overdue or done."""
    user, now, session = person(), clock.now(), reading()
    show = request.args.get("show", "all")
    open_tasks = tasks.inbox(session, user, at=now)
    mine = [task for task in open_tasks if user.username in (task.claimed_by, task.assignee)]
    group = [task for task in open_tasks if task not in mine]
    overdue = [task for task in open_tasks if task.due_at is not None and task.due_at < now]
    done = _recently_done(session, user) if show == "done" else []
    sections = {
        "mine": [("", mine)],
        "group": [("", group)],
        "overdue": [("", overdue)],
        "done": [("", done)],
    }.get(show, [(_("Mine"), mine), (_("For my groups"), group)])
    rows = [(title, [_row(session, task) for task in found]) for title, found in sections]
    people.remember(row["applicant"] for _title, found in rows for row in found)
    tabs = [
        _tab("all", _("To do"), show, len(open_tasks)),
        _tab("mine", _("Mine"), show, len(mine)),
        _tab("group", _("For my groups"), show, len(group)),
        _tab("overdue", _("Overdue"), show, len(overdue), alarm=bool(overdue)),
        _tab("done", _("Done recently"), show, None),
    ]
    return render_template("tasks/inbox.html", rows=rows, tabs=tabs, show=show, now=now)


def _tab(key: str, label: str, show: str, count: int | None, *, alarm: bool = False) -> dict[str, Any]:
    address = url_for("tasks.inbox", show=None if key == "all" else key)
    return {"address": address, "label": label, "current": key == show, "count": count, "alarm": alarm}


def _recently_done(session: Session, user: User) -> list[Task]:
    query = select(Task).where(Task.state == "completed", Task.completed_by == user.username)
    newest = query.order_by(Task.completed_at.desc()).limit(RECENT).options(joinedload(Task.instance))
    return list(session.scalars(newest))


def _row(session: Session, task: Task) -> dict[str, Any]:
    names = labels(session, task.instance.definition_id)
    found = brief.of_data(session, task.instance, task.data)
    return {
        "task": task,
        "name": names.get(task.name, task.name),
        "lane": names.get(task.lane, task.lane),
        "number": found.number,
        "title": found.title,
        "applicant": found.applicant,
    }


# ---- one task -------------------------------------------------------------------------------------------------------


@blueprint.get("/tasks/<uuid:task_id>")
def show(task_id: UUID) -> Any:
    session, user = reading(), person()
    task = tasks.get(session, task_id)
    refusal = _refusal(session, task, user)
    if refusal and not may_see(session, task.instance, user):
        raise NotAllowedError(refusal.template, **refusal.params)
    if refusal or task.state not in {"open", "claimed"} or task.claimed_by not in (None, user.username):
        return _readonly(session, task, message_of(refusal) if refusal else "")
    form = _form(session, task)
    draft = drafts.load(session, user.username, str(task_id))
    values = draft.data if draft else _initial(session, task, form, user)
    return _page(session, task, form, values, draft=draft)


@blueprint.post("/tasks/<uuid:task_id>")
def submit(task_id: UUID) -> Any:
    """`_intent`: complete, sign, draft or refresh (shows the questions that the answers so far call for)."""
    user = person()
    intent = request.form.get("_intent", "complete")
    session = reading()
    task = tasks.get(session, task_id)
    form = _form(session, task)
    data = read(form, request.form) if form else {}
    if intent == "draft":
        return keep_draft(user, str(task_id), data, form, url_for("tasks.show", task_id=task_id))
    tasks.check_allowed(session, task, user)
    if intent in {"refresh", "edit"}:
        return _page(session, task, form, data)
    try:
        if task.state not in {"open", "claimed"}:
            raise ConflictError(N_("This task is no longer open."))
        if task.signature and intent != "sign":
            return _review(session, task, form, data, user)
        return _complete(task, form, data, user)
    except InvalidFormError as error:
        return _page(session, task, form, data, errors=error.fields), 422
    except WrongPasswordError as error:
        return _review(session, task, form, data, user, refusal=message_of(error)), 403
    except ConflictError as error:
        return _conflict(task_id, error)


def _complete(task: Task, form: Form | None, data: dict[str, Any], user: User) -> Any:
    password = request.form.get("_password", "")
    with transaction() as writing:
        lists = for_form(writing, form)
        changed = False
        if task.signature:
            clean = tasks.clean_data(writing, task, data, sources=lists)
            text = tasks.signing_text(writing, task, clean, by=user)
            changed = text_digest(text) != request.form.get("_digest")
        if not changed:
            signature = SignatureRequest(password) if task.signature else None
            tasks.complete(writing, task.id, data, by=user, signature=signature, sources=lists)
            drafts.discard(writing, user.username, str(task.id))
    if changed:
        again = _("The text has changed since you saw it. Please read it again before you sign.")
        return _review(reading(), task, form, data, user, refusal=again), 409
    names = labels(reading(), task.instance.definition_id)
    flash(_("Done: %(task)s.", task=names.get(task.name, task.name)), "success")
    return redirect(url_for("tasks.inbox"))


def keep_draft(user: User, key: str, data: dict[str, Any], form: Form | None, back: str) -> Any:
    """Store what was typed; answers a script with JSON and a person with the page they were on."""
    with transaction() as writing:
        at = drafts.save(writing, user.username, key, data, form)
    if request.accept_mimetypes.best == "application/json":
        return {"saved_at": format_time(at)}
    flash(_("The draft is saved."), "success")
    return redirect(back)


@blueprint.post("/tasks/<uuid:task_id>/claim")
def claim(task_id: UUID) -> Any:
    try:
        with transaction() as writing:
            tasks.claim(writing, task_id, by=person())
    except ConflictError as error:
        return _conflict(task_id, error)
    return redirect(url_for("tasks.show", task_id=task_id))


@blueprint.post("/tasks/<uuid:task_id>/unclaim")
def unclaim(task_id: UUID) -> Any:
    try:
        with transaction() as writing:
            tasks.unclaim(writing, task_id, by=person())
    except ConflictError as error:
        return _conflict(task_id, error)
    flash(_("The task is back with the group."), "success")
    return redirect(url_for("tasks.inbox"))


@blueprint.post("/tasks/<uuid:task_id>/delegate")
def delegate(task_id: UUID) -> Any:
    """Pass the task on to somebody, with a reason; whoever it was with stays visible."""
    to = request.form.get("to", "")
    try:
        with transaction() as writing:
            assignments.delegate(writing, task_id, to, request.form.get("reason", ""), by=person())
    except ConflictError as error:
        return _conflict(task_id, error)
    flash(_("The task is with %(name)s now.", name=people.display_name(to)), "success")
    return redirect(url_for("tasks.inbox"))


# ---- pages ----------------------------------------------------------------------------------------------------------


def _refusal(session: Session, task: Task, user: User) -> NotAllowedError | None:
    try:
        tasks.check_allowed(session, task, user)
    except NotAllowedError as error:
        return error
    return None


def _form(session: Session, task: Task) -> Form | None:
    return definitions.form(session, task.instance.definition_id, task.form) if task.form else None


def _initial(session: Session, task: Task, form: Form | None, user: User) -> dict[str, Any]:
    """The empty form; or, when one's own application came back for correction, what it said."""
    if form is None:
        return {}
    values: dict[str, Any] = shown(session, task.instance_id, form.initial(task.data))
    earlier = task.data.get(task.variable) if task.variable else None
    if isinstance(earlier, dict) and earlier.get("by") == user.username and form.field("decision") is None:
        return {**values, **shown(session, task.instance_id, earlier)}
    for field in form.inputs:  # the process knows who did a step by their user name; a record names them
        if field.prefill.endswith(".by") and not field.locked:
            found = identity.find(session, str(values.get(field.key)))
            values[field.key] = found.name if found else values.get(field.key)
    return values


def _sheet(session: Session, task: Task, form: Form, values: Any, errors: dict[str, FieldError] | None = None) -> Sheet:
    uses_cameras = any(field.source == "cameras" for field in form.inputs)
    return Sheet(
        form,
        values=values,
        errors=errors,
        sources=for_form(session, form),
        labels=labels(session, task.instance.definition_id),
        places=places(session) if uses_cameras else {},
        names=shown(session, task.instance_id, task.data),
    )


def _context(session: Session, task: Task) -> dict[str, Any]:
    """What stands beside the form on every page of a task."""
    instance = task.instance
    names = labels(session, instance.definition_id)
    compiled = definitions.compiled(session, instance.definition_id)
    element = compiled.elements.get(task.element)
    found = brief.of_data(session, instance, task.data)
    case = brief.case_of(session, instance.id)
    takes = _takes(session, task, case)
    permission = access.may_view(session, case, person(), clock.now()) if case and takes else None
    checks = permission is not None and permission.grant_id is None
    application = task.data.get("application")
    form = brief.application_form(session, instance.definition_id)
    submitted: list[Any] = []
    if isinstance(application, dict) and form is not None and task.form != brief.APPLICATION_FORM:
        submitted = sheet(form, shown(session, instance.id, application), for_form(session, form), names)
    return {
        "task": task,
        "name": names.get(task.name, task.name),
        "lane": names.get(task.lane, task.lane),
        "brief": found,
        "case": case,
        "case_address": brief.case_address(case),
        "overwritten_at": case.overwritten_at if case and not case.outcome else None,
        "timeline": brief.timeline_of(task.data, footage.acquired(takes)),
        # The playback check happens on the task's own page (clause 3.2), for those who may see the pictures.
        "films": [take for take in takes if take.viewing] if checks and not task.signature else [],
        "sent_back": _sent_back(task),
        "fault": _fault(session, task),
        "checks": _checks(task),
        "submitted": submitted,
        "position": position(session, instance),
        "after": outlook.after(compiled, task.element, names, _answers(session, task, names)) if element else [],
        "late": outlook.when_late(compiled, task.element, names) if element else [],
        "jobs": progress.under_way(session, instance),
        "progress_address": url_for("progress.of_instance", instance_id=instance.id),
        "stopped": instances.suspension(session, instance.id) if instance.state == "suspended" else None,
        "now": clock.now(),
    }


def _sent_back(task: Task) -> dict[str, Any] | None:
    """The newest decision that sent back what this task had delivered before: who, and what they want corrected."""
    before = task.data.get(task.variable) if task.variable else None
    if not isinstance(before, dict):
        return None
    returned = [
        found
        for found in task.data.values()
        if isinstance(found, dict)
        and found.get("decision") == "send_back"
        and found.get("comment")
        and str(found.get("at", "")) > str(before.get("at", ""))
    ]
    return max(returned, key=lambda found: str(found["at"]), default=None)


FAULTS = {
    "RECORDER_UNREACHABLE": N_("The recorder cannot be reached"),
    "RECORDER_REFUSED": N_("The recorder refused"),
    "DISK_FULL": N_("There is no room left on the disk"),
    "STORE_FAILED": N_("A store could not be written or read"),
}


def _fault(session: Session, task: Task) -> dict[str, str]:
    """What failed, when the failure of a service task called for this one, and what the device reported.

    The history holds the report in English; the job that failed may still know it as a sentence.
    """
    query = select(HistoryEvent.payload).where(
        HistoryEvent.instance_id == task.instance_id, HistoryEvent.kind == "error", HistoryEvent.at == task.created_at
    )
    payload = session.scalars(query.limit(1)).one_or_none()
    if payload is None:
        return {}
    error = orjson.loads(payload)
    known, report = FAULTS.get(error.get("code", "")), str(error.get("message", ""))
    job = select(Job.error).where(Job.instance_id == task.instance_id, Job.task_id == UUID(error["task"]))
    kept = [sentence.params.get("message") for sentence in session.scalars(job)]
    said = next((told(one) for one in kept if isinstance(one, Sentence) and str(one) == report), report)
    return {"what": _(known) if known else "", "report": said}


def _checks(task: Task) -> list[dict[str, Any]]:
    """What the pre-flight found (clause 3.1), until footage has been retrieved."""
    found = task.data.get("preflight")
    if not isinstance(found, dict) or task.data.get("acquisitions"):
        return []
    return [check for check in found.get("checks", []) if isinstance(check, dict)]


def _takes(session: Session, task: Task, case: Case | None) -> list[footage.Take]:
    """What has been retrieved and counts."""
    if case is None or not task.data.get("acquisitions"):
        return []
    return [take for take in footage.takes(session, case, task.instance) if not take.replaced]


def _answers(session: Session, task: Task, names: dict[str, str]) -> list[str]:
    """The answers that the form offers, in its order."""
    form = _form(session, task)
    decision = form.field("decision") if form else None
    return [names.get(option.label, option.label) for option in decision.options] if decision else []


def _page(
    session: Session,
    task: Task,
    form: Form | None,
    values: Any,
    *,
    errors: dict[str, FieldError] | None = None,
    draft: Any = None,
) -> str:
    drawn = _sheet(session, task, form, values, errors) if form else None
    recipients = assignments.recipients(session, task)
    return render_template(
        "tasks/task.html", sheet=drawn, draft=draft, recipients=recipients, **_context(session, task)
    )


def _readonly(session: Session, task: Task, refusal: str) -> str:
    form = _form(session, task)
    stored = task.instance.data.get(task.variable) if task.variable else None
    answers: list[Any] = []
    if form and isinstance(stored, dict) and task.state == "completed" and stored.get("by") == task.completed_by:
        read_again = shown(session, task.instance_id, stored)
        answers = sheet(form, read_again, for_form(session, form), labels(session, task.instance.definition_id))
    return render_template(
        "tasks/readonly.html",
        refusal=refusal,
        answers=answers,
        signature=tasks.signature(session, task.id),
        **_context(session, task),
    )


def _review(
    session: Session, task: Task, form: Form | None, data: dict[str, Any], user: User, *, refusal: str = ""
) -> str:
    lists = for_form(session, form)
    names = labels(session, task.instance.definition_id)
    with transaction() as writing:  # the first text to be signed may make the key of the case
        clean = tasks.clean_data(writing, task, data, sources=lists)
        text = tasks.signing_text(writing, task, clean, by=user)
        answers = sheet(form, shown(writing, task.instance_id, clean), lists, names) if form else []
    kept = [(key, value) for key, value in request.form.items(multi=True) if form and form.field(key)]
    return render_template(
        "tasks/sign.html",
        text=text,
        digest=text_digest(text),
        kept=kept,
        answers=answers,
        refusal=refusal,
        **_context(session, task),
    )


def _conflict(task_id: UUID, error: ConflictError) -> Any:
    """Somebody was faster: who, and when."""
    task = tasks.get(reading(), task_id)
    by, at = (task.completed_by, task.completed_at) if task.state == "completed" else (task.claimed_by, task.claimed_at)
    names = labels(reading(), task.instance.definition_id)
    page = render_template(
        "tasks/conflict.html",
        task=task,
        name=names.get(task.name, task.name),
        by=by,
        at=at,
        detail=message_of(error),
        mine=by == person().username,
        case_address=brief.case_address(brief.case_of(reading(), task.instance_id)),
    )
    return page, 409
