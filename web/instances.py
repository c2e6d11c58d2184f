"""The operators' pages about process instances: find one, see where it stands, suspend it, move it, begin it again.

Whoever operates sees where a case stands; its data only as far as web/visibility.py allows.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session

from engine import assignments, definitions, history, instances, jobs, listing, modification, suspension, tasks
from engine.errors import N_, ConflictError, FieldError, InvalidFormError, NotFoundError
from engine.listing import Wanted
from engine.models import Instance, Task
from engine.modification import Change, Preview
from engine.projections import ENDED, OPEN
from web import brief, diagrams, people, progress
from web.auth import person, requires
from web.edge import reading, transaction
from web.errors import message_of
from web.i18n import ZONE, _, told
from web.visibility import ADMINISTRATORS, OPERATORS, may_see, operable_instance

blueprint = Blueprint("instances", __name__, url_prefix="/operations/instances")

LOOKERS = (*sorted(OPERATORS), "auditor")
PAGE = 50
STATES = ("running", "suspended", "completed", "cancelled")


@blueprint.get("/")
@requires(*LOOKERS)
def index() -> Any:
    """Search by state, process and version, case number, element with a token, and incident; newest first."""
    session, asked = reading(), request.args
    wanted = Wanted(
        state=asked.get("state", ""),
        process_id=asked.get("process", ""),
        version=asked.get("version", type=int),
        key=asked.get("key", "").strip(),
        element=asked.get("element", "").strip(),
        incident=asked.get("incident") == "1",
    )
    number = max(1, asked.get("page", 1, type=int))
    found, total = listing.find(session, wanted, limit=PAGE, offset=(number - 1) * PAGE)
    people.remember(one.started_by for one in found)
    standing = listing.standing(session, [one.id for one in found])
    return render_template(
        "instances/index.html",
        rows=[(one, standing[one.id], _names(session, one, standing[one.id].elements)) for one in found],
        total=total,
        number=number,
        size=PAGE,
        wanted=wanted,
        processes=[
            (one.process_id, diagrams.label(session, one.id, one.name)) for one in definitions.latest_versions(session)
        ],
        states=STATES,
    )


def _names(session: Session, instance: Instance, elements: Any) -> list[str]:
    """What elements are called, in the reader's language; their ids when they have no name."""
    known = definitions.compiled(session, instance.definition_id).elements
    words = diagrams.labels(session, instance.definition_id)
    labels = [known[element].name if element in known else "" for element in elements]
    return [words.get(label, label) or element for element, label in zip(elements, labels, strict=True)]


# ---- one instance ---------------------------------------------------------------------------------------------------


def _looked_at(instance_id: UUID) -> Instance:
    found = reading().get(Instance, instance_id)
    if found is None:
        raise NotFoundError(N_("There is no process instance %(id)s."), id=str(instance_id))
    return found


@blueprint.get("/<uuid:instance_id>")
@requires(*LOOKERS)
def show(instance_id: UUID) -> Any:
    """Where it stands, its tasks, jobs and history, and what may be done about it."""
    return _page(_looked_at(instance_id))


def _page(instance: Instance, refusal: str = "", status: int = 200) -> Any:
    session, user = reading(), person()
    names = diagrams.labels(session, instance.definition_id)
    definition = definitions.by_id(session, instance.definition_id)
    open_tasks = [task for task in tasks.of_instance(session, instance.id) if task.state in OPEN]
    all_jobs = jobs.of_instance(session, instance.id)
    may_act = instance.started_by != user.username and bool(user.groups & OPERATORS)
    may_change = may_act and bool(user.groups & ADMINISTRATORS)
    page = render_template(
        "instances/show.html",
        instance=instance,
        name=diagrams.label(session, definition.id, definition.name),
        number=instance.business_key or _("Not numbered yet"),
        case_address=brief.case_address(brief.case_of(session, instance.id)),
        stopped=instances.suspension(session, instance.id) if instance.state == "suspended" else None,
        ended=instance.state in ENDED,
        position=diagrams.position(session, instance),
        tasks=[(task, names.get(task.name, task.name), _recipients(session, task, may_change)) for task in open_tasks],
        jobs=[(job, progress.facts(job, names)) for job in all_jobs],
        data=_pretty(instance.data) if may_see(session, instance, user) else "",
        events=_events(session, instance),
        original=modification.original_of(session, instance),
        copies=modification.restarts(session, instance.id),
        may_act=may_act,
        may_change=may_change,
        to_the_minute=_to_the_minute,
        role_name=people.role_name,
        refusal=refusal,
    )
    return page, status


