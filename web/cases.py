"""One page per case, for its whole life: overview, diagram, footage, documents, custody, access (UI.md, "Map")."""

from itertools import groupby
from typing import Any

import orjson
from flask import Blueprint, Flask, Response, current_app, render_template, request, send_file, url_for
from flask_babel import gettext as _
from sqlalchemy import select
from sqlalchemy.orm import Session

from device import access, documents, evidence
from device.models import ArchiveEntry, Case, EvidenceItem, Grant
from engine import clock, definitions, history, tasks
from engine.errors import N_, NotAllowedError, NotFoundError
from engine.models import Instance, Task, User
from web import coverage, diagrams, forms_html, people, progress, sources
from web.auth import person
from web.edge import reading, settings, transaction
from web.i18n import local
from web.visibility import OFFICES, may_see

blueprint = Blueprint("cases", __name__, url_prefix="/cases")

FORMS = {"application": documents.application_of, "record": documents.record_of}


# ---- who may see what -----------------------------------------------------------------------------------------------


def visible_case(session: Session, case_id: int, user: User) -> tuple[Case, Instance]:
    """The case and its process, for whoever has a hand in it or holds an office or a grant.

    Raises:
        NotFoundError: there is no such case, or `user` may not know that there is.
    """
    case = session.get(Case, case_id)
    if case is not None:
        instance = session.get_one(Instance, case.instance_id)
        if may_see_case(session, case, instance, user):
            return case, instance
    raise NotFoundError(N_("There is no such case, or you have no part in it."))


def may_see_case(session: Session, case: Case, instance: Instance, user: User) -> bool:
    """A hand in the process, an office, or a grant (also an expired one: the case stays known to its recipient)."""
    if may_see(session, instance, user):
        return True
    wanted = select(Grant.id).where(Grant.case_id == case.id, Grant.username == user.username)
    return session.scalar(wanted.limit(1)) is not None


def page(case_id: int, tab: str, **parts: Any) -> str:
    """Render one tab of a case."""
    session = reading()
    case, instance = visible_case(session, case_id, person())
    names = {
        "overview": _("Overview"),
        "diagram": _("Diagram"),
        "footage": _("Footage"),
        "documents": _("Documents"),
        "custody": _("Custody"),
        "access": _("Access"),
    }
    tabs = [
        {"address": url_for(f"cases.{key}", case_id=case_id), "label": label, "current": key == tab}
        for key, label in names.items()
    ]
    waiting = [task for task in tasks.of_instance(session, instance.id) if task.state in {"open", "claimed"}]
    return render_template(
        f"cases/{tab}.html",
        case=case,
        instance=instance,
        data=instance.data,
        tabs=tabs,
        waiting=waiting,
        labels=diagrams.labels(session, instance.definition_id),
        now=clock.now(),
        **parts,
    )


# ---- pages ----------------------------------------------------------------------------------------------------------


@blueprint.get("/")
def index() -> Any:
    """The cases that one may see, newest first."""
    session, user = reading(), person()
    query = select(Case, Instance).join(Instance, Instance.id == Case.instance_id).order_by(Case.opened_at.desc())
    if not user.groups & OFFICES:
        granted = select(Grant.case_id).where(Grant.username == user.username)
        mine = select(Task.instance_id).where(
            (Task.assignee == user.username)
            | (Task.claimed_by == user.username)
            | (Task.completed_by == user.username)
            | Task.candidate_group.in_(user.groups)
        )
        query = query.where((Case.applicant == user.username) | Case.id.in_(granted) | Case.instance_id.in_(mine))
    found = session.execute(query.limit(200)).tuples()
    rows = [(case, instance) for case, instance in found if may_see_case(session, case, instance, user)]
    people.remember([case.applicant for case, _instance in rows])
    return render_template("cases/index.html", rows=rows)


