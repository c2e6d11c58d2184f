"""One page per case, for its whole life: overview, diagram, footage, documents, custody, access (UI.md, "Map")."""

from io import BytesIO
from itertools import groupby
from typing import Any

import orjson
from flask import Blueprint, Flask, Response, flash, redirect, render_template, request, send_file, url_for
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from device import access, copies, documents
from device.models import ArchiveEntry, Case, Grant
from engine import clock, history, personal, tasks
from engine.errors import N_, FieldError, InvalidFormError, NotAllowedError, NotFoundError
from engine.models import Instance, Task, User
from web import brief, coverage, custody, diagrams, footage, forms_html, people, progress, sources
from web.auth import person
from web.case_access import may_disclose, may_redact, may_revoke, oversees, require_overseer, visible_case
from web.copies import under_way
from web.edge import database, reading, settings, transaction
from web.i18n import _, local
from web.personal import shown
from web.visibility import OFFICES

blueprint = Blueprint("cases", __name__, url_prefix="/cases")

PAGE = 30
FORMS = {"application": documents.application_of, "record": documents.record_of}

TABS = {
    "overview": N_("Overview"),
    "diagram": N_("Diagram"),
    "footage": N_("Footage"),
    "documents": N_("Documents"),
    "custody": N_("Custody"),
    "access": N_("Access"),
}


def page(case_id: int, tab: str, **parts: Any) -> str:
    """Render one tab of a case."""
    session, user = reading(), person()
    case, instance = visible_case(session, case_id, user)
    shown_as = "footage" if tab == "redaction" else tab  # a page about one film of it
    shown = [key for key in TABS if key not in {"custody", "access"} or oversees(user, case)]
    waiting = [task for task in tasks.of_instance(session, instance.id) if task.state in {"open", "claimed"}]
    people.remember([case.applicant, *(task.claimed_by or task.assignee for task in waiting)])
    return render_template(
        f"cases/{tab}.html",
        case=case,
        instance=instance,
        tabs=[
            {"address": url_for(f"cases.{key}", case_id=case_id), "label": _(TABS[key]), "current": key == shown_as}
            for key in shown
        ],
        waiting=waiting,
        labels=diagrams.labels(session, instance.definition_id),
        now=clock.now(),
        **parts,
    )


# ---- the list -------------------------------------------------------------------------------------------------------


@blueprint.get("/")
def index() -> Any:
    """The cases that one has a part in, newest first; found again by their number or applicant."""
    session, user = reading(), person()
    wanted, number = request.args.get("q", "").strip(), max(1, request.args.get("page", 1, type=int))
    query = select(Case, Instance).join(Instance, Instance.id == Case.instance_id).where(_part_of(user))
    if wanted:
        query = query.where(
            or_(Case.number.icontains(wanted, autoescape=True), Case.applicant.icontains(wanted, autoescape=True))
        )
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    newest = query.order_by(Case.opened_at.desc(), Case.id.desc()).limit(PAGE).offset((number - 1) * PAGE)
    found = session.execute(newest).all()
    people.remember(case.applicant for case, _instance in found)
    rows = [(case, instance, brief.of_data(session, instance, instance.data)) for case, instance in found]
    return render_template(
        "cases/index.html", rows=rows, wanted=wanted, total=total, number=number, size=PAGE, now=clock.now()
    )


def _part_of(user: User) -> ColumnElement[bool]:
    """The same rule as `may_see_case`, for many cases at once."""
    if user.groups & OFFICES:
        return Case.id.is_not(None)
    name = f'"{user.username}"'
    hand = select(Task.instance_id).where(
        (Task.claimed_by == user.username)
        | (Task.completed_by == user.username)
        | (
            ~Task.excluded.contains(name)
            & (
                (Task.assignee == user.username)
                | (Task.assignee.is_(None) & Task.candidate_group.in_(user.groups))
                | Task.candidate_users.contains(name)
            )
        )
    )
    granted = select(Grant.case_id).where(Grant.username == user.username)
    conditions = [Instance.started_by == user.username, Case.id.in_(granted), Case.instance_id.in_(hand)]
    if "archivist" in user.groups:
        conditions.append(Case.id.in_(select(ArchiveEntry.case_id)))
    return or_(*conditions)


# ---- tabs -----------------------------------------------------------------------------------------------------------


@blueprint.get("/<int:case_id>", endpoint="overview")
def show_overview(case_id: int) -> Any:
    """What was asked for, what was decided by whom, what the recorders hold, who acts next."""
    return _overview(case_id)