def _recipients(session: Session, task: Task, may_change: bool) -> list[Any]:
    return assignments.recipients(session, task) if may_change else []


def _pretty(data: Any) -> str:
    return orjson.dumps(data, option=orjson.OPT_INDENT_2).decode()


def _events(session: Session, instance: Instance) -> list[dict[str, Any]]:
    """The history without the data of the case: who did what when, and the reason where there was to be one."""
    found = []
    for event in history.events(session, instance.id):
        payload = orjson.loads(event.payload)
        reason = payload.get("reason") or payload.get("restart", {}).get("reason")
        found.append(
            {"seq": event.seq, "at": event.at, "actor": event.actor, "kind": event.kind, "reason": reason or ""}
        )
    people.remember(str(event["actor"]) for event in found)
    return found[::-1]


ACTS = {
    "suspend": (OPERATORS, suspension.suspend, N_("The case is suspended.")),
    "resume": (OPERATORS, suspension.resume, N_("The case goes on.")),
    "cancel": (ADMINISTRATORS, instances.cancel, N_("The case is cancelled.")),
}


@blueprint.post("/<uuid:instance_id>/<any(suspend, resume, cancel):act>")
@requires(*sorted(OPERATORS))
def change_state(instance_id: UUID, act: str) -> Any:
    groups, action, done = ACTS[act]
    instance = operable_instance(reading(), instance_id, person(), groups)
    try:
        with transaction() as session:
            action(session, instance.id, request.form.get("reason", ""), by=person().username)
    except ConflictError as error:
        return _page(instance, message_of(error), 409)
    flash(_(done), "success")
    return redirect(url_for("instances.show", instance_id=instance_id))


# ---- moving tokens --------------------------------------------------------------------------------------------------


@blueprint.route("/<uuid:instance_id>/modify", methods=["GET", "POST"])
@requires(*sorted(ADMINISTRATORS))
def modify(instance_id: UUID) -> Any:
    """`_intent`: preview shows what would follow, modify does it. What was typed stays on the page."""
    instance = operable_instance(reading(), instance_id, person(), ADMINISTRATORS)
    refusal, seen, status = "", None, 200
    if request.method == "POST":
        try:
            change = _posted_change()
            with transaction() as session:
                arguments = (session, instance.id, change, request.form.get("reason", ""))
                if request.form.get("_intent") != "modify":
                    seen = modification.preview(*arguments, by=person().username)
                else:
                    modification.modify(*arguments, by=person().username)
        except (ConflictError, InvalidFormError) as error:
            refusal, status = _why(error), 409 if isinstance(error, ConflictError) else 422
        else:
            if seen is None:
                flash(_("The case is changed."), "success")
                return redirect(url_for("instances.show", instance_id=instance_id))
    return _modify_page(instance, seen, refusal), status


def _posted_change() -> Change:
    text = request.form.get("set", "").strip()
    try:
        changed = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError as error:
        found = FieldError(N_("This is not JSON: %(reason)s."), {"reason": str(error)})
        raise InvalidFormError({"set": found}) from error
    if not isinstance(changed, dict):
        raise InvalidFormError({"set": FieldError(N_("Parameters are a JSON object."), {})})
    unset = request.form.get("unset", "").replace(",", " ").split()
    return Change(cancel=request.form.getlist("cancel"), start=request.form.getlist("start"), set=changed, unset=unset)


def _why(error: ConflictError | InvalidFormError) -> str:
    if isinstance(error, InvalidFormError):
        return " ".join(told(found) for found in error.fields.values())
    return message_of(error)


