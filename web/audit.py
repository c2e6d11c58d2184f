"""The auditors' desk: find a case, step through it on its diagram, prove its history by re-execution."""

from typing import Any
from uuid import UUID

from flask import Blueprint, render_template, request
from flask_babel import gettext as _
from sqlalchemy import func, or_, select

from device.access import verify_case_chain
from device.models import Case
from engine import definitions, history, instances, replay
from engine.models import Instance, Signature
from web import diagrams, people
from web.auth import requires
from web.edge import reading

blueprint = Blueprint("audit", __name__, url_prefix="/audit")

AUDITORS = ("auditor", "admin")
PAGE = 50


@blueprint.get("/")
@requires(*AUDITORS)
def index() -> Any:
    """Search by case number, applicant, process or state; newest first."""
    session = reading()
    wanted, state = request.args.get("q", "").strip(), request.args.get("state", "")
    number = max(1, request.args.get("page", 1, type=int))
    query = select(Instance, Case).outerjoin(Case, Case.instance_id == Instance.id)
    if wanted:
        like = f"%{wanted.replace('%', '').replace('_', '')}%"
        query = query.where(or_(Case.number.ilike(like), Case.applicant.ilike(like), Instance.process_id.ilike(like)))
    if state:
        query = query.where(Instance.state == state)
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    rows = session.execute(query.order_by(Instance.started_at.desc()).limit(PAGE).offset((number - 1) * PAGE)).all()
    people.remember([instance.started_by for instance, _case in rows])
    counts = dict(session.execute(select(Instance.state, func.count()).group_by(Instance.state)).tuples().all())
    return render_template(
        "audit/index.html", rows=rows, total=total, number=number, size=PAGE, counts=counts, wanted=wanted, state=state
    )


@blueprint.get("/cases/<uuid:instance_id>")
@requires(*AUDITORS)
def show(instance_id: UUID) -> Any:
    """The history of one instance, stepping through its diagram."""
    session = reading()
    instance = instances.get(session, instance_id)
    events = instances.visible_events(session, instance_id)
    people.remember({event["actor"] for event in events})
    shown = [
        {
            **{key: event[key] for key in ("seq", "element", "type", "label")},
            "at": event["at"] if isinstance(event["at"], str) else event["at"].isoformat(),
            "actor": people.display_name(event["actor"]),
        }
        for event in events
        if event["type"] != "take"
    ]
    return render_template(
        "audit/case.html",
        instance=instance,
        case=session.scalar(select(Case).where(Case.instance_id == instance_id)),
        stored=history.events(session, instance_id),
        signatures=list(session.scalars(select(Signature).where(Signature.instance_id == instance_id))),
        embedded={"events": shown, "labels": diagrams.labels(session, instance.definition_id), "words": words()},
        verdict=replay.verify(session, instance_id) if request.args.get("verify") else None,
        case_findings=case_findings(instance_id) if request.args.get("verify") else [],
        definition=definitions.by_id(session, instance.definition_id),
    )


def case_findings(instance_id: UUID) -> list[Any]:
    """What is wrong with the case's own chain of custody events; nothing when there is no case."""
    case = reading().scalar(select(Case).where(Case.instance_id == instance_id))
    return list(verify_case_chain(reading(), case)) if case else []


def words() -> dict[str, str]:
    return {
        "enter": _("reached"),
        "leave": _("done"),
        "fail": _("failed"),
        "cancel": _("cancelled"),
        "take": _("flow taken"),
    }