@blueprint.post("/<int:case_id>")
def disclose(case_id: int) -> Any:
    """The same with the personal data in full, for those whose office it is; who, when and why goes into the log."""
    user = person()
    case, _instance = visible_case(reading(), case_id, user)
    if not may_disclose(user, case):
        raise NotAllowedError(N_("Only reviewers, operators, archivists and auditors see personal data in full."))
    reason = request.form.get("reason", "").strip()
    if not reason or len(reason) > 500:
        raise InvalidFormError({"reason": FieldError(N_("Say why."), {})})
    with transaction() as session:
        locked = session.get_one(Case, case_id)
        origin = request.remote_addr or ""
        access.record(session, locked, "disclosed", user.username, origin=origin, details={"reason": reason})
    return _overview(case_id, masked=False)


def _overview(case_id: int, *, masked: bool = True) -> str:
    session = reading()
    case, instance = visible_case(session, case_id, person())
    application = instance.data.get("application") or {}
    return page(
        case_id,
        "overview",
        brief=brief.of_data(session, instance, instance.data),
        answers=_application(session, instance, masked=masked),
        disclosable=masked and may_disclose(person(), case) and personal.has_key(session, instance.id),
        decisions=decisions(session, instance),
        timeline=coverage.timeline(
            instance.data.get("coverage") or {},
            application.get("start_at", ""),
            application.get("end_at", ""),
            acquired=footage.acquired(footage.takes(session, case, instance)),
        ),
        jobs=progress.under_way(session, instance),
        position=diagrams.position(session, instance),
        archived=session.scalar(select(ArchiveEntry).where(ArchiveEntry.case_id == case.id)),
    )


@blueprint.get("/<int:case_id>/diagram", endpoint="diagram")
def show_diagram(case_id: int) -> Any:
    session = reading()
    _case, instance = visible_case(session, case_id, person())
    return page(case_id, "diagram", position=diagrams.position(session, instance))


@blueprint.get("/<int:case_id>/footage", endpoint="footage")
def show_footage(case_id: int) -> Any:
    """Each camera's master with its facts, and the viewing copy in a player for whoever may see it (P3)."""
    session, user = reading(), person()
    case, instance = visible_case(session, case_id, user)
    permission = access.may_view(session, case, user, clock.now())
    takes = footage.takes(session, case, instance)
    own = {}
    if permission is not None and permission.grant_id is not None:
        own = {take.master.id: copies.own_copy(session, take.viewing, permission) for take in takes if take.viewing}
    return page(
        case_id,
        "footage",
        films=footage.films(takes),
        permission=permission,
        own=own,
        may_redact=may_redact(session, case, user) is not None,
        to_redact=_waits_for_redaction(session, case, takes),
        under_way=under_way(session, case, user),
        lapsed=_lapsed(session, case, user),
        jobs=progress.under_way(session, instance),
    )


def _waits_for_redaction(session: Session, case: Case, takes: list[footage.Take]) -> bool:
    """Whether the approval asks for redaction and some footage has no redacted copy yet."""
    asked = any(grant.redacted for grant in access.active_grants(session, case, clock.now()))
    return asked and any(not take.replaced and take.redacted is None for take in takes)


def _lapsed(session: Session, case: Case, user: User) -> Grant | None:
    """The person's newest access that has ended, to tell them so."""
    query = select(Grant).where(Grant.case_id == case.id, Grant.username == user.username)
    return session.scalar(query.order_by(Grant.expires_at.desc()).limit(1))


@blueprint.get("/<int:case_id>/documents", endpoint="documents")
def show_documents(case_id: int) -> Any:
    session = reading()
    _case, instance = visible_case(session, case_id, person())
    signed = [
        (task, found)
        for task in tasks.of_instance(session, instance.id)
        if task.signature and (found := tasks.signature(session, task.id))
    ]
    people.remember(found.username for _task, found in signed)
    return page(case_id, "documents", signed=signed, has_record="record" in instance.data)


@blueprint.get("/<int:case_id>/custody", endpoint="custody")
def show_custody(case_id: int) -> Any:
    """Who did what, to which item, when, from where; by day, newest first, with filters by person and item."""
    session, user = reading(), person()
    case, _instance = visible_case(session, case_id, user)
    require_overseer(user, case)
    events = access.case_events(session, case)
    who, what = request.args.get("person", ""), request.args.get("item", "")
    people.remember(event.actor for event in events)
    shown = [event for event in events if (not who or event.actor == who) and (not what or event.item == what)]
    days = [(day, list(each)) for day, each in groupby(reversed(shown), key=lambda event: local(event.at).date())]
    return page(
        case_id,
        "custody",
        days=days,
        persons=sorted({event.actor for event in events}),
        items=sorted({event.item for event in events if event.item}),
        who=who,
        what=what,
        total=len(events),
        findings=access.verify_case_chain(session, case),
    )


