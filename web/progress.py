"""Progress of long jobs as server-sent events: bytes, media time, speed; it survives a reload and ends in a result.

The job row is the only source, so it does not matter which process works on it. Each poll is a short query of its
own; no database session stays open while a page looks on.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import orjson
from flask import Blueprint, Response
from flask_babel import get_translations
from sqlalchemy import select
from sqlalchemy.orm import Session

from device.models import Case
from engine.db import Database
from engine.errors import N_, NotFoundError, Sentence
from engine.models import Instance, Job
from engine.projections import ENDED
from web.auth import person
from web.diagrams import labels
from web.edge import database, reading
from web.visibility import visible_instance

blueprint = Blueprint("progress", __name__)

POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0
LONGEST_SECONDS = 600.0
"""Then the browser connects again by itself: a lost client holds no thread for longer."""
OVER = frozenset({"done", "failed", "cancelled"})


Say = Callable[[str], str]
"""Translates a sentence into the reader's language, also in a stream that has left its request."""


def facts(job: Job, names: dict[str, str] | None = None, say: Say = str) -> dict[str, Any]:
    """What a page shows of a job; `names` translates diagram labels, `say` what the job says while it waits."""
    known = job.progress or {}
    note = known.get("note") or known.get("step")
    if isinstance(known.get("note_params"), dict):
        note = Sentence.restored({"template": str(note), "params": known["note_params"]}).said(say)
    return {
        "id": str(job.id),
        "name": (names or {}).get(job.name, job.name),
        "state": job.state,
        "attempts": job.attempts,
        "fraction": 1.0 if job.state == "done" else known.get("fraction"),
        "bytes": known.get("bytes"),
        "media_seconds": known.get("media_seconds"),
        "total_seconds": known.get("total_seconds"),
        "speed": known.get("speed"),
        "remaining_seconds": known.get("remaining_seconds"),
        "recorder": known.get("recorder"),
        "camera": known.get("camera") or (job.params or {}).get("camera"),
        "note": note,
        "error": job.error.said(say) if job.state in {"incident", "failed"} else "",
    }


def jobs_of(session: Session, instance_id: UUID) -> list[Job]:
    """The jobs of an instance, oldest first."""
    return list(session.scalars(select(Job).where(Job.instance_id == instance_id).order_by(Job.created_at, Job.id)))


def under_way(session: Session, instance: Instance) -> list[dict[str, Any]]:
    """The jobs that wait, run or need somebody, for templates/components/progress.html."""
    names = labels(session, instance.definition_id)
    say = get_translations().ugettext
    return [facts(job, names, say) for job in jobs_of(session, instance.id) if job.state not in OVER]


@blueprint.get("/jobs/<uuid:job_id>/events")
def of_job(job_id: UUID) -> Response:
    """Events `progress` with the facts of one job, and `end` when it is over."""
    job = reading().get(Job, job_id)
    if job is None:
        raise NotFoundError(N_("There is no such job."))
    instance = visible_instance(reading(), job.instance_id, person())
    names, say = labels(reading(), instance.definition_id), get_translations().ugettext

    def look(session: Session) -> tuple[dict[str, Any], bool]:
        found = session.get(Job, job_id)
        assert found is not None  # rows of jobs are never deleted
        return {"jobs": [facts(found, names, say)], "seq": 0}, found.state in OVER

    return _stream(database(), look)


@blueprint.get("/cases/<int:case_id>/progress")
def of_case(case_id: int) -> Response:
    """Events `progress` with all jobs under way and the newest event's number; `end` when the process has ended."""
    case = reading().get(Case, case_id)
    if case is None:
        raise NotFoundError(N_("There is no such case, or you have no part in it."))
    return of_instance(case.instance_id)


@blueprint.get("/instances/<uuid:instance_id>/progress")
def of_instance(instance_id: UUID) -> Response:
    """As `of_case`, for a process that has no case (yet)."""
    instance = visible_instance(reading(), instance_id, person())
    names, say = labels(reading(), instance.definition_id), get_translations().ugettext

    def look(session: Session) -> tuple[dict[str, Any], bool]:
        seq, state = session.execute(select(Instance.seq, Instance.state).where(Instance.id == instance_id)).one()
        jobs = [facts(job, names, say) for job in jobs_of(session, instance_id) if job.state not in OVER]
        return {"jobs": jobs, "seq": seq}, state in ENDED

    return _stream(database(), look)


def _stream(source: Database, look: Callable[[Session], tuple[dict[str, Any], bool]]) -> Response:
    def events() -> Iterator[bytes]:
        started = said = time.monotonic()
        last: bytes | None = None
        yield b"retry: 2000\n\n"
        while time.monotonic() - started < LONGEST_SECONDS:
            with source.reading() as session:
                found, over = look(session)
            body = orjson.dumps(found)
            if body != last or over:
                yield b"event: " + (b"end" if over else b"progress") + b"\ndata: " + body + b"\n\n"
                last, said = body, time.monotonic()
                if over:
                    return
            elif time.monotonic() - said > HEARTBEAT_SECONDS:
                yield b": still here\n\n"
                said = time.monotonic()
            time.sleep(POLL_SECONDS)

    response = Response(events(), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response
