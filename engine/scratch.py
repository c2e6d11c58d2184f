"""Where jobs keep what they are at work on: `<data>/scratch/<job>/`, the same folder at every attempt of a job.

A worker removes the folder of a job that it has ended. One whose job ended without its worker is removed here: the task
was cancelled while the job waited for its next attempt or for a person, or the worker died after its last word.
"""

import shutil
from pathlib import Path
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from engine import jobs
from engine.chores import chore
from engine.db import Database
from engine.models import Job
from engine.projections import UNDECIDED
from engine.settings import Settings


def clear(place: Path) -> None:
    """Remove the folder of a job that has ended. What cannot be removed now is tried again by the chore."""
    shutil.rmtree(place, ignore_errors=True)


@chore
def clear_ended(database: Database, settings: Settings) -> None:
    """Remove the folders of jobs that have ended, in whatever way; not yet of those whose worker may not know of it.

    A cancelled job keeps the lease that it was running under, and its worker stops at the end of that at the latest.
    Folders of jobs that this database does not know stay: another service's, or the database is an older backup.
    """
    places = [place for place in settings.scratch.glob("*-*-*-*-*") if place.is_dir()]
    if not places:
        return
    with database.reading() as session:
        ended = [place for place in places if _has_ended(session, place.name)]
    for place in ended:
        clear(place)


def _has_ended(session: Session, name: str) -> bool:
    try:
        job_id = UUID(name)
    except ValueError:
        return False
    released = or_(Job.lease_until.is_(None), Job.lease_until < jobs.lease_clock(session))
    query = select(Job.id).where(Job.id == job_id, Job.state.not_in(UNDECIDED), released)
    return session.scalar(query) is not None