@blueprint.get("/<int:case_id>/access", endpoint="access")
def show_access(case_id: int) -> Any:
    session, user = reading(), person()
    case, _instance = visible_case(session, case_id, user)
    require_overseer(user, case)
    grants = list(session.scalars(select(Grant).where(Grant.case_id == case.id).order_by(Grant.id.desc())))
    people.remember(grant.username for grant in grants)
    active = access.active_grants(session, case, clock.now())
    made = copies.of_case(session, case)
    return page(case_id, "access", grants=grants, made=made, revocable=bool(active) and may_revoke(user))


@blueprint.post("/<int:case_id>/access/revoke")
def revoke(case_id: int) -> Any:
    """End all access to the footage of a case at once, with a reason (clause N2)."""
    user = person()
    visible_case(reading(), case_id, user)
    if not may_revoke(user):
        raise NotAllowedError(N_("Only archivists and administrators revoke access."))
    reason = request.form.get("reason", "").strip()
    if not reason:
        raise InvalidFormError({"reason": FieldError(N_("Say why."), {})})
    with transaction() as session:
        case = session.get_one(Case, case_id)
        ended = access.revoke(session, case, reason, actor=user.username, at=clock.now())
    copies.remove_ended(database(), settings())
    flash(_("%(count)s accesses were ended.", count=ended), "success")
    return redirect(url_for("cases.access", case_id=case_id))


@blueprint.get("/<int:case_id>/documents/<any(application, record):form>.pdf")
def document(case_id: int, form: str) -> Response:
    """One of the two paper forms as PDF, as the case stands now."""
    session = reading()
    case, instance = visible_case(session, case_id, person())
    if form not in instance.data:
        raise NotFoundError(N_("This form has not been filled in yet."))
    name = f"{case.number}-{form}.pdf"
    return send_file(BytesIO(FORMS[form](session, case)), mimetype="application/pdf", download_name=name)


# ---- what a page shows ----------------------------------------------------------------------------------------------


def _application(session: Session, instance: Instance, *, masked: bool) -> list[Any]:
    """The submitted application as sections of labels and values, in the reader's language."""
    form = brief.application_form(session, instance.definition_id)
    data = instance.data.get("application")
    if form is None or not isinstance(data, dict):
        return []
    names = diagrams.labels(session, instance.definition_id)
    known = sources.for_form(session, form)
    return forms_html.sheet(form, shown(session, instance.id, data), known, names, masked=masked)


def decisions(session: Session, instance: Instance) -> list[dict[str, Any]]:
    """Every finished user task in order, all rounds: who decided what and why, and whether it is signed."""
    known = {str(task.id): task for task in tasks.of_instance(session, instance.id)}
    found = []
    for event in history.events(session, instance.id):
        if event.kind != "submit":
            continue
        payload = orjson.loads(event.payload)
        task = known[payload["task"]]
        answer = payload["data"].get(task.variable) if task.variable else payload["data"]
        answer = answer if isinstance(answer, dict) else {}
        found.append(
            {
                "task": task,
                "by": event.actor,
                "at": event.at,
                "decision": answer.get("decision", ""),
                "comment": "；".join(str(answer[key]) for key in SAID if answer.get(key)),
                "signed": bool(answer.get("signature")),
            }
        )
    people.remember(one["by"] for one in found)
    return found


SAID = ("comment", "remark", "conditions")
"""What people write beside a decision."""

DECISIONS = {
    "approve": (N_("Approved"), "good"),
    "refuse": (N_("Refused"), "bad"),
    "send_back": (N_("Sent back"), "warn"),
    "abstain": (N_("Abstained"), ""),
    "accept": (N_("Accepted"), "good"),
    "withdraw": (N_("Withdrawn"), ""),
    "ready": (N_("Ready"), "good"),
    "recheck": (N_("Check again"), "warn"),
    "ok": (N_("In order"), "good"),
    "retry": (N_("Try again"), "warn"),
    "skip": (N_("Skipped"), "warn"),
    "give_up": (N_("Given up"), "bad"),
}


def decision_word(key: str) -> tuple[str, str]:
    """What a decision is called, and the kind of its chip; a diagram may bring decisions of its own."""
    text, kind = DECISIONS.get(key, (key, ""))
    return _(text) if text else "", kind


MEDIA = {
    "disk_array": N_("Disk array"),
    "hard_disk": N_("Hard disk"),
    "optical": N_("Optical disc"),
    "tape": N_("Tape"),
}


def medium_word(key: str) -> str:
    """What the archive keeps a case on, as the form `shelf` offers it."""
    return _(MEDIA[key]) if key in MEDIA else key


def install(app: Flask) -> None:
    app.jinja_env.globals.update(
        decision_word=decision_word,
        custody_word=custody.word,
        custody_facts=custody.facts,
        mode_word=custody.mode_word,
        medium_word=medium_word,
    )