def _modify_page(instance: Instance, seen: Preview | None, refusal: str) -> str:
    session = reading()
    elements = definitions.compiled(session, instance.definition_id).elements
    active = list(dict.fromkeys(instances.active_elements(session, instance.id)))
    startable = [
        element.id
        for element in elements.values()
        if element.type not in ("sequenceFlow", "startEvent", "boundaryEvent") and element.name
    ]
    return render_template(
        "instances/modify.html",
        instance=instance,
        number=instance.business_key or _("Not numbered yet"),
        position=diagrams.position(session, instance),
        active=list(zip(active, _names(session, instance, active), strict=True)),
        startable=list(zip(startable, _names(session, instance, startable), strict=True)),
        posted=request.form,
        seen=seen,
        expected=list(zip(seen.active.values(), _names(session, instance, list(seen.active)), strict=True))
        if seen
        else [],
        fails=list(zip(_names(session, instance, list(seen.fails)), map(told, seen.fails.values()), strict=True))
        if seen
        else [],
        data=_pretty(seen.data if seen else instance.data),
        refusal=refusal,
    )


# ---- beginning again ------------------------------------------------------------------------------------------------


@blueprint.route("/<uuid:instance_id>/restart", methods=["GET", "POST"])
@requires(*sorted(ADMINISTRATORS))
def restart(instance_id: UUID) -> Any:
    """Choose a stay (`stay` is `element:event that ended it`, without the number while it lasts) and a version."""
    instance = operable_instance(reading(), instance_id, person(), ADMINISTRATORS)
    refusal, status = "", 200
    if request.method == "POST":
        element, _colon, until = request.form.get("stay", "").partition(":")
        try:
            with transaction() as session:
                copy = modification.restart(
                    session,
                    instance.id,
                    element,
                    request.form.get("reason", ""),
                    by=person().username,
                    until=int(until) if until.isdecimal() else None,
                    newest=request.form.get("version") == "newest",
                )
        except (ConflictError, InvalidFormError) as error:
            refusal, status = _why(error), 409 if isinstance(error, ConflictError) else 422
        else:
            flash(_("A new case stands at this step."), "success")
            return redirect(url_for("instances.show", instance_id=copy.id))
    session = reading()
    stays = modification.stays_of(session, instance.id)
    page = render_template(
        "instances/restart.html",
        instance=instance,
        number=instance.business_key or _("Not numbered yet"),
        stays=list(zip(stays, _names(session, instance, [stay.element for stay in stays]), strict=True))[::-1],
        posted=request.form,
        refusal=refusal,
    )
    return page, status


# ---- tasks ----------------------------------------------------------------------------------------------------------


@blueprint.post("/tasks/<uuid:task_id>/<any(assign, change):act>")
@requires(*sorted(ADMINISTRATORS))
def change_task(task_id: UUID, act: str) -> Any:
    """Give a task to somebody, or set its priority and due date."""
    task = tasks.get(reading(), task_id)
    reason = request.form.get("reason", "")
    try:
        with transaction() as session:
            if act == "assign":
                assignments.assign(session, task_id, request.form.get("to", ""), reason, by=person())
            else:
                assignments.change(session, task_id, _posted_changes(task), reason, by=person())
    except ConflictError as error:
        return _page(task.instance, message_of(error), 409)
    flash(_("The task is changed."), "success")
    return redirect(url_for("instances.show", instance_id=task.instance_id))


def _to_the_minute(at: datetime | None) -> str:
    """As a browser's field for a local time takes it and sends it back."""
    return at.astimezone(ZONE).strftime("%Y-%m-%dT%H:%M") if at else ""


def _posted_changes(task: Task) -> dict[str, Any]:
    """What differs from what the page showed; its times are to the minute."""
    found: dict[str, Any] = {}
    try:
        if (priority := int(request.form.get("priority", task.priority))) != task.priority:
            found["priority"] = priority
        for name, shown in (("due_at", _to_the_minute(task.due_at)), ("remind_at", "")):
            text = request.form.get(name, shown)
            if text != shown:
                found[name] = datetime.fromisoformat(text).replace(tzinfo=ZONE) if text else None
    except ValueError as error:
        raise InvalidFormError({"due_at": FieldError(N_("This cannot be set so."), {})}) from error
    return found