@blueprint.get("/<int:case_id>")
def overview(case_id: int) -> Any:
    """What was asked for, what was decided by whom, what the recorders hold, who acts next."""
    session = reading()
    case, instance = visible_case(session, case_id, person())
    application = instance.data.get("application") or {}
    return page(
        case_id,
        "overview",
        answers=sheet(session, instance, "application.form", application),
        decisions=decisions(session, instance),
        timeline=coverage.timeline(
            instance.data.get("coverage") or {},
            application.get("start_at", ""),
            application.get("end_at", ""),
            acquired=acquired(evidence.items_of(session, case)),
        ),
        jobs=progress.under_way(session, instance),
        archived=session.scalar(select(ArchiveEntry).where(ArchiveEntry.case_id == case.id)),
    )


@blueprint.get("/<int:case_id>/diagram")
def diagram(case_id: int) -> Any:
    session = reading()
    _case, instance = visible_case(session, case_id, person())
    return page(case_id, "diagram", position=diagrams.position(session, instance))


@blueprint.get("/<int:case_id>/footage")
def footage(case_id: int) -> Any:
    """Each camera's master with its facts, and the viewing copy in a player for whoever may see it (P3)."""
    session = reading()
    case, instance = visible_case(session, case_id, person())
    items = evidence.items_of(session, case)
    masters = [item for item in items if item.kind == "master"]
    viewing = {item.master_id: item for item in items if item.kind == "viewing_copy"}
    return page(
        case_id,
        "footage",
        masters=masters,
        viewing=viewing,
        permission=access.may_view(session, case, person(), clock.now()),
        jobs=progress.under_way(session, instance),
    )


@blueprint.get("/<int:case_id>/documents")
def documents_tab(case_id: int) -> Any:
    session = reading()
    _case, instance = visible_case(session, case_id, person())
    signed = [
        (task, found)
        for task in tasks.of_instance(session, instance.id)
        if (found := tasks.signature(session, task.id))
    ]
    return page(case_id, "documents", signed=signed, has_record="record" in instance.data)


@blueprint.get("/<int:case_id>/custody")
def custody(case_id: int) -> Any:
    """Who did what, to which item, when, from where; by day, with filters by person and item."""
    session = reading()
    case, _instance = visible_case(session, case_id, person())
    events = access.case_events(session, case)
    who, what = request.args.get("person", ""), request.args.get("item", "")
    people.remember([event.actor for event in events])
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
        findings=access.verify_case_chain(session, case),
    )


@blueprint.get("/<int:case_id>/access")
def access_tab(case_id: int) -> Any:
    session = reading()
    case, _instance = visible_case(session, case_id, person())
    grants = list(session.scalars(select(Grant).where(Grant.case_id == case.id).order_by(Grant.id.desc())))
    return page(case_id, "access", grants=grants, may_revoke=bool(person().groups & {"archivist", "admin"}))


# the names of tabs and of endpoints are the same, whatever the view functions are called
blueprint.add_url_rule("/<int:case_id>/documents", "documents", documents_tab)
blueprint.add_url_rule("/<int:case_id>/access", "access", access_tab)


@blueprint.post("/<int:case_id>/access/revoke")
def revoke(case_id: int) -> Any:
    """End all access to the footage of a case, with a reason (clause N2)."""
    if not person().groups & {"archivist", "admin"}:
        raise NotAllowedError(N_("Only archivists and administrators revoke access."))
    reason = request.form.get("reason", "").strip()
    with transaction() as session:
        case, _instance = visible_case(session, case_id, person())
        access.revoke(session, case, reason or "-", actor=person().username, at=clock.now())
    return current_app.redirect(url_for("cases.access", case_id=case_id))


# ---- files ----------------------------------------------------------------------------------------------------------


