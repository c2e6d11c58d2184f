"""The deployed diagrams as XML, for the viewer in the browser, and their labels in the reader's language."""

from typing import Any

from flask import Blueprint, Response, url_for
from sqlalchemy.orm import Session

from engine import definitions, instances
from engine.models import Instance
from web.edge import reading
from web.i18n import language

blueprint = Blueprint("diagrams", __name__)

SHOWN = ("Task", "task", "callActivity", "subProcess")
SILENT = ("scriptTask", "businessRuleTask")
"""What the list leaves out: everything but activities, and those of them that only compute."""


@blueprint.get("/diagrams/<int:definition_id>.bpmn")
def xml(definition_id: int) -> Any:
    """A version's diagram, exactly as deployed. Every employee may read the procedure (clause F2)."""
    definition = definitions.by_id(reading(), definition_id)
    text = definitions.files(reading(), definition_id)[definition.file]
    response = Response(text, content_type="application/xml; charset=utf-8")
    response.headers["Cache-Control"] = "private, max-age=86400"  # a version never changes
    return response


def labels(session: Session, definition_id: int) -> dict[str, str]:
    """Labels of diagram and forms, Chinese to the reader's language; empty when that is Chinese."""
    chosen = language()
    return {} if chosen == "zh" else definitions.translation(session, definition_id, chosen)


def label(session: Session, definition_id: int, text: str) -> str:
    return labels(session, definition_id).get(text, text)


def position(session: Session, instance: Instance) -> dict[str, Any]:
    """What templates/components/diagram.html shows: where the instance stands on its diagram, and that as a list."""
    names = labels(session, instance.definition_id)
    events = instances.visible_events(session, instance.id)
    return {
        "source": url_for("diagrams.xml", definition_id=instance.definition_id),
        "events": [{"element": event["element"], "type": event["type"]} for event in events],
        "labels": names,
        "steps": steps(session, instance.definition_id, events, names),
    }


def steps(
    session: Session, definition_id: int, events: list[dict[str, Any]], names: dict[str, str]
) -> list[dict[str, Any]]:
    """The activities that were reached, in order of their first entry, with their state now and when it began.

    `state`: active, done, failed or cancelled; `by` is who completed it.
    """
    elements = definitions.compiled(session, definition_id).elements
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        info = elements.get(event["element"])
        if info is None or not info.name or not info.type.endswith(SHOWN) or info.type in SILENT:
            continue
        step = found.setdefault(
            event["element"],
            {
                "element": event["element"],
                "name": names.get(info.name, info.name),
                "lane": names.get(info.lane, info.lane) if info.lane else "",
                "active": 0,
                "rounds": 0,
                "finished": 0,
                "state": "",
                "at": event["at"],
                "by": "",
            },
        )
        kind = event["type"]
        if kind == "enter":
            if not step["active"]:  # several at once, like the votes of a committee, are one round
                step.update(rounds=step["rounds"] + 1, finished=0)
            step.update(active=step["active"] + 1, state="active", at=event["at"], by="")
        elif kind in {"leave", "fail", "cancel"}:
            step["active"] = max(0, step["active"] - 1)
            step["finished"] += kind == "leave"
            # The votes that were no longer needed do not make the vote a cancelled one.
            ended = "failed" if kind == "fail" else "done" if step["finished"] else "cancelled"
            by = event["actor"] if info.type == "userTask" else ""
            step.update(state="active" if step["active"] else ended, at=event["at"], by=by)
    return list(found.values())
