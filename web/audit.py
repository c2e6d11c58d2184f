"""The auditors' desk: find a case, step through it on its diagram, prove its history by re-execution."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import Blueprint, render_template, request
from sqlalchemy import select

from device.ledger import verify_custody
from device.models import Case
from engine import definitions, history, instances, listing, replay, seals
from engine.models import Instance, Signature, Task
from web import brief, diagrams, people
from web.actors import machine
from web.auth import requires
from web.edge import reading, settings
from web.i18n import _, format_time

blueprint = Blueprint("audit", __name__, url_prefix="/audit")

AUDITORS = ("auditor", "admin")
PAGE = 50


@blueprint.get("/")
@requires(*AUDITORS)
def index() -> Any:
    """Search by case number, person or process, and by state; newest first."""
    session = reading()
    wanted, state = request.args.get("q", "").strip(), request.args.get("state", "")
    number = max(1, request.args.get("page", 1, type=int))
    found, total = listing.search(session, wanted, state, limit=PAGE, offset=(number - 1) * PAGE)
    people.remember(one.started_by for one in found)
    numbered = session.scalars(select(Case).where(Case.instance_id.in_([one.id for one in found])))
    cases = {case.instance_id: case for case in numbered}
    rows = [(one, cases.get(one.id)) for one in found]
    counts = listing.count_states(session)
    return render_template(
        "audit/index.html", rows=rows, total=total, number=number, size=PAGE, counts=counts, wanted=wanted, state=state
    )


@blueprint.get("/cases/<uuid:instance_id>")
@requires(*AUDITORS)
def show(instance_id: UUID) -> Any:
    """The history of one instance, stepping through its diagram; with ?verify=1 the proof that it is intact."""
    session = reading()
    instance = instances.get(session, instance_id)
    case = brief.case_of(session, instance_id)
    definition = definitions.by_id(session, instance.definition_id)
    signed = session.execute(
        select(Signature, Task.name)
        .join(Task, Task.id == Signature.task_id)
        .where(Signature.instance_id == instance_id)
        .order_by(Signature.signed_at, Signature.id)
    )
    verify = request.args.get("verify") == "1"
    trusted = seals.trusted_keys(settings()) if verify else None
    drawn = steps(instance)
    return render_template(
        "audit/case.html",
        instance=instance,
        case=case,
        definition=definition,
        name=diagrams.label(session, definition.id, definition.name),
        labels=diagrams.labels(session, definition.id),
        stored=stored_events(instance_id),
        signed=signed.all(),
        embedded={
            "events": drawn,
            "labels": diagrams.labels(session, instance.definition_id),
            "words": words(),
        },
        verdict=replay.verify(session, instance_id, trusted=trusted) if verify else None,
        case_findings=verify_custody(session, instance_id, seals.Ledger(session, trusted))[0] if verify else [],
    )


@dataclass(frozen=True)
class Stored:
    """A row of the history as text, whatever has been done to it; `at` is as stored when it is no time any more."""

    seq: int
    at: str
    kind: str
    actor: str
    payload: str
    lookups: str
    digest: str


def stored_events(instance_id: UUID) -> list[Stored]:
    """The stored events, also those that somebody has damaged: an auditor must be able to look at just these."""
    found = []
    for event in history.stored_events(reading(), instance_id):
        columns = (event.at, event.kind, event.actor, event.payload, event.lookups, event.digest)
        at, *rest = (column.decode(errors="replace") for column in columns)
        with suppress(ValueError):
            at = format_time(at, seconds=True)
        found.append(Stored(event.seq, at, *rest))
    people.remember(event.actor for event in found)
    return found


def steps(instance: Instance) -> list[dict[str, Any]]:
    """What happened on the diagram, for the replay: everything but the flows between the elements.

    Empty when a stored event cannot be read any more; `verify` names it.
    """
    try:
        visible = instances.visible_events(reading(), instance.id)
    except ValueError:
        return []
    events = [event for event in visible if event["type"] != "take"]
    elements = definitions.compiled(reading(), instance.definition_id).elements
    unnamed = {"startEvent": _("Start"), "endEvent": _("End")}  # the small circles of a sub-process
    people.remember(event["actor"] for event in events)
    return [
        {
            "element": event["element"],
            "type": event["type"],
            "label": event["label"] or unnamed.get(elements[event["element"]].type, ""),
            "instant": event["at"].isoformat(),
            "at": format_time(event["at"], seconds=True),
            "actor": machine(event["actor"]) or people.display_name(event["actor"]),
        }
        for event in events
    ]


def words() -> dict[str, str]:
    """What the script says, in the reader's language; `{}` is filled in by the script."""
    return {
        "enter": _("reached"),
        "leave": _("done"),
        "fail": _("failed"),
        "cancel": _("cancelled"),
        "s": _("%(n)s s", n="{}"),
        "min": _("%(n)s min", n="{}"),
        "h": _("%(n)s h", n="{}"),
        "d": _("%(n)s d", n="{}"),
    }