@blueprint.get("/<int:case_id>/footage/<int:item_id>")
def media(case_id: int, item_id: int) -> Response:
    """A viewing copy for the player, or with ?download=1 as a file where the grant says `copy`; both are logged.

    A player fetches a film in many ranges; the view is logged with the range that begins it.
    """
    session = reading()
    case, _instance = visible_case(session, case_id, person())
    item = session.get(EvidenceItem, item_id)
    if item is None or item.case_id != case.id or item.discarded_at is not None:
        raise NotFoundError(N_("There is no such footage in this case."))
    download = request.args.get("download") == "1"
    permission = access.may_view(session, case, person(), clock.now())
    if permission is None or (download and not permission.download):
        raise NotAllowedError(
            N_("You may not see the footage of case %(number)s: you have no valid access."), number=case.number
        )
    begins = request.headers.get("Range", "bytes=0-").replace(" ", "").startswith("bytes=0-")
    if (begins or download) and request.method == "GET":
        with transaction() as writing:
            watched = writing.get_one(Case, case.id)
            access.view(writing, watched, person(), item=item.path, origin=request.remote_addr or "")
            if download:
                access.record(
                    writing,
                    watched,
                    "downloaded",
                    person().username,
                    item=item.path,
                    origin=request.remote_addr or "",
                )
    path = evidence.locate(session, settings(), item)
    return send_file(path, mimetype=item.media_type, conditional=True, as_attachment=download, download_name=path.name)


@blueprint.get("/<int:case_id>/documents/<any(application, record):form>.pdf")
def document(case_id: int, form: str) -> Response:
    """One of the two forms as PDF, as the case stands now."""
    session = reading()
    case, instance = visible_case(session, case_id, person())
    if form == "record" and "record" not in instance.data:
        raise NotFoundError(N_("The record form has not been filled in yet."))
    response = Response(FORMS[form](session, case), content_type="application/pdf")
    response.headers["Content-Disposition"] = f'inline; filename="{form}-{case.id}.pdf"'
    return response


# ---- what a page shows ----------------------------------------------------------------------------------------------


def sheet(session: Session, instance: Instance, form: str, data: dict[str, Any]) -> list[Any]:
    """A submitted form as sections of labels and values, in the reader's language; personal data masked."""
    found = definitions.form(session, instance.definition_id, form)
    names = diagrams.labels(session, instance.definition_id)
    return forms_html.sheet(found, data, sources.for_form(session, found), names)


def acquired(items: list[EvidenceItem]) -> dict[str, list[list[str]]]:
    """What was truly retrieved, per camera, for the timeline."""
    found: dict[str, list[list[str]]] = {}
    for item in items:
        report = item.facts.get("report") or {}
        if item.kind == "master" and report.get("first_frame") and report.get("last_frame"):
            found[item.camera] = [[report["first_frame"], report["last_frame"]]]
    return found


def decisions(session: Session, instance: Instance) -> list[dict[str, Any]]:
    """Every finished user task in order, all rounds: who decided what, why, and the signature. The history says so."""
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
                "comment": answer.get("comment") or answer.get("remark") or "",
                "signature": tasks.signature(session, task.id) if task.signature else None,
            }
        )
    people.remember([one["by"] for one in found])
    return found


DECISIONS = {
    "approve": N_("Approved"),
    "refuse": N_("Refused"),
    "send_back": N_("Sent back"),
    "abstain": N_("Abstained"),
    "accept": N_("Accepted"),
    "withdraw": N_("Withdrawn"),
    "ready": N_("Ready"),
    "recheck": N_("Check again"),
    "ok": N_("In order"),
    "retry": N_("Try again"),
    "skip": N_("Skipped"),
    "give_up": N_("Given up"),
}

CUSTODY = {
    "opened": N_("opened the case"),
    "acquired": N_("retrieved from the recorder"),
    "checked": N_("checked for damage"),
    "derived": N_("made a viewing copy"),
    "copied": N_("copied to a store and read back"),
    "granted": N_("granted access"),
    "revoked": N_("revoked access"),
    "viewed": N_("viewed"),
    "downloaded": N_("downloaded"),
    "discarded": N_("discarded working copies"),
    "archived": N_("archived"),
    "closed": N_("closed the case"),
}


def install(app: Flask) -> None:
    app.jinja_env.globals.update(
        decision_word=lambda key: _(DECISIONS[key]) if key in DECISIONS else key,
        custody_word=lambda key: _(CUSTODY[key]) if key in CUSTODY else key,
    )
