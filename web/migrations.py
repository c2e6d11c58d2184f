"""The process owners' page about cases under way on an earlier version: what each would meet, and the migration itself.

It shows where a case stands, never its data (web/visibility.py).
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import Blueprint, render_template, request
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from engine import definitions, instances, migration
from engine.errors import InvalidFormError
from engine.migration import Reason, Verdict
from engine.models import Instance, ProcessDefinition
from engine.projections import ENDED
from web import diagrams, people
from web.auth import person, requires
from web.edge import database, reading
from web.errors import message_of
from web.i18n import _, told
from web.studio import EDITORS

blueprint = Blueprint("migrations", __name__, url_prefix="/studio")

LISTED = 100
"""Cases on one page, each of which is compared with the other version."""


@dataclass(frozen=True)
class Row:
    """A case as the page shows it; texts in the reader's language."""

    instance: Instance
    verdict: Verdict
    stands_at: list[str]
    refused: list[str]
    warnings: list[str]
    own: bool


@blueprint.route("/<process_id>/migrate", methods=["GET", "POST"])
@requires(*EDITORS)
def migrate(process_id: str) -> Any:
    """`?from=&to=` choose the versions; what is posted are the `id`s of cases and a `reason`."""
    session = reading()
    versions = definitions.versions(session, process_id)
    newest = definitions.latest(session, process_id)
    target = definitions.get(session, process_id, request.args.get("to", newest.version, type=int))
    counts = _counts(session, process_id)
    others = [found.version for found in versions if found.version != target.version and counts.get(found.version)]
    chosen = request.args.get("from", others[0] if others else None, type=int)
    before = definitions.get(session, process_id, chosen) if chosen is not None else None
    refusal, status, outcomes = "", 200, None
    if request.method == "POST":
        try:
            outcomes = _migrate_posted(process_id, target)
        except InvalidFormError as error:
            refusal, status = " ".join(told(found) for found in error.fields.values()), 422
        session.rollback()  # what is read from here on is what has been written
        counts = _counts(session, process_id)
    rows = [] if before is None else _rows(session, before, target)
    people.remember(row.instance.started_by for row in rows)
    page = render_template(
        "studio/migrate.html",
        process_id=process_id,
        name=diagrams.label(session, newest.id, newest.name),
        versions=versions,
        counts=counts,
        before=before,
        target=target,
        rows=rows,
        total=counts.get(before.version, 0) if before is not None else 0,
        outcomes=outcomes,
        ticked=request.form.getlist("id") if refusal else [],
        reason=request.form.get("reason", "") if refusal else "",
        refusal=refusal,
    )
    return page, status


def _counts(session: Session, process_id: str) -> dict[int, int]:
    """How many cases are under way on each version."""
    counted = select(Instance.version, func.count()).where(
        Instance.process_id == process_id, Instance.state.not_in(ENDED)
    )
    return dict(session.execute(counted.group_by(Instance.version)).all())


def _rows(session: Session, before: ProcessDefinition, target: ProcessDefinition) -> list[Row]:
    words = {**diagrams.labels(session, before.id), **diagrams.labels(session, target.id)}
    elements = definitions.compiled(session, before.id).elements

    def said(reason: Reason) -> str:
        named = reason.params.get("element", "")
        return _(reason.template) % {**reason.params, "element": words.get(named, named)}

    rows = []
    for instance in migration.under_way(session, before.process_id, before.version, limit=LISTED):
        verdict = migration.preview(session, instance.id, target.version)
        names = [elements[one].name or one for one in verdict.active if one in elements]
        rows.append(
            Row(
                instance,
                verdict,
                [words.get(name, name) for name in names],
                [said(reason) for reason in verdict.refused],
                [said(reason) for reason in verdict.warnings],
                own=instance.started_by == person().username,
            )
        )
    return rows


def _migrate_posted(process_id: str, target: ProcessDefinition) -> list[tuple[str, str]]:
    """Migrate the ticked cases of this process: the number of each, and why it was refused or nothing.

    Nobody acts on a case of their own; such a case is passed over. Raises InvalidFormError: there is no reason.
    """
    wanted = [instances.get(reading(), one) for one in request.form.getlist("id")[:LISTED]]
    numbers: dict[UUID, str] = {
        one.id: one.business_key or _("Not numbered yet")
        for one in wanted
        if one.process_id == process_id and one.started_by != person().username
    }
    outcomes = migration.migrate_all(
        database(), numbers, target.version, by=person().username, reason=request.form.get("reason", "")
    )
    return [(numbers[one.instance_id], message_of(one.refusal) if one.refusal else "") for one in outcomes]
